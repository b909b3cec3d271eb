from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity.adaptation.sampling import PermutationSampler
from crosscity.adaptation.schedule import learning_rate_factor, ramp


def test_ramp_is_the_curve_of_the_method() -> None:
    for step in range(100):
        assert ramp(step, 100) == pytest.approx(2 / (1 + math.exp(-10 * step / 100)) - 1)
    assert ramp(0, 100) == 0


@given(st.integers(1, 500), st.floats(0, 0.99), st.floats(0.1, 20))
def test_ramp_rises_from_zero_and_stays_below_one(
    total: int, start: float, steepness: float
) -> None:
    values = [ramp(t, total, steepness=steepness, start=start) for t in range(total)]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)
    assert all(value == 0 for t, value in enumerate(values) if t < start * total)


def test_a_late_start_runs_over_what_is_left() -> None:
    assert ramp(60, 100, start=0.6) == 0
    assert ramp(80, 100, start=0.6) == pytest.approx(ramp(50, 100))


@given(st.integers(1, 300), st.floats(0, 0.9), st.sampled_from(["constant", "cosine", "poly"]))
def test_learning_rates_stay_positive_and_reach_their_peak(
    total: int, warm_up: float, schedule: str
) -> None:
    factors = [
        learning_rate_factor(t, total, schedule=schedule, warm_up=warm_up) for t in range(total)
    ]
    assert all(0 < factor <= 1 for factor in factors)
    peak = int(np.argmax(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[peak] == 1


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**31))
def test_every_epoch_has_every_image_once(n_items: int, size: int, seed: int) -> None:
    sampler = PermutationSampler(n_items, seed=seed, stream=1)
    drawn = [i for number in range(3 * n_items) for i in sampler.batch(number, size)]
    for epoch in range(len(drawn) // n_items):
        assert sorted(drawn[epoch * n_items : (epoch + 1) * n_items]) == list(range(n_items))


def test_a_batch_depends_on_its_number_only() -> None:
    in_order = PermutationSampler(7, seed=3, stream=1)
    expected = [in_order.batch(number, 4) for number in range(10)]
    backwards = PermutationSampler(7, seed=3, stream=1)
    assert [backwards.batch(number, 4) for number in reversed(range(10))] == expected[::-1]


def test_seeds_streams_and_epochs_differ() -> None:
    orders = [
        tuple(PermutationSampler(50, seed=seed, stream=stream).batch(epoch, 50))
        for seed in (0, 1)
        for stream in (1, 2)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 8


def test_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match="no image"):
        PermutationSampler(0, seed=0, stream=1)
