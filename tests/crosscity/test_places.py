"""Places against brute force: which pictures pair, which cells are taken, whatever the tiles."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.areas import METRES_A_DEGREE
from crosscity.lights import LIGHTS, UNKNOWN, Lights
from crosscity.pairing import haversine_metres
from crosscity.places import (
    PlacePair,
    PlaceRules,
    PlaceSample,
    Shots,
    cell_middles,
    cell_name,
    cells_of,
    neighbours,
    place_pairs,
)

LAT, LON = 48.85, 2.35
UP = 1.0 / METRES_A_DEGREE
ASIDE = UP / math.cos(math.radians(LAT))


def shots(*rows: dict[str, Any]) -> Shots:
    """Pictures at metres east and north of a point; panoramas by default."""

    def column(name: str, default: float) -> np.ndarray:
        return np.array([float(row.get(name, default)) for row in rows])

    day = column("day", 0.0)
    return Shots(
        key=tuple(row.get("key", f"k{n:03d}") for n, row in enumerate(rows)),
        lat=LAT + column("north", 0.0) * UP,
        lon=LON + column("east", 0.0) * ASIDE,
        heading=column("heading", 0.0),
        fov=column("fov", 360.0),
        first_day=day,
        last_day=day + column("uncertain", 0.0),
        light=column("light", UNKNOWN).astype(np.int8),
    )


RULES = PlaceRules(max_metres_apart=10, min_days_apart=30, cell_metres=20)
TWO = {"day": 0}, {"day": 100, "east": 3}


def test_two_times_of_one_spot_are_a_pair():
    (pair,) = place_pairs(shots({"day": 100, "heading": 80}, {"day": 0, "heading": 20}), RULES)
    assert (pair.earlier, pair.later) == (1, 0)
    assert (pair.heading, pair.fov) == (20.0, 90.0)  # the way the earlier camera looked


@pytest.mark.parametrize(
    "second",
    [
        {"day": 29},
        {"day": 100, "east": 11},
        {"day": 50, "uncertain": 0},
        {"day": 100, "heading": 40, "fov": 70},
    ],
)
def test_what_is_too_soon_too_far_or_looks_away_is_none(second):
    first = {"day": 0, "uncertain": 31 if second.get("day") == 50 else 0}
    if "fov" in second:
        first["fov"] = 70
    assert place_pairs(shots(first, second), RULES) == []


def test_photographs_are_looked_at_half_way_and_only_where_both_show():
    pictures = shots({"day": 0, "heading": 355, "fov": 75}, {"day": 90, "heading": 5, "fov": 80})
    (pair,) = place_pairs(pictures, RULES)
    assert pair.heading == pytest.approx(0.0)
    assert pair.fov == pytest.approx(0.9 * (75 - 10))
    (mixed,) = place_pairs(shots({"day": 0}, {"day": 90, "heading": 123, "fov": 80}), RULES)
    assert mixed.heading == 123
    assert mixed.fov == pytest.approx(72)


def test_the_closest_pair_of_a_cell_is_taken_then_the_longest_time():
    pictures = shots(
        {"day": 0},
        {"day": 900, "east": 8},
        {"day": 290, "east": 1.2},
        {"day": 300, "east": 1.4},
    )
    (pair,) = place_pairs(pictures, RULES)
    assert (pair.earlier, pair.later) == (0, 3)


def test_others_of_a_pair_of_two_lights_have_either():
    by_day, dusk, by_night = range(3)
    pictures = shots(
        {"day": 0, "light": by_day},
        {"day": 100, "light": dusk},
        {"day": 200, "light": by_day},
        {"day": 400, "light": by_night},
    )
    rules = replace(RULES, times=4, lights=("day", "night"))
    (pair,) = place_pairs(pictures, rules)
    assert (pair.earlier, pair.later, pair.others) == (0, 3, (2,))
    (any_light,) = place_pairs(pictures, replace(rules, lights=None))
    assert any_light.others == (1, 2)


def test_lights_are_not_guessed():
    with pytest.raises(ValueError, match="light of every picture"):
        place_pairs(replace(shots(*TWO), light=None), replace(RULES, lights=("day", "night")))


def test_own_and_fresh_pictures():
    pictures = shots(*TWO)
    yes, no = np.array([True, True]), np.array([False, False])
    assert len(place_pairs(pictures, RULES, own=yes, fresh=yes)) == 1
    assert place_pairs(pictures, RULES, own=no) == []
    assert place_pairs(pictures, RULES, fresh=np.array([True, False])) == []
    assert len(place_pairs(pictures, RULES, fresh=np.array([False, True]))) == 1


some_shots = st.lists(
    st.fixed_dictionaries(
        {
            "east": st.integers(0, 120).map(lambda v: v / 2),
            "north": st.integers(0, 60).map(lambda v: v / 2),
            "day": st.integers(0, 6).map(lambda v: v * 20),
            "light": st.sampled_from([UNKNOWN, *range(len(LIGHTS))]),
        }
    ),
    max_size=25,
)


@given(some_shots)
@settings(max_examples=80, deadline=None)
def test_neighbours_are_all_pairs_within_the_distance(rows):
    pictures = shots(*rows)
    found = [
        tuple(sorted(pair))
        for i, j in neighbours(pictures.lat, pictures.lon, 10.0)
        for pair in zip(i.tolist(), j.tolist(), strict=True)
    ]
    wanted = {
        (i, j)
        for i, j in itertools.combinations(range(len(rows)), 2)
        if haversine_metres(
            pictures.lat[i], pictures.lon[i], pictures.lat[j], pictures.lon[j]
        ) <= 10.0
    }  # fmt: skip
    assert len(found) == len(set(found))
    assert set(found) == wanted


some_lights = st.sampled_from([None, ("day", "night"), ("night", "day"), ("day", "day")])


def have_lights(one: int, other: int, wanted: Lights | None) -> bool:
    """Written from the description, one pair at a time."""
    named = [("unknown" if code == UNKNOWN else LIGHTS[code]) for code in (one, other)]
    return wanted is None or sorted(named) == sorted(wanted)


@given(some_shots, some_lights)
@settings(max_examples=160, deadline=None)
def test_places_against_brute_force(rows, lights):
    pictures, rules = shots(*rows), replace(RULES, lights=lights)
    found = {pair.cell: (pair.earlier, pair.later) for pair in place_pairs(pictures, rules)}
    row_of, column_of = cells_of(pictures.lat, pictures.lon, 20.0)
    best: dict[tuple[int, int], tuple[Any, ...]] = {}
    for a, b in itertools.permutations(range(len(rows)), 2):
        days = rows[b]["day"] - rows[a]["day"]
        metres = float(
            haversine_metres(pictures.lat[a], pictures.lon[a], pictures.lat[b], pictures.lon[b])
        )
        if days < 30 or metres > 10 or not have_lights(rows[a]["light"], rows[b]["light"], lights):
            continue
        cell = (int(row_of[a]), int(column_of[a]))
        rank = (math.floor(metres), -days, pictures.key[a], pictures.key[b], a, b)
        best[cell] = min(best.get(cell, rank), rank)
    assert found == {cell: rank[4:] for cell, rank in best.items()}


@given(some_shots, st.randoms(use_true_random=False), st.sampled_from([0.0, 30.0]))
@settings(max_examples=80, deadline=None)
def test_the_order_of_pictures_does_not_matter(rows, order, days):
    """Nor where two of one time may be a pair, of which neither is the earlier."""
    rules = replace(RULES, min_days_apart=days, times=3)
    named = [{**row, "key": f"k{n:03d}"} for n, row in enumerate(rows)]
    shuffled = list(named)
    order.shuffle(shuffled)

    def names(given: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        pictures = shots(*given)
        return [
            (p.cell, *(pictures.key[row] for row in (p.earlier, p.later, *p.others)))
            for p in place_pairs(pictures, rules)
        ]

    assert names(named) == names(shuffled)


def test_cells_have_their_size_and_their_middles_are_in_them():
    rng = np.random.default_rng(0)
    for at in (0.0, 48.0, -60.0, 80.0):
        lat, lon = at + rng.uniform(0, 0.01, 500), rng.uniform(-0.01, 0.01, 500)
        rows, columns = cells_of(lat, lon, 20.0)
        middle = cell_middles(rows, columns, 20.0)
        apart = haversine_metres(lat, lon, *middle)
        assert apart.max() < 20 / math.sqrt(2) + 0.1
        assert np.array_equal(cells_of(*middle, 20.0), (rows, columns))


def test_a_sample_is_even_seeded_and_independent_of_the_order():
    cells = [(row, column) for row in range(50) for column in range(60)]

    def taken(order: list[tuple[int, int]], seed: int = 0, count: int = 300) -> set[Any]:
        sample: PlaceSample[int] = PlaceSample(count, seed)
        for cell in order:
            sample.offer(cell, 0)
        assert sample.seen == len(order)
        return {cell for cell, _ in sample.kept()}

    chosen = taken(cells)
    assert len(chosen) == 300
    assert chosen == taken(cells[::-1])
    assert chosen != taken(cells, seed=1)
    assert taken(cells, count=100) < chosen  # fewer places are the first of more
    assert taken([c for c in cells if c not in chosen or c == min(chosen)]) & chosen == {
        min(chosen)
    }
    upper = sum(row < 25 for row, _ in chosen)
    assert abs(upper - 150) < 5 * math.sqrt(75)
    with pytest.raises(ValueError, match="has none"):
        PlaceSample(0, 0)


def test_a_busy_street_counts_no_more_than_a_quiet_one():
    sample: PlaceSample[str] = PlaceSample(2, 0)
    for _ in range(50):
        sample.offer((1, 1), "busy")
    sample.offer((2, 2), "quiet")
    assert [payload for _, payload in sample.kept()] == ["busy", "quiet"]
    assert cell_name((12, 34)) == "p12-34"


def test_crowded_corners_are_worked_through_in_batches(monkeypatch):
    from crosscity import places

    rng = np.random.default_rng(2)
    lat, lon = LAT + rng.uniform(0, 5, 300) * UP, LON + rng.uniform(0, 5, 300) * ASIDE
    whole = {tuple(sorted(p)) for i, j in neighbours(lat, lon, 10) for p in zip(i, j, strict=True)}
    monkeypatch.setattr(places, "_MOST_AT_ONCE", 100)
    batches = list(neighbours(lat, lon, 10))
    assert len(batches) > 100
    assert {tuple(sorted(p)) for i, j in batches for p in zip(i, j, strict=True)} == whole
    assert len(whole) == 300 * 299 // 2


def test_further_times_are_those_that_show_the_view_of_the_pair():
    pictures = shots(
        {"day": 0, "heading": 10},
        {"day": 900, "heading": 50, "east": 1},
        {"day": 20, "east": 9},  # too soon after the first
        {"day": 400, "north": 9},  # too far from the one of day 600
        {"day": 450, "north": 5},
        {"day": 500, "east": 12},  # too far away
        {"day": 600, "north": -3, "heading": 12, "fov": 110},
        {"day": 700, "north": -6, "heading": 12, "fov": 80},  # too narrow
        {"day": 800, "east": -4, "heading": 40, "fov": 170},  # looks elsewhere
    )
    rules = replace(RULES, cell_metres=500)
    two = of_first(pictures, rules)
    assert (two.earlier, two.later, two.others) == (0, 1, ())
    for times, others in ((3, (4,)), (4, (4, 6)), (5, (4, 6)), (9, (4, 6))):
        assert of_first(pictures, replace(rules, times=times)) == replace(two, others=others)


def test_further_times_are_looked_for_near_the_pair_alone(monkeypatch):
    from crosscity import places

    looked_at = []

    def counted(*positions: np.ndarray) -> np.ndarray:
        looked_at.append(max(np.size(one) for one in positions))
        return haversine_metres(*positions)

    monkeypatch.setattr(places, "haversine_metres", counted)
    work = []
    for length in (200, 800):  # a street, and one that is four times as long
        looked_at.clear()
        spots = range(0, length, 2)
        pictures = shots(*({"east": at, "day": 40 * (at % 10)} for at in spots))
        found = place_pairs(pictures, replace(RULES, times=3))
        assert sum(len(pair.others) for pair in found) > length / 40
        work.append(sum(looked_at))
    assert work[1] < 5 * work[0]


def of_first(pictures: Shots, rules: PlaceRules) -> PlacePair:
    """The pair of which the first picture is the earlier; a border may part the others' cells."""
    return next(pair for pair in place_pairs(pictures, rules) if pair.earlier == 0)
