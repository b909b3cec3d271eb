"""Local copies of what lies in a remote store, up to a size; what was used longest ago goes first.

A copy lies under the SHA-256 of its content, `<2 digits>/<digest>/<name>`, so stores share them,
and whoever reads one checks it. All processes of a machine share the folder: each looks at the
whole of it when enough was added, and none has to ask another.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = logging.getLogger("crosscity.store")
_HELD_SECONDS: Final = 60.0
"""A copy that was asked for so recently stays: whoever asked may not have opened it yet."""
_LOW_WATER: Final = 0.9
"""Share of the limit down to which copies are removed."""
_LOOK_AFTER: Final = 0.05
"""Share of the limit that all processes add before one looks at what is there."""
_COUNTED_BYTES: Final = 2**24
"""How much a process adds before it says so to the others: a byte in `_COUNTER` each time."""
_COUNTER: Final = ".added"
_MARK: Final = b"crosscity-kept-1"


@dataclass(frozen=True)
class Kept:
    """A small file of the store as it was read last.

    Attributes:
        data: Its bytes.
        tag: What the store tells one content of it from another by; may be empty.
    """

    data: bytes
    tag: str


class LocalCopies:
    """The copies in a folder.

    Args:
        folder: Where they lie; others' files in it are left alone.
        limit: Bytes that they may take together; may be infinite.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self._folder, self._limit = folder, limit
        self._added = 0
        self._lock = threading.Lock()

    def path(self, sha256: str, name: str) -> Path:
        """Where the copy of a file with this content lies, or would lie."""
        return self._folder / sha256[:2] / sha256 / name

    def touch(self, copy: Path) -> None:
        """Notes that a copy is used; times of change, which tell whether it was hashed, stay."""
        with suppress(OSError):  # another user's, or gone: then it is fetched again
            status = copy.stat()
            if time.time() - status.st_atime > _HELD_SECONDS / 2:
                os.utime(copy, ns=(time.time_ns(), status.st_mtime_ns))

    def put(self, temporary: Path, copy: Path) -> None:
        """Moves a whole file to its place; makes room where there are too many.

        Nothing waits for the disk: a copy that a loss of power cut short does not fit its digest.

        Raises:
            OSError: The folder cannot be written to.
        """
        size = temporary.stat().st_size
        for last in (False, True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.replace(copy)
                break
            except FileNotFoundError:  # another process has just removed the empty folder
                if last:
                    raise
        self._make_room(size)

    def keep(self, name: str, kept: Kept, temporary: Path) -> None:
        """Keeps a small file of the store that does not change once it is there.

        Args:
            name: What it is called: the store and the path in it.
            kept: Its bytes and tag.
            temporary: A path to write it to first, on the same file system.

        Raises:
            OSError: The folder cannot be written to.
        """
        digest = hashlib.sha256(kept.data).hexdigest().encode()
        temporary.write_bytes(b"\n".join((_MARK, digest, kept.tag.encode(), kept.data)))
        self.put(temporary, self._kept_path(name))

    def kept(self, name: str) -> Kept | None:
        """What `keep` kept under a name; ``None`` where there is nothing whole."""
        path = self._kept_path(name)
        try:
            mark, digest, tag, data = path.read_bytes().split(b"\n", 3)
        except (OSError, ValueError):
            return None
        if mark != _MARK or hashlib.sha256(data).hexdigest().encode() != digest:
            return None
        self.touch(path)
        return Kept(data, tag.decode(errors="replace"))

    def forget(self, name: str) -> None:
        """Removes what was kept under a name."""
        with suppress(OSError):
            self._kept_path(name).unlink()

    def _kept_path(self, name: str) -> Path:
        return self.path(hashlib.sha256(name.encode()).hexdigest(), "kept")

    def _make_room(self, added: int) -> None:
        """Looks at the whole folder once enough was added to it, by whomever."""
        if self._limit == float("inf"):
            return
        step = max(1, int(min(_COUNTED_BYTES, _LOOK_AFTER * self._limit)))
        counter = self._folder / _COUNTER
        with self._lock:
            is_first = not counter.exists()
            self._added += added
            steps, self._added = divmod(self._added, step)
            with counter.open("ab") as said:
                said.write(b"+" * steps)
            if is_first or counter.stat().st_size * step >= _LOOK_AFTER * self._limit:
                os.truncate(counter, 0)
                evict(self._folder, self._limit)


def evict(folder: Path, limit: float) -> int:
    """Removes the copies that were used longest ago, until those left take less than the limit.

    Args:
        folder: Of `LocalCopies`.
        limit: Bytes.

    Returns:
        Bytes that were removed.
    """
    found = sorted(_copies(folder))
    total, removed = sum(size for _, size, _ in found), 0
    if total <= limit:
        return 0
    recent = time.time() - _HELD_SECONDS
    for used, size, path in found:
        if total - removed <= _LOW_WATER * limit or used > recent:
            break
        with suppress(OSError):
            path.unlink()
            removed += size
            path.parent.rmdir()
    if total - removed > limit:
        _LOG.warning(
            "the cache folder %s takes %.1f GB, all of it in use just now, and may take %.1f: give "
            "the catalog's store a larger cache_gigabytes",
            folder,
            (total - removed) / 1e9,
            limit / 1e9,
        )
    return removed


def _copies(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each copy was used last, its size and place."""
    for group in _entries(folder):
        if len(group.name) != 2 or not group.is_dir(follow_symlinks=False):
            continue
        for one in _entries(group.path):
            if not one.is_dir(follow_symlinks=False):
                continue
            for copy in _entries(one.path):
                with suppress(OSError):
                    status = copy.stat(follow_symlinks=False)
                    yield max(status.st_atime, status.st_mtime), status.st_size, Path(copy.path)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
