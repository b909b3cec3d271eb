"""`crosscity compare`: two segmenters on the same images, or the figures of two reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.city import SeedOption, done_or_run
from flows.cli.left_out import tell_left_out
from flows.cli.options import CATALOG, CatalogOption, ComputeOption
from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.output import check_file, publish
from flows.cli.report import plan_of
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from tasks.pages.read_report import ReadReport
    from tasks.steps.plan import Plan

_WHICH = (
    "A key, a segmenter of the catalog, a city or transfer (its segmenter in use, else its "
    "adaptation), NAME@DATE (the one in use then), NAME:ARM (what an arm left), or a report.json."
)


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("compare")(compare)


def compare(
    first: Annotated[str, typer.Argument(help=_WHICH)],
    second: Annotated[
        str | None,
        typer.Argument(help="So too; default: what the first, an adaptation, began with."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", help="City or transfer whose images are looked at; default: the one named."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A page for the figures of two reports, .html."),
    ] = None,
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Compare two segmenters on the same images and write a page; or the figures of two reports.

    Two cities or transfers without --on, or a report.json, are compared by the figures of their
    newest reports; -o writes them as a page.
    """
    if second is None and _is_file(first):
        raise InputError(f"name a second report to compare {first} with")
    if second is not None and any(_is_file(word) for word in (first, second)):
        _compare_reports(first, second, catalog, output)
        return
    from tasks.judging.compared_segmenters import two_words  # noqa: PLC0415 - PyTorch loads late
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute)
    first, second = two_words(plan, first, second, seed)
    if on is None and first != second and {first, second} <= {*plan.cities, *plan.transfers}:
        note("these two are compared by their reports; --on NAME has both segmenters look there")
        _compare_reports(first, second, catalog, output)
        return
    if output is not None:
        raise InputError(
            "-o is for the figures of two reports: the page on two segmenters stays in the store, "
            "and its path is printed"
        )
    _compare_segmenters(first, second, on, seed, plan, catalog, compute)


def _compare_segmenters(
    first: str,
    second: str,
    on: str | None,
    seed: int,
    plan: Plan,
    catalog: Path,
    compute: str | None,
) -> None:
    from flows.compare_segmenters import compare_segmenters  # noqa: PLC0415 - PyTorch loads late
    from tasks.judging.compared_segmenters import (  # noqa: PLC0415
        compared_segmenter,
        place_to_look_at,
    )
    from tasks.pages.comparison import FIGURES, comparison_path  # noqa: PLC0415

    compared = [compared_segmenter(plan, word, seed) for word in (first, second)]
    place, store = place_to_look_at(plan, compared, on), plan.open_store()
    if place in plan.transfers:
        tell_left_out(plan, plan.transfer(place).target)
    else:
        tell_changed_files(plan, place)
    given = {
        "first": first,
        "second": second,
        "on": place,
        "seed": seed,
        "catalog": str(catalog),
        "compute": compute,
    }
    made = done_or_run(compare_segmenters, given, plan, lambda ref: [ref])
    page = comparison_path(store, made)
    content = json.loads(store.path(made, FIGURES).read_text(encoding="utf-8"))
    add(store.path(made, "table.txt").read_text(encoding="utf-8").rstrip())
    for reason, number in content.get("failed_images", {}).items():
        note(f"note: {number} left out: {reason}")
    for remark in content["remarks"]:
        note(f"remark: {remark}")
    ended(
        "comparison",
        page,
        next_step=f"open it in a browser; `crosscity promote {place} KEY` puts one into use",
        key=made.key,
        segmenters=content["segmenters"],
        figures=content["figures"],
        changed=content["changed"],
        **{"transfer" if place in plan.transfers else "city": place},
    )


def _compare_reports(first: str, second: str, catalog: Path, output: Path | None) -> None:
    check_file(output)
    if output is not None and output.exists() and not _is_such_a_page(output):
        raise InputError(f"{output} is there already and holds something else: name another file")
    reports = [_report(each, catalog) for each in (first, second)]
    add(f"A: {reports[0].name}\nB: {reports[1].name}")
    names = list(dict.fromkeys([*reports[0].figures, *reports[1].figures]))
    width = max(len(name) for name in names) if names else 0
    add(f"{'':<{width}}{'A':>12}{'B':>12}{'B - A':>12}")
    for name in names:
        a, b = (each.figures.get(name) for each in reports)
        change = "" if a is None or b is None else f"{b - a:+.4g}"
        add(f"{name:<{width}}{_shown(a):>12}{_shown(b):>12}{change:>12}")
    page = {} if output is None else {"page": str(output)}
    if output is not None:
        from tasks.pages.two_reports import render_two_reports  # noqa: PLC0415 - as above

        text = render_two_reports(reports[0], reports[1])
        publish(output, lambda path: path.write_text(text, encoding="utf-8"))
        add(f"page: {output}")
    ended(
        "figures of two reports",
        " and ".join(each.name for each in reports),
        said="",
        next_step="open it in a browser"
        if page
        else "-o FILE.html writes a page; `crosscity compare KEY KEY` has two segmenters look at "
        "the same images",
        reports=[each.name for each in reports],
        figures={name: [each.figures.get(name) for each in reports] for name in names},
        **page,
    )


def _is_such_a_page(path: Path) -> bool:
    """Whether a file is a page that an earlier call wrote."""
    from tasks.pages.two_reports import TITLE  # noqa: PLC0415 - as above

    try:
        with path.open(encoding="utf-8") as file:
            return f"<title>{TITLE}" in file.read(4096)
    except (OSError, ValueError):
        return False


def _is_file(which: str) -> bool:
    path = Path(which)
    return path.suffix == ".json" or path.is_file() or (path / "report.json").is_file()


def _report(which: str, catalog: Path) -> ReadReport:
    from flows.cli.asked_report import asked_report  # noqa: PLC0415 - as above
    from tasks.pages.read_report import read_report  # noqa: PLC0415

    path = Path(which)
    if _is_file(which):
        return read_report(path / "report.json" if path.is_dir() else path)
    plan = plan_of(which, catalog)
    asked = asked_report(which, plan)
    if warning := asked.warning(plan):
        note(f"warning: {warning}")
    return asked.report


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
