"""Whether another process lives: by what it shows, and by the clock of whoever looks.

No time that another machine has written is compared with a time of this one. Who lives changes its
mark every so often; who left it unchanged for long enough, while somebody looked, is dead. On one
machine nobody has to wait for that: each process holds a lock of the system on a file of its own,
which the kernel frees when it ends in whatever way.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from adapters.store.durable import make_folders
from adapters.store.errors import StoreError
from adapters.store.names import SIGNS_FOLDER
from adapters.store.scratch import STALE_HOURS, host_token, try_lock

_LOG = logging.getLogger("crosscity.store")
BEAT_SECONDS: Final = 15.0
"""How often whoever holds something changes its mark."""
EXPIRY_SECONDS: Final = 90.0
"""Whose mark did not change for so long, under the eyes of another, is dead."""

_lock = threading.Lock()
_signs: dict[tuple[Path, int], str] = {}
_held: list[int] = []


def sign_of_life(folder: Path) -> str:
    """The name of a file below `folder` that this process locks until it ends; made once.

    Empty where the file system has no locks: then only marks tell.
    """
    signs = folder / SIGNS_FOLDER
    key = (signs, os.getpid())
    with _lock:
        if key not in _signs:
            _signs[key] = _new_sign(signs)
        return _signs[key]


def is_known_dead(folder: Path, sign: str) -> bool:
    """Whether the process of a sign was of this machine, and has ended. False: nobody knows."""
    return _is_free(folder, sign) is True


def is_known_alive(folder: Path, sign: str) -> bool:
    """Whether the process of a sign is of this machine, and lives. False: nobody knows."""
    return _is_free(folder, sign) is False


def _is_free(folder: Path, sign: str) -> bool | None:
    """Whether no process of this machine has the lock of a sign; None where nobody knows."""
    if not sign.startswith(f"{host_token()}-") or "/" in sign or ".." in sign:
        return None
    try:
        descriptor = os.open(folder / SIGNS_FOLDER / sign, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _new_sign(signs: Path) -> str:
    sign = f"{host_token()}-{secrets.token_hex(8)}"
    try:
        make_folders(signs)
        descriptor = os.open(signs / sign, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        return ""
    if not try_lock(descriptor):
        os.close(descriptor)
        return ""
    _held.append(descriptor)  # open until the process ends
    with suppress(OSError):
        _sweep(signs, os.fstat(descriptor).st_mtime)
    return sign


def _sweep(signs: Path, now: float) -> None:
    """Removes the files of processes that are long dead; younger ones still say that they are."""
    for path in signs.iterdir():
        with suppress(OSError):
            if now - path.stat().st_mtime < STALE_HOURS * 3600:
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                held = try_lock(descriptor)
                if held or (held is None and not path.name.startswith(host_token())):
                    path.unlink()
            finally:
                os.close(descriptor)


class Watch:
    """What did not change under this process's eyes, and for how long, by its own clock.

    Args:
        expiry: Seconds after which it counts as dead.
        longest_gap: Seconds between two looks beyond which all begins anew: whoever was away, or
            could not reach the store, does not know what others did meanwhile.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        expiry: float = EXPIRY_SECONDS,
        longest_gap: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expiry, self._clock = expiry, clock
        self._gap = expiry / 3 if longest_gap is None else longest_gap
        self._looked = float("-inf")
        self._since: dict[str, tuple[Hashable, float]] = {}

    def unchanged(self, marks: Mapping[str, Hashable]) -> set[str]:
        """Names whose mark has been the same for too long.

        Args:
            marks: What each shows now.
        """
        now = self._clock()
        if now - self._looked > self._gap:
            self._since = {}
        self._looked = now
        self._since = {
            name: (mark, self._since[name][1])
            if name in self._since and self._since[name][0] == mark
            else (mark, now)
            for name, mark in marks.items()
        }
        return {name for name, (_, since) in self._since.items() if now - since >= self._expiry}


class Census:
    """Who of those that show marks and signs is dead.

    Args:
        folder: Where this machine's signs lie.
        watch: Tells of marks that stand still.
    """

    def __init__(self, folder: Path, watch: Watch) -> None:
        self._folder, self._watch = folder, watch

    def dead(self, marks: Mapping[str, tuple[Hashable, str]]) -> set[str]:
        """Names of the dead, of marks and signs by name."""
        still = self._watch.unchanged({name: mark for name, (mark, _) in marks.items()})
        return still | {n for n, (_, sign) in marks.items() if is_known_dead(self._folder, sign)}


class Heart:
    """The thread that, for everything a process holds, changes the marks every so often.

    Args:
        every: Seconds between two beats.
    """

    def __init__(self, every: float = BEAT_SECONDS) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._beats: dict[str, Callable[[], None]] = {}
        self._pid = 0

    def add(self, name: str, beat: Callable[[], None]) -> None:
        """Has `beat` called every so often, until `remove`."""
        with self._lock:
            self._beats[name] = beat
            if self._pid != os.getpid():  # the first, or forked: threads are not inherited
                self._pid = os.getpid()
                threading.Thread(target=self._run, daemon=True, name="heart").start()

    def remove(self, name: str) -> None:
        """No more beats for it."""
        with self._lock:
            self._beats.pop(name, None)

    def _run(self) -> None:
        while True:
            time.sleep(self._every)
            with self._lock:
                beats = list(self._beats.values())
            for beat in beats:
                try:
                    beat()
                except (StoreError, OSError) as error:
                    _LOG.warning("a sign of life could not be written: %s", error)


HEART: Final = Heart()


@contextmanager
def kept_young(folder: Path) -> Iterator[None]:
    """Has a folder look as if it was just written to, as long as the block takes.

    A training writes into the folder of its draft after days. Where the file system passes no locks
    on, its age is all that other machines see of it.
    """

    def touch() -> None:
        with suppress(FileNotFoundError):  # published, which moves it
            os.utime(folder)

    HEART.add(str(folder), touch)
    try:
        yield
    finally:
        HEART.remove(str(folder))
