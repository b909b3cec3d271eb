"""What is still to be written to the store as work ends, whatever it ends with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adapters.store.errors import StoreAwayError, StoreError

_LOG = logging.getLogger("crosscity.store")


@contextmanager
def parting(what: str, *words: Callable[[], object]) -> Iterator[None]:
    """Does some last things with the store as a block is left, and hides nothing by them.

    Where the block fails, its error is the one that is told: what fails of the last things is in
    the log alone. Where it fails as the store is away, they are left out: each would wait as long
    for the store once more, a quarter of an hour by default.

    Args:
        what: What is not done then, for the log.
        words: Called in this order.

    Raises:
        StoreError: One of them failed, and the block has not.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, StoreAwayError):
            try:
                _each(words)
            except StoreError as second:
                _LOG.warning("%s: %s", what, second)
        raise
    _each(words)


def _each(words: tuple[Callable[[], object], ...]) -> None:
    for word in words:
        word()
