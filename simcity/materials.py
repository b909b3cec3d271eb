# mypy: disable-error-code="no-any-return"
# ruff: noqa: PLR0911, PLR0912  (what lies where is a cascade of early returns)
"""The materials: reflectance, mirror and glow of a point of a polygon.

Parameters of the materials (`PARAMETERS` + k; A, B, C are a row's three colours):

- MATT: 0 strength of texture. METAL: the same, with a highlight.
- ASPHALT: 0 width of a lane (0: none), 1 age. MARKING: 0 share of paint worn off.
- PAVING: 0, 1 size of slabs along u and v; B joints.
- GROUND: A grass, B soil, 0 share of soil.
- FACADE: A wall, B trim, C shutters and shop signs; 0 storey height, 1 distance of windows, 2, 3
  window's share of these, 4 kind (0 plaster, 1 brick, 2 tiles, 3 glass, 4 concrete), 5 height of
  the ground floor (0: like the others), 6 flags (1 shutters, 2 shops, 4 no windows, 8 air
  conditioners), 7 height of the wall times 10 (rounded) plus grime.
- WALL: 0 kind as for facades, 1 height. ROOF: -. LEAF: A, B leaves.
- PAINT: 0 height over which the panel bends, 1 bend. GLASS: -. LAMP: 0 brightness.
- SIGN: A, B, C; 0 design. SHOP_SIGN: A ground, B glyphs, 0 glyph size, 1 aspect of glyphs.
- COACH: A body, B stripe; 0 bottom, 1 top of windows, 2 distance of windows, 3 height.
"""

from __future__ import annotations

import math

from simcity.arrays import Colour, Floats, Singles, Surface, inlined, kernel
from simcity.facades import facade
from simcity.light import LEAF_TINT, NIGHT
from simcity.mesh import (
    COLOUR_A,
    COLOUR_B,
    COLOUR_C,
    MATERIAL,
    PARAMETERS,
    SEED,
    SHAPE,
    SIZE_U,
    SIZE_V,
    Material,
    Shape,
)
from simcity.noise import cell_noise, smooth_noise
from simcity.patterns import glyphs, grain, masonry, smooth_step, visible

_RIDGE = Shape.RIDGE
_ASPHALT, _MARKING, _PAVING = (
    Material.ASPHALT,
    Material.MARKING,
    Material.PAVING,
)
_GROUND, _FACADE, _WALL, _ROOF = Material.GROUND, Material.FACADE, Material.WALL, Material.ROOF
_LEAF, _PAINT, _GLASS, _LAMP = Material.LEAF, Material.PAINT, Material.GLASS, Material.LAMP
_SIGN, _SHOP_SIGN, _COACH, _METAL = (
    Material.SIGN,
    Material.SHOP_SIGN,
    Material.COACH,
    Material.METAL,
)


@inlined
def _scaled(row: Floats, factor: float) -> Colour:
    """The main colour, darker or lighter."""
    return row[COLOUR_A] * factor, row[COLOUR_A + 1] * factor, row[COLOUR_A + 2] * factor


@inlined
def _mixed(row: Floats, share: float, factor: float) -> Colour:
    """Main and second colour, `share` of the second."""
    return (
        (row[COLOUR_A] + (row[COLOUR_B] - row[COLOUR_A]) * share) * factor,
        (row[COLOUR_A + 1] + (row[COLOUR_B + 1] - row[COLOUR_A + 1]) * share) * factor,
        (row[COLOUR_A + 2] + (row[COLOUR_B + 2] - row[COLOUR_A + 2]) * share) * factor,
    )


@inlined
def _tar(x: float, z: float, footprint: float, noise: Singles) -> float:
    """Grain of a road's surface, painted or not."""
    factor = 1.0 + 0.13 * grain(noise, x, z, 1.6, footprint)
    factor += 0.12 * grain(noise, x + 7.0, z, 0.35, footprint)
    return factor + 0.14 * grain(noise, x, z + 3.0, 0.04, footprint)


@kernel
def _asphalt(row: Floats, u: float, x: float, z: float, footprint: float, noise: Singles) -> Colour:
    factor = _tar(x, z, footprint, noise)
    lane, age, seed = row[PARAMETERS], row[PARAMETERS + 1], row[SEED]
    if lane > 0.0:  # tyres polish two tracks in a lane
        k = u / lane
        k = abs(k - math.floor(k) - 0.5)
        factor *= 1.0 - 0.13 * math.exp(-((k - 0.25) ** 2) / 0.008) + 0.05 * (k > 0.42)
    patch = cell_noise(math.floor(x / 2.9), math.floor(z / 6.1), int(seed))
    if patch < 0.2 * age:
        factor *= 0.80
    elif patch > 0.95:
        factor *= 1.10
    crack = smooth_noise(noise, x * 0.031 + seed, z * 0.031) - 0.5
    crack += 0.05 * smooth_noise(noise, x * 0.3, z * 0.3)
    if abs(crack) < 0.012:
        factor *= 1.0 - 0.4 * age * visible(0.08, footprint)
    return _scaled(row, factor)


@kernel
def _marking(row: Floats, x: float, z: float, footprint: float, noise: Singles) -> Colour:
    wear = row[PARAMETERS]
    n = 0.5 * smooth_noise(noise, x * 0.23, z * 0.23)
    n += 0.5 * smooth_noise(noise, x * 0.05, z * 0.05 + 0.4)
    bare = 1.0 - smooth_step(wear - 0.25, wear + 0.15, n)
    return _mixed(row, bare, _tar(x, z, footprint, noise))


@kernel
def _paving(
    row: Floats, u: float, v: float, x: float, z: float, footprint: float, noise: Singles
) -> Colour:
    size_u, size_v = row[PARAMETERS], row[PARAMETERS + 1]
    i, j = math.floor(u / size_u), math.floor(v / size_v)
    left = visible(min(size_u, size_v) * 0.6, footprint)
    factor = 1.0 + (0.24 * cell_noise(i, j, int(row[SEED])) - 0.12) * left
    factor += 0.14 * grain(noise, x, z, 1.1, footprint)
    factor += 0.08 * grain(noise, x, z, 0.08, footprint)
    if u / size_u - i < 0.05 or v / size_v - j < 0.05:
        return _mixed(row, 0.6 * left, factor)
    return _scaled(row, factor)


@kernel
def _ground(row: Floats, x: float, z: float, footprint: float, noise: Singles) -> Colour:
    n = 0.6 * smooth_noise(noise, x * 0.021 + row[SEED], z * 0.021)
    n += 0.4 * smooth_noise(noise, x * 0.11, z * 0.11)
    grass = smooth_step(row[PARAMETERS] - 0.15, row[PARAMETERS] + 0.15, n)
    factor = 1.0 + 0.3 * grain(noise, x, z, 0.09, footprint)
    factor += 0.2 * grain(noise, x, z, 0.5, footprint)
    return _mixed(row, 1.0 - grass, factor)


@kernel
def _wall(row: Floats, u: float, v: float, footprint: float, noise: Singles) -> Colour:
    factor = masonry(int(row[PARAMETERS]), u, v, row[SEED], footprint, noise)
    dirt = smooth_noise(noise, u * 0.05 + row[SEED] * 0.1, v * 0.02)
    factor *= 1.0 - 0.35 * dirt * dirt
    if v > row[PARAMETERS + 1] - 0.12:  # the coping
        factor *= 1.12
    return _scaled(row, factor)


@kernel
def _roof(row: Floats, u: float, v: float, footprint: float, noise: Singles) -> Colour:
    left = visible(0.25, footprint)
    i, j = math.floor(u / 0.22), math.floor(v / 0.34)
    factor = 0.82 + 0.25 * cell_noise(i, j, int(row[SEED])) * left
    factor -= 0.25 * left * (v / 0.34 - j < 0.2)
    return _scaled(row, factor + 0.12 * grain(noise, u, v, 0.8, footprint))


@kernel
def _leaf(
    row: Floats, u: float, v: float, footprint: float, light: Floats, noise: Singles
) -> Colour:
    seed = row[SEED]
    k = smooth_noise(noise, u * 0.13 + seed * 0.61, v * 0.13 + seed * 0.23)
    fine = smooth_noise(noise, u * 0.31 + seed * 0.1, v * 0.31)
    factor = 0.5 + 0.5 * k + 0.9 * (fine - 0.5) * visible(0.12, footprint)
    left = visible(0.05, footprint)
    if left > 0.0:
        factor += 1.5 * left * (smooth_noise(noise, u * 0.8, v * 0.8 + seed * 0.1) - 0.5)
    r, g, b = _mixed(row, k, max(0.12, factor))
    return r * light[LEAF_TINT], g * light[LEAF_TINT + 1], b * light[LEAF_TINT + 2]


@kernel
def _plain(row: Floats, u: float, v: float, footprint: float, noise: Singles) -> Colour:
    strength, seed = row[PARAMETERS], row[SEED]
    factor = 1.0 + strength * grain(noise, u + seed, v, 0.1, footprint)
    factor += 0.6 * strength * grain(noise, u, v + seed, 0.5, footprint)
    return _scaled(row, factor)


@kernel
def _sign(row: Floats, u: float, v: float) -> Colour:
    """Face of a traffic sign; x and y in -1 to 1."""
    x, y = u / row[SIZE_U], v / row[SIZE_V]
    design = int(row[PARAMETERS])
    a = (row[COLOUR_A], row[COLOUR_A + 1], row[COLOUR_A + 2])
    b = (row[COLOUR_B], row[COLOUR_B + 1], row[COLOUR_B + 2])
    c = (row[COLOUR_C], row[COLOUR_C + 1], row[COLOUR_C + 2])
    rim2 = x * x + y * y
    if design == 0:  # a limit: ring, two digits
        if rim2 > 0.58:
            return a
        return c if abs(y) < 0.4 and (abs(x - 0.25) < 0.15 or abs(x + 0.25) < 0.15) else b
    if design == 1:  # no entry: a bar
        return b if abs(y) < 0.18 and abs(x) < 0.7 else a
    if design == 2:  # mandatory: an arrow
        shaft = abs(x) < 0.12 and -0.6 < y < 0.3
        head = y > 0.0 and y < 0.65 and abs(x) < 0.65 - y
        return b if shaft or head else a
    if design == 3:  # warning: border and a mark
        edge = min(y + 0.95, (0.5 * (1.0 - y) - abs(x)) * 0.9)
        if edge < 0.14:
            return a
        return c if abs(x) < 0.07 and -0.6 < y < 0.25 else b
    if design == 4:  # stop: letters
        return b if abs(y) < 0.24 and math.floor(x * 5.0 + 40.0) % 2 == 0 and abs(x) < 0.75 else a
    if design == 5:  # parking: a P
        stem = -0.35 < x < -0.1 and abs(y) < 0.65
        bow2 = (x + 0.05) ** 2 + (y - 0.3) ** 2
        return b if stem or (0.04 < bow2 < 0.14 and x > -0.2) else a
    if design == 6:  # priority or warning diamond: inner diamond
        inner = abs(x) + abs(y)
        return b if inner > 0.8 else (c if inner < 0.2 else a)
    # a board: lines of text and an arrow
    if abs(x) > 0.95 or abs(y) > 0.92:
        return b
    line = math.floor(y * 4.0 + 40.0)
    if 0.25 < y * 4.0 + 40.0 - line < 0.75 and cell_noise(math.floor(x * 9.0), line, 3) < 0.6:
        return b if abs(x) < 0.8 else a
    return a


@kernel
def _coach(row: Floats, u: float, v: float, footprint: float) -> tuple[float, float, float, float]:
    """Side of a bus, a van or a tram: windows, stripe, seams."""
    low, high, period = row[PARAMETERS], row[PARAMETERS + 1], row[PARAMETERS + 2]
    x = u / period
    x -= math.floor(x)
    if low < v < high and 0.04 < x < 0.96:
        return 0.03, 0.032, 0.036, 0.28
    if low - 0.05 < v < high + 0.05:
        return 0.05, 0.05, 0.05, 0.05
    if v < 0.12:
        return 0.04, 0.04, 0.04, 0.0
    seam = 1.0 - 0.25 * (x < 0.03) * visible(0.08, footprint)
    if low - 0.42 < v < low - 0.12:
        return row[COLOUR_B] * seam, row[COLOUR_B + 1] * seam, row[COLOUR_B + 2] * seam, 0.06
    return row[COLOUR_A] * seam, row[COLOUR_A + 1] * seam, row[COLOUR_A + 2] * seam, 0.07


@kernel
def surface(
    row: Floats,
    u: float,
    v: float,
    x: float,
    z: float,
    footprint: float,
    front: bool,
    light: Floats,
    noise: Singles,
) -> Surface:
    """Albedo (3), share of the mirror and glow at a point.

    Args:
        row: Polygon.
        u: Along its first axis, metres.
        v: Along its second axis, metres.
        x: World coordinate, for what runs on over several polygons.
        z: World coordinate.
        footprint: Size of a sample on the surface, metres; finer details fade.
        front: Whether the polygon's U×V side is seen.
        light: Light vector.
        noise: Noise tile.
    """
    material = int(row[MATERIAL])
    if material == _FACADE:
        return facade(row, u, v, footprint, light, noise)
    mirror, glow = 0.0, 0.0
    if material == _ASPHALT:
        r, g, b = _asphalt(row, u, x, z, footprint, noise)
        mirror = 0.03
    elif material == _MARKING:
        r, g, b = _marking(row, x, z, footprint, noise)
        mirror = 0.03
    elif material == _PAVING:
        r, g, b = _paving(row, u, v, x, z, footprint, noise)
    elif material == _GROUND:
        if int(row[SHAPE]) == _RIDGE:  # a hillside far away: its own coordinates, coarse
            x, z = 0.12 * u, 0.2 * v
        r, g, b = _ground(row, x, z, footprint, noise)
    elif material == _WALL:
        r, g, b = _wall(row, u, v, footprint, noise)
    elif material == _ROOF:
        r, g, b = _roof(row, u, v, footprint, noise)
    elif material == _LEAF:
        r, g, b = _leaf(row, u, v, footprint, light, noise)
    elif material == _PAINT:
        dirt = smooth_noise(noise, u * 0.06 + row[SEED], v * 0.06)
        r, g, b = _scaled(row, 1.0 - 0.2 * dirt)
        mirror = 0.07
    elif material == _SIGN:
        r, g, b = 0.30, 0.30, 0.30
        if front == (row[PARAMETERS + 1] > 0.5):
            r, g, b = _sign(row, u, v)
        glow = 0.12
    elif material == _SHOP_SIGN:
        size, aspect = row[PARAMETERS], row[PARAMETERS + 1]
        ink = glyphs(u - 0.1, v - 0.1, size, aspect, int(row[SEED]), footprint)
        r, g, b = _mixed(row, ink, 1.0)
        glow = 0.1 + 0.5 * light[NIGHT]
    elif material == _COACH:
        r, g, b, mirror = _coach(row, u, v, footprint)
    elif material == _GLASS:
        r, g, b = _scaled(row, 1.0)
        mirror = 0.22
    elif material == _LAMP:
        r, g, b = _scaled(row, 1.0)
        glow = row[PARAMETERS]
    else:
        r, g, b = _plain(row, u, v, footprint, noise)
        if material == _METAL:
            mirror = 0.06
    return r, g, b, mirror, glow
