# mypy: disable-error-code="no-any-return"
"""Value noise from one fixed tile: cheap to look up, the same everywhere and always."""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from simcity.arrays import Singles, inlined

TILE: Final = 256
"""Side of the tile; one unit of noise coordinates is one tile."""

_KEY: Final = 0x7E47


@functools.cache
def noise_tile() -> npt.NDArray[np.float32]:
    """A (TILE, TILE) tile that repeats without a seam: several octaves, values in 0 to 1.

    The distribution is stretched to be even, so that a threshold t keeps a share 1 - t.
    """
    rng = np.random.default_rng(_KEY)
    total = np.zeros((TILE, TILE))
    for octave in range(3, 8):
        cells = 2**octave
        lattice = rng.standard_normal((cells, cells))
        at = np.arange(TILE) * cells / TILE
        low = at.astype(np.intp)
        share = at - low
        share = share * share * (3.0 - 2.0 * share)
        high = (low + 1) % cells
        rows = lattice[low] * (1 - share)[:, None] + lattice[high] * share[:, None]
        total += (rows[:, low] * (1 - share) + rows[:, high] * share) * 0.62 ** (octave - 3)
    ranks = np.empty(TILE * TILE)
    ranks[np.argsort(total, axis=None, kind="stable")] = np.arange(TILE * TILE)
    tile = (ranks / (TILE * TILE - 1)).astype(np.float32).reshape(TILE, TILE)
    tile.setflags(write=False)
    return tile


@inlined
def smooth_noise(tile: Singles, x: float, y: float) -> float:
    """Bilinear look-up in the tile, which repeats; x and y in tiles; gives 0 to 1."""
    x = (x - math.floor(x)) * 256.0
    y = (y - math.floor(y)) * 256.0
    x0, y0 = int(x), int(y)
    fx, fy = x - x0, y - y0
    x0, y0 = x0 & 255, y0 & 255
    x1, y1 = (x0 + 1) & 255, (y0 + 1) & 255
    top = tile[y0, x0] + (tile[y0, x1] - tile[y0, x0]) * fx
    low = tile[y1, x0] + (tile[y1, x1] - tile[y1, x0]) * fx
    return top + (low - top) * fy


@inlined
def cell_noise(a: float, b: float, c: float) -> float:
    """An even random number in [0, 1) for three integers (32-bit mixing as in MurmurHash3)."""
    h = (int(a) * 0x9E3779B1 ^ int(b) * 0x85EBCA77 ^ int(c) * 0x42B2AE3D) & 0xFFFFFFFF
    h ^= h >> 16
    h = (h * 0x7FEB352D) & 0xFFFFFFFF
    h ^= h >> 15
    h = (h * 0x46CA68B5) & 0xFFFFFFFF
    h ^= h >> 16
    return h / 4294967296.0
