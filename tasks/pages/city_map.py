"""Maps of a city as SVG: its pairs, what was refused and why, and what a segmenter sees where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapters.catalog.areas import Area
from crosscity.areas import east_of, westmost
from tasks.judging.differences import CLASS_NAMES
from tasks.pages.charts import COLOURS, INK, WIDTH, blank_figure, style, svg_of
from tasks.steps.schemas import OK, images_of
from tasks.steps.tables import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOCATED: Final = ("image_id", "lat", "lon")
"""Columns of images that every map reads."""
MOST_PLACES: Final = 1500
"""Of one kind on a map; more would lie on one another, and weigh more than the pictures."""
MOST_REASONS: Final = 4
CLASSES_SHOWN: Final = 6
NO_PAIR, REFUSED = "no pair", "refused"
_MARKERS: Final = {NO_PAIR: "+", REFUSED: "x"}
_OF_PLACES: Final = {
    "in no pair": COLOURS[4],
    "pairs": COLOURS[0],
    "held out for the test": COLOURS[1],
}
_OF_REASONS: Final = COLOURS[2:6]
_SMALL: Final = 2.3
"""Inches of a map of one class."""

Position = tuple[float, float]
"""Longitude and latitude in WGS84 degrees."""
Groups = list[tuple[str, list[Position]]]


@dataclass(frozen=True)
class Places:
    """What there is to see on a map.

    Attributes:
        pairs: Positions of the pairs that are adapted to.
        held_out: Of those that are held out for the test.
        unpaired: Of images that are in no pair.
        refused: By reason, positions of images that failed or were left out.
        dropped: By reason, positions of images that are good and became no pair; one position of
            what was dropped together.
    """

    pairs: list[Position]
    held_out: list[Position]
    unpaired: list[Position]
    refused: Mapping[str, list[Position]]
    dropped: Mapping[str, list[Position]] = field(default_factory=dict)

    def groups(self) -> Groups:
        """What is drawn, in the order of the legend: (words, positions)."""
        return [
            ("in no pair", self.unpaired),
            ("pairs", self.pairs),
            ("held out for the test", self.held_out),
            *_most_frequent(NO_PAIR, self.dropped),
            *_most_frequent(REFUSED, self.refused),
        ]


def _most_frequent(kind: str, by_reason: Mapping[str, list[Position]]) -> Groups:
    """The most frequent reasons, and all others as one."""
    ordered = sorted(by_reason, key=lambda why: (-len(by_reason[why]), why))
    rest = [at for why in ordered[MOST_REASONS:] for at in by_reason[why]]
    return [
        *((f"{kind}: {why}", by_reason[why]) for why in ordered[:MOST_REASONS]),
        (f"{kind}: other reasons", rest),
    ]


def places_of(
    imagery: Sequence[Row], pairs: Sequence[Row], dropped: Sequence[Row] | None = None
) -> Places:
    """Where the images and pairs of a city are; what has no position is left out.

    Args:
        imagery: Rows of `imagery.parquet`.
        pairs: Rows of `pairs.parquet`.
        dropped: Rows of `dropped.parquet`; ``None`` where an earlier release did not note them.
    """
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
    explained = ends | {row["image_id"] for row in dropped or ()}
    return Places(
        pairs=at_pairs["train"],
        held_out=at_pairs["test"],
        unpaired=[
            at
            for row, at in _located(imagery)
            if row["status"] == OK and row["image_id"] not in explained
        ],
        refused=refused,
        dropped=_by_reason(dropped or (), by_id),
    )


def _by_reason(
    dropped: Sequence[Row], positions: Mapping[str, Position]
) -> dict[str, list[Position]]:
    """A position of each group that was dropped, by reason."""
    first: dict[tuple[str, int], Position] = {}
    for row in dropped:
        if row["image_id"] in positions:
            first.setdefault((row["reason"], row["group"]), positions[row["image_id"]])
    found: dict[str, list[Position]] = {}
    for (reason, _), at in first.items():
        found.setdefault(short_reason(reason), []).append(at)
    return found


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
    figure = blank_figure(WIDTH, WIDTH + 0.22 * len(groups))
    axes = figure.add_subplot()
    west = _outline(axes, area, everything)
    reasons = 0
    for words, found in groups:
        longitudes, latitudes = zip(*_thinned(found), strict=True)
        label = f"{words} ({len(found)})"
        kind = words.partition(":")[0]
        axes.scatter(
            east_of(longitudes, west),
            latitudes,
            **_look_of(words, kind, reasons),
            label=label if len(label) < 60 else f"{label[:50]}… ({len(found)})",
        )
        reasons += kind in _MARKERS
    figure.legend(
        loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, markerscale=1.6
    )
    counts = ", ".join(f"{len(found)} {words}" for words, found in groups)
    return svg_of(figure, f"Map of the city: {counts}", name)


def _look_of(words: str, kind: str, number: int) -> dict[str, Any]:
    """Marker, size and colour of a group; `number` reasons were drawn before."""
    if kind in _MARKERS:
        colours = (*_OF_REASONS, INK)
        colour = INK if words.endswith("other reasons") else colours[number % len(colours)]
        return {"s": 20, "marker": _MARKERS[kind], "linewidths": 0.9, "color": colour}
    return {"s": 16, "marker": "o", "linewidths": 0, "color": _OF_PLACES[words]}


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
        description = f"Map of the share of {CLASS_NAMES[index]} in each picture, in percent"
        svg = _coloured_map(positions, shares, area, description, f"{name}-{index}", side=_SMALL)
        maps.append((CLASS_NAMES[index], svg))
    return maps


def map_of_shares(
    imagery: Sequence[Row],
    shares: Mapping[str, float],
    area: Area | None,
    words: str,
    name: str,
) -> str | None:
    """A map of one number an image; ``None`` where no such image has a position.

    Args:
        imagery: Rows of `imagery.parquet`.
        shares: By image, in percent.
        area: Its outline is drawn, where the city has one.
        words: What the number is.
        name: Begins the ids in the SVG: unique on the page.
    """
    there = [
        (at, shares[row["image_id"]]) for row, at in _located(imagery) if row["image_id"] in shares
    ]
    if not there:
        return None
    positions, values = zip(*there, strict=True)
    description = f"Map. {words}, in percent"
    return _coloured_map(positions, values, area, description, name, side=WIDTH)


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


def _coloured_map(
    positions: Sequence[Position],
    shares: Sequence[float],
    area: Area | None,
    description: str,
    name: str,
    *,
    side: float,
) -> str:
    figure = blank_figure(side, side)
    axes = figure.add_subplot()
    west = _outline(axes, area, positions)
    axes.set_xticks([])
    axes.set_yticks([])
    longitudes, latitudes = zip(*positions, strict=True)
    places = (east_of(longitudes, west), latitudes)
    drawn = axes.scatter(*places, s=14, linewidths=0, c=shares, cmap="viridis")
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, format="%g %%")
    bar.ax.tick_params(colors=INK, labelsize=8, width=0.5)
    bar.outline.set_visible(False)
    return svg_of(figure, description, name)


def _outline(axes: Axes, area: Area | None, positions: Sequence[Position]) -> float:
    """The area, and the same scale along both axes at its latitude.

    Returns:
        The longitude at which the map begins: those below it lie across the antimeridian.
    """
    style(axes)
    axes.grid(visible=False)
    rings = list(_rings(area))
    west = westmost([longitude for longitude, _ in (at for r in (positions, *rings) for at in r)])
    for ring in rings:
        longitudes, latitudes = zip(*ring, strict=True)
        axes.plot(east_of(longitudes, west), latitudes, color=INK, linewidth=0.7)
    middle = sum(latitude for _, latitude in positions) / len(positions)
    axes.set_aspect(1 / max(math.cos(math.radians(middle)), 0.01), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=4)
    if any(longitude < west for longitude, _ in positions):
        axes.xaxis.set_major_formatter(lambda x, _: _degrees(x))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return west


def _degrees(x: float) -> str:
    """A longitude of a map across the antimeridian, as matplotlib writes numbers."""
    return f"{x - 360 if x > 180 else x:g}".replace("-", "\N{MINUS SIGN}")


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
