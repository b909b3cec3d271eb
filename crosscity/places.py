"""From the captures of an area to places: where the same spot was taken twice, sampled evenly.

An area is worked through tile by tile, so memory is bounded by the densest tile and not by the
city. The earth is divided into cells a few metres wide; a cell that holds a usable pair is a
candidate, and each counts once, however often its street was driven: places are uniform over the
covered streets. Which candidates are taken depends on a digest of the seed and the cell alone
("bottom-k" sampling; E. Cohen and H. Kaplan, *Summarizing data using bottom-k sketches*, PODC
2007): the order of the tiles does not matter, and a new picture elsewhere changes no choice here.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from crosscity.areas import METRES_A_DEGREE
from crosscity.lights import Codes, Lights, light_is_wanted, lights_fit
from crosscity.pairing import haversine_metres, heading_difference

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same captures give other places."""

_MOST_AT_ONCE: Final = 2_000_000
"""Candidate pairs that are compared in one go, which bounds memory on crowded corners."""
_NARROWEST_VIEW: Final = 40.0
"""Degrees; photographs that share less are not a pair."""

Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Cell = tuple[int, int]
Payload = TypeVar("Payload")


@dataclass(frozen=True)
class Shots:
    """Pictures as a service lists them, as columns of equal length.

    Attributes:
        key: Unique names; they break ties, so that the order of the rows does not matter.
        lat: WGS84 degrees.
        lon: WGS84 degrees.
        heading: Degrees clockwise from north.
        fov: Horizontal field of view in degrees; 360 of a whole panorama.
        first_day: Days since a common origin: the earliest that the picture may be of.
        last_day: The latest; the same where the moment is known.
        light: By day, in twilight or by night; only rules that name lights read it.
    """

    key: Sequence[str]
    lat: Float
    lon: Float
    heading: Float
    fov: Float
    first_day: Float
    last_day: Float
    light: Codes | None = None

    def __post_init__(self) -> None:
        n = len(self.key)
        columns = (
            self.lat, self.lon, self.heading, self.fov, self.first_day, self.last_day, self.light,
        )  # fmt: skip
        if any(column is not None and len(column) != n for column in columns):
            raise ValueError("The columns of pictures must have the same length.")

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class PlaceRules:
    """What makes two pictures a pair of one place.

    Attributes:
        max_metres_apart: Between the two positions.
        min_days_apart: Between the two times, as far as they are known for certain.
        max_degrees_apart: Between the headings of two photographs; panoramas look every way.
        cell_metres: Side of a place.
        fov: Degrees; the view that is wanted, which photographs may be too narrow for.
        times: Most pictures of a place and view: a pair and its others.
        lights: The light of one picture of a pair and that of the other, and of its others one of
            the two; any by default.
    """

    max_metres_apart: float = 10.0
    min_days_apart: float = 30.0
    max_degrees_apart: float = 15.0
    cell_metres: float = 20.0
    fov: float = 90.0
    times: int = 2
    lights: Lights | None = None


@dataclass(frozen=True)
class PlacePair:
    """The pair of a place.

    Attributes:
        cell: Which place.
        earlier: Row of the earlier picture.
        later: Row of the later picture.
        heading: Degrees, of the view that is wanted of both.
        fov: Degrees, that both show around that heading.
        others: Rows of further pictures at other times that show that view, by time.
    """

    cell: Cell
    earlier: int
    later: int
    heading: float
    fov: float
    others: tuple[int, ...] = ()


def cells_of(lat: Float, lon: Float, metres: float) -> tuple[Index, Index]:
    """Row and column of the cell of each point; the same for the same point in every area."""
    rows = np.floor((lat + 90.0) * METRES_A_DEGREE / metres).astype(np.int64)
    # All of a row is as wide as its middle, or cells of one row would not be in columns.
    middle = (rows + 0.5) * metres / METRES_A_DEGREE - 90.0
    width = metres / (METRES_A_DEGREE * np.cos(np.radians(np.clip(middle, -89.9, 89.9))))
    return rows, np.floor((lon + 180.0) / width).astype(np.int64)


def cell_middles(rows: Index, columns: Index, metres: float) -> tuple[Float, Float]:
    """Latitude and longitude of the middles of cells."""
    lat = np.asarray((rows + 0.5) * metres / METRES_A_DEGREE - 90.0, dtype=np.float64)
    width = metres / (METRES_A_DEGREE * np.cos(np.radians(np.clip(lat, -89.9, 89.9))))
    return lat, (columns + 0.5) * width - 180.0


def neighbours(lat: Float, lon: Float, metres: float) -> Iterator[tuple[Index, Index]]:
    """All pairs of points at most so far apart, in batches of bounded size; each pair once."""
    if len(lat) < 2:
        return
    grid = _grid(lat, lon, metres)
    order, filled, stride = grid.order, grid.filled, grid.stride
    for offset in (0, 1, stride - 1, stride, stride + 1):
        low = np.searchsorted(filled, filled + offset, side="left")
        high = np.searchsorted(filled, filled + offset, side="right")
        if offset == 0:
            low = np.arange(len(order)) + 1
        yield from _close(lat, lon, order, low, np.maximum(high, low), metres)


def place_pairs(
    shots: Shots,
    rules: PlaceRules,
    *,
    own: npt.NDArray[np.bool_] | None = None,
    fresh: npt.NDArray[np.bool_] | None = None,
) -> list[PlacePair]:
    """The best pair of every cell in which a place has one.

    A pair belongs to the cell of its earlier picture; of two of one time that is the first by name.
    Among the pairs of a cell the closest in whole metres is taken, then the one farthest apart in
    days, then by name: matching suffers most from a change of viewpoint.

    Args:
        shots: The pictures.
        rules: What makes a pair.
        own: (n,) which pictures may be the earlier of a pair; all by default.
        fresh: (n,) which may be the later; all by default.

    Returns:
        At most one pair a cell, by cell.
    """
    names = np.argsort(np.argsort(np.array(shots.key, dtype=np.str_), kind="stable"))
    found = [
        _admissible(shots, names, i, j, rules, own, fresh)
        for i, j in neighbours(shots.lat, shots.lon, rules.max_metres_apart)
    ]
    if not found:
        return []
    earlier, later, metres, days, heading, fov = (
        np.concatenate(columns) for columns in zip(*found, strict=True)
    )
    if len(earlier) == 0:
        return []
    rows, columns = cells_of(shots.lat, shots.lon, rules.cell_metres)
    cell = np.stack([rows[earlier], columns[earlier]])
    order = np.lexsort((names[later], names[earlier], -days, np.floor(metres), cell[1], cell[0]))
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (np.diff(cell[:, order], axis=1) != 0).any(axis=0)
    pairs = [
        PlacePair(
            (int(cell[0, k]), int(cell[1, k])),
            int(earlier[k]),
            int(later[k]),
            float(heading[k]),
            float(fov[k]),
        )
        for k in order[new]
    ]
    if rules.times == 2:
        return pairs
    grid = _grid(shots.lat, shots.lon, rules.max_metres_apart)
    return [
        replace(pair, others=_others(shots, pair, rules, grid.touching(pair.earlier)))
        for pair in pairs
    ]


def cell_name(cell: Cell) -> str:
    """A place's id; safe as a file name."""
    return f"p{cell[0]}-{cell[1]}"


class PlaceSample(Generic[Payload]):
    """A uniform sample of cells, kept while they stream by; the same for any order.

    Args:
        count: How many to keep.
        seed: Fixes which.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"A sample of {count} places has none.")
        self._count, self._seed = count, seed
        self._kept: list[tuple[int, Cell]] = []
        self._payloads: dict[Cell, Payload] = {}
        self.seen = 0
        """Candidates that were offered."""

    def takes(self, cell: Cell) -> bool:
        """Whether a cell would be kept now."""
        return len(self._kept) < self._count or self._rank(cell) < -self._kept[0][0]

    def offer(self, cell: Cell, payload: Payload) -> None:
        """Adds a candidate; a cell that was offered before keeps its first payload."""
        self.seen += 1
        if cell in self._payloads or not self.takes(cell):
            return
        self._payloads[cell] = payload
        heapq.heappush(self._kept, (-self._rank(cell), cell))
        if len(self._kept) > self._count:
            _, dropped = heapq.heappop(self._kept)
            del self._payloads[dropped]

    def kept(self) -> list[tuple[Cell, Payload]]:
        """What is kept, by cell."""
        return sorted(self._payloads.items(), key=lambda item: item[0])

    def _rank(self, cell: Cell) -> int:
        digest = hashlib.sha256(f"{self._seed}:{cell[0]}:{cell[1]}".encode()).digest()
        return int.from_bytes(digest[:8], "big")


@dataclass(frozen=True)
class _Grid:
    """Points in squares at least as wide as a distance: partners lie in the same or a touching one.

    Attributes:
        square: Of each point; the square above is `stride` further, the next to the right one.
        stride: Squares from one row to the next.
        order: The points by square.
        filled: Their squares, ascending.
    """

    square: Index
    stride: int
    order: Index
    filled: Index

    def touching(self, row: int) -> Index:
        """Points in the square of one and in those around it, ascending."""
        rows = self.square[row] + self.stride * np.array([-1, 0, 1])
        low, high = (np.searchsorted(self.filled, rows + end) for end in (-1, 2))
        return np.sort(np.concatenate([self.order[a:b] for a, b in zip(low, high, strict=True)]))


def _grid(lat: Float, lon: Float, metres: float) -> _Grid:
    flattest = math.cos(math.radians(min(89.9, float(np.abs(lat).max()))))
    up = np.floor(lat * METRES_A_DEGREE / metres).astype(np.int64)
    aside = np.floor(lon * METRES_A_DEGREE * flattest / metres).astype(np.int64)
    up, aside = up - up.min() + 1, aside - aside.min() + 1
    stride = int(aside.max()) + 2
    square = up * stride + aside
    order = np.argsort(square, kind="stable").astype(np.int64)
    return _Grid(square, stride, order, square[order])


def _close(
    lat: Float, lon: Float, order: Index, low: Index, high: Index, metres: float
) -> Iterator[tuple[Index, Index]]:
    """Pairs of order[k] with order[low[k]:high[k]] that are close, a batch at a time."""
    counts = high - low
    ends = np.cumsum(counts)
    start = 0
    while start < len(order):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _MOST_AT_ONCE, side="right")))
        part = slice(start, stop)
        total = int(counts[part].sum())
        if total:
            first = np.repeat(np.arange(start, stop), counts[part])
            within = np.arange(total) - np.repeat(ends[part] - counts[part] - done, counts[part])
            i, j = order[first], order[low[first] + within]
            near = haversine_metres(lat[i], lon[i], lat[j], lon[j]) <= metres
            if near.any():
                yield i[near], j[near]
        start = stop


def _lights(shots: Shots) -> Codes:
    if shots.light is None:
        raise ValueError("Rules that name lights need the light of every picture.")
    return shots.light


def _others(shots: Shots, pair: PlacePair, rules: PlaceRules, around: Index) -> tuple[int, ...]:
    """Rows of further pictures that go with a pair, by time.

    Args:
        shots: The pictures.
        pair: Two of them.
        rules: What makes a pair.
        around: Rows among which all are that lie near enough to the earlier, ascending.
    """
    around = around[(around != pair.earlier) & (around != pair.later)]
    ends = np.array([pair.earlier, pair.later])
    metres = haversine_metres(
        shots.lat[around][:, None], shots.lon[around][:, None], shots.lat[ends], shots.lon[ends]
    ).max(axis=1)
    fov, aside = shots.fov[around], heading_difference(shots.heading[around], pair.heading)
    # What a photograph shows around the view's heading; a little less, as metadata are off by it.
    shows = np.where(fov >= 360.0, 360.0, 0.9 * (fov - 2 * aside))
    near = (metres <= rules.max_metres_apart) & (shows >= pair.fov)
    near &= (fov >= 360.0) | (aside <= rules.max_degrees_apart)
    if rules.lights is not None:
        near &= light_is_wanted(_lights(shots)[around], rules.lights)
    kept, left, metres = [pair.earlier, pair.later], around[near], metres[near]
    while len(kept) < rules.times:
        at = np.array(kept)
        before = shots.first_day[at] - shots.last_day[left][:, None]
        after = shots.first_day[left][:, None] - shots.last_day[at]
        days = np.maximum(before, after).min(axis=1)
        apart = haversine_metres(
            shots.lat[left][:, None], shots.lon[left][:, None], shots.lat[at], shots.lon[at]
        ).max(axis=1)
        fits = (days >= rules.min_days_apart) & (apart <= rules.max_metres_apart)
        left, days, metres = left[fits], days[fits], metres[fits]
        if not len(left):
            break
        best = min(range(len(left)), key=lambda k: (-days[k], metres[k], shots.key[left[k]]))
        kept.append(int(left[best]))
        left, metres = np.delete(left, best), np.delete(metres, best)
    return tuple(sorted(kept[2:], key=lambda row: (shots.first_day[row], shots.key[row])))


def _admissible(
    shots: Shots,
    names: Index,
    i: Index,
    j: Index,
    rules: PlaceRules,
    own: npt.NDArray[np.bool_] | None,
    fresh: npt.NDArray[np.bool_] | None,
) -> tuple[Index, Index, Float, Float, Float, Float]:
    """Pairs that meet the rules: earlier, later, metres, days, heading, field of view."""
    at_once = shots.first_day[i] == shots.first_day[j]
    swap = np.where(at_once, names[i] > names[j], shots.first_day[i] > shots.first_day[j])
    earlier, later = np.where(swap, j, i), np.where(swap, i, j)
    days = shots.first_day[later] - shots.last_day[earlier]
    whole = shots.fov >= 360.0
    turn = heading_difference(shots.heading[earlier], shots.heading[later])
    heading = np.where(whole[earlier] & ~whole[later], shots.heading[later], shots.heading[earlier])
    photographs = ~whole[earlier] & ~whole[later]
    towards = (shots.heading[later] - shots.heading[earlier] + 180.0) % 360.0 - 180.0
    heading = np.where(photographs, shots.heading[earlier] + towards / 2, heading) % 360.0
    # Half way between two photographs, each shows as much less as it looks aside.
    narrowest = np.minimum(shots.fov[earlier], shots.fov[later])
    shared = np.where(photographs, narrowest - turn, narrowest)
    # A little less than the whole, as the metadata is off by a little.
    fov = np.where(narrowest >= 360.0, rules.fov, np.minimum(rules.fov, 0.9 * shared))
    good = (days >= rules.min_days_apart) & (fov >= min(_NARROWEST_VIEW, rules.fov))
    good &= ~photographs | (turn <= rules.max_degrees_apart)
    if rules.lights is not None:
        light = _lights(shots)
        good &= lights_fit(light[earlier], light[later], rules.lights)
    if own is not None:
        good &= own[earlier]
    if fresh is not None:
        good &= fresh[later]
    metres = haversine_metres(
        shots.lat[earlier], shots.lon[earlier], shots.lat[later], shots.lon[later]
    )
    return (
        earlier[good], later[good], metres[good], days[good], heading[good], fov[good],
    )  # fmt: skip
