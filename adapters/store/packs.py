"""Many small files of an artifact as one object: each object of a far store costs a request.

A pack is what its files hold, one after the other, in the order of their names; the manifest says
of each where it begins. A reader asks for the part of the pack that is the file, or, where it asks
for most of them, for a stretch of files at once: a request takes as long as a few megabytes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from adapters.store.records import FileEntry, Manifest

LARGEST: Final = 2**22
"""Bytes of a file up to which it goes into a pack; an image of a street has less."""
_FEWEST: Final = 2
REQUEST_BYTES: Final = 3 * 2**20
"""Bytes that take as long as a request: 30 ms at 100 MB/s."""
STRETCH_BYTES: Final = 2**25
"""Bytes that are held in memory where files are fetched together."""
_MOST_STRETCHES: Final = 100_000
_AT_ONCE: Final = 16


def packed_entries(
    entries: Mapping[str, FileEntry], apart: Collection[str]
) -> dict[str, FileEntry]:
    """The entries of an artifact's files, those that go into its pack with their place in it.

    Args:
        entries: Of all files, by name.
        apart: Files that stay objects of their own, as the store can copy them from others.
    """
    small = [name for name in sorted(entries) if entries[name].bytes <= LARGEST]
    small = [name for name in small if name not in apart]
    if len(small) < _FEWEST:
        return dict(entries)
    placed, at = dict(entries), 0
    for name in small:
        placed[name] = entries[name].model_copy(update={"at": at})
        at += entries[name].bytes
    return placed


def write_pack(folder: Path, manifest: Manifest, target: Path) -> None:
    """Writes the pack of an artifact whose files lie in a folder.

    Raises:
        OSError: It cannot be written.
    """
    with target.open("wb") as pack:
        for name in manifest.packed:
            with (folder / name).open("rb") as file:
                shutil.copyfileobj(file, pack)


def stretch_of(manifest: Manifest, name: str) -> tuple[str, ...]:
    """The files in the pack that are fetched together with one of them, in their order there.

    Stretches of a pack do not overlap; each takes up to `STRETCH_BYTES`, or is one file.
    """
    found: list[str] = []
    taken = 0
    for one in manifest.packed:
        size = manifest.files[one].bytes
        if found and taken + size > STRETCH_BYTES:
            if name in found:
                break
            found, taken = [], 0
        found.append(one)
        taken += size
    return tuple(found)


class Asked:
    """How much was asked for of each stretch, file by file, in this process.

    Once that has cost as much as all of it would have, all of it is fetched. So no reader pays more
    than twice what the better way would have been, whatever part of the files it reads.
    """

    def __init__(self) -> None:
        self._cost: LRUCache[tuple[str, str], int] = LRUCache(_MOST_STRETCHES)
        self._lock = threading.Lock()
        self._fetching = [threading.Lock() for _ in range(_AT_ONCE)]

    def fetching(self, pack: str, stretch: tuple[str, ...]) -> AbstractContextManager[object]:
        """Held by the one thread that fetches a stretch."""
        return self._fetching[hash((pack, stretch[0])) % _AT_ONCE]

    def is_whole_due(self, manifest: Manifest, stretch: tuple[str, ...], name: str) -> bool:
        """Whether a stretch is to be fetched whole; if not, the one file of it is counted."""
        place = (manifest.pack, stretch[0])
        whole = REQUEST_BYTES + sum(manifest.files[one].bytes for one in stretch)
        one = REQUEST_BYTES + manifest.files[name].bytes
        with self._lock:
            cost = self._cost.get(place, 0)
            if len(stretch) > 1 and cost + one > whole:
                return True
            self._cost[place] = cost + one
            return False
