"""Top-down: from the maxima of the largest patches to atomic matches (Revaud et al., Sec. 3.3).

The published program follows one maximum after the other and drops a way that reaches a cell which
was reached before with a score at least as high. The same comes out of one sweep down the levels
that keeps, for each cell, the best score: a cell's way down depends on nothing but the cell. Patch
by patch, the sweep touches one response map at a time, and patches do not wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.pyramid import Level, Pyramid
from crosscity.matching.responses import STEPS
from crosscity.matching.windows import Windows
from crosscity.matching.workers import Workers

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Int = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Reached:
    """Cells of the response maps of a level that were reached, and how well.

    Attributes:
        starts: (n + 1,) int64: the cells of patch p are numbers `starts[p]` … `starts[p + 1]`.
        cell: int32 flat index (y, x) into the patch's window, each once.
        score: float32 sum of the responses on the way from the top.
        entry: int32 rank of the maximum where the way began.
    """

    starts: Index
    cell: Int
    score: Float
    entry: Int


class Descent(NamedTuple):
    """What one level down is traced by; the compiled loops take it apart at their beginning.

    Attributes:
        starts: As in `Reached`, of the level above.
        cell: Likewise.
        score: Likewise.
        entry: Likewise.
        parents: (n, 4) of each patch below, as of `parents_of`.
        shifts: (m, 4, 2) of each child's pooled map against its parent's.
        width: Columns of the windows above.
        cells: (n, h, w) pooled maps below, as stored.
        top: (n,) first row of each window below in the whole map.
        left: (n,) first column.
        below_width: Columns of the windows below.
    """

    starts: Index
    cell: Int
    score: Float
    entry: Int
    parents: Index
    shifts: Int
    width: int
    cells: npt.NDArray[np.uint16]
    top: Int
    left: Int
    below_width: int


def descent(level: Level, reached: Reached) -> Descent:
    """From the cells of a level that were reached to the patches below it."""
    below = level.below.windows
    return Descent(
        reached.starts,
        reached.cell,
        reached.score,
        reached.entry,
        parents_of(level.children, len(below)),
        level.shifts,
        level.windows.width,
        level.below.cells,
        below.top,
        below.left,
        below.width,
    )


def top_entries(top: Float) -> Reached:
    """Every cell of the largest patches' maps with a response above 0, ranked by response.

    Of equal responses the first in row-major order ranks higher.
    """
    flat = top.reshape(len(top), -1)
    patch, cell = np.nonzero(flat > 0)
    score = flat[patch, cell]
    entry = np.empty(len(cell), dtype=np.int32)
    entry[np.argsort(-score, kind="stable")] = np.arange(len(cell), dtype=np.int32)
    starts = np.searchsorted(patch, np.arange(len(top) + 1))
    return Reached(starts.astype(np.int64), cell.astype(np.int32), score, entry)


def backtrack(pyramid: Pyramid, workers: Workers) -> Reached:
    """Follows every maximum of the top level down to the level above the atomic patches.

    The last step is `reciprocal_matches`, which needs no more of it than the best.
    """
    reached = top_entries(pyramid.top)
    for level in reversed(pyramid.levels[1:]):
        reached = descend(level, reached, workers)
    return reached


def parents_of(children: Index, count: int) -> Index:
    """The inverse of `children_of`: (count, 4), the parent whose k-th child this is, or -1."""
    parents = np.full((count, 4), -1, dtype=np.int64)
    for k in range(4):
        present = np.flatnonzero(children[:, k] >= 0)
        parents[children[present, k], k] = present
    return parents


def descend(level: Level, reached: Reached, workers: Workers) -> Reached:
    """One level down: each cell to its four children, at the best of the 3×3 around twice it.

    score(child) = score + response(child). Of the ways that meet in a cell the best score stays;
    of equal ones, that of the higher ranking entry.
    """
    way, below = descent(level, reached), level.below.windows

    def trace_part(part: tuple[int, int]) -> tuple[Index, Int, Float, Int]:
        found: tuple[Index, Int, Float, Int] = _descend(way, below.height, *part)
        return found

    parts = workers.each(trace_part, workers.chunks(len(below)))
    counts, cells, scores, entries = (np.concatenate(column) for column in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Reached(starts, cells, scores, entries)


@compiled_loop()
def step_down(
    cell: int,
    width: int,
    shift: Int,
    cells: npt.NDArray[np.uint16],
    top: int,
    left: int,
    below_width: int,
) -> tuple[int, int]:
    """Where a cell of a patch leads in one child.

    Args:
        cell: Flat index in the patch's window.
        width: Of the patch's window.
        shift: (2,) of the child's pooled map against the patch's.
        cells: (h, w) pooled map of the child, as stored.
        top: First row of the child's window in the whole map.
        left: First column.
        below_width: Columns of the child's window.

    Returns:
        Flat index in the child's window and the stored value there; -1 and 0 where the child does
        not reach so far or has no response at all.
    """
    i = cell // width + shift[0]
    j = cell % width + shift[1]
    if not (0 <= i < cells.shape[0] and 0 <= j < cells.shape[1]):
        return -1, 0
    stored = int(cells[i, j])
    value = stored >> 4
    if value == 0:
        return -1, 0
    rank = 8 - (stored & 15)
    y = 2 * i + rank // 3 - 1 - (top & 1)
    x = 2 * j + rank % 3 - 1 - (left & 1)
    return y * below_width + x, value


@compiled_loop()
def _descend(way: Descent, height: int, begin: int, end: int) -> tuple[Index, Int, Float, Int]:
    starts, cell, score, entry, parents, shifts, width, cells, top, left, below_width = way
    scores = np.full(height * below_width, -1, dtype=np.float32)
    entries = np.empty(height * below_width, dtype=np.int32)
    touched = np.empty(height * below_width, dtype=np.int32)
    counts = np.zeros(end - begin, dtype=np.int64)
    out_cell = np.empty(1024, dtype=np.int32)
    out_score = np.empty(1024, dtype=np.float32)
    out_entry = np.empty(1024, dtype=np.int32)
    total = 0
    for child in range(begin, end):
        count = 0
        for k in range(4):
            parent = parents[child, k]
            if parent < 0:
                continue
            shift = shifts[parent, k]
            for n in range(starts[parent], starts[parent + 1]):
                there, value = step_down(
                    cell[n], width, shift, cells[child], top[child], left[child], below_width
                )
                if there < 0:
                    continue
                reached = score[n] + np.float32(value) / np.float32(STEPS)
                if scores[there] < 0:
                    touched[count] = there
                    count += 1
                elif reached < scores[there] or (
                    reached == scores[there] and entry[n] >= entries[there]
                ):
                    continue
                scores[there] = reached
                entries[there] = entry[n]
        while total + count > len(out_cell):
            out_cell = np.concatenate((out_cell, np.empty_like(out_cell)))
            out_score = np.concatenate((out_score, np.empty_like(out_score)))
            out_entry = np.concatenate((out_entry, np.empty_like(out_entry)))
        for n in range(count):
            there = touched[n]
            out_cell[total + n] = there
            out_score[total + n] = scores[there]
            out_entry[total + n] = entries[there]
            scores[there] = -1
        total += count
        counts[child - begin] = count
    return counts, out_cell[:total].copy(), out_score[:total].copy(), out_entry[:total].copy()


def window_places(windows: Windows, cell: Index) -> tuple[Index, Index]:
    """(y, x) in the whole map of one cell of each patch's window."""
    return cell // windows.width + windows.top, cell % windows.width + windows.left
