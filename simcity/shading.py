# mypy: disable-error-code="no-any-return"
"""Light on surfaces: sun and sky, shadows, mirrors, haze; and the sky itself."""

from __future__ import annotations

import math

import numpy as np

from simcity.arrays import Colour, Floats, Indices, Singles, inlined, kernel
from simcity.light import (
    BOUNCE,
    CLOUD_X,
    CLOUD_Y,
    COVER,
    HAZE,
    HAZE_COLOUR,
    HORIZON,
    SHADOWS,
    SKY_LIGHT,
    SUN,
    SUN_COLOUR,
    ZENITH,
)
from simcity.materials import surface
from simcity.mesh import (
    MATERIAL,
    PARAMETERS,
    SHAPE,
    SIZE_U,
    SIZE_V,
    Material,
    Shape,
)
from simcity.noise import smooth_noise
from simcity.patterns import smooth_step

_CAPSULE, _SPHERE, _LEAVES = Shape.CAPSULE, Shape.SPHERE, Shape.LEAVES
_GROUND, _LEAF, _PAINT = Material.GROUND, Material.LEAF, Material.PAINT


@kernel
def sky_colour(light: Floats, noise: Singles, x: float, y: float, z: float) -> Colour:
    """Radiance of the sky in a direction (unit vector)."""
    t = max(0.0, y) ** 0.55
    r = light[HORIZON] + (light[ZENITH] - light[HORIZON]) * t
    g = light[HORIZON + 1] + (light[ZENITH + 1] - light[HORIZON + 1]) * t
    b = light[HORIZON + 2] + (light[ZENITH + 2] - light[HORIZON + 2]) * t
    cover = light[COVER]
    if y > 0.0 and cover > 0.0:
        k = 0.11 / (y + 0.16)
        px, pz = x * k + light[CLOUD_X], z * k + light[CLOUD_Y]
        n = 0.72 * smooth_noise(noise, px, pz) + 0.28 * smooth_noise(noise, px * 3.7, pz * 3.7)
        share = smooth_step(1.0 - cover, 1.32 - cover, n) * min(1.0, y * 7.0)
        lit = 0.78 + 0.5 * smooth_noise(noise, px * 1.9 + 0.31, pz * 1.9 + 0.12)
        r += share * 0.85 * (lit * light[HORIZON] * 1.12 - r)
        g += share * 0.85 * (lit * light[HORIZON + 1] * 1.06 - g)
        b += share * 0.85 * (lit * light[HORIZON + 2] * 0.98 - b)
    if light[SHADOWS] > 0.5:
        d = x * light[SUN] + y * light[SUN + 1] + z * light[SUN + 2]
        if d > 0.0:
            glow = 0.35 * d**8 + 3.0 * d**300
            r += glow * light[SUN_COLOUR] * 0.5
            g += glow * light[SUN_COLOUR + 1] * 0.5
            b += glow * light[SUN_COLOUR + 2] * 0.5
    return r, g, b


@inlined
def _shadow_map(
    depth_map: Singles, view: Floats, x: float, y: float, z: float, margin: float
) -> float:
    """Share of sun at a point, 2x2 filtered; -1 outside the map."""
    dx, dy, dz = x - view[0], y - view[1], z - view[2]
    a = view[13] + view[12] * (dx * view[3] + dy * view[4] + dz * view[5])
    b = view[14] - view[12] * (dx * view[6] + dy * view[7] + dz * view[8])
    size = depth_map.shape[0]
    if not (a >= 0.0 and b >= 0.0 and a < size - 1 and b < size - 1):
        return -1.0
    key = -(dx * view[9] + dy * view[10] + dz * view[11]) + margin
    i, j = int(b), int(a)
    fb, fa = b - i, a - j
    top = (1 - fa) * (key >= depth_map[i, j]) + fa * (key >= depth_map[i, j + 1])
    low = (1 - fa) * (key >= depth_map[i + 1, j]) + fa * (key >= depth_map[i + 1, j + 1])
    return (1 - fb) * top + fb * low


@inlined
def _normal(
    row: Floats, plane: Floats, u: float, v: float, vx: float, vy: float, vz: float, normal: Floats
) -> tuple[float, bool]:
    """Writes the unit normal that faces the viewer.

    Args:
        row: Polygon.
        plane: As drawn.
        u: Point on it.
        v: Point on it.
        vx: Unit vector of the ray.
        vy: Unit vector of the ray.
        vz: Unit vector of the ray.
        normal: Three numbers, filled.

    Returns:
        How much a sample's footprint is foreshortened (1: not), and whether U×V faces the viewer.
    """
    ux, uy, uz = plane[12], plane[13], plane[14]
    tx, ty, tz = plane[15], plane[16], plane[17]
    nx, ny, nz = uy * tz - uz * ty, uz * tx - ux * tz, ux * ty - uy * tx
    facing = nx * vx + ny * vy + nz * vz
    front = facing < 0.0
    if not front:
        nx, ny, nz = -nx, -ny, -nz
    shape = int(row[SHAPE])
    slant = max(0.12, abs(facing))
    if shape in (_CAPSULE, _SPHERE, _LEAVES):
        slant = 1.0
        if shape == _CAPSULE:
            along = min(1.0, max(0.0, v / max(1e-6, row[PARAMETERS + 7])))
            radius = row[SIZE_U] + (row[SIZE_V] - row[SIZE_U]) * along
            a, e = min(0.98, max(-0.98, u / max(1e-6, radius))), 0.0
            c = math.sqrt(1.0 - a * a)
        else:
            a, e = u / row[SIZE_U], v / row[SIZE_V]
            c = math.sqrt(max(0.02, 1.0 - a * a - e * e))
        nx, ny, nz = (
            nx * c + ux * a + tx * e,
            ny * c + uy * a + ty * e,
            nz * c + uz * a + tz * e,
        )
    elif int(row[MATERIAL]) == _PAINT:  # panels bulge
        ny += row[PARAMETERS + 1] * (v / max(0.05, row[PARAMETERS]) - 0.45)
        k = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx * k, ny * k, nz * k
    normal[0], normal[1], normal[2] = nx, ny, nz
    return slant, front


@inlined
def _openness(contact: Singles, frame: Floats, x: float, z: float) -> float:
    """How open the ground is to the sky (1 open, less under a car)."""
    cx, cz = (x - frame[0]) * frame[2], (z - frame[1]) * frame[2]
    # Written so that a NaN lies outside, too.
    if not (cx > 0.0 and cz > 0.0 and cx < contact.shape[1] - 1 and cz < contact.shape[0] - 1):
        return 1.0
    i, j = int(cz), int(cx)
    fx, fz = cx - j, cz - i
    top = contact[i, j] + (contact[i, j + 1] - contact[i, j]) * fx
    low = contact[i + 1, j] + (contact[i + 1, j + 1] - contact[i + 1, j]) * fx
    return top + (low - top) * fz


@inlined
def _sunlight(
    row: Floats,
    normal: Floats,
    point: Floats,
    light: Floats,
    near_map: Singles,
    near_view: Floats,
    far_map: Singles,
    far_view: Floats,
) -> float:
    """Cosine to the sun, 0 in the shadow."""
    if light[SHADOWS] < 0.5:
        return 0.0
    sun = normal[0] * light[SUN] + normal[1] * light[SUN + 1] + normal[2] * light[SUN + 2]
    margin = 0.06
    if int(row[MATERIAL]) == _LEAF:  # leaves let light through, and shade themselves
        sun = 0.25 + 0.75 * sun
        margin = 0.9
    if sun <= 0.0:
        return 0.0
    push = 0.13
    x, y, z = point[0] + normal[0] * push, point[1] + normal[1] * push, point[2] + normal[2] * push
    lit = _shadow_map(near_map, near_view, x, y, z, margin)
    if lit < 0.0:
        lit = _shadow_map(far_map, far_view, x, y, z, margin + 0.6)
    return sun * lit if lit >= 0.0 else sun


@inlined
def _sky_share(row: Floats, point: Floats, v: float, eye: float) -> float:
    """How much of the light of the sky arrives: streets are canyons, crowns are dark below."""
    share = 0.78 + 0.22 * min(1.0, max(0.0, point[1] - eye + 4.0) / 12.0)
    if int(row[SHAPE]) == _LEAVES:
        share *= 0.55 + 0.45 * (0.5 + 0.5 * v / row[SIZE_V])
    return share


@inlined
def _mirrored(
    normal: Floats,
    vx: float,
    vy: float,
    vz: float,
    mirror: float,
    ambient: float,
    light: Floats,
    noise: Singles,
) -> tuple[float, float, float, float]:
    """What a surface mirrors, and how strongly (more at grazing angles)."""
    d = 2.0 * (normal[0] * vx + normal[1] * vy + normal[2] * vz)
    x, y, z = vx - d * normal[0], vy - d * normal[1], vz - d * normal[2]
    graze = 1.0 - min(1.0, abs(0.5 * d))
    if mirror > 0.05:
        mirror += (1.0 - mirror) * 0.55 * graze**5
    if y <= 0.02:  # the street and the houses opposite
        return 0.25 * ambient, 0.25 * ambient, 0.25 * ambient, mirror
    r, g, b = sky_colour(light, noise, x, y, z)
    k = 0.25 + 0.75 * smooth_step(0.05, 0.45, y)
    return r * k, g * k, b * k, mirror


@inlined
def _is_alike(ident: Indices, y: int, x: int) -> bool:
    """Whether one polygon fills the pixel of a sample (OVERSAMPLING is 2)."""
    y, x = y & ~1, x & ~1
    i = ident[y, x]
    return i == ident[y, x + 1] and i == ident[y + 1, x] and i == ident[y + 1, x + 1]


@kernel
def shade_samples(
    rows: Floats,
    planes: Floats,
    ident: Indices,
    view: Floats,
    light: Floats,
    near: tuple[Singles, Floats],
    far: tuple[Singles, Floats],
    contact: tuple[Singles, Floats],
    noise: Singles,
    radiance: Singles,
) -> None:
    """Fills `radiance` (H, W, 3) float32 with linear light.

    Args:
        rows: Mesh table, colours linear.
        planes: As `rasterise` filled them.
        ident: Row that each sample shows.
        view: Camera.
        light: Light vector.
        near: Closeness to the sun around the camera, and its projection.
        far: The same for more of the street.
        contact: How open the ground is to the sky; x of column 0, z of row 0, cells a metre.
        noise: Noise tile.
        radiance: Filled.
    """
    height, width = ident.shape
    focal = view[12]
    (near_map, near_view), (far_map, far_view) = near, far
    openness, frame = contact
    normal, point = np.empty(3), np.empty(3)
    for y in range(height):
        for x in range(width):
            # A pixel that one polygon fills is shaded on its diagonal only.
            if (x ^ y) & 1 and _is_alike(ident, y, x):
                continue
            dx, dy = (x - view[13]) / focal, (view[14] - y) / focal
            vx = view[3] * dx + view[6] * dy + view[9]
            vy = view[4] * dx + view[7] * dy + view[10]
            vz = view[5] * dx + view[8] * dy + view[11]
            norm = math.sqrt(vx * vx + vy * vy + vz * vz)
            i = ident[y, x]
            if i < 0:
                r, g, b = sky_colour(light, noise, vx / norm, vy / norm, vz / norm)
                radiance[y, x, 0], radiance[y, x, 1], radiance[y, x, 2] = r, g, b
                continue
            row, plane = rows[i], planes[i]
            den = plane[6] * x + plane[7] * y + plane[8]
            u = (plane[0] * x + plane[1] * y + plane[2]) / den
            v = (plane[3] * x + plane[4] * y + plane[5]) / den
            depth = 1.0 / den
            for c in range(3):
                ray = vx if c == 0 else (vy if c == 1 else vz)
                point[c] = view[c] + depth * ray
            vx, vy, vz = vx / norm, vy / norm, vz / norm
            slant, front = _normal(row, plane, u, v, vx, vy, vz, normal)
            footprint = depth / focal * 1.2 / slant
            r, g, b, mirror, glow = surface(
                row, u, v, point[0], point[2], footprint, front, light, noise
            )
            share = _sky_share(row, point, v, view[1])
            if normal[1] > 0.7 and int(row[MATERIAL]) <= _GROUND:
                share *= _openness(openness, frame, point[0], point[2])
            sun = _sunlight(row, normal, point, light, near_map, near_view, far_map, far_view)
            up = 0.5 + 0.5 * normal[1]
            lr = (light[BOUNCE] + (light[SKY_LIGHT] - light[BOUNCE]) * up) * share
            lg = (light[BOUNCE + 1] + (light[SKY_LIGHT + 1] - light[BOUNCE + 1]) * up) * share
            lb = (light[BOUNCE + 2] + (light[SKY_LIGHT + 2] - light[BOUNCE + 2]) * up) * share
            r *= lr + light[SUN_COLOUR] * sun + glow
            g *= lg + light[SUN_COLOUR + 1] * sun + glow
            b *= lb + light[SUN_COLOUR + 2] * sun + glow
            if mirror > 0.0:
                mr, mg, mb, mirror = _mirrored(normal, vx, vy, vz, mirror, lg, light, noise)
                r, g, b = r + mirror * (mr - r), g + mirror * (mg - g), b + mirror * (mb - b)
            k = 1.0 - math.exp(-depth * norm * light[HAZE])
            radiance[y, x, 0] = r + (light[HAZE_COLOUR] - r) * k
            radiance[y, x, 1] = g + (light[HAZE_COLOUR + 1] - g) * k
            radiance[y, x, 2] = b + (light[HAZE_COLOUR + 2] - b) * k
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            if _is_alike(ident, y, x):
                for c in range(3):
                    radiance[y, x + 1, c] = radiance[y, x, c]
                    radiance[y + 1, x, c] = radiance[y + 1, x + 1, c]
