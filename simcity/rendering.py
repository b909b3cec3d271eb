"""`render`: one capture of one place of a city, with its exact labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from simcity.camera import OVERSAMPLING, Pose, capture_pose, check_numbers, view_of
from simcity.compiled import draw_wires, rasterise, shade
from simcity.layout import build_static
from simcity.lens import labels_of, photograph
from simcity.light import SHADOWS, Light, light_of, sun_view
from simcity.mesh import COLOUR_A, PARAMETERS, Rows
from simcity.noise import noise_tile
from simcity.rasteriser import PLANE_SIZE
from simcity.street import Sight, lay_street
from simcity.style import CityStyle
from simcity.traffic import Footprints, build_moving

MAX_SIDE: Final = 8192
"""Largest side of an image, pixels."""

_NEAR_SHADOWS: Final = (512, 64.0)
_FAR_SHADOWS: Final = (512, 260.0)
_CONTACT_CELLS: Final = 4.0
_CONTACT_SIDE: Final = 100.0
_WIRE_COLOUR: Final = 0.03


@dataclass(frozen=True)
class Rendering:
    """One capture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        train_ids: (H, W) uint8 trainIds; 255 where there is nothing (it does not occur).
        static: (H, W) bool, True where the pixel shows the static world, sky included.
    """

    image: npt.NDArray[np.uint8]
    train_ids: npt.NDArray[np.uint8]
    static: npt.NDArray[np.bool_]


def render(
    style: CityStyle,
    *,
    seed: int,
    place: int,
    time: int,
    height: int,
    width: int,
    heading: float = 0.0,
) -> Rendering:
    """Renders a place of a city at a time.

    The static world is fixed by (style, seed, place). The time changes light, season, a small
    part of the pose, and everything that moves. The world does not depend on the size of the
    image; the same arguments give the same bytes.

    Args:
        style: City.
        seed: Which city of that style; 0 or more.
        place: Number of the place; 0 or more.
        time: Number of the capture; 0 or more.
        height: Of the image, pixels, 1 to 8192.
        width: Of the image, pixels, 1 to 8192.
        heading: Degrees clockwise from the direction of the street: 0 along, 180 back.

    Raises:
        ValueError: An argument is out of range.
    """
    pose = capture_pose(style, seed=seed, place=place, time=time)
    return render_from(
        pose,
        style,
        seed=seed,
        place=place,
        time=time,
        height=height,
        width=width,
        heading=heading,
    )


def render_from(
    pose: Pose,
    style: CityStyle,
    *,
    seed: int,
    place: int,
    time: int,
    height: int,
    width: int,
    heading: float = 0.0,
    moving: bool = True,
) -> Rendering:
    """`render` from a pose of one's own, and without what moves if `moving` is False."""
    check_numbers(seed=seed, place=place, time=time, height=height, width=width)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(
            f"An image has sides of 1 to {MAX_SIDE} pixels, not {height}×{width} (height × width)."
        )
    if not math.isfinite(heading):
        raise ValueError(f"The heading is a number of degrees, not {heading}.")
    street = lay_street(style, seed, place)
    view = view_of(pose, street.ground(pose.along), heading, style.fov_degrees, height, width)
    light = light_of(style, seed, place, time)
    sight = Sight(
        pose.across,
        pose.along,
        math.radians(heading + pose.heading_degrees),
        1.15 * math.tan(math.radians(style.fov_degrees) / 2) + 0.1,
    )
    rows, wires = build_static(style, street, sight, seed, place)
    footprints = Footprints()
    if moving:
        movers, footprints = build_moving(style, street, sight, seed, place, time)
        rows = np.concatenate([rows, movers])
    _to_linear(rows)
    closeness, ident, planes = _draw(
        rows, view, (OVERSAMPLING * height, OVERSAMPLING * width), light
    )
    radiance = np.empty((*ident.shape, 3), dtype=np.float32)
    frame, openness = _contact_map(footprints, sight)
    shadows = _shadow_maps(rows, light, sight, street.ground(pose.along))
    shade(
        rows, planes, ident, view, light.vector, *shadows, openness, frame,
        noise_tile(), radiance,
    )  # fmt: skip
    if wires.pieces:
        pieces = np.array(wires.pieces)
        colours = np.full((len(pieces), 3), _WIRE_COLOUR)
        draw_wires(pieces, colours, closeness, view, light.vector, radiance)
    train_ids, static = labels_of(ident, closeness, rows, height, width)
    image = photograph(style, light, radiance, (seed, place, time))
    return Rendering(image=image, train_ids=train_ids, static=static)


def _to_linear(rows: Rows) -> None:
    """SRGB colours become linear reflectances (of which nothing is quite black or white)."""
    colours = rows[:, COLOUR_A:PARAMETERS]
    colours[:] = 0.008 + 0.88 * (colours / 255.0) ** 2.2


def _draw(
    rows: Rows, view: npt.NDArray[np.float64], size: tuple[int, int], light: Light
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    perspective = view[15] > 0.5
    closeness = np.full(size, 0.0 if perspective else -np.inf, dtype=np.float32)
    ident = np.full(size, -1, dtype=np.int32)
    planes = np.empty((len(rows), PLANE_SIZE))
    offsets = rows[:, :3] - view[:3]
    depth = offsets @ view[9:12]
    order = np.argsort(
        np.einsum("ij,ij->i", offsets, offsets) if perspective else depth, kind="stable"
    )
    rasterise(rows, order, view, closeness, ident, planes, light.leaf_cut, noise_tile())
    return closeness, ident, planes


def _shadow_maps(
    rows: Rows,
    light: Light,
    sight: Sight,
    ground: float,
    aheads: tuple[float, float] = (24.0, 105.0),
) -> tuple[
    npt.NDArray[np.float32],
    npt.NDArray[np.float64],
    npt.NDArray[np.float32],
    npt.NDArray[np.float64],
]:
    """Depth seen from the sun around the near part of the street, and around all of it.

    The maps are centred so many metres ahead of the camera.
    """
    found: list[npt.NDArray[np.float32] | npt.NDArray[np.float64]] = []
    for (texels, extent), ahead in zip((_NEAR_SHADOWS, _FAR_SHADOWS), aheads, strict=True):
        focus = (
            sight.x + ahead * math.sin(sight.heading),
            ground + 3.0,
            sight.z + ahead * math.cos(sight.heading),
        )
        view = sun_view(light, focus, extent, texels)
        if light.vector[SHADOWS] > 0.5:
            found.append(_draw(rows, view, (texels, texels), light)[0])
        else:
            found.append(np.zeros((2, 2), dtype=np.float32))
        found.append(view)
    return tuple(found)  # type: ignore[return-value]


def _contact_map(
    footprints: Footprints, sight: Sight, reach: float = 0.42 * _CONTACT_SIDE
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """How open the ground is to the sky, around a point `reach` metres ahead of the camera."""
    side = int(_CONTACT_SIDE * _CONTACT_CELLS)
    x0 = sight.x + reach * math.sin(sight.heading) - _CONTACT_SIDE / 2
    z0 = sight.z + reach * math.cos(sight.heading) - _CONTACT_SIDE / 2
    covered = np.zeros((side, side), dtype=np.uint8)
    for x, z, yaw, half_width, half_length in footprints.boxes:
        sin, cos = math.sin(yaw), math.cos(yaw)
        corners = [
            (x + a * cos + b * sin - x0, z - a * sin + b * cos - z0)
            for a, b in (
                (-half_width, -half_length),
                (half_width, -half_length),
                (half_width, half_length),
                (-half_width, half_length),
            )
        ]
        points = np.rint(np.array(corners) * _CONTACT_CELLS * 16).astype(np.int32)
        cv2.fillConvexPoly(covered, points, 255, lineType=cv2.LINE_8, shift=4)
    soft = cv2.GaussianBlur(covered, (0, 0), 0.4 * _CONTACT_CELLS)
    openness = 1.0 - soft.astype(np.float32) * np.float32(0.8 / 255.0)
    return np.array([x0, z0, _CONTACT_CELLS]), openness
