"""The last filter: matches that are the best in both images (Revaud et al., Sec. 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.backtracking import (
    Descent,
    Reached,
    descent,
    step_down,
    window_places,
)
from crosscity.matching.pyramid import SPACING, Level
from crosscity.matching.responses import STEPS
from crosscity.matching.workers import Workers

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Int = npt.NDArray[np.int32]


@dataclass(frozen=True)
class AtomicMatches:
    """Atomic patches and where they were found.

    Attributes:
        patch: (m,) int64 number of the patch, ascending.
        y: (m,) int64 row of the whole response map.
        x: (m,) int64 column.
        score: (m,) float32 sum of the responses on the way from the top.
        entry: (m,) int32 rank of the maximum where the way began.
    """

    patch: Index
    y: Index
    x: Index
    score: Float
    entry: Int


def reciprocal_matches(level: Level, reached: Reached, workers: Workers) -> AtomicMatches:
    """Goes down to the atomic patches and keeps what is the best in both images.

    A match is kept if no other of the same patch, and none that ends in the same 4×4 cells of the
    second image, has a higher score. Of equal scores the best is that of the smaller (patch, y, x).

    Args:
        level: The first above the atomic patches.
        reached: Its cells that were reached.
        workers: The threads to work with.
    """
    below = level.below.windows
    way = descent(level, reached)
    bins_across = (below.whole_width - 1) // SPACING + 1
    bins = ((below.whole_height - 1) // SPACING + 1) * bins_across

    def trace_part(part: tuple[int, int]) -> tuple[Float, Index, Int, Float, Index]:
        found: tuple[Float, Index, Int, Float, Index] = _best_of(way, bins, bins_across, *part)
        return found

    parts = workers.each(trace_part, workers.chunks(len(below), per_thread=2))
    score, cell, entry = (np.concatenate([part[k] for part in parts]) for k in range(3))
    bin_patch = _best_of_bins([(part[3], part[4]) for part in parts])
    patch = np.flatnonzero(cell >= 0)
    y, x = window_places(below, cell)
    kept = patch[bin_patch[(y // SPACING * bins_across + x // SPACING)[patch]] == patch]
    return AtomicMatches(kept, y[kept], x[kept], score[kept], entry[kept])


def _best_of_bins(parts: list[tuple[Float, Index]]) -> Index:
    """The patch with the best score of each bin; earlier parts hold smaller patches."""
    best, patch = parts[0]
    for score, other in parts[1:]:
        better = score > best
        best, patch = np.where(better, score, best), np.where(better, other, patch)
    return patch


@compiled_loop()
def _best_of(
    way: Descent, bins: int, bins_across: int, begin: int, end: int
) -> tuple[Float, Index, Int, Float, Index]:
    """The best match of each patch, and the best patch of each bin of the second image.

    A patch that is the best of a bin there by another match than its own best is passed by: that
    other match bars the bin, so the bin's patch is marked as nobody's.
    """
    starts, cell, score, entry, parents, shifts, width, cells, top, left, below_width = way
    best = np.full(end - begin, -1, dtype=np.float32)
    best_cell = np.full(end - begin, -1, dtype=np.int64)
    best_entry = np.zeros(end - begin, dtype=np.int32)
    bin_score = np.full(bins, -1, dtype=np.float32)
    bin_patch = np.full(bins, -1, dtype=np.int64)
    bin_cell = np.full(bins, -1, dtype=np.int64)
    for child in range(begin, end):
        p = child - begin
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
                if reached > best[p] or (
                    reached == best[p]
                    and (
                        there < best_cell[p] or (there == best_cell[p] and entry[n] < best_entry[p])
                    )
                ):
                    best[p], best_cell[p], best_entry[p] = reached, there, entry[n]
                y = there // below_width + top[child]
                x = there % below_width + left[child]
                b = (y >> 2) * bins_across + (x >> 2)
                if reached > bin_score[b] or (
                    reached == bin_score[b] and bin_patch[b] == child and there < bin_cell[b]
                ):
                    bin_score[b], bin_patch[b], bin_cell[b] = reached, child, there
    for b in range(bins):
        if bin_patch[b] >= 0 and best_cell[bin_patch[b] - begin] != bin_cell[b]:
            bin_patch[b] = -1
    return best, best_cell, best_entry, bin_score, bin_patch
