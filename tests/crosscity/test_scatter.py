from __future__ import annotations

import numpy as np
import pytest

from crosscity.scatter import CAPTION, FIRST, PANEL, SECOND, scatter_panels


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture has about this colour."""
    return np.abs(picture.astype(int) - colour).max(-1) < 30


def test_groups_have_their_colours_at_their_places() -> None:
    points = np.array([[0, 0], [1, 1], [1, 0]], dtype=np.float32)
    picture = scatter_panels({"one": (points, np.array([True, False, False]))})
    assert picture.shape == (CAPTION + PANEL, PANEL, 3)
    assert picture.dtype == np.uint8
    rows, columns = near(picture, FIRST).nonzero()
    assert rows.mean() < CAPTION + PANEL / 4
    assert columns.mean() < PANEL / 4
    rows, columns = near(picture, SECOND).nonzero()
    assert columns.min() > PANEL / 2
    assert rows.min() < CAPTION + PANEL / 4
    assert rows.max() > CAPTION + PANEL * 3 / 4


def test_a_panel_a_caption() -> None:
    points = np.random.default_rng(0).random((50, 2), dtype=np.float32)
    first = np.arange(50) < 20
    picture = scatter_panels({"a": (points, first), "b": (points, ~first)})
    assert picture.shape[1] == 2 * PANEL
    left, right = picture[:, :PANEL], picture[:, PANEL:]
    assert near(left, FIRST).sum() == pytest.approx(near(right, SECOND).sum(), rel=0.3)


def test_points_of_one_place_do_not_divide_by_zero() -> None:
    points = np.ones((3, 2), dtype=np.float32)
    assert scatter_panels({"a": (points, np.array([True, True, True]))}).any()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        scatter_panels({})
    with pytest.raises(ValueError, match="do not belong together"):
        scatter_panels({"a": (np.zeros((3, 2), np.float32), np.zeros(2, np.bool_))})
