"""What colour each sample has: procedural materials, sun and sky light, shadows, haze, sky.

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

import numba
import numpy as np

from crosscity.simulation.light import (
    BOUNCE,
    CLOUD_X,
    CLOUD_Y,
    COVER,
    HAZE,
    HAZE_COLOUR,
    HORIZON,
    LEAF_TINT,
    NIGHT,
    SHADOWS,
    SKY_LIGHT,
    SUN,
    SUN_COLOUR,
    ZENITH,
)
from crosscity.simulation.mesh import (
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
from crosscity.simulation.noise import cell_noise, smooth_noise

_CAPSULE, _SPHERE, _LEAVES, _RIDGE = Shape.CAPSULE, Shape.SPHERE, Shape.LEAVES, Shape.RIDGE
_MATT, _ASPHALT, _MARKING, _PAVING = (
    Material.MATT,
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(low, high, x):  # type: ignore[no-untyped-def]
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _visible(size, footprint):  # type: ignore[no-untyped-def]
    """How much of a detail of that size is left at that footprint of a sample, 0 to 1."""
    return min(1.0, max(0.0, 1.6 - footprint / size))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _grain(noise, u, v, scale, footprint):  # type: ignore[no-untyped-def]
    """Noise around 0 (-1 to 1) with features of about `scale` metres, fading when too fine."""
    left = _visible(scale, footprint)
    if left <= 0.0:
        return 0.0
    k = 1.0 / (scale * 32.0)
    return left * (2.0 * smooth_noise(noise, u * k, v * k) - 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sky_colour(light, noise, x, y, z):  # type: ignore[no-untyped-def]
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
        share = _step(1.0 - cover, 1.32 - cover, n) * min(1.0, y * 7.0)
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shadow_map(depth_map, view, x, y, z, margin):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _masonry(kind, u, v, seed, footprint, noise):  # type: ignore[no-untyped-def]
    """Factor on the colour of a wall of that kind."""
    factor = 1.0 + 0.14 * _grain(noise, u + 3.1 * seed, v, 0.9, footprint)
    factor += 0.10 * _grain(noise, u, v + 1.7 * seed, 0.22, footprint)
    if kind == 0:
        factor += 0.09 * _grain(noise, u, v + seed, 0.07, footprint)
    elif kind == 1:
        left = _visible(0.10, footprint)
        row = math.floor(v / 0.085)
        a = u / 0.25 + 0.5 * (row % 2)
        col = math.floor(a)
        factor *= 0.86 + 0.28 * cell_noise(row, col, seed) * max(left, 0.35)
        if a - col < 0.06 or v / 0.085 - row < 0.16:
            factor *= 1.0 - 0.22 * left
    elif kind == 2:
        left = _visible(0.16, footprint)
        row, col = math.floor(v / 0.12), math.floor(u / 0.24)
        factor *= 1.0 + (0.14 * cell_noise(row, col, seed) - 0.07) * max(left, 0.3)
        if u / 0.24 - col < 0.08 or v / 0.12 - row < 0.12:
            factor *= 1.0 - 0.14 * left
    elif kind == 4:
        left = _visible(0.5, footprint)
        row, col = math.floor(v / 0.9), math.floor(u / 1.8)
        factor *= 0.94 + 0.12 * cell_noise(row, col, seed)
        if u / 1.8 - col < 0.02 or v / 0.9 - row < 0.035:
            factor *= 1.0 - 0.25 * left
        factor += 0.10 * _grain(noise, u, v, 0.2, footprint)
    return factor


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _glyphs(u, v, size, aspect, seed, footprint):  # type: ignore[no-untyped-def]
    """Ink (0 to 1) of made-up characters on a grid."""
    cw, ch = size * aspect, size
    col, row = math.floor(u / cw), math.floor(v / ch)
    x, y = u / cw - col, v / ch - row
    left = _visible(size * 0.25, footprint)
    if x < 0.12 or x > 0.88 or y < 0.12 or y > 0.88:
        return 0.0
    if left <= 0.0:
        return 0.33
    i, j = int((x - 0.12) / 0.76 * 5), int((y - 0.12) / 0.76 * 5)
    code = cell_noise(col + 31 * i, row + 57 * j, seed)
    ink = 1.0 if code < 0.5 else 0.0
    return 0.33 + (ink - 0.33) * left


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pane(u, v, key, height_share, light, noise, tone):  # type: ignore[no-untyped-def]
    """Colour of what is behind a window's glass, and how strongly the glass mirrors."""
    dark = 0.035 + 0.05 * key
    r, g, b = dark, dark * 1.02, dark * 1.06
    if key > 0.55 and height_share > 1.6 - key:  # a blind that hangs down from the top
        r, g, b = 0.52 * tone, 0.50 * tone, 0.45 * tone
    elif key < 0.22:
        fold = 0.8 + 0.2 * math.sin(u * 26.0)
        r, g, b = 0.34 * fold, 0.33 * fold, 0.31 * fold
    lamp = 0.0
    if light[NIGHT] > 0.5 and 0.3 < key < 0.62:
        lamp = 1.0
        r, g, b = 0.75, 0.55, 0.3
    mirror = 0.10 + 0.30 * key * key + 0.05 * smooth_noise(noise, u * 0.3, v * 0.3)
    return r, g, b, mirror, lamp


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _facade(row, u, v, footprint, light, noise):  # type: ignore[no-untyped-def]
    """Albedo (3), mirror and glow of a facade at u along it and v above its foot."""
    storey, bay = row[PARAMETERS], row[PARAMETERS + 1]
    share_w, share_h = row[PARAMETERS + 2], row[PARAMETERS + 3]
    kind = int(row[PARAMETERS + 4])
    ground = row[PARAMETERS + 5]
    flags = int(row[PARAMETERS + 6])
    code = row[PARAMETERS + 7]
    top = math.floor(code) * 0.1
    grime = code - math.floor(code)
    seed = int(row[SEED])
    ar, ag, ab = row[COLOUR_A], row[COLOUR_A + 1], row[COLOUR_A + 2]
    br, bg, bb = row[COLOUR_B], row[COLOUR_B + 1], row[COLOUR_B + 2]
    sr, sg, sb = row[COLOUR_C], row[COLOUR_C + 1], row[COLOUR_C + 2]
    wall = _masonry(kind, u, v, seed, footprint, noise)
    streak = smooth_noise(noise, u * 0.13 + seed * 0.17, v * 0.009)
    blotch = smooth_noise(noise, u * 0.02 + seed * 0.11, v * 0.02)
    wall *= 1.0 - grime * (0.38 * streak * streak + 0.25 * blotch * blotch)
    wall *= 1.0 - 0.25 * grime * max(0.0, 1.0 - v)
    r, g, b, mirror, glow = ar * wall, ag * wall, ab * wall, 0.0, 0.0
    if v > top - 0.45 and kind != 3:
        return (
            br * (0.92 if v > top - 0.3 else 0.6),
            bg * (0.92 if v > top - 0.3 else 0.6),
            bb * (0.92 if v > top - 0.3 else 0.6),
            0.0,
            0.0,
        )
    if flags & 4:
        return r, g, b, 0.0, 0.0
    if v < ground:
        if flags & 2:
            return _shop(
                u, v, ground, seed, br, bg, bb, sr, sg, sb, r, g, b, footprint, light, noise
            )
        return _ground_floor(u, v, ground, bay, seed, br, bg, bb, sr, sg, sb, r, g, b, light, noise)
    floor = math.floor((v - ground) / storey)
    y = (v - ground) - floor * storey
    col = math.floor(u / bay)
    x = u - (col + 0.5) * bay
    half = 0.5 * share_w * bay
    sill = 0.30 * storey * (1.0 - 0.55 * max(0.0, share_h - 0.45) / 0.5)
    high = sill + share_h * storey
    key = cell_noise(col, floor, seed)
    if kind == 3:
        half, sill, high = 0.5 * bay - 0.05, 0.06 * storey, 0.97 * storey
    if top - v < 0.3 * storey and (high > top - v + y):
        return r, g, b, 0.0, 0.0
    inside_x, inside_y = abs(x) < half, sill < y < high
    if inside_x and inside_y:
        frame = 0.07 if kind != 3 else 0.04
        if half - abs(x) < frame or y - sill < frame or high - y < frame:
            return br * 0.9, bg * 0.9, bb * 0.9, 0.02, 0.0
        if half > 0.35 and abs(x) < 0.035:
            return br * 0.8, bg * 0.8, bb * 0.8, 0.02, 0.0
        up = (y - sill) / (high - sill)
        r, g, b, mirror, glow = _pane(u, v, key, up, light, noise, 0.9)
        if kind == 3:
            mirror = 0.45 + 0.2 * key
            r, g, b = r + 0.3 * ar, g + 0.3 * ag, b + 0.3 * ab
        shade = min(1.0, (high - y) / 0.3 + 0.35)  # the lintel shades the glass
        return r * shade, g * shade, b * shade, mirror, glow
    if kind != 3:
        if flags & 1 and inside_y and abs(x) < half + 0.5 * half + 0.12:
            slat = 0.75 + 0.25 * (math.floor(y / 0.09) % 2)
            return sr * slat, sg * slat, sb * slat, 0.0, 0.0
        if abs(x) < half + 0.14 and sill - 0.14 < y <= sill:
            return br, bg, bb, 0.0, 0.0
        if abs(x) < half + 0.1 and high <= y < high + 0.12:
            return br * 0.9, bg * 0.9, bb * 0.9, 0.0, 0.0
        if sill - 0.6 < y < sill - 0.14 and abs(x) < half:
            dirt = 1.0 - 0.35 * grime * smooth_noise(noise, u * 0.2, v * 0.02)
            r, g, b = r * dirt, g * dirt, b * dirt
        if y < 0.16:
            return br * 0.8, bg * 0.8, bb * 0.8, 0.0, 0.0
        if flags & 8 and cell_noise(col, floor, seed + 7) < 0.5 and half + 0.1 < x < half + 0.75:
            if sill - 0.45 < y < sill + 0.1:
                fan = 0.55 if (x - half - 0.36) ** 2 + (y - sill + 0.17) ** 2 < 0.04 else 0.75
                return fan, fan, fan * 0.97, 0.0, 0.0
    return r, g, b, 0.0, 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shop(u, v, ground, seed, br, bg, bb, sr, sg, sb, wr, wg, wb, footprint, light, noise):  # type: ignore[no-untyped-def]
    """Ground floor with shop windows, a sign band above them, doors and shutters."""
    wide = 3.6 + 2.2 * cell_noise(seed, 3, 1)
    col = math.floor(u / wide)
    x = u - col * wide
    key = cell_noise(col, 5, seed)
    if x < 0.22 or v < 0.12:
        return wr * 0.9, wg * 0.9, wb * 0.9, 0.0, 0.0
    if v > ground - 0.95:
        if v > ground - 0.08 or v < ground - 0.9:
            return br * 0.7, bg * 0.7, bb * 0.7, 0.0, 0.0
        hue = cell_noise(col, 11, seed)
        if hue < 0.4:
            r, g, b, ink = sr, sg, sb, 0.85
        elif hue < 0.6:
            r, g, b, ink = 0.8, 0.79, 0.76, 0.06
        elif hue < 0.75:
            r, g, b, ink = 0.04, 0.04, 0.05, 0.8
        elif hue < 0.88:
            r, g, b, ink = sb, sr * 0.7, sg, 0.85
        else:
            r, g, b, ink = wr * 0.8, wg * 0.8, wb * 0.8, 0.1
        y = v - (ground - 0.9)
        if 0.12 < y < 0.72 and 0.5 < x < wide - 0.4:
            w = _glyphs(u, y - 0.12, 0.6, 0.75, seed + int(col) * 13, footprint)
            r, g, b = r + (ink - r) * w, g + (ink - g) * w, b + (ink - b) * w
        return r, g, b, 0.02, 0.25 * light[NIGHT]
    if key < 0.16:  # a closed roller shutter
        slat = 0.8 + 0.2 * (math.floor(v / 0.11) % 2)
        grey = 0.34 + 0.3 * key
        return grey * slat, grey * slat, grey * slat * 0.97, 0.02, 0.0
    if x > wide - 1.1 and key < 0.7:  # the door
        if x > wide - 0.18 or x < wide - 1.02 or v > 2.35:
            return br * 0.5, bg * 0.5, bb * 0.5, 0.02, 0.0
        return 0.05, 0.05, 0.055, 0.2, 0.15
    if v < 0.5 or abs(x - wide * 0.45) < 0.04:
        return br * 0.55, bg * 0.55, bb * 0.55, 0.02, 0.0
    # The display: goods as coloured blocks on a dim background.
    i, j = math.floor(u / 0.42), math.floor(v / 0.5)
    goods = cell_noise(i, j, seed + 3)
    if goods > 0.5 and v < 1.8 and cell_noise(col, 21, seed) < 0.7:
        tone = 0.06 + 0.22 * cell_noise(i, j, seed + 4)
        r = tone * (0.7 + 0.6 * cell_noise(i, j, seed + 5))
        b = tone * (0.6 + 0.6 * cell_noise(i, j, seed + 6))
        return r, tone * 0.95, b, 0.16, 0.3
    return 0.06 + 0.08 * key, 0.06 + 0.07 * key, 0.05 + 0.06 * key, 0.16, 0.4


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _ground_floor(u, v, ground, bay, seed, br, bg, bb, sr, sg, sb, wr, wg, wb, light, noise):  # type: ignore[no-untyped-def]
    """Ground floor of a dwelling: plinth, windows, entrance doors, garage doors."""
    col = math.floor(u / bay)
    x = u - (col + 0.5) * bay
    key = cell_noise(col, 17, seed)
    if key < 0.2 and abs(x) < 0.62 and v < 2.35:
        if abs(x) > 0.52 or v > 2.2:
            return br, bg, bb, 0.0, 0.0
        panel = 0.7 + 0.3 * (math.floor(v / 0.7) % 2)
        return sr * 0.6 * panel, sg * 0.6 * panel, sb * 0.6 * panel, 0.03, 0.0
    if key > 0.82 and abs(x) < 0.46 * bay and v < 2.5:
        slat = 0.82 + 0.18 * (math.floor(v / 0.3) % 2)
        return br * 0.6 * slat, bg * 0.6 * slat, bb * 0.6 * slat, 0.01, 0.0
    if v < 0.7:
        return wr * 0.62, wg * 0.62, wb * 0.62, 0.0, 0.0
    half, sill, high = 0.24 * bay, 1.0, min(2.4, ground - 0.6)
    if abs(x) < half and sill < v < high:
        if half - abs(x) < 0.07 or abs(x) < 0.03 or v - sill < 0.07 or high - v < 0.07:
            return br * 0.85, bg * 0.85, bb * 0.85, 0.0, 0.0
        return _pane(u, v, key * 0.9, (v - sill) / (high - sill), light, noise, 0.8)
    if abs(x) < half + 0.12 and abs(v - sill + 0.06) < 0.07:
        return br, bg, bb, 0.0, 0.0
    if v > ground - 0.2:
        return br * 0.75, bg * 0.75, bb * 0.75, 0.0, 0.0
    return wr, wg, wb, 0.0, 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sign(row, u, v):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _coach(row, u, v, footprint):  # type: ignore[no-untyped-def]
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
    seam = 1.0 - 0.25 * (x < 0.03) * _visible(0.08, footprint)
    if low - 0.42 < v < low - 0.12:
        return row[COLOUR_B] * seam, row[COLOUR_B + 1] * seam, row[COLOUR_B + 2] * seam, 0.06
    return row[COLOUR_A] * seam, row[COLOUR_A + 1] * seam, row[COLOUR_A + 2] * seam, 0.07


@numba.njit(cache=True, nogil=True, error_model="numpy")
def shade(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    rows,
    planes,
    closeness,
    ident,
    view,
    light,
    near_map,
    near_view,
    far_map,
    far_view,
    contact,
    contact_frame,
    noise,
    radiance,
):
    """Fills `radiance` (H, W, 3) float32 with linear light.

    `contact` is a map of how open the ground is to the sky (1 open, 0 under a car); its frame is
    (x of column 0, z of row 0, cells a metre).
    """
    height, width = ident.shape
    focal = view[12]
    for y in range(height):
        for x in range(width):
            # A pixel that one polygon fills is shaded on its diagonal only.
            if (x ^ y) & 1:
                x0, y0 = x & ~1, y & ~1
                i = ident[y0, x0]
                if i == ident[y0, x0 + 1] and i == ident[y0 + 1, x0] and i == ident[y0 + 1, x0 + 1]:
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
            wx, wy, wz = view[0] + depth * vx, view[1] + depth * vy, view[2] + depth * vz
            distance = depth * norm
            vx, vy, vz = vx / norm, vy / norm, vz / norm
            ux, uy, uz = plane[12], plane[13], plane[14]
            tx, ty, tz = plane[15], plane[16], plane[17]
            nx, ny, nz = uy * tz - uz * ty, uz * tx - ux * tz, ux * ty - uy * tx
            facing = nx * vx + ny * vy + nz * vz
            front = facing < 0.0
            if not front:
                nx, ny, nz = -nx, -ny, -nz
            slant = max(0.12, abs(facing))
            footprint = depth / focal * 1.2 / slant
            shape = int(row[SHAPE])
            round_ = shape == _CAPSULE or shape == _SPHERE or shape == _LEAVES
            if round_:
                footprint = depth / focal * 1.2
                if shape == _CAPSULE:
                    share = row[SIZE_U] + (row[SIZE_V] - row[SIZE_U]) * min(
                        1.0, max(0.0, v / max(1e-6, row[PARAMETERS + 7]))
                    )
                    a = min(0.98, max(-0.98, u / max(1e-6, share)))
                    c, e = math.sqrt(1.0 - a * a), 0.0
                else:
                    a, e = u / row[SIZE_U], v / row[SIZE_V]
                    c = math.sqrt(max(0.02, 1.0 - a * a - e * e))
                nx, ny, nz = (
                    nx * c + ux * a + tx * e,
                    ny * c + uy * a + ty * e,
                    nz * c + uz * a + tz * e,
                )
            material = int(row[MATERIAL])
            r, g, b = row[COLOUR_A], row[COLOUR_A + 1], row[COLOUR_A + 2]
            mirror, glow, open_ = 0.0, 0.0, 1.0
            seed = row[SEED]
            if material == _ASPHALT or material == _MARKING:
                f = 1.0 + 0.13 * _grain(noise, wx, wz, 1.6, footprint)
                f += 0.12 * _grain(noise, wx + 7.0, wz, 0.35, footprint)
                f += 0.14 * _grain(noise, wx, wz + 3.0, 0.04, footprint)
                worn = 1.0
                if material == _ASPHALT:
                    lane = row[PARAMETERS]
                    if lane > 0.0:
                        k = u / lane
                        k = abs(k - math.floor(k) - 0.5)
                        f *= 1.0 - 0.13 * math.exp(-((k - 0.25) ** 2) / 0.008) + 0.05 * (k > 0.42)
                    px, pz = math.floor(wx / 2.9), math.floor(wz / 6.1)
                    patch = cell_noise(px, pz, int(seed))
                    if patch < 0.10 * row[PARAMETERS + 1] * 2.0:
                        f *= 0.80
                    elif patch > 0.95:
                        f *= 1.10
                    crack = abs(
                        smooth_noise(noise, wx * 0.031 + seed, wz * 0.031)
                        - 0.5
                        + 0.05 * smooth_noise(noise, wx * 0.3, wz * 0.3)
                    )
                    if crack < 0.012:
                        f *= 1.0 - 0.4 * row[PARAMETERS + 1] * _visible(0.08, footprint)
                else:
                    wear = row[PARAMETERS]
                    n = 0.5 * smooth_noise(noise, wx * 0.23, wz * 0.23)
                    n += 0.5 * smooth_noise(noise, wx * 0.05, wz * 0.05 + 0.4)
                    worn = _step(wear - 0.25, wear + 0.15, n)
                    r = row[COLOUR_B] + (r - row[COLOUR_B]) * worn
                    g = row[COLOUR_B + 1] + (g - row[COLOUR_B + 1]) * worn
                    b = row[COLOUR_B + 2] + (b - row[COLOUR_B + 2]) * worn
                r, g, b = r * f, g * f, b * f
                mirror = 0.03
            elif material == _PAVING:
                su, sv = row[PARAMETERS], row[PARAMETERS + 1]
                i_u, i_v = math.floor(u / su), math.floor(v / sv)
                left = _visible(min(su, sv) * 0.6, footprint)
                f = 1.0 + (0.24 * cell_noise(i_u, i_v, int(seed)) - 0.12) * left
                f += 0.14 * _grain(noise, wx, wz, 1.1, footprint)
                f += 0.08 * _grain(noise, wx, wz, 0.08, footprint)
                r, g, b = r * f, g * f, b * f
                if u / su - i_u < 0.05 or v / sv - i_v < 0.05:
                    r += (row[COLOUR_B] - r) * 0.6 * left
                    g += (row[COLOUR_B + 1] - g) * 0.6 * left
                    b += (row[COLOUR_B + 2] - b) * 0.6 * left
            elif material == _GROUND:
                if shape == _RIDGE:  # a hillside far away: its own coordinates, coarse
                    wx, wz = 0.12 * u, 0.2 * v
                n = 0.6 * smooth_noise(noise, wx * 0.021 + seed, wz * 0.021)
                n += 0.4 * smooth_noise(noise, wx * 0.11, wz * 0.11)
                k = _step(row[PARAMETERS] - 0.15, row[PARAMETERS] + 0.15, n)
                r = row[COLOUR_B] + (r - row[COLOUR_B]) * k
                g = row[COLOUR_B + 1] + (g - row[COLOUR_B + 1]) * k
                b = row[COLOUR_B + 2] + (b - row[COLOUR_B + 2]) * k
                f = 1.0 + 0.3 * _grain(noise, wx, wz, 0.09, footprint)
                f += 0.2 * _grain(noise, wx, wz, 0.5, footprint)
                r, g, b = r * f, g * f, b * f
            elif material == _FACADE:
                r, g, b, mirror, glow = _facade(row, u, v, footprint, light, noise)
            elif material == _WALL:
                f = _masonry(int(row[PARAMETERS]), u, v, int(seed), footprint, noise)
                n = smooth_noise(noise, u * 0.05 + seed * 0.1, v * 0.02)
                f *= 1.0 - 0.35 * n * n
                if v > row[PARAMETERS + 1] - 0.12:
                    f *= 1.12
                r, g, b = r * f, g * f, b * f
            elif material == _ROOF:
                left = _visible(0.25, footprint)
                rv, ru = v / 0.34, u / 0.22
                f = 0.82 + 0.25 * cell_noise(math.floor(ru), math.floor(rv), int(seed)) * left
                f -= 0.25 * left * (rv - math.floor(rv) < 0.2)
                f += 0.12 * _grain(noise, u, v, 0.8, footprint)
                r, g, b = r * f, g * f, b * f
            elif material == _LEAF:
                k = smooth_noise(noise, u * 0.13 + seed * 0.61, v * 0.13 + seed * 0.23)
                fine = smooth_noise(noise, u * 0.31 + seed * 0.1, v * 0.31)
                left = _visible(0.12, footprint)
                f = 0.5 + 0.5 * k + 0.9 * (fine - 0.5) * left
                left = _visible(0.05, footprint)
                if left > 0.0:
                    f += 0.9 * left * (smooth_noise(noise, u * 0.9, v * 0.9 + seed * 0.1) - 0.5)
                f = max(0.12, f)
                r = (r + (row[COLOUR_B] - r) * k) * f * light[LEAF_TINT]
                g = (g + (row[COLOUR_B + 1] - g) * k) * f * light[LEAF_TINT + 1]
                b = (b + (row[COLOUR_B + 2] - b) * k) * f * light[LEAF_TINT + 2]
                if shape == _LEAVES:
                    open_ = 0.55 + 0.45 * (0.5 + 0.5 * v / row[SIZE_V])
            elif material == _PAINT:
                bend = row[PARAMETERS + 1] * (v / max(0.05, row[PARAMETERS]) - 0.45)
                ny += bend
                k = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
                nx, ny, nz = nx * k, ny * k, nz * k
                mirror = 0.07
                dirt = 1.0 - 0.2 * smooth_noise(noise, u * 0.06 + seed, v * 0.06)
                r, g, b = r * dirt, g * dirt, b * dirt
            elif material == _GLASS:
                mirror = 0.22
            elif material == _LAMP:
                glow = row[PARAMETERS]
            elif material == _SIGN:
                if front == (row[PARAMETERS + 1] > 0.5) or row[PARAMETERS + 1] < -0.5:
                    r, g, b = _sign(row, u, v)
                else:
                    r, g, b = 0.30, 0.30, 0.30
                glow = 0.12
            elif material == _SHOP_SIGN:
                w = _glyphs(
                    u - 0.1, v - 0.1, row[PARAMETERS], row[PARAMETERS + 1], int(seed), footprint
                )
                r += (row[COLOUR_B] - r) * w
                g += (row[COLOUR_B + 1] - g) * w
                b += (row[COLOUR_B + 2] - b) * w
                glow = 0.1 + 0.5 * light[NIGHT]
            elif material == _COACH:
                r, g, b, mirror = _coach(row, u, v, footprint)
            else:
                f = 1.0 + row[PARAMETERS] * _grain(noise, u + seed, v, 0.1, footprint)
                f += 0.6 * row[PARAMETERS] * _grain(noise, u, v + seed, 0.5, footprint)
                r, g, b = r * f, g * f, b * f
                if material == _METAL:
                    mirror = 0.06
            # The ground is darker where the sky is hidden, under cars above all.
            if ny > 0.7 and (material <= _GROUND or material == _MARKING):
                cx = (wx - contact_frame[0]) * contact_frame[2]
                cz = (wz - contact_frame[1]) * contact_frame[2]
                ix, iz = int(cx), int(cz)
                if cx > 0 and cz > 0 and ix < contact.shape[1] - 1 and iz < contact.shape[0] - 1:
                    fx, fz = cx - ix, cz - iz
                    top = contact[iz, ix] + (contact[iz, ix + 1] - contact[iz, ix]) * fx
                    low = contact[iz + 1, ix] + (contact[iz + 1, ix + 1] - contact[iz + 1, ix]) * fx
                    open_ *= top + (low - top) * fz
            sun = 0.0
            if light[SHADOWS] > 0.5:
                sun = nx * light[SUN] + ny * light[SUN + 1] + nz * light[SUN + 2]
                if material == _LEAF:
                    sun = 0.25 + 0.75 * sun
                if sun > 0.0:
                    margin = 0.9 if material == _LEAF else 0.06
                    push = 0.12 if not round_ else 0.15
                    lx, ly, lz = wx + nx * push, wy + ny * push, wz + nz * push
                    lit = _shadow_map(near_map, near_view, lx, ly, lz, margin)
                    if lit < 0.0:
                        lit = _shadow_map(far_map, far_view, lx, ly, lz, margin + 0.6)
                    if lit >= 0.0:
                        sun *= lit
                sun = max(0.0, sun)
            up = 0.5 + 0.5 * ny
            # Streets are canyons: low points see less of the sky.
            canyon = (0.78 + 0.22 * min(1.0, max(0.0, wy - view[1] + 4.0) / 12.0)) * open_
            lr = (light[BOUNCE] + (light[SKY_LIGHT] - light[BOUNCE]) * up) * canyon
            lg = (light[BOUNCE + 1] + (light[SKY_LIGHT + 1] - light[BOUNCE + 1]) * up) * canyon
            lb = (light[BOUNCE + 2] + (light[SKY_LIGHT + 2] - light[BOUNCE + 2]) * up) * canyon
            r_out = r * (lr + light[SUN_COLOUR] * sun + glow)
            g_out = g * (lg + light[SUN_COLOUR + 1] * sun + glow)
            b_out = b * (lb + light[SUN_COLOUR + 2] * sun + glow)
            if mirror > 0.0:
                d = 2.0 * (nx * vx + ny * vy + nz * vz)
                mx, my, mz = vx - d * nx, vy - d * ny, vz - d * nz
                graze = 1.0 - min(1.0, abs(0.5 * d))
                mirror += (1.0 - mirror) * 0.55 * graze**5 * (mirror > 0.05)
                if my > 0.02:
                    mr, mg, mb = sky_colour(light, noise, mx, my, mz)
                    k = 0.25 + 0.75 * _step(0.05, 0.45, my)
                else:
                    mr, mg, mb = 0.25 * lr, 0.25 * lg, 0.25 * lb
                    k = 1.0
                r_out += mirror * (mr * k - r_out)
                g_out += mirror * (mg * k - g_out)
                b_out += mirror * (mb * k - b_out)
            k = 1.0 - math.exp(-distance * light[HAZE])
            radiance[y, x, 0] = r_out + (light[HAZE_COLOUR] - r_out) * k
            radiance[y, x, 1] = g_out + (light[HAZE_COLOUR + 1] - g_out) * k
            radiance[y, x, 2] = b_out + (light[HAZE_COLOUR + 2] - b_out) * k
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            i = ident[y, x]
            if i == ident[y, x + 1] and i == ident[y + 1, x] and i == ident[y + 1, x + 1]:
                for c in range(3):
                    radiance[y, x + 1, c] = radiance[y, x, c]
                    radiance[y + 1, x, c] = radiance[y + 1, x + 1, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_wires(wires, colours, closeness, view, light, radiance):  # type: ignore[no-untyped-def]
    """Blends thin lines over the picture; they have no label, as in the Cityscapes annotation.

    Args:
        wires: (n, 7) ends and radius, metres.
        colours: (n, 3) linear colours.
        closeness: z-buffer of the scene.
        view: Camera.
        light: Light vector.
        radiance: Picture, changed in place.
    """
    height, width = closeness.shape
    focal = view[12]
    ends = np.empty((2, 3))
    for i in range(wires.shape[0]):
        ahead = True
        for e in range(2):
            ox = wires[i, 3 * e] - view[0]
            oy = wires[i, 3 * e + 1] - view[1]
            oz = wires[i, 3 * e + 2] - view[2]
            depth = ox * view[9] + oy * view[10] + oz * view[11]
            if depth < 0.5:
                ahead = False
                break
            ends[e, 0] = view[13] + focal * (ox * view[3] + oy * view[4] + oz * view[5]) / depth
            ends[e, 1] = view[14] - focal * (ox * view[6] + oy * view[7] + oz * view[8]) / depth
            ends[e, 2] = 1.0 / depth
        if not ahead:
            continue
        steep = abs(ends[1, 1] - ends[0, 1]) > abs(ends[1, 0] - ends[0, 0])
        m, o = (1, 0) if steep else (0, 1)
        if ends[0, m] > ends[1, m]:
            first, second = 1, 0
        else:
            first, second = 0, 1
        span = ends[second, m] - ends[first, m]
        limit = height if steep else width
        across = width if steep else height
        start, stop = max(0, math.ceil(ends[first, m])), min(limit - 1, math.floor(ends[second, m]))
        for at in range(start, stop + 1):
            t = min(1.0, max(0.0, (at - ends[first, m]) / max(span, 1e-9)))
            side = ends[first, o] + t * (ends[second, o] - ends[first, o])
            close = ends[first, 2] + t * (ends[second, 2] - ends[first, 2])
            wide = min(1.0, 2.0 * wires[i, 6] * focal * close)
            base = math.floor(side)
            for k in range(2):
                j = int(base) + k
                if j < 0 or j >= across:
                    continue
                cover = wide * (1.0 - abs(side - j))
                py, px = (at, j) if steep else (j, at)
                if closeness[py, px] > close:
                    continue
                haze = 1.0 - math.exp(-light[HAZE] / close)
                for ch in range(3):
                    c = colours[i, ch] * light[SKY_LIGHT + ch]
                    c += (light[HAZE_COLOUR + ch] - c) * haze
                    radiance[py, px, ch] += cover * (c - radiance[py, px, ch])
