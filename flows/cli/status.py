"""`crosscity status`: what there is of cities and transfers, what is in use, what runs did last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import CATALOG, CatalogOption
from flows.cli.server import ServerError, standing_server
from tasks.steps.defaults import folder_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from adapters.store import Store
    from tasks.judging.city_history import CityHistory
    from tasks.steps.plan import Plan

_Run = Mapping[str, Any] | None
_ENDED_BADLY = ["FAILED", "CRASHED"]


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("status")(status)


def status(
    city: Annotated[
        str | None, typer.Argument(help="A city or transfer of the catalog; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    catalog: CatalogOption = CATALOG,
) -> None:
    """Show what there is, its age, the segmenter in use, the last failure and the next run."""
    from tasks.steps.plan import open_plan, open_plan_of  # noqa: PLC0415 - see `flows.cli.application`

    plan = open_plan(catalog) if city is None else open_plan_of(city, catalog)
    cities = [one for one in sorted(plan.cities) if city in (None, one)]
    transfers = {
        one: _of_transfer(plan, one) for one in sorted(plan.transfers) if city in (None, one)
    }
    found = {one: _of_store(plan, one) for one in cities}
    address = standing_server(catalog.absolute().parent)
    server = _of_server(address, cities, catalog)
    for one in cities:
        found[one] |= server.get(one, {})
    if as_json:
        content = {"server": address, "cities": found, "transfers": transfers}
        typer.echo(json.dumps(content, indent=1, default=str))
        return
    typer.echo(f"store: {plan.store.url}; server: {address or 'none runs'}")
    for one in cities:
        typer.echo(f"{one}:")
        for line in _lines(found[one]):
            typer.echo(f"  {line}")
    for one, of_it in transfers.items():
        typer.echo(f"{one} (transfer):")
        for line in _lines(of_it):
            typer.echo(f"  {line}")


def _of_store(plan: Plan, city: str, maker: str = "readapt") -> dict[str, Any]:
    """What the store has of a city; damage is reported, not raised.

    Args:
        plan: Of the catalog.
        city: The city, or a transfer.
        maker: The verb that makes a segmenter of it again.

    Raises:
        StoreAwayError: The store does not answer, so that nothing is known.
        StoreRefusesError: It does not admit us.
    """
    from adapters.store import SINGLE  # noqa: PLC0415
    from tasks.harvesting.current import HARVEST  # noqa: PLC0415
    from tasks.judging.city_history import city_history  # noqa: PLC0415
    from tasks.judging.promotion import (  # noqa: PLC0415
        PROMOTED,
        SWITCHES,
        earlier_in_use,
        evidence_of,
        limits_now,
        pinned,
        promoted_segmenter,
        promotion_log,
    )

    found: dict[str, Any] = {"harvest": {}, "in_use": None, "pinned": None, "unused": None}
    store, limits = plan.open_store(), limits_now(city, plan)
    with _damage_noted(found):
        state = store.selected(HARVEST, city)
        for role, ref in sorted((state.refs if state else {}).items()):
            if store.find_ref(ref):
                found["harvest"][role] = {"uri": ref.uri, "made_at": store.manifest(ref).made_at}
        segmenter = promoted_segmenter(store, city)
        if segmenter is not None:
            log = [one for one in promotion_log(store, city) if one["action"] in SWITCHES]
            found["in_use"] = {
                "uri": segmenter.uri,
                "made_at": store.manifest(segmenter).made_at,
                "since": log[-1]["at"] if log else None,
                **evidence_of(store, city, segmenter, limits),
            }
        chosen = store.selected(PROMOTED, city)
        if chosen is not None and segmenter is None:
            back = f"`crosscity rollback {city}`, or " if earlier_in_use(store, chosen) else ""
            found["damaged"] = (
                f"{chosen.refs[SINGLE].uri}, which was in use, is gone or in quarantine: run "
                f"{back}`crosscity {maker} {city}`, which makes it again where the catalog "
                "describes it"
            )
        found["pinned"] = pinned(store, city)
        found["unused"] = _newest_unused(city_history(store, city, limits))
        found["bytes"] = _bytes_by_kind(store, city)
    return found


def _of_transfer(plan: Plan, transfer: str) -> dict[str, Any]:
    """What the store has of a transfer; the same is reported, and raised."""
    from tasks.judging.city_history import city_history  # noqa: PLC0415

    found = _of_store(plan, transfer, "transfer")
    del found["harvest"]
    if found["unused"] and found["unused"]["verdict"] is None:
        found["unused"] = None  # a transfer is used without being promoted, and is listed below
    found["adaptations"] = []
    with _damage_noted(found):
        found["adaptations"] = [
            {"uri": one.uri, "arm": one.arm, "made_at": datetime.fromisoformat(one.made_at)}
            for one in city_history(plan.open_store(), transfer).segmenters
        ]
    return found


def _newest_unused(history: CityHistory) -> dict[str, Any] | None:
    """The newest adaptation of a city where it was never put into use, and what the safeguard said.

    So whoever comes in the morning learns that last night's adaptation was rejected.
    """
    from tasks.judging.city_history import NOT_PROMOTED, REJECTED  # noqa: PLC0415

    adapted = (one for one in history.segmenters if one.is_adaptation)
    newest = next(adapted, None)
    if newest is None or newest.state not in (REJECTED, NOT_PROMOTED):
        return None
    return {
        **{name: getattr(newest, name) for name in ("uri", "arm", "seed", "state", "verdict")},
        "made_at": datetime.fromisoformat(newest.made_at),
    }


@contextmanager
def _damage_noted(found: dict[str, Any]) -> Iterator[None]:
    """Inside, damage is noted in what is found; a store that is away or refuses us is raised."""
    from adapters.store import StoreAwayError, StoreError, StoreRefusesError  # noqa: PLC0415

    try:
        yield
    except (StoreAwayError, StoreRefusesError):
        raise
    except StoreError as error:
        found["damaged"] = str(error)


def _bytes_by_kind(store: Store, city: str) -> dict[str, int]:
    """What a city's artifacts take; files that two share by hard links count in both."""
    from adapters.store.upkeep import size_of  # noqa: PLC0415

    taken: dict[str, int] = {}
    for ref in store.artifacts(city=city):
        taken[ref.kind] = taken.get(ref.kind, 0) + size_of(store.manifest(ref))
    return dict(sorted(taken.items(), key=lambda item: -item[1]))


def _of_server(address: str | None, cities: list[str], catalog: Path) -> dict[str, dict[str, Any]]:
    """Last failure and next run of each city's deployments; empty where no server answers.

    A run of a deployment that was made in another folder has that folder: it may be another
    machine's copy of this catalog, or another catalog that has a city of the same name.
    """
    if address is None:
        return {}
    from flows.cli.deploy import client_of  # noqa: PLC0415 - Prefect loads late

    runs: dict[str, tuple[_Run, _Run]] = {}
    elsewhere: dict[str, str] = {}
    try:
        with client_of(f"{address}/api") as client:
            for city in cities:
                runs[city] = _runs_of(city, catalog.name, client)
            elsewhere = _deployed_elsewhere(chain(*runs.values()), catalog, client)
    except ServerError as error:
        typer.echo(f"note: {error}", err=True)
    return {
        city: {
            "last_failure": failure
            and {
                "run": failure["name"],
                "id": failure["id"],
                "at": failure["end_time"],
                "state": failure["state"]["name"],
                "message": failure["state"]["message"],
                "deployed_from": elsewhere.get(failure["deployment_id"]),
            },
            "next_run": coming
            and {
                "run": coming["name"],
                "at": coming["expected_start_time"],
                "deployed_from": elsewhere.get(coming["deployment_id"]),
            },
        }
        for city, (failure, coming) in runs.items()
    }


def _runs_of(city: str, catalog: str, client: SyncPrefectClient) -> tuple[_Run, _Run]:
    """The last run of a city that failed, and the next one."""

    def first(states: list[str], order: str) -> _Run:
        body = {
            "flow_runs": {"tags": {"all_": [city]}, "state": {"type": {"any_": states}}},
            "sort": order,
            "limit": 50,
        }
        runs = client.request("POST", "/flow_runs/filter", json=body).json()
        # Not by the tag alone: an operator's tag may have the name of a city.
        wanted = {"city": city, "catalog": catalog}
        return next((run for run in runs if wanted.items() <= run["parameters"].items()), None)

    return first(_ENDED_BADLY, "END_TIME_DESC"), first(["SCHEDULED"], "EXPECTED_START_TIME_ASC")


def _deployed_elsewhere(
    runs: Iterable[_Run], catalog: Path, client: SyncPrefectClient
) -> dict[str, str]:
    """Folders of those runs' deployments that were not made in this catalog's, by their ids."""
    from flows.deployments import deployed_from, pages  # noqa: PLC0415

    ids = sorted({run["deployment_id"] for run in runs if run and run["deployment_id"]})
    if not ids:
        return {}
    here = os.path.realpath(folder_of(catalog))
    return {
        one["id"]: folder
        for one in pages(client, "/deployments/filter", {"deployments": {"id": {"any_": ids}}})
        if (folder := deployed_from(one)) and os.path.realpath(folder) != here
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found.get("damaged"):
        lines.append(f"DAMAGED: {found['damaged']}")
    if "adaptations" in found:
        told = found["unused"] or {}  # below, with its verdict
        newest = [one for one in found["adaptations"][:1] if one["uri"] != told.get("uri")]
        lines += [f"{one['arm']}: {one['uri']} ({_age(one['made_at'])})" for one in newest]
        lines += [] if found["adaptations"] else ["not adapted yet"]
    else:
        harvest = found["harvest"].items()
        lines += [f"{role}: {one['uri']} ({_age(one['made_at'])})" for role, one in harvest]
        lines += [] if harvest else ["not harvested yet"]
    used = found["in_use"]
    if used is None:
        lines.append("no segmenter in use")
    else:
        miou = f", mIoU {100 * used['miou']:.1f} %" if used.get("miou") is not None else ""
        lines.append(f"in use: {used['uri']} ({_age(used['made_at'])}{miou})")
    lines += _lines_of_unused(found["unused"])
    if found["pinned"] is not None:
        lines.append(f"pinned since {found['pinned']['at']}: {found['pinned']['reason'] or '-'}")
    taken = found.get("bytes") or {}
    if taken:
        most = ", ".join(f"{kind} {size / 1e6:.1f}" for kind, size in list(taken.items())[:3])
        lines.append(f"disk: {sum(taken.values()) / 1e6:.1f} MB ({most})")
    failure, coming = found.get("last_failure"), found.get("next_run")
    if failure:
        message = str(failure["message"] or "").strip().split("\n")[0]
        lines.append(
            f"last failure: {failure['run']} {failure['state']} {failure['at']} {message}"
            + _whose(failure)
        )
    if coming:
        lines.append(f"next run: {coming['run']} at {coming['at']}{_whose(coming)}")
    return lines


def _lines_of_unused(unused: Mapping[str, Any] | None) -> list[str]:
    """What is told of the newest adaptation where nobody uses it."""
    if unused is None:
        return []
    said = f"{unused['state']}: {unused['uri']} ({unused['arm']}, {_age(unused['made_at'])})"
    return [said, f"  {unused['verdict']}"] if unused["verdict"] else [said]


def _whose(run: Mapping[str, Any]) -> str:
    """Says of a run of another folder's deployment that it is; it may be of another catalog."""
    return f" (deployed from {run['deployed_from']})" if run["deployed_from"] else ""


def _age(made_at: datetime) -> str:
    """An age in the largest unit of which there are at least two."""
    minutes = (datetime.now(UTC) - made_at).total_seconds() / 60
    if minutes < 120:
        return f"{minutes:.0f} {'minute' if round(minutes) == 1 else 'minutes'} old"
    hours = minutes / 60
    return f"{hours:.0f} hours old" if hours < 72 else f"{hours / 24:.0f} days old"
