"""All that is drawn of a street at a time, and the light that reaches a camera from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from simcity.arrays import Floats, Indices, Singles
from simcity.camera import OVERSAMPLING
from simcity.compiled import draw_wires, rasterise, shade
from simcity.layout import build_static
from simcity.light import SHADOWS, Light, light_of, sun_view
from simcity.mesh import COLOUR_A, PARAMETERS, Rows
from simcity.noise import noise_tile
from simcity.rasteriser import PLANE_SIZE
from simcity.street import Sight, Street
from simcity.style import CityStyle
from simcity.traffic import Footprints, build_moving

_NEAR_SHADOWS: Final = (512, 64.0)
_FAR_SHADOWS: Final = (512, 260.0)
_CONTACT_CELLS: Final = 4.0
_CONTACT_SIDE: Final = 100.0
_WIRE_COLOUR: Final = 0.03

ShadowMap = tuple[Singles, Floats]
"""Closeness to the sun, and the projection that it was drawn in."""


@dataclass(frozen=True)
class Reach:
    """Where light is looked up, in metres ahead of the camera; 0 for one that looks every way."""

    contact: float = 0.42 * _CONTACT_SIDE
    near_shadows: float = 24.0
    far_shadows: float = 105.0


ALL_ROUND: Final = Reach(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Seen:
    """What a camera sees, in samples: `OVERSAMPLING` of them a pixel each way.

    Attributes:
        radiance: (H, W, 3) float32 linear light.
        ident: (H, W) int32 row that each sample shows, -1 for the sky.
        closeness: (H, W) float32.
    """

    radiance: Singles
    ident: Indices
    closeness: Singles


class Scene:
    """A street with everything in it, and its light.

    Args:
        style: City.
        street: Its street.
        sight: What of it may be seen.
        key: Seed, place and time.
        ground: Height of the ground at the camera, metres.
        moving: Whether what moves is in it.
        reach: Where light is looked up.
    """

    def __init__(
        self,
        style: CityStyle,
        street: Street,
        sight: Sight,
        key: tuple[int, int, int],
        ground: float,
        *,
        moving: bool = True,
        reach: Reach | None = None,
    ) -> None:
        seed, place, time = key
        reach = reach or Reach()
        rows, self._wires = build_static(style, street, sight, seed, place)
        footprints = Footprints()
        if moving:
            movers, footprints = build_moving(style, street, sight, seed, place, time)
            rows = np.concatenate([rows, movers])
        _to_linear(rows)
        self.rows: Rows = rows
        self.light: Light = light_of(style, seed, place, time)
        self._contact = _contact_map(footprints, sight, reach.contact)
        self._near = self._shadow_map(_NEAR_SHADOWS, sight, ground, reach.near_shadows)
        self._far = self._shadow_map(_FAR_SHADOWS, sight, ground, reach.far_shadows)

    def seen_from(self, view: Floats, height: int, width: int) -> Seen:
        """What a camera sees in an image of that size, wires included."""
        closeness, ident, planes = self._drawn(view, (OVERSAMPLING * height, OVERSAMPLING * width))
        radiance = np.empty((*ident.shape, 3), dtype=np.float32)
        light = self.light.vector
        shade(
            self.rows, planes, ident, view, light, self._near, self._far, self._contact,
            noise_tile(), radiance,
        )  # fmt: skip
        if self._wires.pieces:
            pieces = np.array(self._wires.pieces)
            colours = np.full((len(pieces), 3), _WIRE_COLOUR)
            draw_wires(pieces, colours, closeness, view, light, radiance)
        return Seen(radiance, ident, closeness)

    def _drawn(self, view: Floats, size: tuple[int, int]) -> tuple[Singles, Indices, Floats]:
        """Closeness, row and plane of every sample."""
        perspective = view[15] > 0.5
        closeness = np.full(size, 0.0 if perspective else -np.inf, dtype=np.float32)
        ident = np.full(size, -1, dtype=np.int32)
        planes = np.empty((len(self.rows), PLANE_SIZE))
        offsets = self.rows[:, :3] - view[:3]
        depth = offsets @ view[9:12]
        order = np.argsort(
            np.einsum("ij,ij->i", offsets, offsets) if perspective else depth, kind="stable"
        )
        leaf_cut = self.light.leaf_cut
        rasterise(self.rows, order, view, closeness, ident, planes, leaf_cut, noise_tile())
        return closeness, ident, planes

    def _shadow_map(
        self, size: tuple[int, float], sight: Sight, ground: float, ahead: float
    ) -> ShadowMap:
        """Depth seen from the sun around a point so many metres ahead of the camera."""
        texels, extent = size
        focus = (
            sight.x + ahead * math.sin(sight.heading),
            ground + 3.0,
            sight.z + ahead * math.cos(sight.heading),
        )
        view = sun_view(self.light, focus, extent, texels)
        if self.light.vector[SHADOWS] > 0.5:
            return self._drawn(view, (texels, texels))[0], view
        return np.zeros((2, 2), dtype=np.float32), view


def _to_linear(rows: Rows) -> None:
    """SRGB colours become linear reflectances (of which nothing is quite black or white)."""
    colours = rows[:, COLOUR_A:PARAMETERS]
    colours[:] = 0.008 + 0.88 * (colours / 255.0) ** 2.2


def _contact_map(footprints: Footprints, sight: Sight, ahead: float) -> tuple[Singles, Floats]:
    """How open the ground is to the sky around a point ahead of the camera, and where that is.

    The place is x of column 0, z of row 0, and cells a metre.
    """
    side = int(_CONTACT_SIDE * _CONTACT_CELLS)
    x0 = sight.x + ahead * math.sin(sight.heading) - _CONTACT_SIDE / 2
    z0 = sight.z + ahead * math.cos(sight.heading) - _CONTACT_SIDE / 2
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
    return openness, np.array([x0, z0, _CONTACT_CELLS])
