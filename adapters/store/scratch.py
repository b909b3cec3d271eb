"""Temporary folders that a killed process cannot leave behind for ever.

Each folder `<token>/` has a lock file `<token>.lock` that its owner holds with flock(2). The kernel
frees it when the owner ends in whatever way, so a sweep tells live from dead without process ids,
which are used again and differ between containers. Not every network file system passes flock on
between machines: what others left is swept once it is old too, and nobody is known to hold it. The
folder of a draft does not grow old while its owner lives (`adapters.store.living.kept_young`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from adapters.store.durable import make_folders
from adapters.store.errors import explained

STALE_HOURS = 24.0
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})


@cache
def host_token() -> str:
    """Twelve hexadecimal digits that fix the running kernel (its boot id) or else the host name."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        name = socket.gethostname()
    return hashlib.sha256(name.encode()).hexdigest()[:12]


class ScratchArea:
    """The scratch folders of one store or cache; the first use sweeps what dead processes left.

    Args:
        parent: where the folders are made.
        named: what messages call the place, such as "the store at /data".
    """

    def __init__(self, parent: Path, named: str) -> None:
        self._parent = parent
        self._named = named
        self._swept = False

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder for the block; failures to make it are explained.

        Raises:
            StoreError: if it cannot be made. Errors of the block keep their own words.
        """
        with ExitStack() as stack:
            with explained(self._named):
                folder = stack.enter_context(scratch_folder(self._parent))
            if not self._swept:
                self._swept = True
                sweep(self._parent, folder.stat().st_mtime)
            yield folder


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make an empty folder below `parent` for the block, and remove it afterwards.

    Raises:
        OSError: if it cannot be made.
    """
    make_folders(parent)
    lock, descriptor = _new_lock(parent)
    folder = lock.with_suffix("")
    owner = os.getpid()
    try:
        folder.mkdir()
        yield folder
    finally:
        # A forked child that leaves the block must not take its parent's folder away.
        if os.getpid() == owner:
            _remove(folder, lock)
        os.close(descriptor)


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Keep every other process out of the block that locks the same file; it is never removed.

    Between machines this holds as far as their common file system passes locks on (NFS 4 does).
    Where it has none at all, nothing is kept out.
    """
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def sweep(parent: Path, now: float) -> None:
    """Remove the scratch folders whose owners are dead; whatever cannot be removed stays.

    Args:
        parent: where they lie.
        now: by the clock that dates files there, which may be another machine's.
    """
    for lock, folder in _folders(parent):
        with suppress(OSError), _whether_dead(lock, folder, now) as is_dead:
            if is_dead:
                _remove(folder, lock)


def _folders(parent: Path) -> list[tuple[Path, Path]]:
    """Lock and folder of everything in `parent`, whichever of the two is there."""
    try:
        entries = sorted({entry.with_suffix("") for entry in parent.iterdir()})
    except OSError:
        return []
    return [(entry.with_suffix(".lock"), entry) for entry in entries]


def _new_lock(parent: Path) -> tuple[Path, int]:
    while True:
        lock = parent / f"{host_token()}-{secrets.token_hex(8)}.lock"
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        held = try_lock(descriptor)
        # A sweep can come between the creation and the lock; then it has the file, and we another.
        if held is None or (held and os.fstat(descriptor).st_nlink > 0):
            return lock, descriptor
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed.

    Returns:
        True if the lock is ours now, False if someone holds it, None where there are no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


@contextmanager
def _whether_dead(lock: Path, folder: Path, now: float) -> Iterator[bool]:
    """Whether a folder's owner is dead; its lock is ours for the block where it can be."""
    if not lock.exists():
        yield _is_old(folder, now)
        return
    is_ours = lock.name.split("-")[0] == host_token()
    if not is_ours and not (_is_old(lock, now) and (not folder.exists() or _is_old(folder, now))):
        yield False
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        # A training writes nothing into its folder for days, and holds the lock all the time.
        held = try_lock(descriptor)
        yield bool(held or (held is None and (not is_ours or _is_old(folder, now))))
    finally:
        os.close(descriptor)


def _remove(folder: Path, lock: Path) -> None:
    """The lock goes last: a folder without one would look like nobody's."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        lock.unlink()


def _is_old(path: Path, now: float) -> bool:
    """Whether nothing at or below `path` changed within the last `STALE_HOURS`."""
    newest = path.lstat().st_mtime
    for parent, folders, files in os.walk(path):
        for name in folders + files:
            newest = max(newest, (Path(parent) / name).lstat().st_mtime)
    return now - newest > STALE_HOURS * 3600
