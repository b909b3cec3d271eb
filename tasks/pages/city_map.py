"""Maps of a city as SVG: its pairs, what was refused and why, and what a segmenter sees where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapters.catalog.areas import Area
from tasks.judging.differences import CLASS_NAMES
from tasks.pages.charts import COLOURS, INK, WIDTH, blank_figure, style, svg_of
from tasks.steps.schemas import OK, images_of
from tasks.steps.tables import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PLACES: Final = 1500
"""Of one kind on a map; more would lie on one another, and weigh more than the pictures."""
MOST_REASONS: Final = 4
CLASSES_SHOWN: Final = 6
_OF_GROUPS: Final = (COLOURS[4], COLOURS[0], COLOURS[1], *COLOURS[2:6])
_SMALL: Final = 2.3
"""Inches of a map of one class."""

Position = tuple[float, float]
"""Longitude and latitude in WGS84 degrees."""


@dataclass(frozen=True)
class Places:
    """What there is to see on a map.

    Attributes:
        pairs: Positions of the pairs that are adapted to.
        held_out: Of those that are held out for the test.
        unpaired: Of images that are in no pair.
        refused: By reason, positions of images that failed or were left out.
    """

    pairs: list[Position]
    held_out: list[Position]
    unpaired: list[Position]
    refused: Mapping[str, list[Position]]

    def groups(self) -> list[tuple[str, list[Position]]]:
        """What is drawn, in the order of the legend: (words, positions)."""
        ordered = sorted(self.refused, key=lambda why: (-len(self.refused[why]), why))
        rest = [at for why in ordered[MOST_REASONS:] for at in self.refused[why]]
        return [
            ("in no pair", self.unpaired),
            ("pairs", self.pairs),
            ("held out for the test", self.held_out),
            *((f"refused: {why}", self.refused[why]) for why in ordered[:MOST_REASONS]),
            ("refused: other reasons", rest),
        ]


def places_of(imagery: Sequence[Row], pairs: Sequence[Row]) -> Places:
    """Where the images and pairs of a city are; what has no position is left out."""
    by_id = {row["image_id"]: at for row, at in _located(imagery)}
    ends = {image_id for pair in pairs for image_id in images_of(pair)}
    at_pairs: dict[str, list[Position]] = {"train": [], "test": []}
    for pair in pairs:
        if pair["image_a"] in by_id:
            at_pairs["test" if pair["split"] == "test" else "train"].append(by_id[pair["image_a"]])
    refused: dict[str, list[Position]] = {}
    for row, at in _located(imagery):
        if row["status"] != OK:
            refused.setdefault(short_reason(row["reason"]), []).append(at)
    return Places(
        pairs=at_pairs["train"],
        held_out=at_pairs["test"],
        unpaired=[
            at
            for row, at in _located(imagery)
            if row["status"] == OK and row["image_id"] not in ends
        ],
        refused=refused,
    )


def map_of_places(places: Places, area: Area | None, name: str) -> str | None:
    """The map as an SVG element; ``None`` where nothing has a position.

    Args:
        places: What is drawn.
        area: Its outline is drawn, where the city has one.
        name: Begins the ids in the SVG: unique on the page.
    """
    groups = [(words, found) for words, found in places.groups() if found]
    everything = [at for _, found in groups for at in found]
    if not everything:
        return None
    colours = dict(zip((words for words, _ in places.groups()[:-1]), _OF_GROUPS, strict=False))
    figure = blank_figure(WIDTH, WIDTH + 0.22 * len(groups))
    axes = figure.add_subplot()
    _outline(axes, area, everything)
    for words, found in groups:
        longitudes, latitudes = zip(*_thinned(found), strict=True)
        label = f"{words} ({len(found)})"
        is_refused = words.startswith("refused")
        axes.scatter(
            longitudes,
            latitudes,
            s=20 if is_refused else 16,
            marker="x" if is_refused else "o",
            linewidths=0.9 if is_refused else 0,
            color=colours.get(words, INK),
            label=label if len(label) < 60 else f"{label[:50]}… ({len(found)})",
        )
    figure.legend(
        loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, markerscale=1.6
    )
    counts = ", ".join(f"{len(found)} {words}" for words, found in groups)
    return svg_of(figure, f"Map of the city: {counts}", name)


def maps_of_classes(
    imagery: Sequence[Row], seen: Sequence[Row], area: Area | None, name: str
) -> list[tuple[str, str]]:
    """(class, SVG) of the classes that vary most from place to place; none without positions.

    Args:
        imagery: Rows of `imagery.parquet`.
        seen: Rows of `differences.parquet`; what the later segmenter sees is drawn.
        area: Its outline is drawn, where the city has one.
        name: Begins the ids in the SVGs: unique on the page.
    """
    at = {row["image_id"]: position for row, position in _located(imagery)}
    there = [row for row in seen if row["image_id"] in at]
    if not there:
        return []
    maps = []
    for index in _most_varied(there):
        shares = [100 * row["classes_after"][index] / sum(row["classes_after"]) for row in there]
        positions = [at[row["image_id"]] for row in there]
        svg = _map_of_class(positions, shares, area, CLASS_NAMES[index], f"{name}-{index}")
        maps.append((CLASS_NAMES[index], svg))
    return maps


def refusals(imagery: Sequence[Row]) -> dict[str, int]:
    """How many images failed or were left out, by reason, the most frequent first."""
    counted = Counter(short_reason(row["reason"]) for row in imagery if row["status"] != OK)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def short_reason(reason: str | None) -> str:
    """A reason without the numbers and names that differ from image to image."""
    words = (reason or "no reason noted").partition(":")[0].strip()
    return words if len(words) <= 80 else f"{words[:79]}…"


def _most_varied(rows: Sequence[Row]) -> list[int]:
    """Indices of the classes whose share differs most between images, the most varied first."""
    spread = {}
    for index in range(len(CLASS_NAMES)):
        shares = [row["classes_after"][index] / sum(row["classes_after"]) for row in rows]
        mean = sum(shares) / len(shares)
        spread[index] = sum((share - mean) ** 2 for share in shares)
    ordered = sorted((index for index in spread if spread[index] > 0), key=lambda i: -spread[i])
    return ordered[:CLASSES_SHOWN]


def _map_of_class(
    positions: Sequence[Position], shares: Sequence[float], area: Area | None, of: str, name: str
) -> str:
    figure = blank_figure(_SMALL, _SMALL)
    axes = figure.add_subplot()
    _outline(axes, area, positions)
    axes.set_xticks([])
    axes.set_yticks([])
    longitudes, latitudes = zip(*positions, strict=True)
    drawn = axes.scatter(longitudes, latitudes, s=14, linewidths=0, c=shares, cmap="viridis")
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, format="%g %%")
    bar.ax.tick_params(colors=INK, labelsize=8, width=0.5)
    bar.outline.set_visible(False)
    return svg_of(figure, f"Map of the share of {of} in each picture, in percent", name)


def _outline(axes: Axes, area: Area | None, positions: Sequence[Position]) -> None:
    """The area, and the same scale along both axes at its latitude."""
    style(axes)
    axes.grid(visible=False)
    for ring in _rings(area):
        longitudes, latitudes = zip(*ring, strict=True)
        axes.plot(longitudes, latitudes, color=INK, linewidth=0.7)
    middle = sum(latitude for _, latitude in positions) / len(positions)
    axes.set_aspect(1 / max(math.cos(math.radians(middle)), 0.01), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=4)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _rings(area: Area | None) -> Iterator[Sequence[Position]]:
    if area is None:
        return
    if area.polygons:
        for polygon in area.polygons:
            yield from polygon
    elif not area.spots:
        west, south, east, north = area.bounds()
        yield ((west, south), (east, south), (east, north), (west, north), (west, south))


def _located(rows: Sequence[Row]) -> Iterator[tuple[Row, Position]]:
    for row in rows:
        if row["lat"] is not None and row["lon"] is not None:
            yield row, (row["lon"], row["lat"])


def _thinned(positions: Sequence[Position]) -> Sequence[Position]:
    return positions[:: -(-len(positions) // MOST_PLACES)]
