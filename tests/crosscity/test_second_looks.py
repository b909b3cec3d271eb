"""Copies of an image, and the same points in both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.second_looks import LEAST, LOOKS, SHARE, SPACING, mirrored, smaller

SIDES = st.integers(LEAST, 90)


def ramp(height: int, width: int) -> np.ndarray:
    """An image that says where each of its pixels is."""
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([2 * rows, 2 * columns, np.zeros_like(rows)], -1)
    return places.astype(np.uint8)


@settings(max_examples=60)
@given(SIDES, SIDES)
def test_a_point_of_either_copy_shows_what_the_point_of_the_image_does(
    height: int, width: int
) -> None:
    image = ramp(height, width)
    for name, (copied, _) in LOOKS.items():
        copy, (here, there) = copied(image)
        assert copy.shape == image.shape
        assert copy.dtype == np.uint8
        assert (
            len(here)
            == len(there)
            == len(range(SPACING // 2, height, SPACING)) * len(range(SPACING // 2, width, SPACING))
        )
        seen = image[tuple(here.T)].astype(int) - copy[tuple(there.T)].astype(int)
        # A pixel of the smaller copy is the mean of some, and its centre lies a pixel off at most.
        assert np.abs(seen).max() <= (0 if name == "mirrored" else 2 * round(1 / SHARE) + 1)


def test_the_smaller_copy_lies_in_the_middle_and_is_continued_by_reflection() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    copy, (_, there) = smaller(image)
    assert (there.min(0) >= (10, 20)).all()
    assert (there.max(0) < (40, 80)).all()
    assert np.array_equal(copy[9], copy[11])
    assert np.array_equal(copy[:, 19], copy[:, 21])
    assert np.array_equal(mirrored(mirrored(image)[0])[0], image)


@pytest.mark.parametrize("copied", [smaller, mirrored])
@pytest.mark.parametrize(
    "wrong", [None, np.zeros((15, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)]
)
def test_what_is_no_image_is_refused(copied: object, wrong: object) -> None:
    with pytest.raises(ValueError, match="the image"):
        copied(wrong)  # type: ignore[operator]
