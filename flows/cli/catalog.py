"""`crosscity catalog`: check it, print its schema, write the deployments that follow from it."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import CATALOG, CatalogOption
from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.output import publish
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from adapters.catalog import Catalog
    from tasks.steps.plan import Plan

app = typer.Typer(no_args_is_help=True, help="The data catalog.")


@app.command("check")
def check(
    catalog: CatalogOption = CATALOG,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also build each segmenter and open each data set and city; nothing is trained.",
        ),
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Validate the catalog; reports every fault with file, line and key."""
    from adapters.catalog.environment import environment_references  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415
    from tasks.steps.settings import open_catalog  # noqa: PLC0415

    loaded = open_catalog(catalog)
    scheduled = _schedules(loaded)
    for line in scheduled:
        add(line)
    missing = {
        name: keys
        for name, keys in environment_references(loaded).items()
        if not os.environ.get(name)
    }
    for name, keys in missing.items():
        note(f"note: {', '.join(keys)} will need the environment variable {name}")
    plan = open_plan(catalog)
    _warn_of_simulated(plan)
    _warn_of_unlearned(plan)
    add(
        f"{catalog}: good; {_counted(loaded)}, {len(loaded.datasets)} data sets, "
        f"{len(loaded.segmenters)} segmenters"
    )
    if deep:
        _check_deeply(plan, catalog)
    owners = [*loaded.cities, *loaded.transfers]
    ended(
        "catalog",
        catalog,
        said="",
        next_step=f"`crosscity plan {owners[0]}` says what would be made"
        if owners
        else "add a city or a transfer, or `crosscity init` writes a catalog with one",
        cities=sorted(loaded.cities),
        datasets=sorted(loaded.datasets),
        segmenters=sorted(loaded.segmenters),
        scheduled=scheduled,
        needs_environment=sorted(missing),
    )


def _counted(loaded: Catalog) -> str:
    more = f", {len(loaded.transfers)} transfers" if loaded.transfers else ""
    return f"{len(loaded.cities)} cities{more}"


def _warn_of_simulated(plan: Plan) -> None:
    """Warns where real cities begin with a segmenter that has seen simulated streets alone."""
    from tasks.steps.simulated_only import simulated_only_remark  # noqa: PLC0415

    for section, names in (("cities", plan.cities), ("transfers", plan.transfers)):
        for name in names:
            remark = simulated_only_remark(plan, name)
            if remark is not None:
                typer.echo(f"warning: {section}.{name}: {remark}", err=True)


def _warn_of_unlearned(plan: Plan) -> None:
    """Warns where segmenters that are trained already have not learned what cities are scored on.

    Looked up in stores that are folders of this machine: a check waits for no network.
    """
    if "://" in plan.store.url or "${" in plan.store.url or not Path(plan.store.url).is_dir():
        return
    from adapters.catalog import CatalogError  # noqa: PLC0415
    from adapters.datasets.base import DatasetError  # noqa: PLC0415
    from adapters.store import StoreError  # noqa: PLC0415
    from tasks.training.at_home import unlearned_at_home, unlearned_remark  # noqa: PLC0415
    from tasks.training.trained import TrainedSegmenters  # noqa: PLC0415 - brings PyTorch

    for owner in [*plan.cities, *plan.transfers]:
        seed = plan.city(owner).training_seed if owner in plan.cities else 0
        try:
            start = TrainedSegmenters(owner, seed, plan).start
            found = unlearned_at_home(plan, start, owner)
        except (InputError, StoreError, CatalogError, DatasetError):
            continue  # it is not made yet, or whoever uses it is told
        if found:
            section = "cities" if owner in plan.cities else "transfers"
            typer.echo(f"warning: {section}.{owner}: {unlearned_remark(found)}", err=True)


def _check_deeply(plan: Plan, catalog: Path) -> None:
    """Opens all that the catalog names.

    Raises:
        InputError: Some of it cannot be worked with.
    """
    from tasks.training.opened_entries import opened_entries  # noqa: PLC0415 - brings PyTorch

    faults = 0
    for finding in opened_entries(plan):
        faults += finding.is_fault
        line = f"{finding.key}: {finding.said}"
        if finding.is_fault:
            typer.echo(line, err=True)
        else:
            add(line)
    if faults:
        raise InputError(f"{faults} entries of {catalog} cannot be worked with (above)")


def _schedules(loaded: Catalog) -> list[str]:
    """When scheduled flows come next, as Prefect reads their cron lines.

    Raises:
        InputError: The scheduler reads a line in another way than the catalog.
    """
    lines = []
    for name, city in loaded.cities.items():
        scheduled = {"readapt-city": city.schedule, "watch-city": city.watch_schedule}
        for flow, cron in scheduled.items():
            if cron is not None:
                shown = ", ".join(f"{run:%a %Y-%m-%d %H:%M}" for run in _next_runs(cron))
                lines.append(f"{flow} {name}: {cron!r} (UTC) comes next on {shown}")
    return lines


def _next_runs(cron: str) -> list[datetime]:
    from prefect.server.schemas.schedules import CronSchedule  # noqa: PLC0415 - takes a second

    from adapters.catalog.cron import next_runs  # noqa: PLC0415

    now = datetime.now(UTC)
    theirs = asyncio.run(CronSchedule(cron=cron, timezone="UTC").get_dates(3, now))
    if [run.timestamp() for run in theirs] != [run.timestamp() for run in next_runs(cron, now)]:
        raise InputError(f"Prefect reads the cron line {cron!r} in its own way: write it otherwise")
    return list(theirs)


@app.command("schema")
def schema() -> None:
    """Print the catalog's JSON Schema, for editors."""
    from adapters.catalog import catalog_json_schema  # noqa: PLC0415

    typer.echo(catalog_json_schema())


@app.command("deployments")
def deployments(
    catalog: CatalogOption = CATALOG,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file.")] = Path(
        "prefect.yaml"
    ),
    only_check: Annotated[
        bool, typer.Option("--check", help="Only tell whether the file is up to date.")
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Write `prefect.yaml` from the catalog: one entry per city and flow."""
    from adapters.catalog import load_catalog  # noqa: PLC0415
    from flows.deployments import deployments_yaml  # noqa: PLC0415

    text = deployments_yaml(load_catalog(catalog), catalog.name)
    if only_check:
        if not output.is_file() or output.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{output} does not follow from {catalog}: run `crosscity catalog deployments`"
            )
        ended("deployments", output, said=f"{output} follows from {catalog}")
        return
    publish(output, lambda path: path.write_text(text, encoding="utf-8"))
    ended(
        "deployments",
        output,
        said=f"wrote {output}",
        next_step="`crosscity deploy` brings a server to what it says",
    )
