"""The drawings: sizes, places of what is drawn, colours, and refused input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from crosscity.illustrations import (
    PAPER,
    STATIC,
    TINT,
    before_after_panel,
    class_legend,
    draw_matches,
    draw_prior,
    draw_superpixels,
    prior_figure,
)
from crosscity.labels import CLASSES, VOID
from crosscity.matching import Matches

GREY = 128


def plain(height: int = 128, width: int = 256) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def matches_of(points: list[tuple[float, float, float, float]]) -> Matches:
    columns = np.array(points, np.float32).reshape(-1, 4).T
    score = np.arange(len(points), dtype=np.float32)
    return Matches(*columns, score=score, entry=np.zeros(len(points), np.int32))


def coloured(figure: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    return (figure == np.array(colour, np.uint8)).all(axis=2)


@pytest.mark.parametrize("shape", [(128, 256), (647, 1280), (40, 30)])
@pytest.mark.parametrize("width", [640, 1200])
def test_figures_have_the_asked_width_and_leave_their_input_alone(
    shape: tuple[int, int], width: int
) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
    other = rng.integers(0, 255, shape, dtype=np.uint8)
    labels = rng.integers(0, 9, shape).astype(np.int32)
    mask = labels > 4
    ids = labels.astype(np.uint8)
    matches = matches_of([(x, 0.5 * x, x, 3.0) for x in range(20)])
    before = image.copy()
    figures = [
        draw_matches(image, other, matches, width=width),
        draw_superpixels(image, labels, width=width),
        draw_prior(other, mask, width=width),
        prior_figure(image, other, matches, labels, labels, mask, mask, width=width),
        before_after_panel(image, ids, ids, ids, width=width),
        before_after_panel(image, None, ids, ids, width=width),
        class_legend(width=width),
    ]
    for figure in figures:
        assert figure.dtype == np.uint8
        assert figure.shape[1:] == (width, 3)
    np.testing.assert_array_equal(image, before)


def test_two_pictures_of_different_size_stand_side_by_side() -> None:
    figure = draw_matches(plain(100, 200), plain(300, 200), matches_of([]), width=408)
    assert figure.shape == (300, 408, 3)
    assert coloured(figure, (GREY,) * 3)[:100, :200].all()
    assert coloured(figure, (GREY,) * 3)[:, 208:].all()
    assert coloured(figure, PAPER)[100:, :200].all()


def test_points_are_drawn_where_they_match_in_one_colour() -> None:
    # Panels of 200 pixels hold pictures of 100: pixel x has its centre at 2 x + 0.5.
    figure = draw_matches(plain(50, 100), plain(50, 100), matches_of([(20, 10, 70, 30)]), width=408)
    at_a, at_b = figure[20:22, 40:42], figure[60:62, 208 + 140 : 208 + 142]
    assert np.ptp(at_a.astype(int), axis=2).min() > 60
    np.testing.assert_allclose(at_a.mean(axis=(0, 1)), at_b.mean(axis=(0, 1)), atol=40)
    untouched = coloured(figure[:, :200], (GREY,) * 3)
    assert untouched[:, :30].all()


def test_many_matches_have_few_lines() -> None:
    grid = [(x, y, x, y) for x in range(2, 100, 4) for y in range(2, 50, 4)]
    figure = draw_matches(plain(50, 100), plain(50, 100), matches_of(grid), width=408)
    crossed = ~coloured(figure[:, 202:206], PAPER).all(axis=1)
    assert 1 <= crossed.sum() <= 60


def test_boundaries_run_between_the_superpixels() -> None:
    labels = np.zeros((64, 128), np.int32)
    labels[:, 64:] = 1
    changed = ~coloured(draw_superpixels(plain(64, 128), labels, width=256), (GREY,) * 3)
    assert changed[:, 126:131].any(axis=1).all()
    assert not changed[:, :125].any()
    assert not changed[:, 132:].any()


def test_the_static_area_is_tinted_red_and_the_rest_untouched() -> None:
    mask = np.zeros((64, 128), bool)
    mask[16:32, 64:] = True
    figure = draw_prior(plain(64, 128), mask, width=256)
    large = np.kron(mask, np.ones((2, 2), bool))
    expected = np.rint(GREY * (1 - TINT) + np.array(STATIC) * TINT)
    assert (figure[large] == expected).all()
    assert (figure[~large] == GREY).all()


def test_panel_shows_the_palette_unblended_and_names_what_occurs() -> None:
    ids = np.full((64, 128), 13, np.uint8)
    ids[:, 64:] = 10
    labels = ids.copy()
    labels[:8] = VOID
    panel = before_after_panel(np.full((64, 128), GREY, np.uint8), labels, ids, ids, width=520)
    for class_ in CLASSES:
        # Smooth grey letters have a few pixels of the greys among the classes.
        assert (coloured(panel, class_.colour).sum() > 200) == (class_.train_id in (10, 13))
    # One quarter each for the labels' car, but for the void rows.
    n_car = coloured(panel, CLASSES[13].colour).sum()
    assert n_car == pytest.approx(128 * 128 * (2 + 7 / 8), rel=0.03)


def test_legend_names_all_classes_or_those_asked_for() -> None:
    everything = class_legend(width=600)
    assert all(coloured(everything, class_.colour).any() for class_ in CLASSES)
    some = class_legend([0, 13, VOID, 77], width=600)
    shown = [class_.train_id for class_ in CLASSES if coloured(some, class_.colour).sum() > 200]
    assert shown == [0, 13]
    assert coloured(some, (0, 0, 0)).sum() >= 16 * 16


def test_bad_input_is_one_sentence() -> None:
    image, labels, mask = plain(), np.zeros((128, 256), np.int32), np.zeros((128, 256), bool)
    ids = np.zeros((128, 256), np.uint8)
    none = matches_of([])
    with pytest.raises(ValueError, match="must be uint8"):
        draw_matches(image.astype(float), image, none)
    with pytest.raises(ValueError, match="empty"):
        draw_matches(image, image[:0], none)
    with pytest.raises(ValueError, match="superpixels must be whole numbers of shape"):
        draw_superpixels(image, labels[1:])
    with pytest.raises(ValueError, match="superpixels must be whole numbers"):
        draw_superpixels(image, labels.astype(float))
    with pytest.raises(ValueError, match="mask must be bool"):
        draw_prior(image, labels)
    with pytest.raises(ValueError, match="after adaptation must be uint8"):
        before_after_panel(image, None, ids, labels)
    with pytest.raises(ValueError, match="mask must be bool"):
        prior_figure(image, image, none, labels, labels, mask, mask[1:])
    with pytest.raises(ValueError, match="whole number from 64"):
        draw_prior(image, mask, width=10)
