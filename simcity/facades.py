# mypy: disable-error-code="no-any-return"
# ruff: noqa: PLR0911, PLR0912, PLR0915  (what lies where is a cascade of early returns)
"""Facades: storeys, windows, shutters, cornices, shops, doors, dirt."""

from __future__ import annotations

import math

from simcity.arrays import Colour, Floats, Singles, Surface, kernel
from simcity.light import NIGHT
from simcity.mesh import COLOUR_A, COLOUR_B, COLOUR_C, PARAMETERS, SEED
from simcity.noise import cell_noise, smooth_noise
from simcity.patterns import glyphs, masonry, pane


@kernel
def _shop(
    u: float,
    v: float,
    ground: float,
    seed: int,
    trim: Colour,
    accent: Colour,
    wall: Colour,
    footprint: float,
    light: Floats,
) -> Surface:
    """Ground floor with shop windows, a sign band above them, doors and shutters."""
    br, bg, bb = trim
    sr, sg, sb = accent
    wr, wg, wb = wall
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
            w = glyphs(u, y - 0.12, 0.6, 0.75, seed + int(col) * 13, footprint)
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


@kernel
def _ground_floor(
    u: float,
    v: float,
    ground: float,
    bay: float,
    seed: int,
    trim: Colour,
    accent: Colour,
    wall: Colour,
    light: Floats,
    noise: Singles,
) -> Surface:
    """Ground floor of a dwelling: plinth, windows, entrance doors, garage doors."""
    br, bg, bb = trim
    sr, sg, sb = accent
    wr, wg, wb = wall
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
        return pane(u, v, key * 0.9, (v - sill) / (high - sill), light, noise, 0.8)
    if abs(x) < half + 0.12 and abs(v - sill + 0.06) < 0.07:
        return br, bg, bb, 0.0, 0.0
    if v > ground - 0.2:
        return br * 0.75, bg * 0.75, bb * 0.75, 0.0, 0.0
    return wr, wg, wb, 0.0, 0.0


@kernel
def facade(
    row: Floats, u: float, v: float, footprint: float, light: Floats, noise: Singles
) -> Surface:
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
    wall = masonry(kind, u, v, seed, footprint, noise)
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
        trim, accent, colour = (br, bg, bb), (sr, sg, sb), (r, g, b)
        if flags & 2:
            return _shop(u, v, ground, seed, trim, accent, colour, footprint, light)
        return _ground_floor(u, v, ground, bay, seed, trim, accent, colour, light, noise)
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
        r, g, b, mirror, glow = pane(u, v, key, up, light, noise, 0.9)
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
        beside = half + 0.1 < x < half + 0.75 and sill - 0.45 < y < sill + 0.1
        if flags & 8 and beside and cell_noise(col, floor, seed + 7) < 0.5:
            fan = 0.55 if (x - half - 0.36) ** 2 + (y - sill + 0.17) ** 2 < 0.04 else 0.75
            return fan, fan, fan * 0.97, 0.0, 0.0
    return r, g, b, 0.0, 0.0
