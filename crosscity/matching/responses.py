"""How response maps are stored: pooled, in 16 bits, with the place of each maximum.

A response map says for one patch of the first image how well it fits at each place of the second.
The next level needs a map only after 3×3 max-pooling with stride 2, and backtracking needs only
which of the nine cells was the maximum: that cell is the best of the 3×3 around twice the pooled
position. So maps are pooled while they are in the cache and never stored whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

STEPS: Final = 65535
"""Responses in [0, 1] are stored in steps of 1/65535, far below what separates matches."""
CENTRE: Final = 4
"""Code of the centre among the nine cells, row by row."""


@dataclass(frozen=True)
class PooledMaps:
    """Pooled response maps of one level.

    Attributes:
        values: (n, ⌈h/2⌉, ⌈w/2⌉) uint16, the maximum of each 3×3 in steps of 1/65535.
        codes: (n, ⌈h/2⌉, ⌈w/2⌉) uint8, which of the nine it was, row by row.
        height: h of the maps before pooling.
        width: w of the maps before pooling.
    """

    values: npt.NDArray[np.uint16]
    codes: npt.NDArray[np.uint8]
    height: int
    width: int


def allocate(count: int, height: int, width: int) -> PooledMaps:
    """Room for the pooled maps of so many patches."""
    shape = (count, (height + 1) // 2, (width + 1) // 2)
    return PooledMaps(
        np.zeros(shape, dtype=np.uint16), np.full(shape, CENTRE, dtype=np.uint8), height, width
    )


def rectification_table(power: float) -> npt.NDArray[np.uint16]:
    """x^λ (eq. 6 of the paper) for x in steps of 1/65535, in the same steps: (65536,) uint16."""
    steps = np.arange(STEPS + 1, dtype=np.float64) / STEPS
    return np.rint(steps**power * STEPS).astype(np.uint16)


@njit(cache=True, nogil=True)
def pool_map(
    full: npt.NDArray[np.float32],
    table: npt.NDArray[np.uint16],
    values: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> None:
    """3×3 max-pooling with stride 2, then rectification.

    Rectification keeps the order, so it may follow the pooling, on a quarter of the cells.
    The maximum's code leaves out the last row and column, as the published program does; the first
    in row-major order wins a tie. Rows are compared first, in loops that compile to vector code;
    then what is left in three neighbouring columns.

    Args:
        full: (h, w) float32 responses; values above 1 are cut to 1.
        table: `rectification_table`.
        values: (⌈h/2⌉, ⌈w/2⌉), written.
        codes: (⌈h/2⌉, ⌈w/2⌉), written.
    """
    height, width = full.shape
    highest = np.empty(width, dtype=np.float32)
    best = np.empty(width, dtype=np.float32)
    row_of = np.empty(width, dtype=np.int32)
    for i in range(values.shape[0]):
        middle = full[2 * i]
        above = full[max(2 * i - 1, 0)]
        under = full[min(2 * i + 1, height - 1)]
        # Outside the map a row stands for its neighbour, which is compared anyway; the last row
        # may be the highest, but not the one that is followed.
        for x in range(width):
            highest[x] = max(above[x], middle[x], under[x])
        has_above = i > 0
        has_middle = 2 * i < height - 1
        has_under = 2 * i + 1 < height - 1
        for x in range(width):
            value = above[x] if has_above else np.float32(-1.0)
            row = -1
            if has_middle and middle[x] > value:
                value = middle[x]
                row = 0
            if has_under and under[x] > value:
                value = under[x]
                row = 1
            best[x] = value
            row_of[x] = row
        for j in range(values.shape[1]):
            top = highest[2 * j]
            follow = np.float32(-1.0)
            row, column = 0, 0
            for dj in range(-1, 2):
                x = 2 * j + dj
                if x < 0 or x >= width:
                    continue
                top = max(top, highest[x])
                if x == width - 1:
                    continue
                value = best[x]
                if value > follow or (value == follow and row_of[x] < row):
                    follow = value
                    row, column = row_of[x], dj
            values[i, j] = table[np.int64(min(top, np.float32(1.0)) * np.float32(65535.0) + 0.5)]
            codes[i, j] = 3 * row + column + 4
