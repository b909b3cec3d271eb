"""The renderer's only kind of geometry: flat polygons with a look, one a row of a table.

A row is a plane (origin, two axes), a quadrilateral in the plane's (u, v) metres, and how it
looks. Curved things are flat too: a capsule or a sphere is a polygon that is turned towards the
viewer when it is drawn (`Shape.CAPSULE`, `Shape.SPHERE`, `Shape.LEAVES`), which gives exactly the
silhouette of the round body; its normals are bent when it is shaded.

World coordinates: x to the right of the street, y up, z along the street, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from simcity.style import RGB

Rows = npt.NDArray[np.float64]
Point = tuple[float, float, float]

# Columns of a row.
ORIGIN, AXIS_U, AXIS_V, POLYGON = 0, 3, 6, 9
MATERIAL, LABEL, SHAPE, MOVING, BIAS = 17, 18, 19, 20, 21
COLOUR_A, COLOUR_B, COLOUR_C, PARAMETERS = 22, 25, 28, 31
SEED, SIZE_U, SIZE_V, SLOT_A, SLOT_B = 39, 40, 41, 42, 43
COLUMNS: Final = 44

N_PARAMETERS: Final = 8
_N_LOOK: Final = COLUMNS - MATERIAL
FIXED: Final = -1.0
"""Slot of a colour that an instance does not replace."""


class Shape:
    """Which part of a row's quadrilateral is there (u and v in units of SIZE_U and SIZE_V)."""

    FULL = 0
    ELLIPSE = 1
    CAPSULE = 2
    SPHERE = 3
    LEAVES = 4
    RING = 5
    BARS = 6
    TRIANGLE = 7
    OCTAGON = 8
    FROND = 9
    RIDGE = 10
    DIAMOND = 11
    GRID = 12
    GABLE = 13


class Material:
    """How a row is shaded; the parameters of each stand in `simcity.shading`."""

    MATT = 0
    ASPHALT = 1
    MARKING = 2
    PAVING = 3
    GROUND = 4
    FACADE = 5
    WALL = 6
    ROOF = 7
    LEAF = 8
    PAINT = 9
    GLASS = 10
    LAMP = 11
    SIGN = 12
    SHOP_SIGN = 13
    COACH = 14
    METAL = 15


Look = tuple[float, ...]
"""The columns of a row from MATERIAL on."""


def look(
    material: int,
    label: int,
    colour: RGB,
    trim: RGB | None = None,
    accent: RGB | None = None,
    *,
    shape: int = Shape.FULL,
    parameters: Sequence[float] = (),
    seed: float = 0.0,
    size: tuple[float, float] = (1.0, 1.0),
    bias: float = 0.0,
    moving: bool = False,
    slots: tuple[float, float] = (FIXED, FIXED),
) -> Look:
    """How a polygon looks.

    Args:
        material: One of `Material`.
        label: trainId.
        colour: Main colour, sRGB.
        trim: Second colour; the main one where it is missing.
        accent: Third colour; the second one where it is missing.
        shape: One of `Shape`.
        parameters: At most eight numbers that the material gives a meaning.
        seed: Sets the texture apart from that of other polygons.
        size: Unit of u and v in the shape's test, metres.
        bias: Share by which the polygon is taken for closer, for paint on a surface.
        moving: Whether it belongs to what is another at another time.
        slots: Colours of an instance that replace `colour` and `trim`.
    """
    trim = colour if trim is None else trim
    accent = trim if accent is None else accent
    padding = (0.0,) * (N_PARAMETERS - len(parameters))
    return (
        material,
        label,
        shape,
        float(moving),
        bias,
        *colour,
        *trim,
        *accent,
        *parameters,
        *padding,
        seed,
        *size,
        *slots,
    )


class Mesh:
    """Collects polygons; `rows` lays them out as one table."""

    def __init__(self) -> None:
        self._quads: list[tuple[float, ...]] = []
        self._plates: list[tuple[float, ...]] = []
        self._capsules: list[tuple[float, ...]] = []
        self._spheres: list[tuple[float, ...]] = []
        self._instances: list[Rows] = []

    def quad(self, a: Point, b: Point, c: Point, d: Point, how: Look) -> None:
        """A flat quadrilateral; u runs from a to b, v from a towards d, both in metres."""
        self._quads.append((*a, *b, *c, *d, *how))

    def plate(self, centre: Point, half_u: Point, half_v: Point, how: Look) -> None:
        """A flat piece whose shape is tested around its centre; half axes in metres."""
        self._plates.append((*centre, *half_u, *half_v, *how))

    def capsule(self, a: Point, b: Point, r_a: float, r_b: float, how: Look) -> None:
        """A round rod from a to b whose radius goes from r_a to r_b (ends rounded)."""
        self._capsules.append((*a, *b, r_a, r_b, *how))

    def sphere(self, centre: Point, r_u: float, r_v: float, how: Look) -> None:
        """A ball (or a spheroid r_u wide and r_v high)."""
        self._spheres.append((*centre, r_u, r_v, *how))

    def box(
        self,
        low: Point,
        high: Point,
        how: Look,
        *,
        top: Look | None = None,
        ends: Look | None = None,
        faces: str = "lrfbt",
    ) -> None:
        """An upright box; faces are l(eft), r(ight), f(ront, far z), b(ack), t(op), u(nderside)."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        top = how if top is None else top
        ends = how if ends is None else ends
        if "l" in faces:
            self.quad((x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0), how)
        if "r" in faces:
            self.quad((x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0), how)
        if "f" in faces:
            self.quad((x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1), ends)
        if "b" in faces:
            self.quad((x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0), ends)
        if "t" in faces:
            self.quad((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1), top)
        if "u" in faces:
            self.quad((x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1), top)

    def add(self, rows: Rows) -> None:
        """Rows that are laid out already."""
        self._instances.append(rows)

    def place(
        self,
        template: Rows,
        position: Point,
        yaw: float,
        *,
        scale: float = 1.0,
        colours: Sequence[RGB] = (),
        seed: float = 0.0,
    ) -> None:
        """A copy of template rows, turned by yaw (radians, clockwise from above), then moved."""
        self._instances.append(instance(template, position, yaw, scale, colours, seed))

    def rows(self) -> Rows:
        """All polygons as one (n, COLUMNS) table."""
        parts = [*self._instances]
        if self._quads:
            parts.append(_quad_rows(np.array(self._quads, dtype=np.float64)))
        if self._plates:
            parts.append(_plate_rows(np.array(self._plates, dtype=np.float64)))
        if self._capsules:
            parts.append(_capsule_rows(np.array(self._capsules, dtype=np.float64)))
        if self._spheres:
            parts.append(_sphere_rows(np.array(self._spheres, dtype=np.float64)))
        return np.concatenate(parts) if parts else np.zeros((0, COLUMNS))


def _quad_rows(table: npt.NDArray[np.float64]) -> Rows:
    rows = np.empty((len(table), COLUMNS))
    corners = table[:, :12].reshape(-1, 4, 3)
    origin = corners[:, 0]
    along = corners[:, 1] - origin
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    up = corners[:, 3] - origin
    up = up - np.einsum("ij,ij->i", up, along)[:, None] * along
    # A strip without height (a kerb of 0) stays without an axis and is not drawn.
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-12)
    rows[:, ORIGIN : ORIGIN + 3] = origin
    rows[:, AXIS_U : AXIS_U + 3] = along
    rows[:, AXIS_V : AXIS_V + 3] = up
    offsets = corners - origin[:, None]
    rows[:, POLYGON : POLYGON + 8 : 2] = np.einsum("ijk,ik->ij", offsets, along)
    rows[:, POLYGON + 1 : POLYGON + 8 : 2] = np.einsum("ijk,ik->ij", offsets, up)
    rows[:, MATERIAL:] = table[:, 12:]
    return rows


def _plate_rows(table: npt.NDArray[np.float64]) -> Rows:
    rows = np.empty((len(table), COLUMNS))
    rows[:, ORIGIN : ORIGIN + 3] = table[:, :3]
    u, v = np.linalg.norm(table[:, 3:6], axis=1), np.linalg.norm(table[:, 6:9], axis=1)
    rows[:, AXIS_U : AXIS_U + 3] = table[:, 3:6] / u[:, None]
    rows[:, AXIS_V : AXIS_V + 3] = table[:, 6:9] / v[:, None]
    rows[:, POLYGON : POLYGON + 8] = np.stack([-u, -v, u, -v, u, v, -u, v], axis=1)
    rows[:, MATERIAL:] = table[:, 9:]
    rows[:, SIZE_U], rows[:, SIZE_V] = u, v
    return rows


def _capsule_rows(table: npt.NDArray[np.float64]) -> Rows:
    rows = np.empty((len(table), COLUMNS))
    rows[:, ORIGIN : ORIGIN + 3] = table[:, :3]
    axis = table[:, 3:6] - table[:, :3]
    length = np.linalg.norm(axis, axis=1)
    rows[:, AXIS_V : AXIS_V + 3] = axis / length[:, None]
    rows[:, AXIS_U : AXIS_U + 3] = 0.0
    r_a, r_b = table[:, 6], table[:, 7]
    widest = np.maximum(r_a, r_b)
    rows[:, POLYGON : POLYGON + 8] = np.stack(
        [-widest, -r_a, widest, -r_a, widest, length + r_b, -widest, length + r_b], axis=1
    )
    rows[:, MATERIAL:] = table[:, 8:]
    rows[:, SHAPE] = Shape.CAPSULE
    # A capsule needs its length and two radii in the shape's test.
    rows[:, SIZE_U], rows[:, SIZE_V] = r_a, r_b
    rows[:, PARAMETERS + 7] = length
    return rows


def _sphere_rows(table: npt.NDArray[np.float64]) -> Rows:
    rows = np.empty((len(table), COLUMNS))
    rows[:, ORIGIN : ORIGIN + 3] = table[:, :3]
    rows[:, AXIS_U : AXIS_V + 3] = 0.0
    u, v = table[:, 3], table[:, 4]
    rows[:, POLYGON : POLYGON + 8] = np.stack([-u, -v, u, -v, u, v, -u, v], axis=1)
    rows[:, MATERIAL:] = table[:, 5:]
    rows[:, SHAPE] = np.where(rows[:, SHAPE] == Shape.LEAVES, Shape.LEAVES, Shape.SPHERE)
    rows[:, SIZE_U], rows[:, SIZE_V] = u, v
    return rows


def instance(
    template: Rows,
    position: Point,
    yaw: float,
    scale: float,
    colours: Sequence[RGB],
    seed: float,
) -> Rows:
    """A copy of template rows, scaled, turned and moved, its colour slots filled."""
    rows = template.copy()
    cos, sin = float(np.cos(yaw)), float(np.sin(yaw))
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    turned = rows[:, :POLYGON].reshape(-1, 3) @ turn.T
    rows[:, :POLYGON] = turned.reshape(-1, POLYGON)
    rows[:, ORIGIN : ORIGIN + 3] *= scale
    rows[:, ORIGIN : ORIGIN + 3] += position
    rows[:, POLYGON : POLYGON + 8] *= scale
    rows[:, SIZE_U : SIZE_V + 1] *= scale
    capsules = rows[:, SHAPE] == Shape.CAPSULE
    rows[capsules, PARAMETERS + 7] *= scale
    rows[:, SEED] += seed
    if colours:
        table = np.array(colours, dtype=np.float64)
        for slot, column in ((SLOT_A, COLOUR_A), (SLOT_B, COLOUR_B)):
            chosen = rows[:, slot] >= 0
            rows[chosen, column : column + 3] = table[rows[chosen, slot].astype(np.intp)]
    return rows
