"""`crosscity check`: a condition on the figures of a report, for other people's CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.errors import FAILED
from flows.cli.options import CATALOG, CatalogOption, complete_owner
from flows.cli.outcome import JsonOption, add, ended
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
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Exit with 1 where a condition on the figures of a city's newest report holds.

    A warning says where a segmenter or a harvest that counts now is newer than that report.
    """
    from tasks.pages.conditions import holds  # noqa: PLC0415 - `--help` needs none of it
    from tasks.pages.read_report import made_since, newest_report  # noqa: PLC0415

    plan = plan_of(city, catalog)
    found = newest_report(city, plan)
    newer = made_since(found, plan)
    if newer:
        verb = "transfer" if city in plan.transfers else "report"
        typer.echo(
            f"warning: {', '.join(newer)} is newer than {found.name}, whose figures are asked: "
            f"`crosscity {verb} {city}` writes a new one",
            err=True,
        )
    held = [condition for condition in fail_if if holds(condition, found.figures)]
    for condition in fail_if:
        add(f"{city}: {condition}: {'HOLDS' if condition in held else 'does not hold'}")
    ended(
        "report",
        found.name,
        said="",
        next_step=f"look at {_page(found, plan)}" if held else "",
        city=city,
        newer_than_the_report=newer,
        holds={condition: condition in held for condition in fail_if},
    )
    if held:
        raise typer.Exit(FAILED)


def _page(found: ReadReport, plan: Plan) -> str:
    """Where the page of a report lies on this machine."""
    from tasks.pages.report import report_path  # noqa: PLC0415 - as above

    return found.name if found.ref is None else str(report_path(plan.open_store(), found.ref))
