"""`crosscity check`: a condition on the figures of a report, for other people's CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.errors import FAILED
from flows.cli.options import CATALOG, CatalogOption, complete_owner
from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.report import plan_of

if TYPE_CHECKING:
    from tasks.pages.read_report import ReadReport
    from tasks.steps.plan import Plan


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("check")(check)


def check(
    city: Annotated[
        str,
        typer.Argument(help="A city or transfer of the catalog.", autocompletion=complete_owner),
    ],
    fail_if: Annotated[
        list[str], typer.Option("--fail-if", help="Such as 'agreement<0.6'; may be repeated.")
    ],
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed whose report is asked; default: of the newest."),
    ] = None,
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Exit with 1 where a condition on the figures of a city's report holds.

    It is the newest that `crosscity report` would show now. Where there is none, as something was
    changed or made since, it is the newest of all, and a warning says so.
    """
    from flows.cli.asked_report import asked_report  # noqa: PLC0415 - Prefect loads late
    from tasks.pages.conditions import holds  # noqa: PLC0415 - `--help` needs none of it

    plan = plan_of(city, catalog)
    asked = asked_report(city, plan, seed)
    found = asked.report
    if warning := asked.warning(plan):
        typer.echo(f"warning: {warning}", err=True)
    if seed is None and asked.others:
        others = ", ".join(map(str, asked.others))
        note(f"note: asked is the report of seed {asked.seed}; --seed asks that of {others}")
    held = [condition for condition in fail_if if holds(condition, found.figures)]
    for condition in fail_if:
        add(f"{city}: {condition}: {'HOLDS' if condition in held else 'does not hold'}")
    ended(
        "report",
        found.name,
        said="",
        next_step=f"look at {_page(found, plan)}" if held else "",
        city=city,
        newer_than_the_report=asked.newer,
        current=asked.current,
        holds={condition: condition in held for condition in fail_if},
    )
    if held:
        raise typer.Exit(FAILED)


def _page(found: ReadReport, plan: Plan) -> str:
    """Where the page of a report lies on this machine."""
    from tasks.pages.report import report_path  # noqa: PLC0415 - as above

    return found.name if found.ref is None else str(report_path(plan.open_store(), found.ref))
