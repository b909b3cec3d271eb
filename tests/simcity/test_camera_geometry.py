"""Perspective: what is drawn stands where the pinhole equation puts it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from crosscity.labels import TRAIN_ID
from simcity import STYLES, CityStyle, Pose, capture_pose
from simcity.camera import OVERSAMPLING, project, view_of
from simcity.compiled import rasterise
from simcity.mesh import Material, Mesh, look
from simcity.noise import noise_tile
from simcity.rasteriser import PLANE_SIZE
from simcity.rendering import render_from
from simcity.street import lay_street

HEIGHT, WIDTH, FOV = 120, 200, 70.0
FOCAL = WIDTH / 2 / math.tan(math.radians(FOV / 2))


def drawn(mesh: Mesh, pose: Pose, heading: float = 0.0) -> npt.NDArray[np.bool_]:
    """Which samples of an oversampled picture the mesh covers."""
    view = view_of(pose, 0.0, heading, FOV, HEIGHT, WIDTH)
    rows = mesh.rows()
    size = (OVERSAMPLING * HEIGHT, OVERSAMPLING * WIDTH)
    closeness = np.zeros(size, dtype=np.float32)
    ident = np.full(size, -1, dtype=np.int32)
    planes = np.empty((len(rows), PLANE_SIZE))
    rasterise(rows, np.arange(len(rows)), view, closeness, ident, planes, 0.3, noise_tile())
    return ident >= 0


def extent(covered: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of what is covered, in pixels, at the samples' outer edges."""
    rows, columns = np.nonzero(covered)
    shift = (OVERSAMPLING - 1) / 2
    edges = columns.min() - 0.5, columns.max() + 0.5, rows.min() - 0.5, rows.max() + 0.5
    left, right, top, bottom = ((edge - shift) / OVERSAMPLING for edge in edges)
    return left, right, top, bottom


LEVEL = Pose(across=0.0, along=0.0, height=1.5, heading_degrees=0.0, pitch_degrees=0.0)
PLAIN = look(Material.MATT, TRAIN_ID["building"], (100, 100, 100))


def test_a_board_has_the_size_and_place_of_the_pinhole_equation() -> None:
    mesh = Mesh()
    mesh.quad((1.0, 0.5, 20.0), (4.0, 0.5, 20.0), (4.0, 3.5, 20.0), (1.0, 3.5, 20.0), PLAIN)
    left, right, top, bottom = extent(drawn(mesh, LEVEL))
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    # x right, y up from the eye at 1.5 m; depth 20 m. A sample is half a pixel.
    assert left == pytest.approx(cx + FOCAL * 1.0 / 20, abs=0.5)
    assert right == pytest.approx(cx + FOCAL * 4.0 / 20, abs=0.5)
    assert top == pytest.approx(cy - FOCAL * 2.0 / 20, abs=0.5)
    assert bottom == pytest.approx(cy + FOCAL * 1.0 / 20, abs=0.5)


def test_twice_as_far_is_half_as_large() -> None:
    sizes = []
    for depth in (10.0, 20.0):
        mesh = Mesh()
        mesh.sphere((0.0, 1.5, depth), 1.0, 1.0, PLAIN)
        left, right, top, bottom = extent(drawn(mesh, LEVEL))
        sizes.append((right - left, bottom - top))
    assert sizes[0][0] == pytest.approx(2 * FOCAL / 10, abs=1.0)
    assert sizes[0][0] == pytest.approx(2 * sizes[1][0], abs=1.5)
    assert sizes[0][1] == pytest.approx(sizes[0][0], abs=1.0)


def test_a_rod_is_round_from_every_side() -> None:
    widths = []
    for heading in (0.0, 90.0, 180.0, 237.0):
        mesh = Mesh()
        yaw = math.radians(heading)
        x, z = 12.0 * math.sin(yaw), 12.0 * math.cos(yaw)
        mesh.capsule((x, 0.0, z), (x, 3.0, z), 0.5, 0.5, PLAIN)
        left, right, _, _ = extent(drawn(mesh, LEVEL, heading))
        widths.append(right - left)
    assert widths == pytest.approx([FOCAL * 1.0 / 12.0] * 4, abs=1.0)


def test_heading_turns_right_and_pitch_looks_up() -> None:
    ahead = (0.0, 1.5, 30.0)
    turned = view_of(LEVEL, 0.0, 10.0, FOV, HEIGHT, WIDTH)
    x, y, _ = project(turned, ahead)
    assert x == pytest.approx((WIDTH - 1) / 2 - FOCAL * math.tan(math.radians(10)))
    assert y == pytest.approx((HEIGHT - 1) / 2)
    up = view_of(replace(LEVEL, pitch_degrees=5.0), 0.0, 0.0, FOV, HEIGHT, WIDTH)
    x, y, _ = project(up, ahead)
    assert x == pytest.approx((WIDTH - 1) / 2)
    assert y == pytest.approx((HEIGHT - 1) / 2 + FOCAL * math.tan(math.radians(5)))


def test_the_nearer_of_two_boards_is_seen() -> None:
    mesh = Mesh()
    for depth in (30.0, 10.0, 20.0):
        mesh.quad((-1, 0.5, depth), (1, 0.5, depth), (1, 2.5, depth), (-1, 2.5, depth), PLAIN)
    view = view_of(LEVEL, 0.0, 0.0, FOV, HEIGHT, WIDTH)
    rows = mesh.rows()
    closeness = np.zeros((2 * HEIGHT, 2 * WIDTH), dtype=np.float32)
    ident = np.full((2 * HEIGHT, 2 * WIDTH), -1, dtype=np.int32)
    planes = np.empty((3, PLANE_SIZE))
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        closeness[:], ident[:] = 0, -1
        rasterise(rows, np.array(order), view, closeness, ident, planes, 0.3, noise_tile())
        assert ident[HEIGHT, WIDTH] == 1
        assert closeness[HEIGHT, WIDTH] == pytest.approx(1 / 10, rel=1e-3)


def flat(name: str = "plain") -> CityStyle:
    """A straight and level street without anything on it."""
    return CityStyle(
        name=name,
        lanes=(2, 2),
        lane_width=(3.0, 3.0),
        parking_chance=0.0,
        verge_chance=0.0,
        slope=0.0,
        curvature=0.0,
        sidewalk_width=(4.0, 4.0),
        kerb_height=0.0,
        crossing_spacing=(400.0, 400.0),
        tree_chance=0.0,
        bollard_chance=0.0,
        guard_rail_chance=0.0,
        sign_density=0.0,
        lamp_spacing=(200.0, 200.0),
        utility_pole_chance=0.0,
        setback=(0.0, 0.0),
        gap_chance=0.0,
        park_chance=0.0,
    )


def test_the_kerb_runs_where_the_street_says() -> None:
    style = flat()
    pose = Pose(across=-1.0, along=0.0, height=1.5, heading_degrees=0.0, pitch_degrees=-6.0)
    rendering = render_from(
        pose, style, seed=1, place=0, time=0, height=128, width=256, moving=False
    )
    view = view_of(pose, 0.0, 0.0, style.fov_degrees, 128, 256)
    street = lay_street(style, 1, 0)
    assert street.edge(1) == pytest.approx(3.0)
    checked = 0
    for side in (-1.0, 1.0):
        for ahead in np.linspace(5.0, 12.0, 15):
            x, y, _ = project(view, (side * 3.0, 0.0, float(ahead)))
            if not (2 <= x < 254 and y < 126):
                continue
            row = rendering.train_ids[round(y)]
            on_road, off_road = round(x - side * 2), round(x + side * 2)
            assert row[on_road] == TRAIN_ID["road"]
            assert row[off_road] == TRAIN_ID["sidewalk"]
            checked += 1
    assert checked > 12


def test_poses_of_a_place_differ_a_little() -> None:
    for name, style in STYLES.items():
        poses = [capture_pose(style, seed=2, place=4, time=time) for time in range(12)]
        across = [pose.across for pose in poses]
        along = [pose.along for pose in poses]
        headings = [pose.heading_degrees for pose in poses]
        pitches = [pose.pitch_degrees for pose in poses]
        assert len(set(poses)) == 12, name
        assert np.ptp(across) <= 1.1
        assert np.ptp(along) <= 1.8
        assert np.ptp(headings) <= 5.0
        assert np.ptp(pitches) <= 1.6
        low, high = style.camera_height
        assert all(low - 0.04 <= pose.height <= high + 0.04 for pose in poses)


def test_the_camera_keeps_to_the_side_that_the_city_drives_on() -> None:
    for name in ("frankfurt", "tokyo"):
        style = replace(STYLES[name], lanes=(2, 2))
        mean = np.mean([capture_pose(style, seed=0, place=p, time=0).across for p in range(30)])
        assert (mean > 0.5) if style.drives_on == "right" else (mean < -0.5)
