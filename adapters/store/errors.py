"""What the store says when something is wrong: one sentence with the place and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
# Libraries written in C++ or Rust (safetensors, Arrow) report a full disk as their own exception.
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "StorageFull")


class StoreError(Exception):
    """The store cannot do what was asked; the message is one sentence for the operator."""


class NewerReleaseError(StoreError):
    """What is stored was written by a newer release, in a format that this one does not know."""


class DamagedArtifactError(StoreError):
    """A published artifact is incomplete or altered.

    Attributes:
        folder: its place in the store.
        what: what is wrong with it, in a few words.
    """

    def __init__(self, message: str, folder: str, what: str) -> None:
        super().__init__(message)
        self.folder = folder
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.folder, self.what)


class StoreAwayError(StoreError):
    """The store does not answer, or asks to come again: a fault that goes by itself."""


class StoreRefusesError(StoreError):
    """The store does not admit the catalog's credentials, or has no bucket; nothing is damaged."""


class DamagedFileError(Exception):
    """A stored file is missing, cut short or altered; the message says which and how."""


def means_full(error: BaseException) -> bool:
    """Whether an exception of any library says that the disk is full."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(word in str(error) for word in _FULL_WORDS)


def full_store(place: str) -> StoreError:
    """The error for a full disk or quota at `place`."""
    return StoreError(
        f"{place} is full: free some space there, or choose another place for it, and run again"
    )


def from_os_error(error: OSError, place: str) -> StoreError:
    """The error for an operating-system failure at `place`, with what to do about it."""
    if error.errno in FULL:
        return full_store(place)
    if error.errno == errno.EROFS:
        return StoreError(
            f"{place} lies on a read-only file system: mount it writable, or choose "
            "another place for it, and run again"
        )
    if error.errno in _FORBIDDEN:
        return StoreError(
            f"{place} does not admit this user: grant read and write permission on "
            f"{error.filename or place}, or choose another place for it, and run again"
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return StoreError(
            f"{place} cannot be made because {error.filename or place}, or a folder above, "
            "is a file: move that file away, or choose another place for it, and run again"
        )
    reason = error.strerror or type(error).__name__
    return StoreError(
        f"{place} failed ({reason} at {error.filename or place}): check the disk or "
        "mount behind it and run again"
    )


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn operating-system failures inside the block into a `StoreError` about `place`."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, place) from error
