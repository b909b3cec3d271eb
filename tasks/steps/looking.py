"""Going through a run without doing anything: whether all that it makes is there.

Inside `only_looking`, flows and steps are plain calls. What is in the store is found by its key, as
in a run; the first thing that is not, or that would be written, announced or asked of a service,
ends it. So a command that has nothing to do needs no server, and a store that it may only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LOOKING: Final[ContextVar[bool]] = ContextVar("looking", default=False)


class NotDoneError(Exception):
    """Something of the run is still to be done."""


@contextmanager
def only_looking() -> Iterator[None]:
    """Inside, flows and steps find what they make, or raise `NotDoneError`; nothing is changed."""
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def is_looking() -> bool:
    """Whether a run is only gone through."""
    return _LOOKING.get()


def about_to_work() -> None:
    """Says that something is about to be made, written, announced or asked.

    Raises:
        NotDoneError: A run is only gone through.
    """
    if is_looking():
        raise NotDoneError
