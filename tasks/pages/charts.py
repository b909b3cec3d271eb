"""Charts as SVG that stands in a page: drawn by matplotlib, readable on light and dark paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tasks.steps.tables import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#3b82c4", "#d9822b", "#3a9d5d", "#b5509c", "#8a8f98", "#b8504f")
"""Seen against white and against near black; told apart by people who do not see red and green."""
BEFORE_COLOUR, AFTER_COLOUR = COLOURS[4], COLOURS[0]
INK: Final = "#010203"
"""Stands for the colour of the page's text, which the page alone knows."""
WIDTH: Final = 4.6
"""Inches at 72 points: as wide as a phone, so that letters keep their size there."""
MOST_POINTS: Final = 200
"""Of a curve; more are less than a point apart."""
CURVES: Final = {
    "Losses": ("task_loss", "total_loss", "self_training_loss"),
    "Discriminators: losses": (
        "global_discriminator_loss",
        "global_inverse_loss",
        "class_discriminator_loss",
        "class_inverse_loss",
    ),
    "Discriminators: share of cells whose domain is recognised": (
        "global_accuracy",
        "class_accuracy",
    ),
    "Weights λ": ("lambda_global", "lambda_class", "lambda_self"),
    "Accuracy on the training images": ("task_accuracy",),
    "Share of pixels that are learned from": ("kept_share",),
    "Learning rate": ("learning_rate",),
}
"""Which quantities of a history stand in one chart (docs/architecture.md has what they are)."""
BESIDES: Final = (
    (re.compile(r"lambda_.+"), "Weights λ"),
    (re.compile(r".+_loss"), "Losses of other objectives"),
    (re.compile(r".+_matched"), "Share of pixels that a match knows"),
    (re.compile(r"home_miou"), "mIoU at home"),
)
"""Where quantities stand that `CURVES` does not name: those of recipes, and of objectives of one's
own, follow from the training. What else a history has (speed, memory) is in other tables."""

_OF_SEVERAL: Final = ("Losses", "Discriminators", "Weights")
"""Begin titles that do not tell which quantity a single curve below them is."""


def thinned(history: pa.Table) -> list[Row]:
    """The rows of a `history.parquet` that `training_curves` draws; others need not be held."""
    table, rows = history.filter(pc.is_valid(history["value"])), []
    for quantity in pc.unique(table["quantity"]):
        of_it = table.filter(pc.equal(table["quantity"], quantity))
        rows += of_it.take(list(range(0, len(of_it), _every(len(of_it))))).to_pylist()
    return rows


def training_curves(history: Sequence[Row], name: str) -> list[tuple[str, str]]:
    """(title, SVG) of the quantities that a training's history has.

    Args:
        history: Rows of `history.parquet`.
        name: Begins the ids in the SVG: unique on the page.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for row in history:
        if row["value"] is not None:
            found.setdefault(row["quantity"], []).append((row["step"], row["value"]))
    charts = []
    for number, (title, quantities) in enumerate(_grouped(found).items()):
        there = {each: found[each] for each in quantities if each in found}
        if there:
            charts.append((title, _curves(there, title, f"{name}-{number}")))
    return charts


def _grouped(quantities: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Quantities by the title of their chart."""
    groups = dict(CURVES)
    named = {each for group in CURVES.values() for each in group}
    for quantity in (each for each in quantities if each not in named):
        for pattern, title in BESIDES:
            if pattern.fullmatch(quantity):
                groups[title] = (*groups.get(title, ()), quantity)
                break
    return groups


def class_shares(
    shares: Mapping[str, tuple[float, float]], words: tuple[str, str], name: str
) -> str:
    """Bars of the share of the pixels by class, before and after, in percent.

    Args:
        shares: By class name, shares in [0, 1].
        words: What the two are called.
        name: Begins the ids in the SVG: unique on the page.
    """
    ordered = sorted(shares, key=lambda each: shares[each][0] + shares[each][1])
    figure, axes = _figure(WIDTH, 0.8 + 0.3 * len(ordered))
    places = range(len(ordered))
    for at, (colour, word) in enumerate(zip((BEFORE_COLOUR, AFTER_COLOUR), words, strict=True)):
        axes.barh(
            [place + (0.2 - 0.4 * at) for place in places],
            [100 * shares[each][at] for each in ordered],
            height=0.38,
            color=colour,
            label=word,
        )
    axes.set_yticks(list(places), ordered)
    axes.set_xlabel("% of the pixels")
    axes.grid(visible=False, axis="y")
    legend(axes, "lower right")
    return svg_of(figure, f"Share of the pixels by class, {words[0]} and {words[1]}", name)


def _curves(there: Mapping[str, Sequence[tuple[int, float]]], title: str, name: str) -> str:
    figure, axes = _figure(WIDTH, 2.4)
    for colour, (quantity, points) in zip(cycle(COLOURS), there.items(), strict=False):
        steps, values = zip(*points[:: _every(len(points))], strict=True)
        axes.plot(steps, values, color=colour, linewidth=1.3, label=quantity.replace("_", " "))
    axes.set_xlabel("step")
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    axes.yaxis.get_offset_text().set_color(INK)
    if len(there) > 1 or title.startswith(_OF_SEVERAL):
        legend(axes)
    return svg_of(figure, f"{title}, by step: {', '.join(there).replace('_', ' ')}", name)


def _every(points: int) -> int:
    return max(1, points // MOST_POINTS)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = blank_figure(width, height)
    axes = figure.add_subplot()
    style(axes)
    return figure, axes


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure without a window; sizes in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second, for pages alone

    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def style(axes: Axes) -> None:
    """Thin lines, and the page's own colour of text."""
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelsize=9, width=0.5)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(INK)
        spine.set_linewidth(0.5)
    axes.grid(visible=True, color=COLOURS[4], linewidth=0.3, alpha=0.5)
    axes.set_axisbelow(True)


def legend(axes: Axes, place: Literal["best", "lower right"] = "best") -> None:
    """Names what is drawn, without a frame."""
    axes.legend(loc=place, frameon=False, fontsize=9, labelcolor=INK)


def svg_of(figure: Figure, description: str, name: str) -> str:
    """A figure as an SVG element: the same bytes for the same figure, and no address in it.

    Args:
        figure: Drawn in `INK` where it should have the colour of the page's text.
        description: What somebody is told who does not see it.
        name: Begins its ids, so that those of two charts do not meet.
    """
    import matplotlib as mpl  # noqa: PLC0415 - as above

    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return _for_a_page(written.getvalue(), description, name)


def _for_a_page(text: str, description: str, name: str) -> str:
    """The element alone: no prologue, no clip paths, no links, ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would be the whole page's
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"<clipPath.*?</clipPath>", "", text, flags=re.DOTALL)
    text = re.sub(r' clip-path="[^"]*"| xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r'(\bid="|href="#)', rf"\g<1>{name}-", text)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        lambda found: f'<svg role="img" aria-label="{label}" {found[1]}>',
        text,
        count=1,
    )
    return re.sub(r"\s*\n\s*", "\n", text)
