"""One page on the figures of two reports: of two cities, two dates, or two machines."""

from __future__ import annotations

from typing import Any, Final

from crosscity.percentages import percentage
from tasks.pages.charts import class_shares
from tasks.pages.page import render_page
from tasks.pages.read_report import ReadReport

TITLE: Final = "Two reports"
"""Begins the page's title, by which a page of before is known."""
_PERCENT: Final = ("miou", "iou.", "gap_closed", "changed", "static_fraction")
_SHARES: Final = ("agreement", "kappa", "confidence")
_GROUPS: Final = {
    "Scores on labels": ("miou", "gap_closed"),
    "Without labels": (
        *("agreement", "kappa", "confidence", "entropy", "information", "drift", "harmful"),
        *("changed", "points", "pairs_compared", "images_compared"),
    ),
    "IoU by class": ("iou.",),
    "Class mixture": ("share",),
}
"""Headings, and how the names of the figures below begin; all others are of the harvest."""
_HARVEST: Final = "Harvest and prior"


def render_two_reports(first: ReadReport, second: ReadReport) -> str:
    """The page as HTML that needs no network and no other file."""
    names = list(dict.fromkeys([*first.figures, *second.figures]))
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        values = first.figures.get(name), second.figures.get(name)
        groups.setdefault(_heading(name), []).append(_row(name, *values))
    order = [*_GROUPS, _HARVEST]
    return render_page(
        "two_reports.html.j2",
        title=TITLE,
        reports=(first, second),
        groups=[(heading, groups[heading]) for heading in order if heading in groups],
        chart=_mixture(first, second),
    )


def _heading(name: str) -> str:
    for heading, begins in _GROUPS.items():
        if name.startswith(begins):
            return heading
    return _HARVEST


def _row(name: str, first: float | None, second: float | None) -> dict[str, Any]:
    known = first is not None and second is not None
    return {
        "name": name,
        "values": [_text(name, first), _text(name, second)],
        "change": _text(name, second - first, sign="+") if known else "–",  # type: ignore[operator]
    }


def _text(name: str, value: float | None, sign: str = "") -> str:
    """Scores and shares of pixels in percent; agreement as reports have it; counts as they are."""
    if value is None:
        return "–"
    if name.startswith("share"):  # a rare class has as many digits as it needs
        signed = "" if not sign else "-" if value < 0 else sign
        return f"{signed}{percentage(abs(value), 1)} %"
    if name.startswith(_PERCENT):
        return f"{100 * value:{sign}.1f} %"
    if name.startswith(_SHARES) or not float(value).is_integer():
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.0f}"


def _mixture(first: ReadReport, second: ReadReport) -> str | None:
    """Bars of the class mixture after adaptation of both, where both have one."""
    begin = "share."
    mixtures = [
        {
            name.removeprefix(begin).replace("_", " "): value
            for name, value in report.figures.items()
            if name.startswith(begin) and value is not None
        }
        for report in (first, second)
    ]
    if not all(mixtures):
        return None
    names = dict.fromkeys([*mixtures[0], *mixtures[1]])
    both = {name: (mixtures[0].get(name, 0.0), mixtures[1].get(name, 0.0)) for name in names}
    return class_shares(both, ("A", "B"), "shares")
