"""Which matches to trust: the weakest and those that contradict their neighbours are left out.

DeepMatching gives a match for nearly every patch that has a partner at all, also where something
drove away: then the best of what is left is taken, with a low score and a displacement of its own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, check_matches, number, whole_number
from crosscity.matching.matches import Matches, chosen_matches

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
    check_matches(matches)
    weakest = number(weakest, "weakest", 0, what="a share")
    if weakest >= 1:
        raise ValueError(f"weakest must be a share from 0 to below 1, not {weakest}")
    neighbours = whole_number(neighbours, "neighbours", 0, (2 * REACH + 1) ** 2 - 1)
    tolerance = number(tolerance, "tolerance", 0, MAX_SIDE, what="a number of cells")
    spacing = whole_number(spacing, "spacing", 1, MAX_SIDE)
    if not len(matches):
        return matches
    kept = np.ones(len(matches), dtype=np.bool_)
    if weakest > 0:
        kept &= matches.score >= np.quantile(matches.score, weakest)
    if neighbours > 0:
        kept &= agreeing_neighbours(matches, spacing, tolerance) >= neighbours
    return chosen_matches(matches, kept)


def agreeing_neighbours(matches: Matches, spacing: int, tolerance: float) -> npt.NDArray[np.int32]:
    """How many of the up to 24 neighbours of each match moved as it did: (n,) int32.

    Of several matches in one cell the last is everybody's neighbour.
    """
    row, column = (
        (at - at.min() + REACH).astype(np.int64)
        for at in (np.floor(matches.y_a / spacing), np.floor(matches.x_a / spacing))
    )
    # Cells are looked up among those that are there: their grid may be as large as coordinates are.
    across = int(column.max()) + 1 + REACH
    cell = row * across + column
    order = np.argsort(cell, kind="stable")
    present = cell[order]
    dx, dy = matches.x_b - matches.x_a, matches.y_b - matches.y_a
    most = float(tolerance * spacing)
    counts = np.zeros(len(matches), dtype=np.int32)
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            wanted = present + (down * across + right)
            at = np.searchsorted(present, wanted, side="right") - 1
            other = order[np.maximum(at, 0)]
            there = (at >= 0) & (present[at] == wanted) & (other != order)
            agrees = (np.abs(dx[other] - dx[order]) <= most) & (
                np.abs(dy[other] - dy[order]) <= most
            )
            counts[order] += there & agrees
    return counts
