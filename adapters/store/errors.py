"""What the store says when something is wrong: one sentence with the place and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.unwritable import does_not_work, full_disk


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


def full_store(place: str) -> StoreError:
    """The error for a full disk or quota at `place`."""
    return StoreError(full_disk(place))


def from_os_error(error: OSError, place: str) -> StoreError:
    """The error for an operating-system failure at `place`, with what to do about it."""
    return StoreError(does_not_work(place, error))


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn operating-system failures inside the block into a `StoreError` about `place`."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, place) from error
