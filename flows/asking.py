"""Asking the Prefect server for what a run can do without: hardly again, and not for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

ANSWER_SECONDS: Final = 20.0
"""How long one answer may take."""


@contextmanager
def impatient_client(again: int = 0) -> Iterator[SyncPrefectClient]:
    """A client whose requests fail at once where the server does not answer.

    What a run needs of a server is asked for a quarter of an hour; what is only for the dashboard
    is not to keep a run from its work as long.

    Args:
        again: How often a request is made again that the server was too busy for (503, as where its
            database is locked), or that it did not hear, where a run would suffer.
    """
    once = {PREFECT_CLIENT_MAX_RETRIES: again, PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS}
    with (
        temporary_settings(once),
        # Settings of its own, so that it is no client that others have opened, with theirs.
        get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client,
    ):
        yield client
