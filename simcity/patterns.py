# mypy: disable-error-code="no-any-return"
"""Patterns that materials are made of: grain, masonry, characters, window panes."""

from __future__ import annotations

import math

from simcity.arrays import Floats, Singles, Surface, inlined, kernel
from simcity.light import NIGHT
from simcity.noise import cell_noise, smooth_noise


@inlined
def smooth_step(low: float, high: float, x: float) -> float:
    """A smooth step from 0 at low to 1 at high."""
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@inlined
def visible(size: float, footprint: float) -> float:
    """How much of a detail of that size is left at that footprint of a sample, 0 to 1."""
    return min(1.0, max(0.0, 1.6 - footprint / size))


@inlined
def grain(noise: Singles, u: float, v: float, scale: float, footprint: float) -> float:
    """Noise around 0 (-1 to 1) with features of about `scale` metres, fading when too fine."""
    left = visible(scale, footprint)
    if left <= 0.0:
        return 0.0
    k = 1.0 / (scale * 32.0)
    return left * (2.0 * smooth_noise(noise, u * k, v * k) - 1.0)


@kernel
def masonry(kind: int, u: float, v: float, seed: float, footprint: float, noise: Singles) -> float:
    """Factor on the colour of a wall of that kind."""
    factor = 1.0 + 0.14 * grain(noise, u + 3.1 * seed, v, 0.9, footprint)
    factor += 0.10 * grain(noise, u, v + 1.7 * seed, 0.22, footprint)
    if kind == 0:
        factor += 0.09 * grain(noise, u, v + seed, 0.07, footprint)
    elif kind == 1:
        left = visible(0.10, footprint)
        row = math.floor(v / 0.085)
        a = u / 0.25 + 0.5 * (row % 2)
        col = math.floor(a)
        factor *= 0.86 + 0.28 * cell_noise(row, col, seed) * max(left, 0.35)
        if a - col < 0.06 or v / 0.085 - row < 0.16:
            factor *= 1.0 - 0.22 * left
    elif kind == 2:
        left = visible(0.16, footprint)
        row, col = math.floor(v / 0.12), math.floor(u / 0.24)
        factor *= 1.0 + (0.14 * cell_noise(row, col, seed) - 0.07) * max(left, 0.3)
        if u / 0.24 - col < 0.08 or v / 0.12 - row < 0.12:
            factor *= 1.0 - 0.14 * left
    elif kind == 4:
        left = visible(0.5, footprint)
        row, col = math.floor(v / 0.9), math.floor(u / 1.8)
        factor *= 0.94 + 0.12 * cell_noise(row, col, seed)
        if u / 1.8 - col < 0.02 or v / 0.9 - row < 0.035:
            factor *= 1.0 - 0.25 * left
        factor += 0.10 * grain(noise, u, v, 0.2, footprint)
    return factor


@kernel
def glyphs(u: float, v: float, size: float, aspect: float, seed: int, footprint: float) -> float:
    """Ink (0 to 1) of made-up characters on a grid."""
    cw, ch = size * aspect, size
    col, row = math.floor(u / cw), math.floor(v / ch)
    x, y = u / cw - col, v / ch - row
    left = visible(size * 0.25, footprint)
    if x < 0.12 or x > 0.88 or y < 0.12 or y > 0.88:
        return 0.0
    if left <= 0.0:
        return 0.33
    i, j = int((x - 0.12) / 0.76 * 5), int((y - 0.12) / 0.76 * 5)
    code = cell_noise(col + 31 * i, row + 57 * j, seed)
    ink = 1.0 if code < 0.5 else 0.0
    return 0.33 + (ink - 0.33) * left


@kernel
def pane(
    u: float, v: float, key: float, height_share: float, light: Floats, noise: Singles, tone: float
) -> Surface:
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
