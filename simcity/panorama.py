"""Panoramas of the simulated cities: what an all-round camera at a pose would take.

The six faces of a cube are rendered from one build of the street and resampled to one
equirectangular picture (its conventions: `crosscity.panorama`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from simcity.camera import Pose, checked_style, image_size, view_of, whole_numbers
from simcity.lens import photograph
from simcity.mesh import Point
from simcity.scene import ALL_ROUND, Scene
from simcity.street import Sight, lay_street
from simcity.style import CityStyle

_FACES: Final = ((0.0, 0.0), (90.0, 0.0), (180.0, 0.0), (270.0, 0.0), (0.0, 90.0), (0.0, -90.0))
"""Heading and pitch of the faces, degrees."""
_FACE_FOV: Final = 94.0
"""A little more than a right angle, so that interpolation never leaves a face."""


@dataclass(frozen=True)
class _AllRound(Sight):
    """Sight of a camera that looks every way."""

    def sees(self, point: Point, radius: float) -> bool:  # noqa: ARG002
        """Everything may be seen."""
        return True


def render_panorama(
    pose: Pose,
    style: CityStyle,
    *,
    seed: int,
    place: int,
    time: int,
    height: int,
    width: int,
) -> npt.NDArray[np.uint8]:
    """Renders all that is seen from a pose; the camera is level, whatever the pose's pitch.

    Lens and grain of the style's camera are left out: they are of a picture, and a panorama is
    put together from many.

    Args:
        pose: Where the camera stands; its heading is in the middle of the picture.
        style: City.
        seed: Which city of that style; 0 or more.
        place: Number of the place; 0 or more.
        time: Number of the capture; 0 or more.
        height: Of the picture, pixels, 1 to 8192.
        width: Of the picture, pixels, 1 to 8192; twice the height for square pixels.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: An argument is out of range, or that is no style.
    """
    checked_style(style)
    seed, place, time = whole_numbers(seed=seed, place=place, time=time)
    height, width = image_size("A panorama", height, width)
    side = max(8, math.ceil(width / math.pi * math.tan(math.radians(_FACE_FOV) / 2)))
    faces = _render_faces(pose, style, (seed, place, time), side)
    longitude = (np.arange(width) + 0.5) / width * 2 * math.pi - math.pi
    latitude = math.pi / 2 - (np.arange(height) + 0.5) / height * math.pi
    direction = np.stack(
        np.broadcast_arrays(
            np.sin(longitude)[None] * np.cos(latitude)[:, None],
            np.sin(latitude)[:, None],
            np.cos(longitude)[None] * np.cos(latitude)[:, None],
        )
    )
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    owner = np.full((height, width), -np.inf)
    for face, (heading, pitch) in zip(faces, _FACES, strict=True):
        right, up, ahead = _in_face(direction, heading, pitch)
        nearest = ahead > owner  # the face whose axis is closest sees a point best
        owner[nearest] = ahead[nearest]
        scale = side / 2 / math.tan(math.radians(_FACE_FOV) / 2)
        depth = np.maximum(ahead, 1e-6)
        x = ((side - 1) / 2 + scale * right / depth).astype(np.float32)
        y = ((side - 1) / 2 - scale * up / depth).astype(np.float32)
        seen = cv2.remap(face, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        picture[nearest] = seen[nearest]
    return picture


def _in_face(
    direction: npt.NDArray[np.float64], heading: float, pitch: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Right, up and ahead of a face, of vectors that are right, up and ahead of the camera."""
    cos_h, sin_h = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    cos_p, sin_p = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    right = cos_h * direction[0] - sin_h * direction[2]
    level = sin_h * direction[0] + cos_h * direction[2]
    return right, cos_p * direction[1] - sin_p * level, cos_p * level + sin_p * direction[1]


def _render_faces(
    pose: Pose, style: CityStyle, key: tuple[int, int, int], side: int
) -> list[npt.NDArray[np.uint8]]:
    street = lay_street(style, *key[:2])
    ground = street.ground(pose.along)
    sight = _AllRound(pose.across, pose.along, math.radians(pose.heading_degrees), 1.0)
    scene = Scene(style, street, sight, key, ground, reach=ALL_ROUND)
    bare = replace(style, vignetting=0.0, noise=0.0, blur=0.0)
    faces = []
    for heading, pitch in _FACES:
        view = view_of(replace(pose, pitch_degrees=pitch), ground, heading, _FACE_FOV, side, side)
        seen = scene.seen_from(view, side, side)
        faces.append(photograph(bare, scene.light, seen.radiance, key))
    return faces
