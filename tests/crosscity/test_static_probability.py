"""The probability that a superpixel is static: its formula, its order, and what is delivered."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity import several_times, static_regions
from crosscity.matching import Matches
from crosscity.static_probability import (
    COEFFICIENTS,
    StaticProbability,
    delivered,
    evidence,
    static_probability,
)
from crosscity.static_regions import DOUBT, static_prior_of_times

OF_TWO = (0.9313093234583187, -1.317196443423956, 1.1117706220026085, 1.4250246984298045, 0.8912)
OF_MORE = (1.0287402485130046, -1.8354743079678943, 3.2494808945664264, 5.744598948484362)
CURVE = StaticProbability(base=0.5, base_of_times=-0.8, slope=1.2, slope_of_times=1.0)


def matches_of(covered: np.ndarray, random: np.random.Generator) -> Matches:
    """Matches at so many pixels of each of four columns of 10×5 pixels."""
    x, y = [], []
    for label, count in enumerate(covered):
        for place in random.choice(50, count, replace=False):
            x.append(5 * label + place % 5)
            y.append(place // 5)
    at = np.array(x, dtype=np.float32), np.array(y, dtype=np.float32)
    return Matches(*at, *at, np.ones(len(x), np.float32), np.zeros(len(x), np.int32))


LABELS = np.repeat(np.arange(4, dtype=np.int32), 5)[None].repeat(10, axis=0)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_it_is_the_documented_formula(others: int) -> None:
    random = np.random.default_rng(others)
    counts = random.integers(0, 51, (others, 4))
    pairs = [matches_of(of_pair, random) for of_pair in counts]
    found = static_probability(pairs, LABELS, curve=CURVE)
    assert found.shape == LABELS.shape
    assert found.dtype == np.float32
    for label in range(4):
        mean = sum(math.log((c / 50 + DOUBT) / DOUBT) for c in counts[:, label]) / others
        u = 1 - 1 / others
        odds = 0.5 - 0.8 * u + (1.2 + 1.0 * u) * mean
        assert found[label == LABELS] == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-5)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_the_rule_of_several_times_is_a_threshold_of_it(others: int) -> None:
    random = np.random.default_rng(7)
    for _ in range(20):
        pairs = [matches_of(random.integers(0, 51, 4), random) for _ in range(others)]
        coverage = float(random.uniform(0.1, 0.6))
        mask = static_prior_of_times(pairs, LABELS, k=0, coverage=coverage)
        p = static_probability(pairs, LABELS, curve=CURVE)
        least = np.array([[coverage] * 1] * others)
        threshold = CURVE.of_evidence(evidence(least), others)
        assert np.array_equal(mask, p >= threshold - 1e-6)


@given(
    covered=st.lists(st.floats(0, 1), min_size=1, max_size=9),
    more=st.floats(0, 1),
    which=st.integers(0, 8),
)
def test_more_matches_never_lower_it(covered: list[float], more: float, which: int) -> None:
    before = np.array(covered)[:, None]
    after = before.copy()
    after[which % len(covered)] = max(more, covered[which % len(covered)])
    low, high = (delivered().of_evidence(evidence(c), len(covered))[0] for c in (before, after))
    assert 0 < low <= high < 1


def test_other_numbers_have_another_version() -> None:
    """Stored probabilities are found by these versions alone; no key has the numbers."""
    said: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    names = ("base", "base_of_times", "slope", "slope_of_times")
    of_two = tuple(said[name] for name in (*names, "static_share"))
    of_more = tuple(said["several_times"][name] for name in names)
    assert (static_regions.ALGORITHM_VERSION, of_two) == (
        "2",
        OF_TWO,
    ), "whoever fits anew raises the version of static_regions, and both here"
    assert (several_times.ALGORITHM_VERSION, of_more) == (
        "1",
        OF_MORE,
    ), "whoever fits anew raises the version of several_times, and both here"


def test_what_is_delivered_says_where_it_is_from_and_follows_coverage() -> None:
    said: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    assert {"about", "cities", "pictures", "simulation_version", "settings"} <= set(said)
    for others in (1, 2, 4):
        none, full = (
            delivered().of_evidence(evidence(np.full((others, 1), share)), others)[0]
            for share in (0.0, 1.0)
        )
        assert none < 0.8
        assert full > 0.97
    # The more times say the same, the surer.
    silent = [delivered().of_evidence(evidence(np.zeros((n, 1))), n)[0] for n in (1, 2, 4)]
    assert silent == sorted(silent, reverse=True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"slope": -0.1}, "does not fall"),
        ({"slope_of_times": -1.3}, "does not fall"),
        ({"base": math.nan}, "finite"),
        ({"slope": math.inf}, "finite"),
    ],
)
def test_a_curve_that_falls_is_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StaticProbability(**{**CURVE.to_dict(), **changed})


def test_without_another_time_there_is_none() -> None:
    with pytest.raises(ValueError, match="another time"):
        static_probability([], LABELS)
    with pytest.raises(ValueError, match="another time"):
        CURVE.of_evidence(np.zeros(1), 0)
