"""Which matches are trusted, against a plain writing of the rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.matching import Matches, reliable_matches
from crosscity.matching.reliability import agreeing_neighbours


def grid_matches(seed: int, rows: int, columns: int, spread: int, missing: float) -> Matches:
    """Matches on a grid of 8 pixels, some missing, with displacements of a few cells."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    present = random.random((rows, columns)) >= missing
    x_a, y_a = 8.0 * x[present] + 4, 8.0 * y[present] + 4
    n = len(x_a)
    return Matches(
        x_a=x_a.astype(np.float32),
        y_a=y_a.astype(np.float32),
        x_b=(x_a + 4 * random.integers(-spread, spread + 1, n)).astype(np.float32),
        y_b=(y_a + 4 * random.integers(-spread, spread + 1, n)).astype(np.float32),
        score=random.random(n).astype(np.float32),
        entry=np.arange(n, dtype=np.int32),
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 99), st.integers(1, 7), st.integers(1, 9), st.integers(0, 4), st.floats(0, 0.8)
)
def test_neighbours_are_counted_as_defined(
    seed: int, rows: int, columns: int, spread: int, missing: float
) -> None:
    matches = grid_matches(seed, rows, columns, spread, missing)
    if not len(matches):
        return
    points = list(zip(matches.x_a, matches.y_a, matches.x_b, matches.y_b, strict=True))
    expected = [
        sum(
            n != m
            and max(abs(q[0] - p[0]), abs(q[1] - p[1])) <= 16
            and abs((q[2] - q[0]) - (p[2] - p[0])) <= 8
            and abs((q[3] - q[1]) - (p[3] - p[1])) <= 8
            for m, q in enumerate(points)
        )
        for n, p in enumerate(points)
    ]
    assert agreeing_neighbours(matches, 8, 1.0).tolist() == expected


def test_the_weakest_and_the_lonely_are_left_out() -> None:
    matches = grid_matches(1, 10, 12, 0, 0.0)
    matches.x_b[50] += 40  # moves alone
    kept = reliable_matches(matches, 8, weakest=0.0, neighbours=8)
    assert 50 not in kept.entry
    corners = {0, 11, 108, 119}  # eight neighbours each, all of which agree
    assert corners <= set(kept.entry.tolist())
    assert len(kept) == len(matches) - 1
    strong = reliable_matches(matches, 8, weakest=0.25, neighbours=0)
    assert len(strong) == 90
    assert strong.score.min() > np.sort(matches.score)[29]
    everything = reliable_matches(matches, 8, weakest=0.0, neighbours=0)
    assert (everything.entry == matches.entry).all()


def test_no_matches_stay_none() -> None:
    empty = grid_matches(0, 0, 0, 0, 0.0)
    assert len(reliable_matches(empty, 8)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weakest": 1.0}, "weakest"),
        ({"weakest": float("nan")}, "weakest"),
        ({"neighbours": 25}, "neighbours"),
        ({"neighbours": -1}, "neighbours"),
        ({"tolerance": float("inf")}, "tolerance"),
        ({"spacing": 0}, "spacing"),
    ],
)
def test_bad_settings_are_reported_in_a_sentence(change: dict, words: str) -> None:
    given_ = {"spacing": 8, **change}
    with pytest.raises(ValueError, match=words):
        reliable_matches(grid_matches(2, 3, 3, 1, 0.0), **given_)
