"""Verbs on written reports: check a condition for somebody's CI, and compare two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.errors import FAILED
from flows.cli.options import CATALOG, CatalogOption, CityArgument

if TYPE_CHECKING:
    from tasks.pages.read_report import ReadReport

_WHICH = "A city (its newest report), or a report.json."


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    app.command("check")(check)
    app.command("compare")(compare)


def check(
    city: CityArgument,
    fail_if: Annotated[
        list[str], typer.Option("--fail-if", help="Such as 'agreement<0.6'; may be repeated.")
    ],
    catalog: CatalogOption = CATALOG,
) -> None:
    """Exit with 1 where a condition on the figures of a city's newest report holds."""
    from tasks.pages.conditions import holds  # noqa: PLC0415 - `--help` needs none of it
    from tasks.pages.read_report import newest_report  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    found = newest_report(city, open_plan(catalog, city=city))
    held = [condition for condition in fail_if if holds(condition, found.figures)]
    for condition in fail_if:
        typer.echo(f"{city}: {condition}: {'HOLDS' if condition in held else 'does not hold'}")
    if held:
        raise typer.Exit(FAILED)


def compare(
    first: Annotated[str, typer.Argument(help=_WHICH)],
    second: Annotated[str, typer.Argument(help=_WHICH)],
    catalog: CatalogOption = CATALOG,
) -> None:
    """Show the figures of two reports side by side: two cities, dates or segmenters."""
    reports = [_report(each, catalog) for each in (first, second)]
    typer.echo(f"A: {reports[0].name}\nB: {reports[1].name}")
    names = list(dict.fromkeys([*reports[0].figures, *reports[1].figures]))
    width = max(len(name) for name in names) if names else 0
    typer.echo(f"{'':<{width}}{'A':>12}{'B':>12}{'B - A':>12}")
    for name in names:
        a, b = (each.figures.get(name) for each in reports)
        change = "" if a is None or b is None else f"{b - a:+.4g}"
        typer.echo(f"{name:<{width}}{_shown(a):>12}{_shown(b):>12}{change:>12}")


def _report(which: str, catalog: Path) -> ReadReport:
    from tasks.pages.read_report import newest_report, read_report  # noqa: PLC0415 - as above
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    path = Path(which)
    if path.suffix == ".json" or path.exists():
        return read_report(path / "report.json" if path.is_dir() else path)
    return newest_report(which, open_plan(catalog, city=which))


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
