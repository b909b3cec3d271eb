# mypy: disable-error-code="no-any-return"
# ruff: noqa: PLR0911, PLR0912  (what lies where is a cascade of early returns)
"""Which polygon is seen where: a z-buffer over the rows of a mesh.

A sample with homogeneous position d = (X, Y, 1) sees the plane O + uU + vV at

    u = d·(V×O) / d·(U×V),   v = d·(O×U) / d·(U×V),   1/depth = d·(U×V) / O·(U×V)

so u and v are exact in perspective; a parallel projection gives affine functions in their place,
and one routine serves the camera and the sun's shadow maps.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from simcity.arrays import Floats, Indices, Singles, inlined, kernel
from simcity.mesh import (
    AXIS_U,
    AXIS_V,
    BIAS,
    ORIGIN,
    PARAMETERS,
    POLYGON,
    SEED,
    SHAPE,
    SIZE_U,
    SIZE_V,
    Shape,
)
from simcity.noise import smooth_noise

VIEW_SIZE: Final = 18
"""eye 0:3, right 3:6, up 6:9, forward 9:12, focal, centre x, centre y, perspective, spare."""
PLANE_SIZE: Final = 18
"""Per row: u numerator 0:3, v numerator 3:6, denominator 6:9, closeness 9:12, U axis 12:15, V 15:18
(numerators and closeness are linear in (X, Y, 1); axes are in the world, as drawn)."""

NEAR: Final = 0.2
"""Nearest depth that is drawn, metres."""

_FULL, _ELLIPSE, _CAPSULE, _SPHERE, _LEAVES = (
    Shape.FULL,
    Shape.ELLIPSE,
    Shape.CAPSULE,
    Shape.SPHERE,
    Shape.LEAVES,
)
_RING, _BARS, _TRIANGLE, _OCTAGON, _FROND = (
    Shape.RING,
    Shape.BARS,
    Shape.TRIANGLE,
    Shape.OCTAGON,
    Shape.FROND,
)
_RIDGE, _DIAMOND, _GRID, _GABLE = Shape.RIDGE, Shape.DIAMOND, Shape.GRID, Shape.GABLE


@kernel
def inside(shape: int, u: float, v: float, row: Floats, leaf_cut: float, noise: Singles) -> bool:
    """Whether a point of a row's plane (metres) is part of its shape."""
    if shape == _CAPSULE:
        length = row[PARAMETERS + 7]
        r_a, r_b = row[SIZE_U], row[SIZE_V]
        if v < 0.0:
            return u * u + v * v <= r_a * r_a
        if v > length:
            return u * u + (v - length) * (v - length) <= r_b * r_b
        return abs(u) <= r_a + (r_b - r_a) * v / length
    x, y = u / row[SIZE_U], v / row[SIZE_V]
    if shape in (_ELLIPSE, _SPHERE):
        return x * x + y * y <= 1.0
    if shape == _LEAVES:
        r2 = x * x + y * y
        if r2 > 1.0:
            return False
        seed = row[SEED]
        fine = smooth_noise(noise, u * 0.21 + seed * 0.37, v * 0.21 + seed * 0.71)
        coarse = smooth_noise(noise, u * 0.06 + seed * 0.17, v * 0.06 + seed * 0.53)
        return 1.0 - r2 + 0.9 * (fine - 0.5) + 0.8 * (coarse - 0.5) > leaf_cut
    if shape == _RING:
        r = math.sqrt(x * x + y * y)
        if r > 1.0:
            return False
        inner = row[PARAMETERS]
        if r >= inner or r < 0.12:
            return True
        if inner > 0.8:
            spoke = math.atan2(y, x) * 2.2281692  # 14 spokes
            return abs(spoke - math.floor(spoke) - 0.5) > 0.47
        return False
    if shape == _BARS:
        period, width, rail = row[PARAMETERS], row[PARAMETERS + 1], row[PARAMETERS + 2]
        height = row[PARAMETERS + 3]
        if v > height - rail or (v > 0.15 and v < 0.15 + rail):
            return True
        k = u / period
        return k - math.floor(k) < width
    if shape == _GRID:
        period, width = row[PARAMETERS], row[PARAMETERS + 1]
        a, b = u / period, v / period
        height = row[PARAMETERS + 3]
        if v > height - 0.06:
            return True
        return a - math.floor(a) < width or b - math.floor(b) < width
    if shape == _TRIANGLE:
        return y >= -0.95 and abs(x) <= 0.5 * (1.0 - y)
    if shape == _OCTAGON:
        return abs(x) <= 1.0 and abs(y) <= 1.0 and abs(x) + abs(y) <= 1.414
    if shape == _DIAMOND:
        return abs(x) + abs(y) <= 1.0
    if shape == _FROND:
        cut = smooth_noise(noise, u * 0.5 + row[SEED] * 0.3, v * 0.12 + 0.3)
        return abs(y) <= (0.25 + 0.9 * cut) * math.sqrt(max(0.0, 1.0 - x * x))
    if shape == _RIDGE:
        seed = row[SEED]
        height = smooth_noise(noise, u / row[SIZE_U] * 0.05 + seed * 0.13, 0.37 + seed * 0.03)
        height = height * 0.8 + 0.12 * smooth_noise(noise, u / row[SIZE_U] * 0.8, 0.11)
        return v < row[SIZE_V] * height
    if shape == _GABLE:
        return y <= 1.0 - abs(x)
    return True


@kernel
def _facing_axes(row: Floats, view: Floats, axes: Floats) -> None:
    """Writes the U and V axes a row is drawn with; round bodies turn towards the viewer."""
    shape = int(row[SHAPE])
    if shape not in (_CAPSULE, _SPHERE, _LEAVES):
        for k in range(3):
            axes[k] = row[AXIS_U + k]
            axes[3 + k] = row[AXIS_V + k]
        return
    if view[15] > 0.5:
        wx, wy, wz = row[0] - view[0], row[1] - view[1], row[2] - view[2]
    else:
        wx, wy, wz = view[9], view[10], view[11]
    if shape == _CAPSULE:
        vx, vy, vz = row[AXIS_V], row[AXIS_V + 1], row[AXIS_V + 2]
    else:
        vx, vy, vz = 0.0, 1.0, 0.0
    ux, uy, uz = vy * wz - vz * wy, vz * wx - vx * wz, vx * wy - vy * wx
    norm = math.sqrt(ux * ux + uy * uy + uz * uz)
    if norm < 1e-9:
        ux, uy, uz, norm = 1.0, 0.0, 0.0, 1.0
    axes[0], axes[1], axes[2] = ux / norm, uy / norm, uz / norm
    if shape != _CAPSULE:
        # A ball faces the viewer with both axes.
        ux, uy, uz = axes[0], axes[1], axes[2]
        vx, vy, vz = wy * uz - wz * uy, wz * ux - wx * uz, wx * uy - wy * ux
        norm = math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx / norm, vy / norm, vz / norm
    axes[3], axes[4], axes[5] = vx, vy, vz


@inlined
def _cross(a: Floats, b: Floats, out: Floats) -> None:
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@inlined
def _linear_in_pixels(c: Floats, focal: float, cx: float, cy: float, out: Floats, at: int) -> None:
    """c·((x-cx)/f, (cy-y)/f, 1) as coefficients of (x, y, 1)."""
    out[at] = c[0] / focal
    out[at + 1] = -c[1] / focal
    out[at + 2] = c[2] - c[0] * cx / focal + c[1] * cy / focal


@kernel
def _to_camera(row: Floats, view: Floats, axes: Floats, frame: Floats) -> None:
    """Writes origin and axes of a row as seen from the camera: the rows of frame (3, 3)."""
    for k in range(3):
        at = 3 + 3 * k
        frame[0, k], frame[1, k], frame[2, k] = 0.0, 0.0, 0.0
        for m in range(3):
            frame[0, k] += (row[ORIGIN + m] - view[m]) * view[at + m]
            frame[1, k] += axes[m] * view[at + m]
            frame[2, k] += axes[3 + m] * view[at + m]


@kernel
def _clipped(row: Floats, frame: Floats, perspective: bool, corners: Floats, kept: Floats) -> int:
    """Writes the corners (n, 3) in camera coordinates, cut at NEAR; gives their number."""
    before = 0
    for k in range(4):
        u, v = row[POLYGON + 2 * k], row[POLYGON + 2 * k + 1]
        for m in range(3):
            corners[k, m] = frame[0, m] + u * frame[1, m] + v * frame[2, m]
        before += corners[k, 2] < NEAR
    if not perspective or before == 0:
        kept[:4] = corners[:4]
        return 4
    if before == 4:
        return 0
    count = 0
    for k in range(4):
        j = (k + 1) % 4
        here, there = corners[k, 2], corners[j, 2]
        if here >= NEAR:
            kept[count] = corners[k]
            count += 1
        if (here >= NEAR) != (there >= NEAR):
            t = (NEAR - here) / (there - here)
            for m in range(3):
                kept[count, m] = corners[k, m] + t * (corners[j, m] - corners[k, m])
            count += 1
    return count


@kernel
def _set_plane(frame: Floats, axes: Floats, view: Floats, plane: Floats, spare: Floats) -> bool:
    """Writes a row of `planes`; False for a plane that is seen edge-on."""
    focal, cx, cy = view[12], view[13], view[14]
    o, uu, vv = frame[0], frame[1], frame[2]
    a, b, c = spare[0], spare[1], spare[2]
    if view[15] > 0.5:
        _cross(uu, vv, c)
        depth = o[0] * c[0] + o[1] * c[1] + o[2] * c[2]
        if abs(depth) < 1e-9:
            return False
        _cross(vv, o, a)
        _cross(o, uu, b)
        for k in range(3):
            a[k], b[k], c[k] = a[k] / depth, b[k] / depth, c[k] / depth
        _linear_in_pixels(c, focal, cx, cy, plane, 6)
    else:
        # Solve uU + vV = P - O in the first two coordinates.
        det = uu[0] * vv[1] - uu[1] * vv[0]
        if abs(det) < 1e-9:
            return False
        a[0], a[1] = vv[1] / det, -vv[0] / det
        a[2] = -(a[0] * o[0] + a[1] * o[1])
        b[0], b[1] = -uu[1] / det, uu[0] / det
        b[2] = -(b[0] * o[0] + b[1] * o[1])
        plane[6], plane[7], plane[8] = 0.0, 0.0, 1.0
    _linear_in_pixels(a, focal, cx, cy, plane, 0)
    _linear_in_pixels(b, focal, cx, cy, plane, 3)
    for k in range(3):
        if view[15] > 0.5:
            plane[9 + k] = plane[6 + k]
        else:
            plane[9 + k] = -(plane[k] * uu[2] + plane[3 + k] * vv[2])
        plane[12 + k], plane[15 + k] = axes[k], axes[3 + k]
    if view[15] < 0.5:
        plane[11] -= o[2]
    return True


@kernel
def _fill(
    index: int,
    row: Floats,
    plane: Floats,
    outline: Floats,
    count: int,
    perspective: bool,
    closeness: Singles,
    ident: Indices,
    leaf_cut: float,
    noise: Singles,
) -> None:
    """Draws one polygon line by line; outline is (n, 2) in samples, and convex."""
    height, width = ident.shape
    shape = int(row[SHAPE])
    bias = 1.0 + row[BIAS] if perspective else 1.0
    y_min, y_max = 1e30, -1e30
    for k in range(count):
        y_min, y_max = min(y_min, outline[k, 1]), max(y_max, outline[k, 1])
    for y in range(max(0, math.ceil(y_min)), min(height - 1, math.floor(y_max)) + 1):
        left, right = 1e30, -1e30
        for k in range(count):
            j = k + 1 if k + 1 < count else 0
            y0, y1 = outline[k, 1], outline[j, 1]
            if (y0 <= y) == (y1 <= y):
                continue
            x_cut = outline[k, 0] + (y - y0) * (outline[j, 0] - outline[k, 0]) / (y1 - y0)
            left, right = min(left, x_cut), max(right, x_cut)
        if right < left:
            continue
        near = plane[10] * y + plane[11]
        for x in range(max(0, math.ceil(left)), min(width - 1, math.floor(right)) + 1):
            key = (plane[9] * x + near) * bias
            if key <= closeness[y, x]:
                continue
            if shape != _FULL:
                den = plane[6] * x + plane[7] * y + plane[8]
                u = (plane[0] * x + plane[1] * y + plane[2]) / den
                v = (plane[3] * x + plane[4] * y + plane[5]) / den
                if not inside(shape, u, v, row, leaf_cut, noise):
                    continue
                if shape == _LEAVES:
                    # Balls of leaves reach towards the viewer, so that neighbours mix.
                    r2 = (u / row[SIZE_U]) ** 2 + (v / row[SIZE_V]) ** 2
                    reach = row[SIZE_U] * math.sqrt(max(0.0, 1.0 - r2))
                    key = key / (1.0 - reach * key) if perspective else key + reach
                    if key <= closeness[y, x]:
                        continue
            closeness[y, x] = key
            ident[y, x] = index


@kernel
def rasterise(
    rows: Floats,
    order: npt.NDArray[np.intp],
    view: Floats,
    closeness: Singles,
    ident: Indices,
    planes: Floats,
    leaf_cut: float,
    noise: Singles,
) -> None:
    """Draws all rows into a z-buffer.

    Args:
        rows: Mesh table.
        order: Indices of the rows in the order of drawing; near ones first is fastest.
        view: (VIEW_SIZE,) projection.
        closeness: (H, W) float32, filled: larger is closer (1/depth, or -depth for the sun).
            Must hold the background's closeness.
        ident: (H, W) int32, filled with the row that is seen; -1 where it was and stays so.
        planes: (n, PLANE_SIZE) float64, filled.
        leaf_cut: Threshold that thins foliage (higher is thinner).
        noise: Noise tile.
    """
    height, width = ident.shape
    perspective = view[15] > 0.5
    axes, frame, spare = np.empty(6), np.empty((3, 3)), np.empty((3, 3))
    corners, kept = np.empty((8, 3)), np.empty((8, 3))
    for i in order:
        row = rows[i]
        _facing_axes(row, view, axes)
        _to_camera(row, view, axes, frame)
        count = _clipped(row, frame, perspective, corners, kept)
        x_min, x_max, y_min, y_max = 1e30, -1e30, 1e30, -1e30
        for k in range(count):
            scale = view[12] / kept[k, 2] if perspective else view[12]
            x, y = view[13] + scale * kept[k, 0], view[14] - scale * kept[k, 1]
            kept[k, 0], kept[k, 1] = x, y
            x_min, x_max = min(x_min, x), max(x_max, x)
            y_min, y_max = min(y_min, y), max(y_max, y)
        # Written so that a polygon with a NaN is left out, too.
        if not (x_max >= 0 and y_max >= 0 and x_min <= width - 1 and y_min <= height - 1):
            continue
        if _set_plane(frame, axes, view, planes[i], spare):
            _fill(i, row, planes[i], kept, count, perspective, closeness, ident, leaf_cut, noise)


def blank_view() -> npt.NDArray[np.float64]:
    """A view to be filled."""
    return np.zeros(VIEW_SIZE)
