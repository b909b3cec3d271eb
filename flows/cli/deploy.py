"""`crosscity deploy`: brings the deployments on the server to what follows from the catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from flows.cli.options import CATALOG, CatalogOption
from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.server import ServerAwayError, ServerError, standing_server
from tasks.steps.defaults import folder_of
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient


_UNAUTHORIZED = 401
WEBHOOK_VARIABLE = "CROSSCITY_WEBHOOK"
"""Address that is told of failures: a POST of {"text": ...}, as chat services take it."""


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("deploy")(deploy)


def deploy(
    catalog: CatalogOption = CATALOG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would change.")
    ] = False,
    moved_from: Annotated[
        Path | None,
        typer.Option("--moved-from", help="The folder that the catalog stood in before."),
    ] = None,
    remove: Annotated[
        bool,
        typer.Option(
            "--remove", help="Remove all that this catalog has on the server; its file may be gone."
        ),
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Create, change and remove deployments until the server has what the catalog has."""
    address = standing_server(catalog.absolute().parent)
    if address is None:
        raise ServerError(
            "there is no server: start one with `make up` (crosscity up), or name one in "
            "PREFECT_API_URL"
        )
    facts = deploy_catalog(
        catalog, f"{address}/api", dry_run=dry_run, moved_from=moved_from, remove=remove
    )
    step = "the same without --dry-run makes these changes" if facts["changes"] else ""
    if remove and not dry_run:
        step = "`crosscity deploy` brings them back; what they made stays in the store"
    elif not dry_run:
        step = "`prefect deployment run harvest-city/CITY`, or look at them on the dashboard"
    ended("deployments", address, said="", next_step=step, **facts)


def deploy_catalog(
    catalog: Path,
    api: str,
    *,
    dry_run: bool = False,
    moved_from: Path | None = None,
    remove: bool = False,
) -> dict[str, Any]:
    """Reconciles a server with a catalog and prints the difference.

    Args:
        catalog: The catalog file.
        api: The address of the server's API.
        dry_run: Whether nothing is changed.
        moved_from: The folder that the catalog stood in before.
        remove: Whether all of the catalog's deployments are removed; its file is not read.

    Returns:
        What was done, or would be, for a program.

    Raises:
        ServerError: The server does not answer.
    """
    from flows.deployments import deployment_entries  # noqa: PLC0415 - see `flows.cli.application`
    from tasks.steps.settings import open_catalog  # noqa: PLC0415

    loaded = None if remove else open_catalog(catalog)
    entries = [] if loaded is None else deployment_entries(loaded, catalog.name)
    with client_of(api) as client:
        from prefect.settings import get_current_settings  # noqa: PLC0415

        from flows.dead_runs import dead_after, too_short  # noqa: PLC0415
        from flows.reconciliation import Reconciler  # noqa: PLC0415 - all flows load with it

        patience = dead_after()
        if said := too_short(patience, get_current_settings().flows.heartbeat_frequency):
            note(f"note: {said}")
        reconciler = Reconciler(
            client,
            folder_of(catalog),
            catalog.name,
            name=None if loaded is None else loaded.name,
            moved_from=folder_of(moved_from / catalog.name) if moved_from else None,
            dry_run=dry_run,
            dead_after=patience,
            webhook=webhook_address(),
        )
        done = reconciler.remove() if remove else reconciler.run(entries)
        silent = [] if dry_run else _end_silent_runs(client)
    for change in done.changes:
        add(str(change))
    counts = dict.fromkeys(("create", "change", "remove"), 0)
    for change in done.changes:
        counts[change.kind] += 1
    if silent:
        add(f"marked as crashed, as nobody has heard of them for long: {', '.join(silent)}")
    would = "would be " if dry_run else ""
    add(
        f"{would}created {counts['create']}, changed {counts['change']}, removed "
        f"{counts['remove']}; unchanged {done.unchanged}"
        + (f"; {done.others} of others are left alone" if done.others else "")
    )
    return {
        "dry_run": dry_run,
        "changes": [str(change) for change in done.changes],
        **counts,
        "unchanged": done.unchanged,
        "others": done.others,
        "silent_runs_ended": silent,
    }


def webhook_address() -> str | None:
    """The web hook that `CROSSCITY_WEBHOOK` names, if it does.

    Raises:
        InputError: It is no address that the server could call; the sentence does not have it, as
            it may hold a secret.
    """
    given = os.environ.get(WEBHOOK_VARIABLE, "").strip()
    if not given:
        return None
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"{WEBHOOK_VARIABLE} is not the address of a web hook: it begins with https:// (or "
            "http://) and a host; unset it to leave the server's as it is"
        )
    return given


def _end_silent_runs(client: SyncPrefectClient) -> list[str]:
    """Names of runs that were shown as under way, and whose process is gone."""
    from flows.silent_runs import end_runs, silent_runs  # noqa: PLC0415

    try:
        return end_runs(client, silent_runs(client))
    except Exception as error:  # what was asked for is done
        note(f"note: runs of dead processes may still be shown as running: {error}")
        return []


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of a server; its failures are reported in a sentence.

    Raises:
        ServerError: The server does not answer, or refuses what is asked of it.
    """
    import httpx  # noqa: PLC0415 - Prefect loads late
    from prefect.client.orchestration import SyncPrefectClient  # noqa: PLC0415
    from prefect.exceptions import (  # noqa: PLC0415
        ObjectAlreadyExists,
        ObjectNotFound,
        PrefectHTTPStatusError,
    )
    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_AUTH_STRING,
        PREFECT_API_KEY,
        PREFECT_API_URL,
        temporary_settings,
    )

    with temporary_settings({PREFECT_API_URL: api}):
        try:
            secrets = {
                "auth_string": PREFECT_API_AUTH_STRING.value(),
                "api_key": PREFECT_API_KEY.value(),
            }
            with SyncPrefectClient(api, **secrets) as client:
                yield client
        except (ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError) as error:
            # The first two have no words of their own, and the answer as their cause.
            refused = getattr(error, "http_exc", error)
            if not isinstance(refused, httpx.HTTPStatusError):
                raise
            raise _refused(api, refused.response) from None
        except httpx.TransportError as error:
            raise ServerAwayError(
                f"the Prefect server at {api} does not answer ({type(error).__name__}): see that "
                "it runs, and run the same command again"
            ) from None


def _refused(api: str, answer: httpx.Response) -> ServerError:
    """What to say of an answer that is not what was asked for."""
    if answer.status_code == _UNAUTHORIZED:
        return ServerError(
            f"the Prefect server at {api} wants to know who asks: set "
            "PREFECT_API_AUTH_STRING to the user:password of its "
            "PREFECT_SERVER_API_AUTH_STRING"
        )
    kind = ServerAwayError if answer.status_code >= 500 else ServerError
    return kind(
        f"the Prefect server at {api} answered {answer.status_code} to "
        f"{answer.request.method} {answer.request.url.path}: {answer.text[:300]}"
    )
