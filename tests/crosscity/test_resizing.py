from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity.resizing import resized_image, resized_map

sides = st.integers(1, 40)


@given(sides, sides, sides, sides)
def test_every_pixel_of_a_map_takes_the_value_at_its_centre(
    height: int, width: int, rows: int, columns: int
) -> None:
    labels = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    found = resized_map(labels, (rows, columns))
    assert found.shape == (rows, columns)
    assert found.dtype == labels.dtype
    for y, x in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        at_y, at_x = (2 * y + 1) * height // (2 * rows), (2 * x + 1) * width // (2 * columns)
        assert found[y, x] == labels[at_y, at_x]


def test_halving_a_picture_averages_its_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    blocks = picture.reshape(3, 2, 4, 2, 3).astype(float).mean((1, 3))
    assert np.abs(resized_image(picture, (3, 4)) - blocks).max() <= 0.5


def test_enlarging_a_picture_keeps_its_centres_where_they_are() -> None:
    picture = np.tile(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], (4, 1, 3))
    large = resized_image(picture, (12, 30))
    assert np.abs(large[1::3, 1::3].astype(int) - picture).max() <= 1


@pytest.mark.parametrize("size", [None, (4, 5)])
def test_the_same_size_changes_nothing(size: tuple[int, int] | None) -> None:
    picture = np.zeros((4, 5, 3), dtype=np.uint8)
    assert resized_image(picture, size) is picture
    mask = np.zeros((4, 5), dtype=np.bool_)
    assert resized_map(mask, size) is mask
