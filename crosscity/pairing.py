"""From single captures to pairs: one place and heading, two times, and which places are held out.

The paper (Sec. 4.1) takes places with at least two captures at different times and keeps 100 of
them for the test. Here a pair is chosen within a place by heading, distance and days apart, and
the split is by place, so that no view of a test place is ever trained on.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.lights import UNKNOWN, Codes, Lights, light_is_wanted, lights_fit, lights_missing

EARTH_RADIUS_METRES: Final = 6_371_008.8
"""Mean radius of the WGS84 ellipsoid (IUGG R1)."""
ALGORITHM_VERSION: Final = "1"
_MOST_AT_ONCE: Final = 1 << 17
"""Pairs of a place that are looked at in one go, which bounds memory where it has thousands."""
_FEW: Final = 16
"""Numbers of captures of a place of which the pairs are kept."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CaptureTable:
    """Captures of a city as columns of equal length.

    Attributes:
        image_id: Unique ids; they break ties, so the result does not depend on the row order.
        place_id: Place of each capture.
        lat: WGS84 degrees, NaN where unknown.
        lon: WGS84 degrees, NaN where unknown.
        heading: Degrees, any winding; NaN where unknown.
        days: Time of capture in days since a common origin, NaN where unknown.
        split: "train" or "test" where the provider says it, else ``None``; empty for all ``None``.
        light: By day, in twilight or by night; ``None`` where it is unknown of all.
    """

    image_id: Sequence[str]
    place_id: Sequence[str]
    lat: Float
    lon: Float
    heading: Float
    days: Float
    split: Sequence[str | None] = ()
    light: Codes | None = None

    def __post_init__(self) -> None:
        n = len(self.image_id)
        columns = (self.place_id, self.lat, self.lon, self.heading, self.days, self.light)
        if any(column is not None and len(column) != n for column in columns) or (
            len(self.split) not in (0, n)
        ):
            raise ValueError("The columns of a capture table must have the same length.")
        if len(set(self.image_id)) != n:
            raise ValueError("The image ids of a capture table must be unique.")
        wrong = set(self.split) - {None, "train", "test"}
        if wrong:
            raise ValueError(f"A split is 'train', 'test' or None, not {min(map(str, wrong))!r}.")

    def __len__(self) -> int:
        return len(self.image_id)


@dataclass(frozen=True)
class Dropped:
    """Captures of one place that became no pair.

    Attributes:
        place_id: The place.
        captures: Their rows in the capture table, ascending.
        reason: Why, in words that are the same for every place with the same fault.
    """

    place_id: str
    captures: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Pairs:
    """The pairs of a city, by place id and heading; arrays of equal length.

    Attributes:
        a: int64 row of the earlier capture (of the smaller image id where times are unknown).
        b: int64 row of the later capture.
        metres_apart: float64, NaN where a position is unknown.
        days_apart: float64, not negative, NaN where a time is unknown.
        test: bool, whether the pair's place is held out.
        test_places: All held-out places, also those that have no pair.
        dropped: What became no pair, and why.
        others: Of each pair, the rows of further captures that look its way, at other times.
    """

    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    metres_apart: Float
    days_apart: Float
    test: npt.NDArray[np.bool_]
    test_places: frozenset[str]
    dropped: tuple[Dropped, ...]
    others: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.a)


def haversine_metres(
    lat_a: npt.ArrayLike, lon_a: npt.ArrayLike, lat_b: npt.ArrayLike, lon_b: npt.ArrayLike
) -> Float:
    """Great-circle distance on a sphere, within 0.6 % of the ellipsoid's.

    Args:
        lat_a: Latitudes in WGS84 degrees; the four arguments broadcast.
        lon_a: Longitudes in WGS84 degrees.
        lat_b: Latitudes of the other points.
        lon_b: Longitudes of the other points.

    Returns:
        float64 metres; NaN where a coordinate is NaN.
    """
    phi_a, lambda_a, phi_b, lambda_b = (
        np.radians(np.asarray(v, dtype=np.float64)) for v in (lat_a, lon_a, lat_b, lon_b)
    )
    half_chord = (
        np.sin((phi_b - phi_a) / 2) ** 2
        + np.cos(phi_a) * np.cos(phi_b) * np.sin((lambda_b - lambda_a) / 2) ** 2
    )
    metres: Float = 2 * EARTH_RADIUS_METRES * np.arcsin(np.sqrt(np.clip(half_chord, 0, 1)))
    return metres


def heading_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Float:
    """The smaller angle between two headings: float64 degrees in [0, 180], NaN for NaN."""
    turn = np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) % 360.0
    difference: Float = np.minimum(turn, 360.0 - turn)
    return difference


def make_pairs(
    captures: CaptureTable,
    *,
    max_metres_apart: float,
    min_days_apart: float,
    test_places: int,
    seed: int,
    max_degrees_apart: float = 15.0,
    test_margin_metres: float = 0.0,
    times: int = 2,
    lights: Lights | None = None,
) -> Pairs:
    """Chooses one pair for each place and heading, and holds places out for the test.

    Within a place, two captures may pair if their headings, positions and times are as close or
    as far as demanded; what is unknown (NaN) is not checked. The admissible pair that is farthest
    apart in days is taken (unknown counts as zero; ties go to the smaller image ids), then all
    captures that look the way of either of its two are set aside, and so on. Two pairs of a place
    therefore look more than ``max_degrees_apart`` away from each other.

    With more than two ``times``, a pair keeps captures that were set aside with it as its others:
    those that could pair with it and with each other, the one first that is farthest in days from
    all that are kept.

    Where the provider gives a split for any capture, that split is used: a place is held out if
    any of its captures is "test". Otherwise `held_out_places` chooses among the paired places.
    Pairs of other places that lie within a margin of a test pair are dropped: they show what it
    shows, from a few steps away.

    Args:
        captures: The captures of one city.
        max_metres_apart: Largest distance between the two positions, metres.
        min_days_apart: Smallest time between the two captures, days.
        test_places: How many places to hold out where the provider gives no split.
        seed: Fixes which.
        max_degrees_apart: Largest difference of heading; the default leaves room for a compass
            and is far below the 180 degrees between the two views of the cross-city data set.
        test_margin_metres: Least distance of training places to test places, metres; what has no
            position is not checked.
        times: Most captures of a pair and its others together.
        lights: The light of one capture of a pair and that of the other, and of its others one of
            the two. Unlike the rest it must be known. Any by default.

    Returns:
        The pairs, their split, and what was dropped.

    Raises:
        ValueError: ``test_places`` leaves no place to train on, or ``times`` is below 2.
    """
    if times < 2:
        raise ValueError(f"A pair is of two times at least, not {times}.")
    limits = _Limits(max_metres_apart, min_days_apart, max_degrees_apart, lights)
    chosen: list[tuple[int, ...]] = []
    dropped: list[Dropped] = []
    for place, rows in _rows_by_place(captures):
        pairs, rest = _pair_place(captures, rows, limits, times)
        chosen += pairs
        if rest:
            reason = _why_unpaired(captures, rest, limits)
            dropped.append(Dropped(place, tuple(sorted(rest)), reason))
    a = np.array([group[0] for group in chosen], dtype=np.int64)
    b = np.array([group[1] for group in chosen], dtype=np.int64)
    others = [group[2:] for group in chosen]
    places = [captures.place_id[row] for row in a]
    if any(captures.split):
        given = zip(captures.place_id, captures.split, strict=True)
        held_out = frozenset(place for place, side in given if side == "test")
    else:
        held_out = held_out_places(places, test_places, seed)
    test = np.array([place in held_out for place in places], dtype=np.bool_)
    near = within_margin(captures, np.stack([a, b]), test, test_margin_metres)
    for row in np.flatnonzero(near):
        reason = f"closer than {test_margin_metres:g} metres to a test place"
        captures_of = (int(min(a[row], b[row])), int(max(a[row], b[row])))
        dropped.append(Dropped(places[row], captures_of, reason))
    a, b, test = a[~near], b[~near], test[~near]
    return Pairs(
        a=a,
        b=b,
        metres_apart=_metres(captures, a, b),
        days_apart=np.abs(captures.days[b] - captures.days[a]),
        test=test,
        test_places=held_out,
        dropped=tuple(dropped),
        others=tuple(others[row] for row in np.flatnonzero(~near)),
    )


def within_margin(
    captures: CaptureTable,
    pairs: npt.NDArray[np.int64],
    test: npt.NDArray[np.bool_],
    metres: float,
) -> npt.NDArray[np.bool_]:
    """Which pairs that are not of the test lie too near to one that is.

    Args:
        captures: The captures.
        pairs: (2, n) rows of the captures of each pair.
        test: (n,) which pairs are of the test.
        metres: Least distance between any two of their captures.

    Returns:
        (n,) bool.
    """
    near = np.zeros(len(test), dtype=np.bool_)
    if metres <= 0:
        return near
    held = np.unique(pairs[:, test])
    held = held[np.argsort(captures.lat[held], kind="stable")]
    # Only those of about the same latitude, or a city would take the square of its places.
    reach = math.degrees(metres / EARTH_RADIUS_METRES) * (1 + 1e-6)
    south, north = (
        np.searchsorted(captures.lat[held], captures.lat + away) for away in (-reach, reach)
    )
    for row in np.flatnonzero(~test):
        for end in pairs[:, row]:
            some = held[south[end] : north[end]]
            apart = haversine_metres(
                captures.lat[end], captures.lon[end], captures.lat[some], captures.lon[some]
            )
            near[row] |= bool((apart < metres).any())  # NaN is not
    return near


def held_out_places(place_ids: Iterable[str], test_places: int, seed: int) -> frozenset[str]:
    """Chooses the places of the test set.

    Each place is ranked by a digest of the seed and its own id rather than by its rank in a
    shuffled list: where a place is added or lost, the other places keep their side (but for the
    one that moves across the border).

    Args:
        place_ids: Places to choose among; repetitions count once.
        test_places: How many to hold out, fewer than there are.
        seed: Fixes which.

    Returns:
        The chosen place ids.

    Raises:
        ValueError: As many places are asked for as there are, or more.
    """
    distinct = set(place_ids)
    if test_places < 0:
        raise ValueError(f"The number of test places cannot be {test_places}.")
    if test_places and test_places >= len(distinct):
        raise ValueError(
            f"Of {len(distinct)} paired places {test_places} are to be held out for the test, "
            "which leaves none to train on: lower test_places or harvest more places."
        )

    def rank(place: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}:{place}".encode()).digest(), place

    return frozenset(sorted(distinct, key=rank)[:test_places])


@dataclass(frozen=True)
class _Limits:
    metres: float
    days: float
    degrees: float
    lights: Lights | None


def _rows_by_place(captures: CaptureTable) -> list[tuple[str, list[int]]]:
    """Rows of each place by image id, places in order of their ids."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(captures)), key=lambda row: captures.image_id[row]):
        rows[captures.place_id[row]].append(row)
    return sorted(rows.items())


def _pair_place(
    captures: CaptureTable, rows: list[int], limits: _Limits, times: int
) -> tuple[list[tuple[int, ...]], list[int]]:
    """The pairs of a place in order of heading, and the rows that look no pair's way.

    Behind the two rows of a pair stand those of its others.
    """
    pairs: list[tuple[int, ...]] = []
    free = np.array(rows, dtype=np.int64)
    while (best := _farthest_in_time(captures, free, limits)) is not None:
        ends = (free == best[0]) | (free == best[1])
        aside = ends | _looks_like(captures, free, best, limits.degrees)
        pair = _earlier_first(captures, *best)
        others = _others(captures, pair, free[aside & ~ends], limits, times) if times > 2 else ()
        pairs.append((*pair, *others))
        free = free[~aside]
    pairs.sort(key=lambda pair: (captures.heading[pair[0]] % 360.0, captures.image_id[pair[0]]))
    return pairs, free.tolist()


def _farthest_in_time(
    captures: CaptureTable, rows: npt.NDArray[np.int64], limits: _Limits
) -> tuple[int, int] | None:
    """The admissible pair farthest apart in days, of equal ones the first by image id."""
    farthest: tuple[int, int] | None = None
    most = -1.0
    for pairs in _all_pairs(rows):
        turned, far, soon = _faults(captures, pairs, limits)
        good = pairs[~(turned | far | soon | _in_wrong_light(captures, pairs, limits))]
        if not len(good):
            continue
        days = np.nan_to_num(_days(captures, good))
        first = int(days.argmax())  # the first of equal ones
        if days[first] > most:
            most, farthest = float(days[first]), (int(good[first, 0]), int(good[first, 1]))
    return farthest


def _all_pairs(rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """All pairs of rows, each once and in lexical order, in batches of bounded size."""
    count = len(rows)
    step = max(1, _MOST_AT_ONCE // max(1, count))
    for start in range(0, count - 1, step):
        yield rows[_places_of_pairs(start, min(start + step, count - 1), count)]


@lru_cache(maxsize=_FEW)
def _places_of_pairs(start: int, end: int, count: int) -> npt.NDArray[np.int64]:
    """(n, 2) places of pairs among so many rows, of which the first lies in start to end.

    Nearly all places of a city have equally few captures, so the same is asked for all the time.
    """
    first = np.arange(start, end)
    many = count - 1 - first
    after = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
    first = np.repeat(first, many)
    return np.stack([first, first + 1 + after], axis=1)


def _others(
    captures: CaptureTable,
    pair: tuple[int, int],
    left: npt.NDArray[np.int64],
    limits: _Limits,
    times: int,
) -> list[int]:
    """Further rows that go with a pair, by time.

    Args:
        captures: The captures.
        pair: Its rows.
        left: Rows to choose among, by image id.
        limits: Which two rows may go with one pair; of two lights each may have either.
        times: Most rows, those of the pair included.
    """
    kept = list(pair)
    if limits.lights is not None:
        left = left[light_is_wanted(_light(captures)[left], limits.lights)]
    for one in kept:
        left = left[_may_pair(captures, left, one, limits)]
    while len(kept) < times and len(left):
        days = np.abs(captures.days[left][:, None] - captures.days[kept])
        at = int(np.nan_to_num(days).min(axis=1).argmax())  # the first of equal ones
        kept.append(int(left[at]))
        left = np.delete(left, at)
        left = left[_may_pair(captures, left, kept[-1], limits)]
    return sorted(
        kept[2:], key=lambda row: (np.nan_to_num(captures.days[row]), captures.image_id[row])
    )


def _may_pair(
    captures: CaptureTable, rows: npt.NDArray[np.int64], one: int, limits: _Limits
) -> npt.NDArray[np.bool_]:
    """Which rows are alike enough to another one, and far enough from it in time."""
    turned, far, soon = _faults(captures, np.stack([rows, np.full_like(rows, one)], axis=1), limits)
    admissible: npt.NDArray[np.bool_] = ~(turned | far | soon)
    return admissible


def _faults(
    captures: CaptureTable, pairs: npt.NDArray[np.int64], limits: _Limits
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pairs look different ways, stand too far apart, lie too close in time; NaN passes."""
    heading = captures.heading[pairs]
    turned = heading_difference(heading[:, 0], heading[:, 1]) > limits.degrees
    far = _metres(captures, pairs[:, 0], pairs[:, 1]) > limits.metres
    soon = _days(captures, pairs) < limits.days
    return turned, far, soon


def _in_wrong_light(
    captures: CaptureTable, pairs: npt.NDArray[np.int64], limits: _Limits
) -> npt.NDArray[np.bool_]:
    """Which pairs do not have the two lights that are wanted; where the hour is unknown, too."""
    if limits.lights is None:
        return np.zeros(len(pairs), dtype=np.bool_)
    light = _light(captures)[pairs]
    return ~lights_fit(light[:, 0], light[:, 1], limits.lights)


def _light(captures: CaptureTable) -> Codes:
    if captures.light is None:
        return np.full(len(captures), UNKNOWN, dtype=np.int8)
    return captures.light


def _why_unpaired(captures: CaptureTable, rows: list[int], limits: _Limits) -> str:
    """The first demand that no two of the rows meet together with those before it."""
    if len(rows) == 1:
        return "only one capture at this place and heading"
    met = [False] * 4
    """By any two of them: the first demand, the first two, and so on."""
    for pairs in _all_pairs(np.array(rows, dtype=np.int64)):
        unmet = np.zeros(len(pairs), dtype=np.bool_)
        demands = (*_faults(captures, pairs, limits), _in_wrong_light(captures, pairs, limits))
        for number, fault in enumerate(demands):
            unmet |= fault
            met[number] |= not unmet.all()
    if not met[0]:
        return f"no two captures within {limits.degrees:g} degrees of heading"
    if not met[1]:
        return f"no two captures within {limits.metres:g} metres"
    if not met[2]:
        return f"no two captures {limits.days:g} days apart"
    if limits.lights is None or met[3]:
        # Impossible: such a pair would have been taken.
        raise AssertionError("an admissible pair was left over")
    if (_light(captures)[rows] == UNKNOWN).all():
        return "lights are asked for, and no capture tells its hour"
    return lights_missing(limits.lights)


def _looks_like(
    captures: CaptureTable,
    rows: npt.NDArray[np.int64],
    pair: tuple[int, int],
    max_degrees: float,
) -> npt.NDArray[np.bool_]:
    """Which rows look the way of one of a pair; an unknown heading looks every way."""
    apart = heading_difference(captures.heading[rows][:, None], captures.heading[list(pair)])
    return np.asarray((~(apart > max_degrees)).any(axis=1), dtype=np.bool_)


def _earlier_first(captures: CaptureTable, i: int, j: int) -> tuple[int, int]:
    later = captures.days[i] > captures.days[j]  # False where a time is unknown
    return (j, i) if later else (i, j)


def _metres(captures: CaptureTable, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Float:
    return haversine_metres(captures.lat[a], captures.lon[a], captures.lat[b], captures.lon[b])


def _days(captures: CaptureTable, pairs: npt.NDArray[np.int64]) -> Float:
    apart: Float = np.abs(captures.days[pairs[:, 0]] - captures.days[pairs[:, 1]])
    return apart
