"""`crosscity report`: what there is of a city or transfer on one page, or of all with an index."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.city import SeedOption, done_or_run, running
from flows.cli.errors import FAILED, exit_code, is_passing_fault, one_sentence
from flows.cli.options import CATALOG, CatalogOption, ComputeOption, complete_owner
from flows.cli.outcome import JsonOption, add, ended, note
from tasks.steps.commands import with_seed
from tasks.steps.errors import InputError, UnwritableError

if TYPE_CHECKING:
    from prefect import Flow

    from adapters.store import ArtifactRef
    from tasks.steps.plan import Plan

FOLDER: Final = Path("crosscity-reports")


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("report")(report)


def report(
    city: Annotated[
        str | None,
        typer.Argument(help="A city or transfer of the catalog.", autocompletion=complete_owner),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Report all of them, with an index over them.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help=f"Folder of --all's index and pages; default: {FOLDER}."
        ),
    ] = None,
    as_they_are: Annotated[
        bool, typer.Option("--as-they-are", help="With --all: write no report that is not there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds something else.")
    ] = False,
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Write a report of what the store has for a city or transfer, labelled or not.

    With --all, of every one of the catalog, and an index over cities and dates: adaptations, which
    were promoted and which rejected, scores, verdicts. What is damaged in one of them is told in
    the index, and stops no other.
    """
    if every == (city is not None):
        raise InputError("name a city or transfer to report, or give --all for every one")
    if every:
        _report_all(output or FOLDER, seed, catalog, compute, force=force, as_they_are=as_they_are)
        return
    if output is not None or as_they_are or force:
        raise InputError(
            "-o, --as-they-are and --force are for --all: the report of one city stays in the "
            "store, and its page is told"
        )
    _report_one(str(city), seed, catalog, compute)


def _report_one(owner: str, seed: int, catalog: Path, compute: str | None) -> None:
    from tasks.pages.report import report_path  # noqa: PLC0415 - PyTorch loads late

    plan = plan_of(owner, catalog, compute)
    given = _given(owner, seed, catalog, compute, plan)
    about = {"transfer" if owner in plan.transfers else "city": owner}
    made = done_or_run(_flow_of(owner, plan), given, plan, lambda ref: [ref], **about)
    page = report_path(plan.open_store(), made)
    if owner in plan.transfers:
        add(plan.open_store().path(made, "table.txt").read_text(encoding="utf-8").rstrip())
        step = f"open it in a browser{_next_of_transfer(owner, seed, made, plan)}"
        ended("report", page, next_step=step, transfer=owner, key=made.key)
        return
    step = f"open it in a browser; {_next_of_city(owner, seed, made, plan)}"
    ended("report", page, next_step=step, city=owner, key=made.key)


def _next_of_transfer(transfer: str, seed: int, made: ArtifactRef, plan: Plan) -> str:
    """What can be done with an adaptation that was not scored; a score says it by itself."""
    from flows.cli.paper import step_after_adapting  # noqa: PLC0415

    content = _figures(made, plan)
    if "not_scored" not in content:
        return ""
    return f"; {step_after_adapting(transfer, content, seed, plan)}"


def _next_of_city(city: str, seed: int, made: ArtifactRef, plan: Plan) -> str:
    """What can be done with what the report shows, and that what looks harmful is not used."""
    from tasks.judging.promotion import promoted_segmenter  # noqa: PLC0415 - PyTorch loads late
    from tasks.training.trained import TrainedSegmenters  # noqa: PLC0415

    if promoted_segmenter(plan.open_store(), city) is None:
        verdict = _figures(made, plan).get("verdict")
        if verdict is not None and verdict["keep"] == "before":
            start = TrainedSegmenters(city, seed, plan).start
            return (
                f"the segmenter before looks better: `crosscity promote {city} {start.key[:12]}` "
                "puts it into use"
            )
    return f"`{_next_command(city, made, plan)}`"


def _figures(made: ArtifactRef, plan: Plan) -> dict[str, Any]:
    """What a report's `report.json` holds."""
    from tasks.pages.report import FIGURES_FILE  # noqa: PLC0415 - PyTorch loads late

    # Not beside the page: of a store elsewhere, each file is copied to a folder of its own.
    path = plan.open_store().path(made, FIGURES_FILE)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _next_command(city: str, made: ArtifactRef, plan: Plan) -> str:
    """What can be done with what the report shows: adapt, put it into use, or use it."""
    from tasks.judging.promotion import promoted_segmenter  # noqa: PLC0415 - PyTorch loads late

    store = plan.open_store()
    if promoted_segmenter(store, city) is not None:
        return f"crosscity predict {city}"
    content = _figures(made, plan)
    arm = content["arm"]
    shown = None if arm is None else store.inputs_of(made).get(f"segmenter-{arm}")
    if shown is None:
        return with_seed(f"crosscity adapt {city}", content.get("seed", 0))
    return f"crosscity promote {city} {shown.key[:12]}"


@dataclass
class _Told:
    """What a report of everything shows: the reports, what is missing, and what is damaged."""

    missing: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    shown: dict[str, ArtifactRef] = field(default_factory=dict)


def _report_all(
    folder: Path,
    seed: int,
    catalog: Path,
    compute: str | None,
    *,
    force: bool,
    as_they_are: bool,
) -> None:
    from tasks.pages.overview import (  # noqa: PLC0415 - PyTorch loads late
        PAGE,
        check_folder,
        problems_of,
        write_overview,
    )
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute)
    check_folder(folder, force=force)
    owners = [*sorted(plan.cities), *sorted(plan.transfers)]
    told = _Told()
    with ExitStack() as server:
        run = _starting_server(server, catalog)
        for owner in owners:
            _guarded(
                owner,
                told,
                lambda owner=owner: _brought_up(  # type: ignore[misc]
                    owner, seed, catalog, compute, plan, None if as_they_are else run
                ),
            )
    content = write_overview(folder, plan, told.missing, told.damaged, told.shown)
    problems = problems_of(content)
    for entry in [*content["cities"], *content["transfers"]]:
        pages = len(entry["reports"])
        said = f": {entry['said']}" if entry["said"] else ""
        add(f"{entry['name']}: {entry['state']}, {pages} report{'' if pages == 1 else 's'}{said}")
    for owner, sentence in problems:
        typer.echo(f"crosscity: {owner}: {sentence}", err=True)
    ended(
        "index",
        folder / PAGE,
        next_step="open it in a browser, or put the folder where others can",
        cities={entry["name"]: entry["state"] for entry in content["cities"]},
        transfers={entry["name"]: entry["state"] for entry in content["transfers"]},
        problems=[{"of": owner, "problem": sentence} for owner, sentence in problems],
    )
    if problems:
        raise typer.Exit(FAILED)


def _starting_server(stack: ExitStack, catalog: Path) -> Callable[[], None]:
    """Starts a server at the first call, and none where everything is found."""
    started: list[bool] = []

    def start() -> None:
        if not started:
            stack.enter_context(running(catalog))
            started.append(True)

    return start


def _guarded(owner: str, told: _Told, work: Callable[[], ArtifactRef | None]) -> None:
    """Does something for one city; what goes wrong is noted, and the next one comes.

    Raises:
        Exception: A store, service or server is away: it would be for all others too.
    """
    from adapters.store import StoreError  # noqa: PLC0415 - `--help` needs none of it

    try:
        made = work()
        if made is not None:
            told.shown[owner] = made
    except Exception as error:
        if is_passing_fault(error):
            raise
        of_a_place = isinstance(error, (StoreError, UnwritableError, OSError))
        says_what_to_do = exit_code(error) != FAILED and not of_a_place
        (told.missing if says_what_to_do else told.damaged)[owner] = _sentence(error)


def _sentence(error: Exception) -> str:
    sentence = " ".join(one_sentence(error).split()).removesuffix(".")
    return sentence[:1].upper() + sentence[1:]


def _brought_up(
    owner: str,
    seed: int,
    catalog: Path,
    compute: str | None,
    plan: Plan,
    start: Callable[[], None] | None,
) -> ArtifactRef | None:
    """Writes the report of one city where it is not there; `start` gives a server for it."""
    from flows.cli.already import find_done, found_now  # noqa: PLC0415

    _something_there(owner, seed, plan)
    if start is None:
        return found_now(lambda: _found(owner, seed, plan))
    done = find_done(lambda: _found(owner, seed, plan), plan, lambda ref: [ref], tell=False)
    if done is not None:
        return done.result
    note(f"report of {owner}")
    start()
    made: ArtifactRef = _flow_of(owner, plan)(**_given(owner, seed, catalog, compute, plan))
    return made


def _something_there(owner: str, seed: int, plan: Plan) -> None:
    """`InputError` where there is nothing to report, so that no server starts to say it."""
    if owner in plan.transfers:
        from tasks.pages.transfer_report import transfer_parts  # noqa: PLC0415

        transfer_parts(owner, seed, plan)
        return
    from tasks.harvesting.current import current_harvest  # noqa: PLC0415

    current_harvest(owner, plan)


def plan_of(owner: str, catalog: Path, compute: str | None = None) -> Plan:
    """The plan of a city or transfer; one that the catalog has not is told as a city."""
    from tasks.steps.plan import open_plan_of  # noqa: PLC0415

    plan = open_plan_of(owner, catalog, compute)
    if owner not in plan.transfers:
        tell_changed_files(plan, owner)
    return plan


def _found(owner: str, seed: int, plan: Plan) -> ArtifactRef:
    """The report, as its flow finds it by a plan of everything."""
    if owner in plan.transfers:
        from flows.report_transfer import report_transfer_by  # noqa: PLC0415 - Prefect loads late

        return report_transfer_by.fn(plan, owner, None, seed)
    from flows.report_city import report_city_by  # noqa: PLC0415

    return report_city_by.fn(plan, owner, seed)


def _given(owner: str, seed: int, catalog: Path, compute: str | None, plan: Plan) -> dict[str, Any]:
    """The arguments of `_flow_of`."""
    kind = "transfer" if owner in plan.transfers else "city"
    return {kind: owner, "seed": seed, "catalog": str(catalog), "compute": compute}


def _flow_of(owner: str, plan: Plan) -> Flow[..., ArtifactRef]:
    """The flow that writes the report of a city or transfer."""
    if owner in plan.transfers:
        from flows.report_transfer import report_transfer  # noqa: PLC0415 - Prefect loads late

        return report_transfer
    from flows.report_city import report_city  # noqa: PLC0415

    return report_city
