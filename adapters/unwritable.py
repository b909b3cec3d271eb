"""Why a place cannot be written, in one sentence with the way out: the same wherever it is met."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
# Libraries of other languages (safetensors, Arrow, SQLite) report it as an exception of their own.
_FULL_WORDS: Final = (
    "No space left on device",
    "Disk quota exceeded",
    "StorageFull",
    "database or disk is full",
)
_NOTHING: Final = 1 << 16
"""Bytes: programs that need room end with a few pages left."""


def means_full(error: BaseException) -> bool:
    """Whether an exception of any library says that the disk is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(word in str(error) for word in _FULL_WORDS)


def means_a_place(error: BaseException) -> bool:
    """Whether an exception says of a named file or folder that this user cannot write it, or read.

    Those are a fault of the place, and not of what met it.
    """
    if means_full(error):
        return True
    of_place = isinstance(error, OSError) and error.errno in {errno.EROFS, *_FORBIDDEN}
    return of_place and getattr(error, "filename", None) is not None


def is_full(folder: Path) -> bool:
    """Whether next to nothing more can be written into a folder."""
    try:
        return shutil.disk_usage(folder).free < _NOTHING
    except OSError:
        return False


def full_disk(place: object) -> str:
    """The sentence for a place whose disk, or quota, is full."""
    return (
        f"{place} cannot be written, since the disk is full: free some space there, or choose "
        "another place for it, and run again"
    )


def cannot_be_written(place: object, error: BaseException) -> str:
    """The sentence for a place where something could not be written."""
    return _known(place, error) or f"{place} cannot be written: {_reason(error)}"


def does_not_work(place: object, error: OSError) -> str:
    """The sentence for a place where something could be neither read nor written."""
    return _known(place, error) or (
        f"{place} failed ({_reason(error)} at {_met(place, error)}): check the disk or "
        "mount behind it and run again"
    )


def _known(place: object, error: BaseException) -> str | None:
    """Where it is known what to do, the sentence that says it."""
    if means_full(error):
        return full_disk(place)
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.EROFS:
        return (
            f"{place} lies on a read-only file system: mount it writable, or choose another place "
            "for it, and run again"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{place} does not admit this user: grant read and write permission on "
            f"{_met(place, error)}, or choose another place for it, and run again"
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return (
            f"{place} cannot be made because {_met(place, error)}, or a folder above, "
            "is a file: move that file away, or choose another place for it, and run again"
        )
    return None


def _met(place: object, error: OSError) -> object:
    """What the system refused; the folder, where it is a file under a name that is not its last."""
    if not isinstance(error.filename, str | Path):
        return place
    path = Path(error.filename)
    return path.parent if path.suffix == ".part" else path


def _reason(error: BaseException) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__
