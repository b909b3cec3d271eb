"""The evidence of several times: its formula by brute force, its order, and its threshold."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.matching import Matches
from crosscity.several_times import (
    DOUBT,
    FULL,
    STRICTER,
    WIDE,
    evidence_of_times,
    least_evidence,
    static_by_evidence,
)
from crosscity.static_probability import delivered_of_times

HEIGHT, WIDTH = 13, 22
COARSE = (np.arange(HEIGHT)[:, None] // 7 * 2 + np.arange(WIDTH) // 11).astype(np.int32)
FINE = (np.arange(HEIGHT)[:, None] // 4 * 4 + np.arange(WIDTH) // 6).astype(np.int32)


def matches_at(mask: np.ndarray, side: str = "a") -> Matches:
    """Matches at the pixels of a mask, somewhere else on the other side."""
    y, x = (each.astype(np.float32) for each in np.nonzero(mask))
    here, there = (x, y), (np.zeros_like(x), np.zeros_like(y))
    first, second = (here, there) if side == "a" else (there, here)
    return Matches(*first, *second, np.ones(len(x), np.float32), np.zeros(len(x), np.int32))


def told(share: float) -> float:
    return math.log((min(share, FULL) + DOUBT) / DOUBT) / math.log((FULL + DOUBT) / DOUBT)


def window(cells: tuple[int, int], reach: tuple[int, int]) -> Any:
    """How often each cell counts for each other along each axis, sliding three times."""
    kernels = []
    for size, wide in zip(cells, reach, strict=True):
        once = np.array([[int(abs(i - j) <= wide) for j in range(size)] for i in range(size)])
        kernels.append(once @ once @ once)
    return kernels


@pytest.mark.parametrize("spacing", [1, 4, 8])
@pytest.mark.parametrize("others", [1, 3])
def test_it_is_the_documented_formula(spacing: int, others: int) -> None:
    random = np.random.default_rng(spacing + others)
    masks = [random.random((HEIGHT, WIDTH)) < random.uniform(0, 0.2) for _ in range(others)]
    sides = random.choice(["a", "b"], others).tolist()
    pairs = [matches_at(mask, side) for mask, side in zip(masks, sides, strict=True)]
    found = evidence_of_times(pairs, [COARSE, FINE], sides=sides, spacing=spacing)
    assert found.shape == (HEIGHT, WIDTH)
    cell = max(1, spacing // 4)
    cells = -(-HEIGHT // cell), -(-WIDTH // cell)
    rows, columns = window(cells, (min(WIDE // 2, cells[0] - 1), min(WIDE // 2, cells[1] - 1)))
    for y, x in itertools.product(range(0, HEIGHT, 3), range(0, WIDTH, 5)):
        readings = []
        for mask in masks:
            for labels in (COARSE, FINE):
                region = labels == labels[y, x]
                share = spacing**2 * (mask & region).sum() / region.sum()
                readings.append(told(min(share, 1.0)))
            weight = rows[y // cell][np.arange(HEIGHT) // cell][:, None]
            weight = weight * columns[x // cell][np.arange(WIDTH) // cell]
            share = spacing**2 * (weight * mask).sum() / weight.sum()
            readings.append(told(min(share, 1.0)))
        assert found[y, x] == pytest.approx(sum(readings) / len(readings), rel=1e-9)


def test_of_several_times_it_is_the_mean_of_what_each_gives() -> None:
    random = np.random.default_rng(1)
    pairs = [matches_at(random.random((HEIGHT, WIDTH)) < 0.1) for _ in range(4)]
    each = [evidence_of_times([pair], [COARSE, FINE], spacing=4) for pair in pairs]
    together = evidence_of_times(pairs, [COARSE, FINE], spacing=4)
    assert together == pytest.approx(np.mean(each, axis=0), abs=1e-12)


def test_nothing_is_none_and_everything_is_all() -> None:
    nothing, everything = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    none = evidence_of_times([matches_at(nothing)] * 2, [COARSE, FINE])
    assert (none == 0).all()
    full = evidence_of_times([matches_at(everything)] * 2, [COARSE, FINE])
    assert full == pytest.approx(np.ones((HEIGHT, WIDTH)))
    assert not static_by_evidence(none, 0.01, 2).any()
    assert static_by_evidence(full, 0.75, 2).all()
    # One of four may be silent where the rest are sure; of two both must speak.
    sure, silent = matches_at(everything), matches_at(nothing)
    three = evidence_of_times([sure, sure, sure, silent], [COARSE, FINE])
    one = evidence_of_times([sure, silent], [COARSE, FINE])
    assert static_by_evidence(three, 0.22, 4).all()
    assert one == pytest.approx(np.full((HEIGHT, WIDTH), 0.5))
    assert not static_by_evidence(one, 0.22, 2).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), y=st.integers(0, HEIGHT - 1), x=st.integers(0, WIDTH - 1))
def test_more_matches_never_lower_it_nor_the_probability(seed: int, y: int, x: int) -> None:
    random = np.random.default_rng(seed)
    masks = [random.random((HEIGHT, WIDTH)) < 0.1 for _ in range(2)]
    before = evidence_of_times([matches_at(m) for m in masks], [COARSE, FINE], spacing=4)
    masks[0][y, x] = True
    after = evidence_of_times([matches_at(m) for m in masks], [COARSE, FINE], spacing=4)
    assert (after >= before - 1e-12).all()
    curve = delivered_of_times()
    assert (curve.of_evidence(after, 2) >= curve.of_evidence(before, 2) - 1e-12).all()


def test_what_is_asked_grows_with_the_times_and_is_a_covered_share() -> None:
    for coverage in (0.05, 0.22, 0.6):
        assert least_evidence(coverage, 1) == pytest.approx(told(coverage))
        asked = [least_evidence(coverage, others) for others in range(1, 10)]
        assert asked == sorted(asked)
        assert asked[-1] <= told(coverage * (1 + STRICTER))
    assert least_evidence(1.0, 9) == pytest.approx(1.0)
    evidence = np.array([[least_evidence(0.22, 2), least_evidence(0.22, 2) - 1e-6]])
    assert static_by_evidence(evidence, 0.22, 2).tolist() == [[True, False]]


def test_the_delivered_curve_is_surer_with_more_times() -> None:
    curve = delivered_of_times()
    silent = [float(curve.of_evidence(np.zeros(1), n)[0]) for n in (2, 3, 4)]
    sure = [float(curve.of_evidence(np.ones(1), n)[0]) for n in (2, 3, 4)]
    assert silent == sorted(silent, reverse=True)
    assert sure == sorted(sure)
    assert silent[0] < 0.75
    assert sure[0] > 0.99


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: evidence_of_times([], [COARSE]), "another time"),
        (lambda: evidence_of_times([matches_at(COARSE > 9)], []), "superpixels"),
        (lambda: evidence_of_times([matches_at(COARSE > 9)], [COARSE, FINE[:4]]), "superpixels"),
        (lambda: evidence_of_times([matches_at(COARSE > 9)], [COARSE], sides=["c"]), "side"),
        (lambda: evidence_of_times([matches_at(COARSE > 9)], [COARSE], spacing=0), "spacing"),
        (lambda: least_evidence(0.0, 2), "coverage"),
        (lambda: least_evidence(0.2, 0), "other times"),
    ],
)
def test_what_is_wrong_is_one_sentence(work: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        work()
    assert "\n" not in str(caught.value)
