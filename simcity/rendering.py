"""`render`: one capture of one place of a city, with its exact labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simcity.camera import (
    Pose,
    capture_pose,
    checked_style,
    image_size,
    turned_by,
    view_of,
    whole_numbers,
)
from simcity.lens import labels_of, photograph
from simcity.scene import Scene
from simcity.street import Sight, lay_street
from simcity.style import CityStyle


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
        ValueError: An argument is out of range, or no such thing.
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
    """`render` from a pose of one's own, and without what moves if `moving` is False.

    Raises:
        ValueError: An argument is out of range, or no such thing.
    """
    seed, place, time = whole_numbers(seed=seed, place=place, time=time)
    height, width = image_size("An image", height, width)
    checked_style(style)
    heading = turned_by(heading)
    street = lay_street(style, seed, place)
    view = view_of(pose, street.ground(pose.along), heading, style.fov_degrees, height, width)
    sight = Sight(
        pose.across,
        pose.along,
        math.radians(heading + pose.heading_degrees),
        1.15 * math.tan(math.radians(style.fov_degrees) / 2) + 0.1,
    )
    key = (seed, place, time)
    scene = Scene(style, street, sight, key, street.ground(pose.along), moving=moving)
    seen = scene.seen_from(view, height, width)
    train_ids, static = labels_of(seen.ident, seen.closeness, scene.rows, height, width)
    image = photograph(style, scene.light, seen.radiance, key)
    return Rendering(image=image, train_ids=train_ids, static=static)
