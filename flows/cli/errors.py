"""Which errors are the input's fault, and how they are reported in a sentence."""

from __future__ import annotations

from flows.cli.server import ServerError


def exit_code(error: Exception) -> int:
    """2 where the input was wrong, 1 for everything else."""
    return 2 if isinstance(error, _bad_input()) else 1


def one_sentence(error: Exception) -> str:
    """What the user reads instead of a traceback."""
    from tasks.steps.errors import TooManyFailures  # noqa: PLC0415

    text = str(error).strip()
    if isinstance(error, (*_bad_input(), ServerError, TooManyFailures, ValueError)):
        return text
    return f"{type(error).__name__}: {text or 'no message'} (run again with --debug for the trace)"


def _bad_input() -> tuple[type[Exception], ...]:
    from adapters.catalog import CatalogError  # noqa: PLC0415 - `--help` needs none of these
    from adapters.datasets.base import DatasetError  # noqa: PLC0415
    from adapters.exports.base import ExportError  # noqa: PLC0415
    from adapters.images import ImageError  # noqa: PLC0415
    from adapters.predictions import PredictionsError  # noqa: PLC0415
    from adapters.store import StoreError  # noqa: PLC0415
    from adapters.street_view.base import StreetViewError  # noqa: PLC0415
    from adapters.tables import TableError  # noqa: PLC0415
    from tasks.steps.errors import InputError  # noqa: PLC0415

    return (
        CatalogError,
        DatasetError,
        ExportError,
        ImageError,
        InputError,
        PredictionsError,
        StoreError,
        StreetViewError,
        TableError,
    )
