"""Pairs and the split by place, against brute force and as invariants."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity import pairing
from crosscity.lights import LIGHTS, UNKNOWN, Lights
from crosscity.pairing import (
    EARTH_RADIUS_METRES,
    CaptureTable,
    Pairs,
    haversine_metres,
    heading_difference,
    held_out_places,
    make_pairs,
    within_margin,
)

NAN = math.nan
METRE_OF_LATITUDE = 180.0 / (math.pi * EARTH_RADIUS_METRES)


def table(*rows: dict[str, Any]) -> CaptureTable:
    """A capture table of rows like {"place": "p", "days": 3}; image ids follow the order."""

    def column(name: str, default: float) -> np.ndarray:
        return np.array([row.get(name, default) for row in rows], dtype=np.float64)

    return CaptureTable(
        image_id=tuple(row.get("id", f"i{n:03d}") for n, row in enumerate(rows)),
        place_id=tuple(row.get("place", "p") for row in rows),
        lat=column("lat", NAN),
        lon=column("lon", NAN),
        heading=column("heading", 0.0),
        days=column("days", NAN),
        split=tuple(row.get("split") for row in rows),
        light=np.array([row.get("light", UNKNOWN) for row in rows], dtype=np.int8),
    )


def paired(captures: CaptureTable, **changes: Any) -> Pairs:
    settings: dict[str, Any] = {
        "max_metres_apart": 10.0,
        "min_days_apart": 30.0,
        "test_places": 0,
        "seed": 0,
        "max_degrees_apart": 15.0,
    }
    return make_pairs(captures, **(settings | changes))


def rows(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


# Distances


def test_known_distances() -> None:
    # A quarter of a meridian, by the sphere's definition; half a turn along the equator.
    quarter = math.pi / 2 * EARTH_RADIUS_METRES
    assert haversine_metres(0, 0, 90, 0) == pytest.approx(quarter, rel=1e-12)
    assert haversine_metres(0, 0, 0, 180) == pytest.approx(2 * quarter, rel=1e-12)
    # Rome to Tokyo: 9 875 km on the ellipsoid (Vincenty 1975); the sphere is within 0.6 %.
    assert haversine_metres(41.9028, 12.4964, 35.6762, 139.6503) == pytest.approx(
        9.8751e6, rel=6e-3
    )


coordinates = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(coordinates, coordinates)
def test_haversine_agrees_with_the_angle_between_unit_vectors(
    p: tuple[float, float], q: tuple[float, float]
) -> None:
    def unit(point: tuple[float, float]) -> np.ndarray:
        lat, lon = np.radians(point)
        return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    u, v = unit(p), unit(q)
    angle = math.atan2(float(np.linalg.norm(np.cross(u, v))), float(u @ v))
    found = float(haversine_metres(*p, *q))
    assert found == pytest.approx(angle * EARTH_RADIUS_METRES, abs=0.2)
    assert found == float(haversine_metres(*q, *p))


def test_distances_broadcast_and_keep_nan() -> None:
    metres = haversine_metres(np.zeros((3, 1)), 0.0, np.array([0.0, NAN]), 1.0)
    assert metres.shape == (3, 2)
    assert np.isnan(metres[:, 1]).all()
    assert not np.isnan(metres[:, 0]).any()


def test_a_metre_is_a_metre() -> None:
    assert haversine_metres(60.0, 5.0, 60.0 + METRE_OF_LATITUDE, 5.0) == pytest.approx(1, rel=1e-6)


@given(st.floats(-720, 720), st.floats(-720, 720), st.integers(-3, 3))
def test_heading_difference_is_the_smaller_angle(a: float, b: float, turns: int) -> None:
    expected = math.degrees(math.acos(max(-1.0, min(1.0, math.cos(math.radians(a - b))))))
    assert float(heading_difference(a, b + 360 * turns)) == pytest.approx(expected, abs=1e-4)


# Which captures pair


def test_public_layout_pairs_by_place_and_heading() -> None:
    captures = table(
        {"place": "00001", "heading": 0, "id": "pano_00001_0_0"},
        {"place": "00001", "heading": 0, "id": "pano_00001_1_0"},
        {"place": "00001", "heading": 180, "id": "pano_00001_0_180"},
        {"place": "00001", "heading": 180, "id": "pano_00001_1_180"},
        {"place": "00002", "heading": 0, "id": "pano_00002_0_0"},
        {"place": "00002", "heading": 180, "id": "pano_00002_1_180"},
    )
    pairs = paired(captures)
    assert rows(pairs) == [(0, 1), (2, 3)]
    assert np.isnan(pairs.metres_apart).all()
    assert np.isnan(pairs.days_apart).all()
    assert [(d.place_id, d.captures, d.reason) for d in pairs.dropped] == [
        ("00002", (4, 5), "no two captures within 15 degrees of heading")
    ]


def test_farthest_apart_in_days_earlier_first() -> None:
    pairs = paired(table({"days": 500}, {"days": 90}, {"days": 0}, {"days": 400}))
    assert rows(pairs) == [(2, 0)]
    assert pairs.days_apart.tolist() == [500.0]
    assert pairs.dropped == ()


def test_known_times_go_before_unknown_ones() -> None:
    assert rows(paired(table({}, {"days": 0}, {"days": 31}))) == [(1, 2)]


def test_headings_meet_across_north() -> None:
    captures = table({"heading": 355, "days": 0}, {"heading": 5, "days": 99})
    assert rows(paired(captures)) == [(0, 1)]
    assert rows(paired(captures, max_degrees_apart=9.9)) == []


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (None, "only one capture at this place and heading"),
        ({"heading": 40, "days": 99}, "no two captures within 15 degrees of heading"),
        ({"lat": 11 * METRE_OF_LATITUDE, "days": 99}, "no two captures within 10 metres"),
        ({"lat": 9 * METRE_OF_LATITUDE, "days": 29.9}, "no two captures 30 days apart"),
        ({"lat": NAN, "days": 29.9}, "no two captures 30 days apart"),
    ],
)
def test_reasons(second: dict[str, Any] | None, reason: str) -> None:
    first = {"lat": 0.0, "lon": 0.0, "days": 0.0}
    captures = table(first) if second is None else table(first, {"lat": 0.0, "lon": 0.0} | second)
    pairs = paired(captures)
    assert len(pairs) == 0
    assert [(d.place_id, d.reason) for d in pairs.dropped] == [("p", reason)]
    assert pairs.dropped[0].captures == tuple(range(len(captures)))


@pytest.mark.parametrize(
    ("lights", "of_two", "reason"),
    [
        (("day", "night"), (0, 0), "no two captures of which one is by day and one by night"),
        (("day", "night"), (0, UNKNOWN), "no two captures of which one is by day and one by night"),
        (
            ("day", "day"),
            (UNKNOWN, UNKNOWN),
            "lights are asked for, and no capture tells its hour",
        ),
        (("day", "day"), (0, 1), "no two captures by day"),
        (("night", "twilight"), (2, 1), None),
    ],
)
def test_two_lights_are_asked_for(
    lights: Lights, of_two: tuple[int, int], reason: str | None
) -> None:
    captures = table({"days": 0, "light": of_two[0]}, {"days": 99, "light": of_two[1]})
    assert len(paired(captures)) == 1
    pairs = paired(captures, lights=lights)
    assert [d.reason for d in pairs.dropped] == ([] if reason is None else [reason])
    assert len(pairs) == (reason is None)


def test_others_of_a_pair_of_two_lights_have_either() -> None:
    by_day, dusk, by_night = range(3)
    captures = table(
        {"days": 0, "light": by_day},
        {"days": 100, "light": by_night},
        {"days": 200, "light": by_day},
        {"days": 300, "light": dusk},
        {"days": 400, "light": by_night},
    )
    pairs = paired(captures, lights=("day", "night"), times=4)
    assert rows(pairs) == [(0, 4)]
    assert pairs.others == ((1, 2),)


def test_limits_are_inclusive() -> None:
    captures = table({"days": 0, "heading": 0}, {"days": 30, "heading": 15})
    assert len(paired(captures)) == 1


def test_one_heading_pairs_and_the_lone_one_is_reported() -> None:
    captures = table({"days": 0}, {"days": 50}, {"days": 0, "heading": 180})
    pairs = paired(captures)
    assert rows(pairs) == [(0, 1)]
    assert [(d.captures, d.reason) for d in pairs.dropped] == [
        ((2,), "only one capture at this place and heading")
    ]


def test_nothing_in_nothing_out() -> None:
    pairs = paired(table())
    assert len(pairs) == 0
    assert pairs.dropped == ()
    assert pairs.test_places == frozenset()


some_number = st.one_of(st.just(NAN), st.integers(0, 8).map(lambda n: 20.0 * n))
capture_rows = st.lists(
    st.fixed_dictionaries(
        {
            "place": st.sampled_from("abc"),
            "heading": st.one_of(st.just(NAN), st.sampled_from([0.0, 10.0, 20.0, 180.0, 355.0])),
            "lat": st.one_of(st.just(NAN), st.integers(0, 20).map(lambda n: n * METRE_OF_LATITUDE)),
            "lon": st.just(0.0),
            "days": some_number,
            "light": st.sampled_from([UNKNOWN, *range(len(LIGHTS))]),
        }
    ),
    max_size=12,
)


some_lights = st.sampled_from([None, ("day", "night"), ("night", "day"), ("night", "night")])


def admissible(captures: CaptureTable, i: int, j: int, lights: Lights | None = None) -> bool:
    """Written from the description, one capture at a time."""
    turn = abs(captures.heading[i] - captures.heading[j]) % 360
    metres = abs(captures.lat[i] - captures.lat[j]) / METRE_OF_LATITUDE
    days = abs(captures.days[i] - captures.days[j])
    return (
        captures.place_id[i] == captures.place_id[j]
        and not min(turn, 360 - turn) > 15
        and not metres > 10.0001
        and not days < 30
        and (
            lights is None
            or sorted(lights) == sorted(name_of_light(captures, row) for row in (i, j))
        )
    )


def name_of_light(captures: CaptureTable, row: int) -> str:
    assert captures.light is not None
    code = int(captures.light[row])
    return "unknown" if code == UNKNOWN else LIGHTS[code]


def brute_force(captures: CaptureTable, lights: Lights | None) -> set[frozenset[int]]:
    free = set(range(len(captures)))
    found: set[frozenset[int]] = set()
    while True:
        ranked = []
        for i, j in itertools.combinations(sorted(free, key=lambda r: captures.image_id[r]), 2):
            if admissible(captures, i, j, lights):
                days = abs(captures.days[i] - captures.days[j])
                names = (captures.image_id[i], captures.image_id[j])
                ranked.append((0.0 if math.isnan(days) else -days, names, i, j))
        if not ranked:
            return found
        _, _, i, j = min(ranked)
        found.add(frozenset((i, j)))
        for row in list(free):
            if captures.place_id[row] != captures.place_id[i]:
                continue
            turns = [abs(captures.heading[row] - captures.heading[end]) % 360 for end in (i, j)]
            if row in (i, j) or any(not min(turn, 360 - turn) > 15 for turn in turns):
                free.discard(row)


@settings(max_examples=200, deadline=None)
@given(capture_rows, some_lights, st.sampled_from([1, 7, 1 << 18]))
def test_against_brute_force(
    raw: list[dict[str, Any]], lights: Lights | None, at_once: int
) -> None:
    captures = table(*raw)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pairing, "_MOST_AT_ONCE", at_once)
        # The reference measures flat metres; 1e-4 of slack keeps both on one side of the limit.
        pairs = paired(captures, max_metres_apart=10.0001, lights=lights)
    assert {frozenset(pair) for pair in rows(pairs)} == brute_force(captures, lights)
    assert all(item.reason for item in pairs.dropped)


def test_memory_does_not_grow_with_the_square_of_the_captures_of_a_place() -> None:
    rng = np.random.default_rng(0)
    count = 2500  # whose three million pairs took 650 MB
    captures = table(*({"days": float(day)} for day in rng.permutation(count)))
    tracemalloc.start()
    pairs = paired(captures, times=4)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 << 20
    assert captures.days[[*pairs.a, *pairs.b]].tolist() == [0.0, count - 1.0]
    others = captures.days[list(pairs.others[0])] / count
    assert [round(share, 2) for share in others] == [0.5, 0.75]


@settings(max_examples=150, deadline=None)
@given(capture_rows, st.integers(0, 3), st.randoms(use_true_random=False))
def test_invariants(raw: list[dict[str, Any]], test_places: int, order: Any) -> None:
    captures = table(*raw)
    n_places = len({captures.place_id[a] for a in paired(captures).a})
    if test_places and test_places >= n_places:
        with pytest.raises(ValueError, match="test_places"):
            paired(captures, test_places=test_places)
        return
    pairs = paired(captures, test_places=test_places)
    used = [row for pair in rows(pairs) for row in pair]
    assert len(used) == len(set(used))
    lost = [row for item in pairs.dropped for row in item.captures]
    assert not set(used) & set(lost)
    for a, b, days, metres in zip(
        pairs.a, pairs.b, pairs.days_apart, pairs.metres_apart, strict=True
    ):
        assert captures.place_id[a] == captures.place_id[b]
        assert not days < 30
        assert not metres > 10
        assert not captures.days[b] < captures.days[a]
    train = {captures.place_id[row] for row in pairs.a[~pairs.test]}
    test = {captures.place_id[row] for row in pairs.a[pairs.test]}
    assert not train & test
    assert test == pairs.test_places
    assert len(test) == test_places

    shuffled = list(range(len(raw)))
    order.shuffle(shuffled)
    names = [captures.image_id[row] for row in shuffled]
    again_table = table(*({**raw[row], "id": captures.image_id[row]} for row in shuffled))
    again = paired(again_table, test_places=test_places)
    assert [(names[a], names[b]) for a, b in rows(again)] == [
        (captures.image_id[a], captures.image_id[b]) for a, b in rows(pairs)
    ]
    assert again.test.tolist() == pairs.test.tolist()
    assert [d.reason for d in again.dropped] == [d.reason for d in pairs.dropped]


# The split


def test_provider_split_wins_and_test_takes_the_whole_place() -> None:
    captures = table(
        {"place": "a", "split": "train"},
        {"place": "a", "split": "train"},
        {"place": "b", "split": "train"},
        {"place": "b", "split": "test"},
        {"place": "c", "split": "test"},
        {"place": "d", "split": None},
        {"place": "d", "split": None},
    )
    pairs = paired(captures, test_places=100)
    assert rows(pairs) == [(0, 1), (2, 3), (5, 6)]
    assert pairs.test.tolist() == [False, True, False]
    assert pairs.test_places == {"b", "c"}


def test_held_out_places_are_seeded_and_stay_when_places_come_and_go() -> None:
    places = [f"tokyo_3_{n:06d}" for n in range(400)]
    chosen = held_out_places(places, 100, seed=3)
    assert len(chosen) == 100
    assert chosen == held_out_places(reversed(places * 2), 100, seed=3)
    assert chosen != held_out_places(places, 100, seed=4)
    without = held_out_places([p for p in places if p != min(chosen)], 100, seed=3)
    assert len(chosen - without) == 1
    assert held_out_places(places, 40, seed=3) < chosen


def test_held_out_places_are_spread_evenly() -> None:
    places = [f"p{n:04d}" for n in range(2000)]
    first_half = sum(p < "p1000" for p in held_out_places(places, 1000, seed=0))
    assert abs(first_half - 500) < 80  # seven standard deviations of a fair draw


@pytest.mark.parametrize("count", [-1, 2, 3])
def test_impossible_numbers_of_test_places(count: int) -> None:
    with pytest.raises(ValueError, match="test"):
        held_out_places(["a", "b"], count, seed=0)


# The table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lat": np.zeros(3)}, "same length"),
        ({"split": ("train",)}, "same length"),
        ({"image_id": ("a", "a")}, "unique"),
        ({"split": ("train", "val")}, "val"),
    ],
)
def test_wrong_tables(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {
        "image_id": ("a", "b"),
        "place_id": ("p", "p"),
        "lat": np.zeros(2),
        "lon": np.zeros(2),
        "heading": np.zeros(2),
        "days": np.zeros(2),
    }
    assert len(CaptureTable(**right)) == 2
    with pytest.raises(ValueError, match=message):
        CaptureTable(**(right | change))


# The margin around test places


def spread(count: int, metres: float) -> CaptureTable:
    """Places in a row, that many metres apart, two captures each."""
    return table(
        *(
            {"place": f"p{n:02d}", "lat": n * metres * METRE_OF_LATITUDE, "lon": 0.0, "days": day}
            for n in range(count)
            for day in (0, 90)
        )
    )


@pytest.mark.parametrize("margin", [0.0, 24.0, 26.0, 51.0])
def test_no_training_pair_lies_within_the_margin_of_a_test_place(margin: float) -> None:
    captures = spread(40, 25.0)
    pairs = paired(captures, test_places=8, test_margin_metres=margin)
    lat = captures.lat / METRE_OF_LATITUDE
    test, train = lat[pairs.a[pairs.test]], lat[pairs.a[~pairs.test]]
    assert len(test) == 8
    assert pairs.test_places == paired(captures, test_places=8).test_places
    assert np.abs(test[:, None] - train[None]).min() >= margin - 1e-6
    wanted = [
        p for p in lat[::2]
        if p not in test and np.abs(p - test).min() >= margin - 1e-6
    ]  # fmt: skip
    assert sorted(train) == pytest.approx(sorted(wanted))
    reasons = {item.reason for item in pairs.dropped}
    assert reasons == ({f"closer than {margin:g} metres to a test place"} if margin > 25 else set())
    assert len(pairs.dropped) == 32 - len(train)


def test_places_without_a_position_are_not_checked_for_the_margin() -> None:
    captures = table(*({"place": f"p{n}", "days": day} for n in range(4) for day in (0, 90)))
    pairs = paired(captures, test_places=1, test_margin_metres=1000.0)
    assert len(pairs) == 4


def test_the_margin_looks_at_test_places_nearby_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And finds what looking at all of them finds, positions that are not known among them."""
    looked_at = []

    def counted(*positions: Any) -> Any:
        looked_at.append(max(np.size(one) for one in positions))
        return haversine_metres(*positions)

    rng, work = np.random.default_rng(4), []
    for count in (200, 800):  # a town, and one of four times the area
        side = count**0.5 * 60 * METRE_OF_LATITUDE
        lat, lon = rng.uniform(48, 48 + side, 2 * count), rng.uniform(2, 2 + side, 2 * count)
        lat[rng.random(2 * count) < 0.1] = np.nan
        rows = [{"lat": a, "lon": b} for a, b in zip(lat.tolist(), lon.tolist(), strict=True)]
        captures, ends = table(*rows), np.arange(2 * count).reshape(2, count)
        test = rng.random(count) < 0.2
        all_apart = haversine_metres(
            lat[ends][:, ~test].reshape(-1, 1), lon[ends][:, ~test].reshape(-1, 1),
            lat[ends][:, test].ravel(), lon[ends][:, test].ravel(),
        )  # fmt: skip
        wanted = (all_apart < 30.0).any(axis=1).reshape(2, -1).any(axis=0)
        monkeypatch.setattr(pairing, "haversine_metres", counted)
        looked_at.clear()
        near = within_margin(captures, ends, test, 30.0)
        work.append(sum(looked_at))
        assert not near[test].any()
        np.testing.assert_array_equal(near[~test], wanted)
        assert 0 < wanted.sum() < len(wanted)
    assert work[1] < 10 * work[0]  # of the square of the places it is sixteen


# More than two times


def test_further_times_go_with_the_pair_that_there_is_without_them() -> None:
    rng = np.random.default_rng(8)
    for _ in range(40):
        count = int(rng.integers(2, 9))
        captures = table(
            *(
                {
                    "place": f"p{rng.integers(2)}",
                    "lat": float(rng.uniform(0, 0.00012)),
                    "lon": 0.0,
                    "heading": float(rng.choice([0, 8, 90])),
                    "days": float(rng.choice([rng.integers(400), NAN])),
                }
                for _ in range(count)
            )
        )
        plain = paired(captures)
        assert plain.others == ((),) * len(plain)
        for times in (3, 5):
            pairs = paired(captures, times=times)
            assert rows(pairs) == rows(plain)
            taken = [row for a, b, o in zip(pairs.a, pairs.b, pairs.others, strict=True)
                     for row in (a, b, *o)]  # fmt: skip
            assert len(taken) == len(set(taken))
            for a, b, others in zip(pairs.a, pairs.b, pairs.others, strict=True):
                group = [int(a), int(b), *others]
                assert len(group) <= times
                assert all(fits(captures, i, j) for i, j in itertools.combinations(group, 2))
                free = set(range(count)) - set(taken)
                alone = [captures.place_id[row] for row in pairs.a].count(captures.place_id[a]) == 1
                if len(group) < times and alone:  # none was forgotten
                    assert not [f for f in free if all(fits(captures, f, g) for g in group)]
                days = np.nan_to_num(captures.days[list(others)])
                assert (np.diff(days) >= 0).all()


def fits(captures: CaptureTable, i: int, j: int) -> bool:
    """The rules of `paired`, one by one."""
    if captures.place_id[i] != captures.place_id[j]:
        return False
    metres = haversine_metres(captures.lat[i], captures.lon[i], captures.lat[j], captures.lon[j])
    turn = heading_difference(captures.heading[i], captures.heading[j])
    return not (metres > 10 or turn > 15 or abs(captures.days[i] - captures.days[j]) < 30)


def test_the_time_that_is_farthest_from_all_others_comes_first() -> None:
    captures = table(*({"days": float(day)} for day in (0, 40, 190, 210, 400)))
    assert paired(captures, times=3).others == ((2,),)  # 190 days from the nearer end
    assert paired(captures, times=4).others == ((1, 2),)  # 3 is too soon after 2
    assert paired(captures, times=9).others == ((1, 2),)


def test_a_pair_that_is_dropped_takes_its_others_along() -> None:
    captures = table(
        *(
            {"place": place, "days": float(day), "lat": lat, "lon": 0.0, "split": split}
            for place, lat, split in (("p0", 0.0, "test"), ("p1", 0.0001, None), ("p2", 1.0, None))
            for day in (0, 100, 200)
        ),
    )
    pairs = paired(captures, times=3, test_margin_metres=50.0)
    assert [captures.place_id[row] for row in pairs.a] == ["p0", "p2"]
    assert pairs.others == ((1,), (7,))


@pytest.mark.parametrize("times", [1, 0, -3])
def test_one_time_is_not_a_pair(times: int) -> None:
    with pytest.raises(ValueError, match="two times at least"):
        paired(table({}, {}), times=times)
