"""Renderings: exact labels, one world at all times and sizes, the same bytes everywhere."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from crosscity.labels import CLASSES, STATIC_TRAIN_IDS, TRAIN_ID
from simcity import STYLES, Rendering, capture_pose, render
from simcity.camera import view_of
from simcity.panorama import render_panorama
from simcity.rendering import render_from
from simcity.street import lay_street

SMALL = {"height": 64, "width": 128}
NAMES = list(STYLES)


def small(name: str, place: int, time: int = 0, **changes: Any) -> Rendering:
    return render(STYLES[name], **({"seed": 5, "place": place, "time": time} | SMALL | changes))


def digest(rendering: Rendering) -> bytes:
    return rendering.image.tobytes() + rendering.train_ids.tobytes() + rendering.static.tobytes()


@pytest.fixture(scope="module")
def sample() -> dict[str, list[Rendering]]:
    """Some places of every city."""
    return {name: [small(name, place) for place in range(40)] for name in NAMES}


def test_shapes_and_types(sample: dict[str, list[Rendering]]) -> None:
    for renderings in sample.values():
        for each in renderings:
            assert each.image.shape == (64, 128, 3)
            assert each.image.dtype == each.train_ids.dtype == np.uint8
            assert each.train_ids.shape == each.static.shape == (64, 128)
            assert each.static.dtype == np.bool_


def test_static_mask_and_labels_say_the_same(sample: dict[str, list[Rendering]]) -> None:
    # The mask comes from what a polygon belongs to, the label from its class.
    for renderings in sample.values():
        for each in renderings:
            assert (each.static == np.isin(each.train_ids, STATIC_TRAIN_IDS)).all()


def test_every_class_occurs(sample: dict[str, list[Rendering]]) -> None:
    counts = {name: np.zeros(256, dtype=np.int64) for name in NAMES}
    for name, renderings in sample.items():
        for each in renderings:
            counts[name] += np.bincount(each.train_ids.ravel(), minlength=256)
        # Trams are rare and may be missing among forty small pictures.
        absent = {c.name for c in CLASSES if counts[name][c.train_id] == 0}
        assert absent <= {"train"}, name
        assert counts[name][19:].sum() == 0
    assert sum(counts.values())[TRAIN_ID["train"]] > 0


def test_compositions_are_plausible(sample: dict[str, list[Rendering]]) -> None:
    for renderings in sample.values():
        ids = np.stack([each.train_ids for each in renderings])
        share = np.bincount(ids.ravel(), minlength=19) / ids.size
        assert 0.12 < share[TRAIN_ID["road"]] < 0.5
        assert 0.15 < share[TRAIN_ID["building"]] < 0.6
        assert 0.01 < share[TRAIN_ID["sky"]] < 0.35
        assert 0.03 < share[TRAIN_ID["car"]] < 0.2
        # Sky is above, road below.
        assert (ids[:, :8] == TRAIN_ID["road"]).mean() < 0.02
        assert (ids[:, -8:] == TRAIN_ID["sky"]).mean() < 0.02


def test_cities_differ_as_their_styles_say(sample: dict[str, list[Rendering]]) -> None:
    def share(name: str, *classes: str) -> float:
        ids = [TRAIN_ID[c] for c in classes]
        return float(np.mean([np.isin(each.train_ids, ids).mean() for each in sample[name]]))

    def warmth(name: str) -> float:
        def of(each: Rendering) -> float:
            walls = each.image[each.train_ids == TRAIN_ID["building"]].astype(float)
            return float((walls[:, 0] - walls[:, 2]).mean()) if len(walls) else 0.0

        return float(np.mean([of(each) for each in sample[name]]))

    assert share("taipei", "motorcycle") > 3 * share("frankfurt", "motorcycle")
    assert share("frankfurt", "road") > share("rome", "road")
    assert warmth("rome") > 15 + warmth("frankfurt")


def test_same_arguments_give_the_same_bytes_from_any_thread_in_any_order() -> None:
    jobs = [(name, place, time) for name in NAMES for place in (3, 4) for time in (0, 1)]
    alone = [digest(small(*job)) for job in jobs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda job: digest(small(*job)), reversed(jobs)))
    assert together[::-1] == alone
    assert len(set(alone)) == len(alone)


def test_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from simcity import STYLES, render\n"
        "r = render(STYLES['rio'], seed=5, place=9, time=1, height=64, width=128)\n"
        "print(hashlib.sha256(r.image.tobytes() + r.train_ids.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    here = small("rio", 9, 1)
    import hashlib

    expected = hashlib.sha256(here.image.tobytes() + here.train_ids.tobytes()).hexdigest()
    assert found == {expected + "\n"}


def without_time(name: str, place: int, time: int, **changes: Any) -> Rendering:
    """The static world of a time, from the pose of time 0."""
    style = replace(STYLES[name], season_change=0.0)
    pose = capture_pose(style, seed=5, place=place, time=0)
    options: dict[str, Any] = {"seed": 5, "place": place, "moving": False} | SMALL
    return render_from(pose, style, time=time, **(options | changes))


@pytest.mark.parametrize("name", NAMES)
def test_the_static_world_is_the_same_at_all_times(name: str) -> None:
    for place in range(3):
        first, second = (without_time(name, place, time) for time in (0, 1))
        assert (first.train_ids == second.train_ids).all()
        assert (first.image != second.image).any()


def test_what_moves_is_another_at_every_time() -> None:
    style = STYLES["rome"]
    for place in range(3):
        pose = capture_pose(style, seed=5, place=place, time=0)
        options: dict[str, Any] = {"seed": 5, "place": place} | SMALL
        first, second = (render_from(pose, style, time=time, **options) for time in (0, 1))
        moved = ~first.static | ~second.static
        assert (first.train_ids[moved] != second.train_ids[moved]).mean() > 0.3
        # What both show of the static world is the same, but for leaves and what they hide.
        both = first.static & second.static
        assert (first.train_ids[both] == second.train_ids[both]).mean() > 0.97


def warped(
    source: Rendering, view_from: npt.NDArray[np.float64], view_to: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Labels of the road plane carried from one camera to another by their homography."""

    def to_pixels(view: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Ground point (x, z, 1) to a homogeneous sample.
        turn = np.stack([view[3:6], -view[6:9], view[9:12]])
        ground = turn @ np.array([[1.0, 0.0, -view[0]], [0.0, 0.0, -view[1]], [0.0, 1.0, -view[2]]])
        calibration = np.array([[view[12], 0, view[13]], [0, view[12], view[14]], [0, 0, 1.0]])
        halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1.0]])
        return halved @ calibration @ ground

    homography = to_pixels(view_to) @ np.linalg.inv(to_pixels(view_from))
    height, width = source.train_ids.shape
    carried: npt.NDArray[np.uint8] = cv2.warpPerspective(
        source.train_ids, homography, (width, height), flags=cv2.INTER_NEAREST, borderValue=255
    )
    return carried


def test_two_captures_show_one_road() -> None:
    # The road near the camera is flat, so the poses alone carry its labels to the other picture.
    style = replace(STYLES["frankfurt"], kerb_height=0.0)
    options: dict[str, Any] = {"seed": 5, "height": 128, "width": 256, "moving": False}
    for place in range(4):
        poses = [capture_pose(style, seed=5, place=place, time=time) for time in (0, 1)]
        views = [view_of(pose, 0.0, 0.0, style.fov_degrees, 128, 256) for pose in poses]
        first, second = (
            render_from(pose, style, place=place, time=time, **options)
            for time, pose in enumerate(poses)
        )
        assert lay_street(style, 5, place).ground(15.0) == 0.0
        carried = warped(first, views[0], views[1])[100:]
        there = second.train_ids[100:]
        flat = [TRAIN_ID["road"], TRAIN_ID["sidewalk"]]
        both = np.isin(carried, flat) & np.isin(there, flat)
        assert both.mean() > 0.3
        assert (carried[both] == there[both]).mean() > 0.99


def test_the_world_does_not_depend_on_the_size() -> None:
    for name in ("rome", "tokyo"):
        fine = small(name, 2, height=256, width=512)
        coarse = small(name, 2)
        seen = fine.train_ids[2::4, 2::4]
        assert (seen == coarse.train_ids).mean() > 0.93
        grey = cv2.resize(fine.image, (128, 64), interpolation=cv2.INTER_AREA).astype(float)
        assert np.corrcoef(grey.ravel(), coarse.image.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (64, 128), (97, 131), (647, 1280)])
def test_any_size(height: int, width: int) -> None:
    rendering = small("taipei", 1, height=height, width=width)
    assert rendering.image.shape == (height, width, 3)
    assert rendering.train_ids.max() <= 18


def test_every_heading_shows_its_own_view() -> None:
    views = [small("rio", 6, heading=heading) for heading in (0.0, 90.0, 180.0, 270.0)]
    assert len({digest(view) for view in views}) == 4
    assert digest(small("rio", 6, heading=360.0)) is not None
    for view in (views[0], views[2]):
        assert (view.train_ids == TRAIN_ID["road"]).mean() > 0.1


def test_behind_and_ahead_are_one_world() -> None:
    # Two overlapping views of one camera: the right half of one is the left of the other.
    style = STYLES["frankfurt"]
    pose = capture_pose(style, seed=5, place=3, time=0)
    size = {"height": 128, "width": 256}
    options: dict[str, Any] = {"seed": 5, "place": 3, "time": 0} | size
    ahead, aside = (render_from(pose, style, heading=heading, **options) for heading in (0.0, 25.0))
    views = [view_of(pose, 0.0, h, style.fov_degrees, 128, 256) for h in (0.0, 25.0)]

    def rays(view: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        focal = view[12] / 2
        inverse = np.array(
            [[1 / focal, 0, -127.5 / focal], [0, 1 / focal, -63.5 / focal], [0, 0, 1.0]]
        )
        return np.stack([view[3:6], -view[6:9], view[9:12]]).T @ inverse

    homography = np.linalg.inv(rays(views[1])) @ rays(views[0])
    carried = cv2.warpPerspective(
        ahead.train_ids, homography, (256, 128), flags=cv2.INTER_NEAREST, borderValue=255
    )
    common = carried != 255
    assert common.mean() > 0.4
    assert (carried[common] == aside.train_ids[common]).mean() > 0.93


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"place": -1}, "place"),
        ({"place": 1.5}, "place"),
        ({"time": -2}, "time"),
        ({"height": 0}, "0×128"),
        ({"width": 100_000}, "8192"),
        ({"heading": float("nan")}, "heading"),
    ],
)
def test_bad_arguments_are_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        small("rome", **({"place": 0} | changes))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_pictures_have_texture_for_matching() -> None:
    # Corner-like structure in most of the picture below the sky.
    for name in NAMES:
        rendering = small(name, 2, height=128, width=256)
        grey = cv2.cvtColor(rendering.image, cv2.COLOR_RGB2GRAY)
        blurred = cv2.GaussianBlur(grey, (0, 0), 1.0)
        spread = (
            cv2.blur(blurred.astype(np.float32) ** 2, (9, 9))
            - cv2.blur(blurred.astype(np.float32), (9, 9)) ** 2
        )
        built = np.isin(rendering.train_ids, [TRAIN_ID["building"], TRAIN_ID["vegetation"]])
        assert (spread[built] > 4.0).mean() > 0.7, name


def test_sides_of_eight_bits_count_as_others_do() -> None:
    """Twice a side is more than they hold: labels were once read from beyond the drawing."""
    key = {"seed": 3, "place": 1, "time": 0}
    expected = render(STYLES["rome"], **key, height=100, width=200)
    found = render(STYLES["rome"], **key, height=np.int8(100), width=np.uint8(200))
    for name in ("image", "train_ids", "static"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    pose = capture_pose(STYLES["rome"], **key)
    sphere = [
        render_panorama(pose, STYLES["rome"], **key, height=h, width=w)
        for h, w in ((16, 130), (np.int8(16), np.uint8(130)))
    ]
    assert np.array_equal(*sphere)


@pytest.mark.parametrize("name", ["across", "along", "height", "heading_degrees", "pitch_degrees"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e300, "2", None, True])
def test_a_pose_is_five_numbers_near_the_street(name: str, value: Any) -> None:
    pose = capture_pose(STYLES["rome"], seed=0, place=0, time=0)
    with pytest.raises(ValueError, match=f"The {name} of a pose is a number from .*[.]$"):
        replace(pose, **{name: value})


@pytest.mark.parametrize("heading", ["0", None, True, float("nan"), float("inf"), 10**400, [0.0]])
def test_a_heading_is_a_number_of_degrees(heading: Any) -> None:
    with pytest.raises(ValueError, match="heading is a number of degrees, not"):
        render(STYLES["rome"], seed=0, place=0, time=0, height=8, width=8, heading=heading)


@pytest.mark.parametrize("style", ["rome", None, {"name": "rome"}])
def test_the_name_of_a_style_is_no_style(style: Any) -> None:
    pose = capture_pose(STYLES["rome"], seed=0, place=0, time=0)
    for draw in (
        lambda: render(style, seed=0, place=0, time=0, height=8, width=8),
        lambda: capture_pose(style, seed=0, place=0, time=0),
        lambda: render_panorama(pose, style, seed=0, place=0, time=0, height=8, width=16),
    ):
        with pytest.raises(ValueError, match=r"as simcity\.STYLES\['rome'\] is"):
            draw()
