"""The turn between two views, told from the pictures: simulated places, and real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapters.images import decode_image
from crosscity.alignment import MIN_OVERLAP, relative_turn, search_fov
from crosscity.panorama import Equirectangular, Perspective, View, render_view
from simcity import STYLES, capture_pose
from simcity.panorama import render_panorama

FOV = 90.0
WIDE = search_fov(FOV, 20.0)


@pytest.fixture(scope="module")
def panoramas() -> dict[tuple[int, int], tuple[np.ndarray, float]]:
    """Three places at two times, with the headings of their middles."""
    found = {}
    for place in range(3):
        for time in (0, 1):
            key = {"seed": 5, "place": place, "time": time}
            pose = capture_pose(STYLES["rome"], **key)
            picture = render_panorama(pose, STYLES["rome"], **key, height=256, width=512)
            found[place, time] = picture, pose.heading_degrees
    return found


def seen(panorama: tuple[np.ndarray, float], heading: float, fov: float) -> np.ndarray:
    picture, middle = panorama
    source = Equirectangular(256, 512, heading=middle)
    return render_view(picture, source, View(heading, 0.0, fov, 160, 320))[0]


@pytest.mark.parametrize("turn", [-18.0, -4.3, 0.0, 2.2, 11.9, 19.0])
def test_a_turn_of_the_same_picture_is_found_to_a_fraction_of_a_degree(panoramas, turn):
    reference = seen(panoramas[0, 0], 40.0, FOV)
    found = relative_turn(reference, FOV, seen(panoramas[0, 0], 40.0 - turn, WIDE), WIDE)
    assert found.degrees == pytest.approx(turn, abs=0.2)
    assert found.overlap > 0.9


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("turn", [-12.0, 5.0])
def test_years_later_and_a_step_aside(panoramas, place, turn):
    reference = seen(panoramas[place, 0], 0.0, FOV)
    found = relative_turn(reference, FOV, seen(panoramas[place, 1], -turn, WIDE), WIDE)
    # The second camera stands up to 1.8 m from the first, which turns what is near.
    assert found.degrees == pytest.approx(turn, abs=3.0)
    assert found.overlap > MIN_OVERLAP


def test_another_place_does_not_overlap(panoramas):
    for place in range(3):
        reference = seen(panoramas[place, 0], 0.0, FOV)
        other = seen(panoramas[(place + 1) % 3, 1], 0.0, WIDE)
        assert relative_turn(reference, FOV, other, WIDE).overlap < MIN_OVERLAP


def test_brightness_and_contrast_do_not_matter(panoramas):
    reference = seen(panoramas[1, 0], 10.0, FOV)
    other = seen(panoramas[1, 0], 5.0, WIDE)
    darker = (other * 0.4 + 20).astype(np.uint8)
    assert relative_turn(reference, FOV, darker, WIDE).degrees == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize("grey", [0, 37, 128, 200, 255])
def test_pictures_without_anything_in_them_do_not_overlap(panoramas, grey):
    """A camera that was covered, or a picture that a service has lost."""
    flat = np.full((160, 320, 3), grey, dtype=np.uint8)
    street = seen(panoramas[0, 0], 0.0, WIDE)
    for reference, other in ((flat, street), (street, flat), (flat, flat)):
        found = relative_turn(reference, FOV, other, WIDE)
        assert (found.degrees, found.overlap) == (0.0, 0.0)


def test_a_narrower_view_cannot_be_searched():
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="cannot be slid"):
        relative_turn(picture, 90.0, picture, 80.0)
    assert search_fov(90.0, 20.0) == 130.0
    assert search_fov(120.0, 30.0) == 150.0


def test_the_pairs_overlap(time_pairs: Path):
    cities = sorted(time_pairs.glob("*/Images"))
    assert len(cities) >= 2
    for city in cities:
        files = sorted(city.rglob("pano_*.jpg"))
        first, second = (decode_image(path.read_bytes(), path.name) for path in files[:2])
        middle, _ = render_view(first, Perspective(90.0), View(0.0, 0.0, 60.0, 240, 480))
        found = relative_turn(middle, 60.0, second, 90.0)
        assert found.overlap > MIN_OVERLAP
        assert abs(found.degrees) < 6.0
