"""The static prior against counting in plain Python."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.matching import Matches
from crosscity.static_prior import static_prior


def matches_at(a: list[tuple[float, float]], b: list[tuple[float, float]] | None = None) -> Matches:
    """Matches with these (x, y) in picture a and, if given, in picture b."""
    at_a = np.array(a, dtype=np.float32).reshape(-1, 2)
    at_b = at_a if b is None else np.array(b, dtype=np.float32).reshape(-1, 2)
    return Matches(
        x_a=at_a[:, 0],
        y_a=at_a[:, 1],
        x_b=at_b[:, 0],
        y_b=at_b[:, 1],
        score=np.ones(len(at_a), np.float32),
        entry=np.zeros(len(at_a), np.int32),
    )


def counted(points: list[tuple[float, float]], labels: npt.NDArray, k: int) -> npt.NDArray:
    """The definition, a pixel at a time."""
    height, width = labels.shape
    pixels = {(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points}
    static = np.zeros(labels.shape, bool)
    for row in range(height):
        for column in range(width):
            mine = [
                (x, y)
                for x, y in pixels
                if 0 <= x < width and 0 <= y < height and labels[y, x] == labels[row, column]
            ]
            static[row, column] = len(mine) > k
    return static


quarters = st.integers(-8, 44).map(lambda n: n / 4)
points = st.lists(st.tuples(quarters, quarters), max_size=60)


@settings(max_examples=80, deadline=None)
@given(points, points, st.integers(0, 4), st.integers(1, 6), st.integers(0, 9))
def test_equals_counting(
    at_a: list[tuple[float, float]],
    at_b: list[tuple[float, float]],
    k: int,
    n_labels: int,
    seed: int,
) -> None:
    shared = min(len(at_a), len(at_b))
    at_a, at_b = at_a[:shared], at_b[:shared]
    # Labels may leave numbers out.
    labels = np.random.default_rng(seed).integers(0, n_labels, (8, 9)).astype(np.int32) * 3
    matches = matches_at(at_a, at_b)
    for side, here in (("a", at_a), ("b", at_b)):
        mask = static_prior(matches, labels, k=k, side=side)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, counted(here, labels, k))


def test_more_than_k_and_not_k() -> None:
    labels = np.repeat(np.arange(2, dtype=np.int32), 4).reshape(2, 4)
    three = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)]
    assert not static_prior(matches_at(three), labels).any()
    four = static_prior(matches_at([*three, (3.0, 0.0)]), labels)
    np.testing.assert_array_equal(four, labels == 0)


def test_a_pixel_matched_often_counts_once() -> None:
    labels = np.zeros((3, 3), np.int32)
    assert not static_prior(matches_at([(1.0, 1.0)] * 9), labels).any()


def test_halves_go_right_and_down_and_the_rim_is_dropped() -> None:
    labels = np.arange(4, dtype=np.int32).reshape(2, 2)
    assert static_prior(matches_at([(0.5, 0.5)]), labels, k=0).tolist() == [
        [False, False],
        [False, True],
    ]
    assert not static_prior(matches_at([(1.5, 0.0), (0.0, -0.6)]), labels, k=0).any()
    assert static_prior(matches_at([(-0.5, -0.5)]), labels, k=0)[0, 0]


def test_no_matches_no_prior() -> None:
    assert not static_prior(matches_at([]), np.zeros((4, 5), np.int32), k=0).any()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((4, 4), np.int64), {}, "int32 map of labels, not int64"),
        (np.zeros(16, np.int32), {}, "int32 map of labels"),
        (np.zeros((0, 4), np.int32), {}, "empty"),
        (np.full((4, 4), -1, np.int32), {}, "start at 0, but -1"),
        (np.zeros((4, 4), np.int32), {"k": -1}, "k must be"),
        (np.zeros((4, 4), np.int32), {"k": 1.5}, "k must be"),
        (np.zeros((4, 4), np.int32), {"side": "left"}, "side must be 'a' or 'b'"),
    ],
)
def test_bad_input_is_one_sentence(labels: npt.NDArray, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        static_prior(matches_at([(1.0, 1.0)]), labels, **options)


def test_coordinates_must_be_finite() -> None:
    # Matches may refuse these itself; if it does not, the prior does.
    with pytest.raises(ValueError, match=r"\S"):
        static_prior(matches_at([(float("nan"), 1.0)]), np.zeros((4, 4), np.int32))
