"""A simulated panorama shows what pictures from the same pose show."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from crosscity.panorama import Equirectangular, View, render_view
from simcity import STYLES, capture_pose
from simcity.panorama import render_panorama
from simcity.rendering import render_from

KEY = {"seed": 4, "place": 3, "time": 1}


@pytest.fixture(scope="module")
def panorama() -> np.ndarray:
    pose = capture_pose(STYLES["tokyo"], **KEY)
    return render_panorama(pose, STYLES["tokyo"], **KEY, height=512, width=1024)


def as_seen(image: np.ndarray) -> np.ndarray:
    """Grey and a little soft: edges of thin things differ between two ways of sampling."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), 1.5)


@pytest.mark.parametrize(("heading", "pitch"), [(0, 0), (50, 0), (180, 5), (275, -10), (0, 45)])
def test_its_views_are_the_pictures_of_a_camera(panorama, heading, pitch):
    style = replace(STYLES["tokyo"], fov_degrees=80.0, vignetting=0.0, noise=0.0, blur=0.0)
    pose = capture_pose(style, **KEY)
    wanted = render_from(
        replace(pose, pitch_degrees=pitch), style, **KEY, height=96, width=192, heading=heading
    ).image
    source = Equirectangular(512, 1024, heading=pose.heading_degrees)
    view = View(pose.heading_degrees + heading, pitch, 80.0, 96, 192)
    found, _ = render_view(panorama, source, view)
    turned, _ = render_view(panorama, source, replace(view, heading=view.heading + 3.0))
    right = np.corrcoef(as_seen(found).ravel(), as_seen(wanted).ravel())[0, 1]
    wrong = np.corrcoef(as_seen(turned).ravel(), as_seen(wanted).ravel())[0, 1]
    assert right > 0.96  # shadows are mapped around the camera here, ahead of it there
    assert right > wrong + 0.01


def test_it_has_no_seam_and_no_hole(panorama):
    grey = cv2.cvtColor(panorama, cv2.COLOR_RGB2GRAY).astype(float)
    steps = np.abs(np.diff(grey[100:400], axis=1, append=grey[100:400, :1])).mean(axis=0)
    # Faces meet at the eighths of the width that are odd; the picture's own edge is the last.
    edges = [steps[(2 * k + 1) * 128 - 1] for k in range(4)] + [steps[-1]]
    assert max(edges) < 3 * np.median(steps)
    assert (panorama.max(axis=2) > 0).mean() > 0.999


def test_the_same_arguments_give_the_same_bytes():
    pose = capture_pose(STYLES["tokyo"], **KEY)
    small = [render_panorama(pose, STYLES["tokyo"], **KEY, height=32, width=64) for _ in range(2)]
    assert small[0].tobytes() == small[1].tobytes()
    for size in ((0, 64), (32, 9000)):
        with pytest.raises(ValueError, match="panorama has sides"):
            render_panorama(pose, STYLES["tokyo"], **KEY, height=size[0], width=size[1])
