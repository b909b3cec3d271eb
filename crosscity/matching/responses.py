"""How response maps are stored: pooled, value and place of each maximum in 16 bits.

A response map says for one patch of the first image how well it fits at each place of the second.
The next level needs a map only after 3×3 max-pooling with stride 2, and backtracking needs only
which of the nine cells was the maximum: that cell is the best of the 3×3 around twice the pooled
position. So maps are pooled while they are in the cache and never stored whole; this is where the
memory of the published program goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.windows import Windows

Float = npt.NDArray[np.float32]

STEPS: Final = 4095
"""Rectified responses in [0, 1] are stored in steps of 1/4095."""
CODE_BITS: Final = 4
"""The lower bits of a stored cell hold `LAST - (3 · (dy + 1) + dx + 1)`."""
LAST: Final = 8
TABLE_STEPS: Final = 8191
"""Steps in which a response is looked up for rectification; the table fits the first cache."""
NOTHING: Final = -1024
"""Stands for a cell outside the map; below every response, also with a code added."""


@dataclass(frozen=True)
class PooledMaps:
    """Pooled response maps of one level.

    Attributes:
        cells: (n, h, w) uint16: the maximum of each 3×3 in steps of 1/4095 in the upper twelve
            bits, which of the nine it was in the lower four (8 is the upper left, 0 the lower
            right).
        windows: Where each map lies in the whole map, before pooling; after it a window begins at
            half that, rounded down.
    """

    cells: npt.NDArray[np.uint16]
    windows: Windows

    def values(self) -> Float:
        """(n, h, w) float32 pooled responses in [0, 1]."""
        return ((self.cells >> CODE_BITS) / np.float32(STEPS)).astype(np.float32)

    def offsets(self) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
        """(dy, dx) of each maximum from twice its pooled position, each (n, h, w) in -1 … 1."""
        rank = LAST - (self.cells & 15).astype(np.int8)
        return rank // 3 - 1, rank % 3 - 1


def allocate(windows: Windows) -> PooledMaps:
    """Room for the pooled maps of so many patches."""
    shape = (len(windows), (windows.height + 1) // 2, (windows.width + 1) // 2)
    return PooledMaps(np.empty(shape, dtype=np.uint16), windows)


def rectification_table(power: float) -> npt.NDArray[np.uint16]:
    """x^λ (eq. 6 of the paper) for x in steps of 1/8191, as stored: (8192,) uint16."""
    steps = np.arange(TABLE_STEPS + 1, dtype=np.float64) / TABLE_STEPS
    return (np.rint(steps**power * STEPS).astype(np.uint16) << CODE_BITS).astype(np.uint16)


@compiled_loop()
def pool_rows(
    full: npt.NDArray[np.int32],
    corner: tuple[int, int],
    window: tuple[int, int, int, int],
    rows: tuple[int, int],
    table: npt.NDArray[np.uint16],
    scratch: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint16],
) -> None:
    """3×3 max-pooling with stride 2 of some rows of one map, then rectification.

    pooled(i, j) = max response(2i + dy, 2j + dx), dy, dx in -1 … 1. Rectification keeps the
    order, so it may follow the pooling, on a quarter of the cells. The first in row-major order
    wins a tie. Responses are at least 0, so their bits order like integers: with the place of a
    cell in the lowest four bits, one integer maximum compares both, in vector code. (That drops
    four of 23 bits of the mantissa.)

    Args:
        full: Responses as the bits of float32, the rows and columns that are at hand.
        corner: (row, column) of the whole map that row 0 and column 0 of `full` are.
        window: (top, left, height, width) of this map's window in the whole map; outside of it
            there is no response.
        rows: (begin, end) of the rows to make, of the whole pooled map.
        table: `rectification_table`.
        scratch: (2, at least `width` + 4) to work in.
        cells: (⌈height/2⌉, ⌈width/2⌉) of the window, rows `begin` … `end` of it are written.
    """
    first_row, first_column = corner
    top, left, height, width = window
    begin, end = rows
    odd = left & 1
    columns = cells.shape[1]
    start = left - first_column
    padded, best = scratch
    padded[: 1 + odd] = NOTHING
    padded[1 + odd + width : 2 * columns + 2] = NOTHING
    line = padded[1 + odd : 1 + odd + width]
    for i in range(max(begin, top // 2), min(end, top // 2 + cells.shape[0])):
        written = False
        for dy in range(-1, 2):
            y = 2 * i + dy
            if y < top or y >= top + height:
                continue
            row = full[y - first_row, start : start + width]
            code = np.int32(3 * (1 - dy))
            if written:
                for x in range(width):
                    line[x] = max(line[x], (row[x] & np.int32(-16)) | code)
            else:
                for x in range(width):
                    line[x] = (row[x] & np.int32(-16)) | code
                written = True
        out = cells[i - top // 2]
        for j in range(columns):
            best[j] = max(padded[2 * j] + 2, padded[2 * j + 1] + 1, padded[2 * j + 2])
        _store(best[:columns], table, out)


@compiled_loop()
def _store(
    best: npt.NDArray[np.int32], table: npt.NDArray[np.uint16], out: npt.NDArray[np.uint16]
) -> None:
    responses = best.view(np.float32)
    for j in range(len(best)):
        step = np.int32(min(responses[j], np.float32(1.0)) * np.float32(TABLE_STEPS) + 0.5)
        out[j] = table[step] | np.uint16(best[j] & 15)
