"""Which errors are the input's fault, and how they are told in a sentence."""

from __future__ import annotations

from adapters.catalog import CatalogError
from adapters.datasets.base import DatasetError
from adapters.images import ImageError
from adapters.store import StoreError
from adapters.street_view.base import StreetViewError
from adapters.tables import TableError
from flows.cli.server import ServerError
from tasks.steps.errors import InputError, TooManyFailures

BAD_INPUT: tuple[type[Exception], ...] = (
    CatalogError,
    DatasetError,
    ImageError,
    InputError,
    StoreError,
    StreetViewError,
    TableError,
)
_SPEAK_FOR_THEMSELVES: tuple[type[Exception], ...] = (*BAD_INPUT, ServerError, TooManyFailures)


def exit_code(error: Exception) -> int:
    """2 where the input was wrong, 1 for everything else."""
    return 2 if isinstance(error, BAD_INPUT) else 1


def one_sentence(error: Exception) -> str:
    """What is told to the user without a traceback."""
    text = str(error).strip()
    if isinstance(error, (*_SPEAK_FOR_THEMSELVES, ValueError)):
        return text
    return f"{type(error).__name__}: {text or 'no message'} (run again with --debug for the trace)"
