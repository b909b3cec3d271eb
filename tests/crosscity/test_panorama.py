"""Views out of panoramas and photographs, against patterns that are known in every direction."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.panorama import (
    Equirectangular,
    Perspective,
    View,
    camera_axes,
    needed_width,
    render_view,
    tiles_of_view,
    view_coordinates,
)


def pattern(directions: np.ndarray) -> np.ndarray:
    """A smooth coloured pattern on the sphere; directions (..., 3) east, north, up."""
    east, north, up = np.moveaxis(directions, -1, 0)
    waves = (
        np.sin(23 * east + 9 * up) + np.cos(19 * north - 7 * east) + np.sin(29 * up + 5 * north),
        np.cos(25 * east - 11 * north) + np.sin(21 * up),
        np.sin(17 * north + 13 * up) + np.cos(27 * east),
    )
    return np.stack([127.5 + 38 * wave for wave in waves], axis=-1)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Right-handed, written out on its own."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def to_world(heading: float, pitch: float, roll: float) -> np.ndarray:
    """Turns (right, forward, up) into east, north, up: roll, then pitch, then yaw."""
    return rotation("z", -heading) @ rotation("x", pitch) @ rotation("y", roll)


@functools.cache
def sphere(height: int, width: int, pose: tuple[float, float, float]) -> np.ndarray:
    """The pattern as a whole panorama, each pixel the mean of 2 × 2 points."""
    inside = (np.arange(2) + 0.5) / 2
    longitude = 2 * math.pi * ((np.arange(width)[:, None] + inside).ravel() / width - 0.5)
    latitude = math.pi * (0.5 - (np.arange(height)[:, None] + inside).ravel() / height)
    camera = np.stack(
        np.broadcast_arrays(
            np.sin(longitude)[None] * np.cos(latitude)[:, None],
            np.cos(longitude)[None] * np.cos(latitude)[:, None],
            np.sin(latitude)[:, None],
        ),
        axis=-1,
    )
    values = pattern(camera @ to_world(*pose).T)
    return np.rint(values.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


def photograph(view: View, roll: float = 0.0) -> np.ndarray:
    """The pattern as a pinhole camera sees it, each pixel the mean of 3 × 3 points."""
    inside = (np.arange(3) + 0.5) / 3
    focal = view.width / 2 / math.tan(math.radians(view.fov / 2))
    across = ((np.arange(view.width)[:, None] + inside).ravel() - view.width / 2) / focal
    upward = (view.height / 2 - (np.arange(view.height)[:, None] + inside).ravel()) / focal
    camera = np.stack(np.broadcast_arrays(across[None], np.ones((1, 1)), upward[:, None]), axis=-1)
    camera = camera / np.linalg.norm(camera, axis=-1, keepdims=True)
    values = pattern(camera @ to_world(view.heading, view.pitch, roll).T)
    return values.reshape(view.height, 3, view.width, 3, 3).mean(axis=(1, 3))


def displacement(found: np.ndarray, wanted: np.ndarray, side: int = 40) -> float:
    """The largest shift, in pixels, between two pictures over all windows (least squares)."""
    down, right = np.gradient(wanted, axis=(0, 1))
    worst = 0.0
    for row in range(0, wanted.shape[0] - side + 1, side):
        for column in range(0, wanted.shape[1] - side + 1, side):
            window = np.s_[row : row + side, column : column + side]
            slopes = np.stack([right[window].ravel(), down[window].ravel()], axis=1)
            shift = np.linalg.lstsq(slopes, (wanted - found)[window].ravel(), rcond=None)[0]
            worst = max(worst, float(np.hypot(*shift)))
    return worst


POSES = [(0.0, 0.0, 0.0), (37.0, 0.0, 0.0), (310.0, 4.0, -3.0)]


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("full", [(256, 512), (512, 1024)])
@pytest.mark.parametrize(("heading", "pitch", "fov"), [(20.0, 0.0, 90.0), (217.0, 12.0, 60.0)])
def test_views_of_panoramas_lie_within_a_tenth_of_a_pixel(pose, full, heading, pitch, fov):
    view = View(heading, pitch, fov, 160, 320)
    source = Equirectangular(*full, heading=pose[0], pitch=pose[1], roll=pose[2])
    found, reached = render_view(sphere(*full, pose), source, view)
    wanted = photograph(view)
    assert reached == 1.0
    assert displacement(found.astype(float), wanted) < 0.1
    assert np.abs(found - wanted).mean() < 2.0


def test_the_full_size_view_lies_within_a_tenth_of_a_pixel():
    view = View(75.0, 0.0, 90.0, 647, 1280)
    found, _ = render_view(sphere(900, 1800, POSES[2]), Equirectangular(
        900, 1800, heading=310.0, pitch=4.0, roll=-3.0), view)  # fmt: skip
    assert found.shape == (647, 1280, 3)
    assert displacement(found.astype(float), photograph(view), side=160) < 0.1


@pytest.mark.parametrize("pitch", [90.0, -90.0, 70.0])
def test_poles_are_not_exceptional(pitch):
    view = View(10.0, pitch, 80.0, 120, 160)
    found, reached = render_view(sphere(512, 1024, POSES[0]), Equirectangular(512, 1024), view)
    assert reached == 1.0
    assert displacement(found.astype(float), photograph(view)) < 0.1


@pytest.mark.parametrize("left", [200, 900, -100])
def test_a_part_of_a_panorama_gives_the_same_view_where_it_reaches(left):
    pose, view = (120.0, 2.0, 1.0), View(120.0, 0.0, 80.0, 100, 200)
    whole = sphere(512, 1024, pose)
    turned = Equirectangular(512, 1024, heading=120.0, pitch=2.0, roll=1.0)
    wanted, _ = render_view(whole, turned, view)
    columns = (np.arange(700) + left) % 1024
    part = whole[100:420][:, columns]
    source = Equirectangular(512, 1024, left, 100, heading=120.0, pitch=2.0, roll=1.0)
    found, reached = render_view(part, source, view)
    x, y = view_coordinates(turned, (512, 1024), view)
    inside = ((x - left) % 1024 < 698) & ((x - left) % 1024 > 1) & (y > 101) & (y < 418)
    assert np.array_equal(found[inside], wanted[inside])
    assert (found[~inside & ((x - left) % 1024 > 702)] == 0).all()
    assert reached == pytest.approx(inside.mean(), abs=0.02)
    assert (reached == 1.0) == bool(inside.all())


@pytest.mark.parametrize("roll", [0.0, 5.0])
def test_views_of_photographs_lie_within_a_tenth_of_a_pixel(roll):
    camera = View(200.0, 3.0, 75.0, 480, 640)
    picture = np.rint(photograph(camera, roll)).astype(np.uint8)
    view = View(206.0, 0.0, 50.0, 120, 240)
    source = Perspective(75.0, 200.0, 3.0, roll)
    found, reached = render_view(picture, source, view)
    assert reached == 1.0
    assert displacement(found.astype(float), photograph(view)) < 0.1


def test_a_photograph_does_not_reach_beyond_its_edges_nor_behind_itself():
    picture = np.full((480, 640, 3), 200, dtype=np.uint8)
    aside, reached = render_view(picture, Perspective(60.0), View(30.0, 0.0, 60.0, 50, 100))
    assert reached == pytest.approx(0.5, abs=0.02)  # its edge is the middle of the view
    assert aside[:, 60:].max() == 0
    behind, nothing = render_view(picture, Perspective(60.0), View(180.0, 0.0, 60.0, 50, 100))
    assert nothing == 0.0
    assert behind.max() == 0


@given(st.floats(-0.25, 0.25), st.floats(-0.05, 0.05))
@settings(max_examples=30, deadline=None)
def test_distortion_draws_a_ray_where_the_formula_says(k1, k2):
    source, view = Perspective(70.0, k1=k1, k2=k2), View(0.0, 0.0, 50.0, 3, 101)
    x, y = view_coordinates(source, (400, 600), view)
    edge = math.tan(math.radians(35))
    focal = 300 / (edge * (1 + k1 * edge**2 + k2 * edge**4))
    for column in (0, 20, 50, 93):
        tangent = (column - 50) / view.focal
        drawn = tangent * (1 + k1 * tangent**2 + k2 * tangent**4)
        assert x[1, column] == pytest.approx(299.5 + focal * drawn, abs=1e-6)
        assert y[1, column] == pytest.approx(199.5)


def test_a_view_may_be_wide_and_much_coarser_than_its_panorama():
    """Its samples are then more columns than OpenCV looks up at once."""
    sphere = np.full((2000, 4000, 3), 40, dtype=np.uint8)
    sphere[:, 2000:] = 200
    view, reached = render_view(sphere, Equirectangular(2000, 4000), View(0, 89, 170, 2, 16_384))
    assert reached == 1.0
    assert (view[:, :8000] == 40).all()
    assert (view[:, -8000:] == 200).all()
    with pytest.raises(ValueError, match="A view across 50008 columns of a panorama"):
        render_view(sphere, Equirectangular(100_000, 200_000), View(0, 0, 90, 2, 16_384))


def test_what_is_finer_than_a_pixel_becomes_grey_and_not_moire():
    stripes = np.zeros((2048, 4096, 3), dtype=np.uint8)
    stripes[:, ::3] = 255  # a third of the light, at 0.26 degrees: a pixel shows 0.56 of them
    view = View(3.0, 0.0, 90.0, 64, 128)
    source = Equirectangular(2048, 4096)
    found, _ = render_view(stripes, source, view)
    x, y = (c.astype(np.float32) for c in view_coordinates(source, (2048, 4096), view))
    naive = cv2.remap(stripes, x % 4096, y, cv2.INTER_LINEAR)
    assert found.mean() == pytest.approx(85, abs=2)
    assert found.std() < 20
    assert naive.std() > 60


@given(st.floats(0, 360), st.floats(-40, 40), st.floats(30, 110))
@settings(max_examples=25, deadline=None)
def test_tiles_of_a_view_are_enough_and_not_all(heading, pitch, fov):
    full, tile = (512, 1024), (64, 64)
    source = Equirectangular(*full, heading=51.0, pitch=1.0)
    view = View(heading, pitch, fov, 40, 80)
    whole = np.random.default_rng(3).integers(0, 256, (*full, 3)).astype(np.uint8)
    tiles = tiles_of_view(source, view, tile)
    lacking = np.zeros_like(whole)
    for column, row in tiles:
        window = np.s_[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        lacking[window] = whole[window]
    assert np.array_equal(
        render_view(lacking, source, view)[0], render_view(whole, source, view)[0]
    )
    if abs(pitch) < 20 and fov < 100:
        assert len(tiles) < 0.75 * 16 * 8


def test_axes_are_a_rotation_and_mean_what_they_say():
    axes = camera_axes(90.0, 0.0)
    assert np.allclose(axes, [[0, -1, 0], [0, 0, 1], [1, 0, 0]])  # right is south, ahead is east
    assert np.allclose(camera_axes(0.0, 30.0)[2], [0, math.cos(math.pi / 6), 0.5])
    rolled = camera_axes(0.0, 0.0, 10.0)
    assert rolled[0, 2] < 0 < rolled[1, 0]  # the right side goes down
    for pose in [(13.0, -25.0, 7.0), (301.0, 80.0, -170.0)]:
        turned = camera_axes(*pose)
        assert np.allclose(turned @ turned.T, np.eye(3))
        assert np.linalg.det(turned) == pytest.approx(-1.0) or np.linalg.det(turned) == (
            pytest.approx(1.0)
        )
        right, forward, up = to_world(*pose).T
        assert np.allclose(turned, [right, up, forward])


def test_needed_width_is_that_of_a_panorama_as_fine_as_the_view():
    view = View(0.0, 0.0, 90.0, 647, 1280)
    width = needed_width(view)
    x, _ = view_coordinates(Equirectangular(width // 2, width), (0, 0), view)
    assert np.diff(x[323])[639] == pytest.approx(1.0, abs=1e-3)
    assert width == 4022


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: View(0.0, 91.0, 90.0, 10, 10), "pitch must be"),
        (lambda: View(math.nan, 0.0, 90.0, 10, 10), "heading must be a finite"),
        (lambda: View(0.0, 0.0, 180.0, 10, 10), "between 0 and 180"),
        (lambda: View(0.0, 0.0, 90.0, 0, 10), "height of a view"),
        (lambda: Equirectangular(0, 10), "full_height must be"),
        (lambda: Perspective(0.0), "between 0 and 180"),
    ],
)
def test_wrong_settings_are_one_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("picture", "source", "words"),
    [
        (np.zeros((4, 8), np.uint8), Equirectangular(4, 8), "shape"),
        (np.zeros((4, 8, 3), np.float32), Equirectangular(4, 8), "float32"),
        (np.zeros((4, 9, 3), np.uint8), Equirectangular(4, 8), "not a part"),
        (np.zeros((4, 8, 3), np.uint8), Equirectangular(6, 8, top=3), "not a part"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(picture, source, words):
    with pytest.raises(ValueError, match=words):
        render_view(picture, source, View(0.0, 0.0, 90.0, 4, 4))
