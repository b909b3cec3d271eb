"""Which errors are the input's fault, and how they are reported in a sentence."""

from __future__ import annotations

import sys
from typing import Final

from flows.cli.server import ServerAwayError, ServerError

FAILED: Final = 1
BAD_INPUT: Final = 2
PASSING: Final = 75
"""EX_TEMPFAIL of sysexits.h: the same command may well succeed later."""


def exit_code(error: Exception) -> int:
    """75 for a fault that passes, 2 where the input was wrong, 1 for everything else."""
    if is_passing_fault(error):
        return PASSING
    from adapters.unwritable import means_a_place  # noqa: PLC0415 - `--help` needs none of these

    return BAD_INPUT if isinstance(error, _bad_input()) or means_a_place(error) else FAILED


def is_passing_fault(error: Exception) -> bool:
    """Whether a store, a service or the server was away for too long, or a device has failed.

    So is what a service's account may use in a day or a month: the next has its own.
    """
    from adapters.store import StoreAwayError  # noqa: PLC0415 - `--help` needs none of these
    from adapters.street_view.web.errors import (  # noqa: PLC0415
        AllowanceSpent,
        GivenUpError,
        ServiceUnavailable,
    )
    from tasks.steps.errors import ClusterAwayError, DeviceFailedError  # noqa: PLC0415

    of_a_service = AllowanceSpent | GivenUpError | ServiceUnavailable
    of_ours = StoreAwayError | ServerAwayError | ClusterAwayError | DeviceFailedError
    if isinstance(error, of_a_service | of_ours):
        return True
    return _server_fault(error) is not None


def is_termination(error: BaseException) -> bool:
    """Whether it is what Prefect makes of SIGTERM inside a flow."""
    if "prefect" not in sys.modules:
        return False
    from prefect.exceptions import TerminationSignal  # noqa: PLC0415 - there already

    return isinstance(error, TerminationSignal)


def is_interrupt(error: BaseException) -> bool:
    """Whether some library made it of Ctrl-C or SIGTERM that met it at work."""
    met: BaseException | None = error
    while met is not None:
        # Pydantic, in Rust, keeps of what it met while it wrote JSON no more than its name.
        if isinstance(met, KeyboardInterrupt) or KeyboardInterrupt.__name__ in str(met):
            return True
        met = met.__cause__ or met.__context__
    return False


def one_sentence(error: Exception) -> str:
    """What the user reads instead of a traceback."""
    from adapters.unwritable import cannot_be_written, means_a_place  # noqa: PLC0415 - `--help` needs none of these
    from tasks.steps.errors import (  # noqa: PLC0415
        ClusterAwayError,
        DeviceFailedError,
        PartKillsWorkersError,
        TooManyFailures,
    )

    of_machines = (ClusterAwayError, DeviceFailedError, PartKillsWorkersError)
    away = _server_fault(error)
    if away is not None:
        return (
            f"the Prefect server does not answer ({away}): see that it runs, and run the same "
            "command again; what is finished is found, not made again"
        )
    text = str(error).strip()
    if isinstance(error, (*_bad_input(), *of_machines, ServerError, TooManyFailures, ValueError)):
        return text
    if means_a_place(error):
        place = getattr(error, "filename", None) or "a folder of this machine"
        return cannot_be_written(place, error)
    return f"{type(error).__name__}: {text or 'no message'} (run again with --debug for the trace)"


def _server_fault(error: Exception) -> str | None:
    """What kept the Prefect client from its server, ``None`` where that was not the fault."""
    if "prefect" not in sys.modules:
        return None
    import httpx  # noqa: PLC0415 - there already, as Prefect is
    from prefect.exceptions import PrefectHTTPStatusError  # noqa: PLC0415

    if isinstance(error, httpx.TransportError):
        return type(error).__name__
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API"):
        return "it cannot be reached"
    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code >= 500:
        return f"HTTP {error.response.status_code}"
    return None


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
