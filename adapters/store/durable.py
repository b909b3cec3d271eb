"""Writes that outlive a loss of power."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

# Some network file systems cannot sync a folder (their own protocol orders the names), and a
# folder above the store may be one that this user can pass but not open.
_FOLDER_ERRORS = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES})
_PROBE_BYTES = 2**20
_AT_ONCE: Final = 8
"""Files that are synced side by side: a journal writes what comes together in one go."""


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on disk before going on."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_ERRORS or not path.is_dir():
            raise


def sync_all(paths: Sequence[Path]) -> None:
    """`sync` of each, several at once; in their order where there are only a few."""
    if len(paths) < _AT_ONCE:
        for path in paths:
            sync(path)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(sync, paths):
            pass  # raises what went wrong


def make_folders(folder: Path) -> None:
    """Make `folder` and the parents that it lacks, each name on disk."""
    missing = [folder, *folder.parents]
    while missing and missing[-1].is_dir():
        missing.pop()
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync(one.parent)


def sync_tree(folder: Path) -> None:
    """Have everything below a folder on disk, and last the names in it."""
    for inside, _, names in os.walk(folder, topdown=False):
        sync_all([Path(inside) / name for name in names])
        sync(Path(inside))


def write_probe(folder: Path) -> None:
    """Write a mebibyte to disk: what a place that is full or read-only refuses.

    Raises:
        OSError: if it is refused.
    """
    probe = folder / "probe"
    probe.write_bytes(b"\0" * _PROBE_BYTES)
    sync(probe)
