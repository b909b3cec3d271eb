"""Top-down: from the maxima of the largest patches to atomic matches (Revaud et al., Sec. 3.3).

The published program follows one maximum after the other and drops a way that reaches a cell which
was reached before with a score at least as high. The same comes out of one sweep down the levels
that keeps, for each cell, the best score: a cell's way down depends on nothing but the cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.matching.pyramid import Pyramid

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reached:
    """Cells of response maps that were reached, and how well.

    Attributes:
        cell: int64 flat index (patch, y, x) into the maps of a level, each once, in no
            meaningful order.
        score: float32 sum of the responses on the way from the top.
        entry: int32 rank of the maximum where the way began.
    """

    cell: Index
    score: Float
    entry: npt.NDArray[np.int32]


def backtrack(pyramid: Pyramid) -> tuple[Reached, tuple[int, int]]:
    """Follows every maximum of the top level down to the atomic patches.

    Returns:
        The cells reached at level 0, and (height, width) of its maps.
    """
    reached = top_entries(pyramid.top)
    shape = (pyramid.top.shape[1], pyramid.top.shape[2])
    for level in reversed(pyramid.levels):
        below = level.below
        cells, scores, entries = _descend(
            reached.cell,
            reached.score,
            reached.entry,
            level.children,
            below.values,
            below.codes,
            below.height,
            below.width,
        )
        reached = Reached(cells, scores, entries)
        shape = (below.height, below.width)
    return reached, shape


def top_entries(top: Float) -> Reached:
    """Every cell of the largest patches' maps with a response above 0, best first."""
    responses = top.ravel()
    cells = np.flatnonzero(responses > 0)
    order = np.argsort(-responses[cells], kind="stable")
    cells = cells[order]
    return Reached(cells, responses[cells], np.arange(len(cells), dtype=np.int32))


@njit(cache=True, nogil=True)
def _slot(table: Index, cell: int) -> int:
    """Where a cell stands, or would stand, in an open-addressing table of 2^n slots."""
    mask = len(table) - 1
    # Fibonacci hashing spreads neighbouring cells; the upper bits are the well-mixed ones.
    slot = ((cell * 0x9E3779B97F4A7C1) >> 20) & mask
    while table[slot] >= 0 and table[slot] != cell:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _grown(
    table: Index, scores: Float, entries: npt.NDArray[np.int32]
) -> tuple[Index, Float, npt.NDArray[np.int32]]:
    larger = np.full(2 * len(table), -1, dtype=np.int64)
    larger_scores = np.empty(len(larger), dtype=np.float32)
    larger_entries = np.empty(len(larger), dtype=np.int32)
    for old in range(len(table)):
        if table[old] >= 0:
            new = _slot(larger, table[old])
            larger[new] = table[old]
            larger_scores[new] = scores[old]
            larger_entries[new] = entries[old]
    return larger, larger_scores, larger_entries


@njit(cache=True, nogil=True)
def _descend(
    cell: Index,
    score: Float,
    entry: npt.NDArray[np.int32],
    children: Index,
    values: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
    height: int,
    width: int,
) -> tuple[Index, Float, npt.NDArray[np.int32]]:
    """One level down: each cell to its four children, at the best of the 3×3 around twice it.

    Of the ways that meet in a cell the best score stays; of equal ones, that of the better entry.
    """
    pooled_height, pooled_width = values.shape[1:]
    area = pooled_height * pooled_width
    table = np.full(1 << 12, -1, dtype=np.int64)
    scores = np.empty(len(table), dtype=np.float32)
    entries = np.empty(len(table), dtype=np.int32)
    count = 0
    for n in range(len(cell)):
        if 2 * (count + 4) > len(table):
            table, scores, entries = _grown(table, scores, entries)
        patch, rest = cell[n] // area, cell[n] % area
        y, x = rest // pooled_width, rest % pooled_width
        for k in range(4):
            child = children[patch, k]
            there_y = y + (-1 if k < 2 else 1)
            there_x = x + (-1 if k % 2 == 0 else 1)
            if child < 0 or not (0 <= there_y < pooled_height and 0 <= there_x < pooled_width):
                continue
            value = values[child, there_y, there_x]
            if value == 0:
                continue
            code = codes[child, there_y, there_x]
            best_y = 2 * there_y + code // 3 - 1
            best_x = 2 * there_x + code % 3 - 1
            reached = (child * height + best_y) * width + best_x
            total = score[n] + np.float32(value / 65535.0)
            slot = _slot(table, reached)
            if table[slot] < 0:
                table[slot] = reached
                count += 1
            elif total < scores[slot] or (total == scores[slot] and entry[n] >= entries[slot]):
                continue
            scores[slot] = total
            entries[slot] = entry[n]
    taken = np.flatnonzero(table >= 0)
    return table[taken], scores[taken], entries[taken]
