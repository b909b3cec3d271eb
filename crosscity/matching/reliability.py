"""Which matches to trust: the weakest and those that contradict their neighbours are left out.

DeepMatching gives a match for nearly every patch that has a partner at all, also where something
drove away: then the best of what is left is taken, with a low score and a displacement of its own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.matching.matches import Matches

REACH: Final = 2
"""Neighbours are the matches of the 5×5 patches around, 24 at most."""


def reliable_matches(
    matches: Matches,
    spacing: int,
    *,
    weakest: float = 0.25,
    neighbours: int = 8,
    tolerance: float = 1.0,
) -> Matches:
    """Leaves out the weakest matches, and those that too few neighbours agree with.

    Two matches agree if their displacements differ by at most `tolerance` cells along each axis.
    Neighbours are looked for among all matches, before the weakest are left out.

    Args:
        matches: As `deep_matching` gives them: at most one a cell of the first image's grid.
        spacing: Side of a cell of that grid in pixels, 4 · downscale.
        weakest: Share of the matches with the lowest scores, 0 to 1; 0 drops none.
        neighbours: How many of the 24 neighbours must agree at least; 0 asks none.
        tolerance: In cells.

    Returns:
        Those kept, in the same order.

    Raises:
        ValueError: A setting is out of range.
    """
    if not 0 <= weakest < 1:
        raise ValueError(f"weakest must be a share from 0 to below 1, not {weakest}")
    most = (2 * REACH + 1) ** 2 - 1
    if not 0 <= neighbours <= most:
        raise ValueError(f"neighbours must be 0 to {most}, not {neighbours}")
    if not (tolerance >= 0 and np.isfinite(tolerance)):
        raise ValueError(f"tolerance must be zero or more cells, not {tolerance}")
    if spacing < 1:
        raise ValueError(f"spacing must be a positive number of pixels, not {spacing}")
    if not len(matches):
        return matches
    kept = np.ones(len(matches), dtype=np.bool_)
    if weakest > 0:
        kept &= matches.score >= np.quantile(matches.score, weakest)
    if neighbours > 0:
        kept &= agreeing_neighbours(matches, spacing, tolerance) >= neighbours
    return Matches(
        x_a=matches.x_a[kept],
        y_a=matches.y_a[kept],
        x_b=matches.x_b[kept],
        y_b=matches.y_b[kept],
        score=matches.score[kept],
        entry=matches.entry[kept],
    )


def agreeing_neighbours(matches: Matches, spacing: int, tolerance: float) -> npt.NDArray[np.int32]:
    """How many of the up to 24 neighbours of each match moved as it did: (n,) int32."""
    row = (matches.y_a // spacing).astype(np.int64)
    column = (matches.x_a // spacing).astype(np.int64)
    grid = np.full((row.max() + 1 + 2 * REACH, column.max() + 1 + 2 * REACH), -1, dtype=np.int64)
    grid[row + REACH, column + REACH] = np.arange(len(matches))
    counts: npt.NDArray[np.int32] = _count(
        grid,
        row + REACH,
        column + REACH,
        matches.x_b - matches.x_a,
        matches.y_b - matches.y_a,
        float(tolerance * spacing),
    )
    return counts


@njit(cache=True, nogil=True)
def _count(
    grid: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    dx: npt.NDArray[np.float32],
    dy: npt.NDArray[np.float32],
    most: float,
) -> npt.NDArray[np.int32]:
    counts = np.zeros(len(row), dtype=np.int32)
    for n in range(len(row)):
        for i in range(row[n] - 2, row[n] + 3):
            for j in range(column[n] - 2, column[n] + 3):
                other = grid[i, j]
                if other < 0 or other == n:
                    continue
                if abs(dx[other] - dx[n]) <= most and abs(dy[other] - dy[n]) <= most:
                    counts[n] += 1
    return counts
