"""Which places to label: by ranks, and spread, as a plain reference does it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity.labelling import combined_ranks, spread_choice

signal = st.one_of(st.just(math.nan), st.floats(0, 1), st.sampled_from([0.0, 0.25, 1.0]))


@given(st.lists(st.tuples(signal, signal), min_size=1, max_size=12))
def test_a_score_is_the_mean_of_its_ranks(rows: list[tuple[float, float]]) -> None:
    def rank(column: int, index: int) -> float | None:
        value = rows[index][column]
        if math.isnan(value):
            return None
        others = [
            row[column]
            for place, row in enumerate(rows)
            if place != index and not math.isnan(row[column])
        ]
        if not others:
            return 0.5
        return sum((value > one) + (value == one) / 2 for one in others) / len(others)

    for index, found in enumerate(combined_ranks(np.array(rows))):
        known = [one for one in (rank(0, index), rank(1, index)) if one is not None]
        assert found == pytest.approx(sum(known) / len(known) if known else 0.5)


place = st.tuples(st.floats(0, 1), st.floats(0, 0.02), st.floats(0, 0.02))


@given(st.lists(place, min_size=1, max_size=9), st.integers(1, 6))
def test_the_greedy_is_the_one_that_is_described(
    places: list[tuple[float, float, float]], n: int
) -> None:
    scores, lat, lon = (np.array(column) for column in zip(*places, strict=True))
    found = spread_choice(scores, lat, lon, n)
    assert len(found) == len(set(found)) == min(n, len(places))
    metres = np.pi * 6_371_008.8 / 180
    x, y = lon * metres * np.cos(np.radians(lat.mean())), lat * metres
    spacing = max(1.0, math.sqrt(np.ptp(x) * np.ptp(y) / n))
    for step, one in enumerate(found):
        gains = {}
        for index in set(range(len(places))) - set(found[:step]):
            away = [math.hypot(x[index] - x[c], y[index] - y[c]) for c in found[:step]]
            gains[index] = scores[index] * min(1.0, min(away, default=math.inf) / spacing)
        assert gains[one] == pytest.approx(max(gains.values()), rel=1e-6, abs=1e-9)


def test_equal_scores_are_spread_and_a_crowd_counts_once() -> None:
    lat = np.array([0.0, 0.0, 0.0, 0.01, 0.01])
    lon = np.array([0.0, 0.00001, 0.00002, 0.0, 0.01])
    assert set(spread_choice(np.ones(5), lat, lon, 3)) == {0, 3, 4}
    # Even where the crowd is disputed more.
    assert set(spread_choice(np.array([1, 1, 1, 0.5, 0.5]), lat, lon, 3)) == {0, 3, 4}


def test_places_without_a_position_are_chosen_by_their_score() -> None:
    lat = np.array([math.nan, 0.0, math.nan])
    assert spread_choice(np.array([0.2, 0.1, 0.9]), lat, lat, 3) == [2, 0, 1]
    assert spread_choice(np.zeros(0), np.zeros(0), np.zeros(0), 3) == []


def test_a_city_on_both_sides_of_the_antimeridian_is_chosen_from_like_any_other() -> None:
    random = np.random.default_rng(3)
    scores, lat = random.random(40), -16.8 + random.random(40) / 20
    lon = random.random(40) / 20
    there = 179.98 + lon
    there = np.where(there > 180, there - 360, there)
    assert (there < 0).any()
    assert spread_choice(scores, lat, there, 8) == spread_choice(scores, lat, 179.98 + lon, 8)


def test_what_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="places by signals"):
        combined_ranks(np.zeros(3))
    with pytest.raises(ValueError, match="every place has a score"):
        spread_choice(np.zeros(3), np.zeros(2), np.zeros(3), 1)
    with pytest.raises(ValueError, match="n must"):
        spread_choice(np.zeros(3), np.zeros(3), np.zeros(3), 0)
