"""Points that join the images of pairs, kept for as long as a training lasts: most of them on disk.

They are 1 to 5 kB a pair of 1126 x 563 pixels by the default prior, more by a finer matcher, and
a training can come across 100 000 pairs.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import threading
from typing import IO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adapters.store.durable import make_folders
from adapters.store.opening import cache_folder
from crosscity.adaptation.frozen_features import SPARE_BYTES
from tasks.steps.logs import log

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""x and y, (K, 2), in the first and the second image of a pair: whole numbers from 0, of pixels."""
Pair = tuple[str, str]
_Numbers = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
IN_MEMORY: Final = 2**26
"""Bytes of points that are held; those of further pairs go into a file."""


class _Place(NamedTuple):
    """Where the points of a pair begin in the file, how many they are, and of which numbers."""

    offset: int
    points: int
    kind: np.dtype[np.uint16] | np.dtype[np.uint32]


class KeptPoints:
    """Points by pair; safe to use from several threads.

    The file lies in the cache folder, has no name there, and goes with the process however that
    ends. Where it cannot be written, those of further pairs are not kept, and that is logged.
    """

    def __init__(self) -> None:
        self._held: dict[Pair, _Numbers] = {}
        self._bytes = 0
        self._places: dict[Pair, _Place] = {}
        self._file: IO[bytes] | None = None
        self._end = 0
        self._is_full = False
        self._lock = threading.Lock()

    def find(self, pair: Pair) -> Points | None:
        """The points of a pair; ``None`` where they are not kept."""
        held, place = self._held.get(pair), self._places.get(pair)
        if place is not None and self._file is not None:
            size = 4 * place.points * place.kind.itemsize
            data = os.pread(self._file.fileno(), size, place.offset)
            numbers = np.frombuffer(data, dtype=place.kind).reshape(2, place.points, 2)
        elif held is not None:
            numbers = held
        else:
            return None
        first, second = numbers.astype(np.float64)
        return first, second

    def keep(self, pair: Pair, points: Points) -> None:
        """Keeps the points of a pair, as far as there is room."""
        numbers = np.stack(points)
        is_small = numbers.max(initial=0) < 2**16
        both = numbers.astype(np.uint16) if is_small else numbers.astype(np.uint32)
        with self._lock:
            if self._bytes + both.nbytes <= IN_MEMORY:
                self._bytes += both.nbytes
                self._held[pair] = both
            elif not self._is_full:
                self._append(pair, both)

    def _append(self, pair: Pair, both: _Numbers) -> None:
        try:
            self._write(both.tobytes())
        except OSError as error:
            self._is_full = True
            log(
                logging.WARNING,
                f"the cache folder {cache_folder()} cannot be written "
                f"({error.strerror or error}): further pairs are matched each time they are "
                "learned from, which takes longer; set XDG_CACHE_HOME to a folder with room for "
                "them",
            )
            return
        self._places[pair] = _Place(self._end, both.shape[1], both.dtype)
        self._end += both.nbytes

    def _write(self, data: bytes) -> None:
        """Writes behind what is in the file."""
        folder = cache_folder()
        if self._file is None:
            make_folders(folder)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as this
        is_short = shutil.disk_usage(folder).free - len(data) < SPARE_BYTES
        if is_short or os.pwrite(self._file.fileno(), data, self._end) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
