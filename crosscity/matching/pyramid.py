"""Bottom-up: from the responses of small patches to those of large ones (Revaud et al., Sec. 3.2).

A patch of level l has 4 · 2^l cells a side and four children of half its size, centred a quarter
of its side away. From level 1 on, patches are centred every four cells and may overhang.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.matching.responses import PooledMaps, allocate, pool_map, rectification_table

Float = npt.NDArray[np.float32]

SPACING: Final = 4
"""Cells between the centres of patches, at every level."""
BORDER_POWER: Final = np.float32(0.9)
"""Exponent of the weight that is present, where a child's map ends."""


@dataclass(frozen=True)
class Level:
    """How the patches of one level hang on those below.

    Attributes:
        children: (n, 4) int64 index of each child (upper left, upper right, lower left, lower
            right), -1 where it lies outside the image.
        below: The pooled maps of the children.
    """

    children: npt.NDArray[np.int64]
    below: PooledMaps


@dataclass(frozen=True)
class Pyramid:
    """All levels, and the full response maps of the largest patches.

    Attributes:
        levels: From the first level above the atomic patches to the top.
        top: (n, h, w) float32 responses of the largest patches, in [0, 1].
    """

    levels: tuple[Level, ...]
    top: Float


def level_count(height: int, width: int) -> int:
    """Levels above the atomic patches: while twice the patch fits the longer side."""
    size, levels = 4, 0
    while 2 * size <= max(height, width):
        size *= 2
        levels += 1
    return levels


def children_of(level: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """The children of every patch of a level.

    Args:
        level: 1 for the first above the atomic patches.
        rows: Atomic patches from top to bottom.
        columns: Atomic patches from left to right.

    Returns:
        ((rows + 1) (columns + 1), 4) int64, as in `Level`.
    """
    quarter = 2**level
    # Atomic patches are centred at 2, 6, 10, …; all others at 0, 4, 8, …
    first, below = (2, (rows, columns)) if level == 1 else (0, (rows + 1, columns + 1))
    y, x = np.meshgrid(
        SPACING * np.arange(rows + 1), SPACING * np.arange(columns + 1), indexing="ij"
    )
    found = []
    for up, left in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        i = (y + up * quarter - first) // SPACING
        j = (x + left * quarter - first) // SPACING
        inside = (i >= 0) & (i < below[0]) & (j >= 0) & (j < below[1])
        found.append(np.where(inside, i * below[1] + j, -1).ravel())
    return np.stack(found, axis=1).astype(np.int64)


def build_pyramid(atoms: PooledMaps, rows: int, columns: int, levels: int, power: float) -> Pyramid:
    """Aggregates up to the largest patches (eq. 5 and 6 of the paper).

    Args:
        atoms: Pooled maps of the atomic patches.
        rows: Atomic patches from top to bottom.
        columns: Atomic patches from left to right.
        levels: How many levels to build, at least 1.
        power: Exponent of the rectification.
    """
    below = atoms
    weights = np.ones(rows * columns, dtype=np.float32)
    table = rectification_table(power)
    made: list[Level] = []
    for level in range(1, levels + 1):
        children = children_of(level, rows, columns)
        made.append(Level(children, below))
        weights_above = _sum_of_children(weights, children)
        height, width = below.values.shape[1:]
        if level == levels:
            top = np.zeros((len(children), height, width), dtype=np.float32)
            _aggregate_top(below.values, weights, weights_above, children, power, top)
            return Pyramid(tuple(made), top)
        above = allocate(len(children), height, width)
        _aggregate_and_pool(
            below.values, weights, weights_above, children, table, above.values, above.codes
        )
        below, weights = above, weights_above
    raise ValueError("a pyramid has at least one level above the atomic patches")


def _sum_of_children(weights: Float, children: npt.NDArray[np.int64]) -> Float:
    """A patch weighs what its children inside the image weigh."""
    present = children >= 0
    total: Float = np.where(present, weights[children], 0).sum(axis=1, dtype=np.float32)
    return total


@njit(cache=True, nogil=True)
def aggregate_patch(
    below: npt.NDArray[np.uint16],
    weights: Float,
    weight: float,
    children: npt.NDArray[np.int64],
    full: Float,
) -> None:
    """The response map of one patch: the weighted mean of its children, each shifted by one cell.

    A quarter of the patch is one cell of the pooled maps, whatever the level. Where a shifted child
    ends, at the rim of one cell, the sum is divided by (weight present)^0.9.

    Args:
        below: (n, h, w) pooled maps of the children's level.
        weights: (n,) what each of them weighs.
        weight: What this patch weighs.
        children: (4,) its children, -1 where there is none.
        full: (h, w), written.
    """
    height, width = full.shape
    full[:] = 0.0
    if weight <= 0:
        return
    for k in range(4):
        child = children[k]
        if child < 0:
            continue
        share = np.float32(weights[child] / weight / 65535.0)
        dy = -1 if k < 2 else 1
        dx = -1 if k % 2 == 0 else 1
        source = below[child]
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                full[y, x] += share * source[y + dy, x + dx]
    for y in range(height):
        rim = y == 0 or y == height - 1
        step = 1 if rim or width == 1 else width - 1
        for x in range(0, width, step):
            present = np.float32(0.0)
            for k in range(4):
                child = children[k]
                there_y = y + (-1 if k < 2 else 1)
                there_x = x + (-1 if k % 2 == 0 else 1)
                if child >= 0 and 0 <= there_y < height and 0 <= there_x < width:
                    present += weights[child] / np.float32(weight)
            if present > 0:
                full[y, x] /= present ** np.float32(0.9)


@njit(cache=True, nogil=True)
def _aggregate_and_pool(
    below: npt.NDArray[np.uint16],
    weights: Float,
    weights_above: Float,
    children: npt.NDArray[np.int64],
    table: npt.NDArray[np.uint16],
    values: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> None:
    full = np.empty(below.shape[1:], dtype=np.float32)
    for p in range(len(children)):
        aggregate_patch(below, weights, weights_above[p], children[p], full)
        pool_map(full, table, values[p], codes[p])


@njit(cache=True, nogil=True)
def _aggregate_top(
    below: npt.NDArray[np.uint16],
    weights: Float,
    weights_above: Float,
    children: npt.NDArray[np.int64],
    power: float,
    top: Float,
) -> None:
    for p in range(len(children)):
        aggregate_patch(below, weights, weights_above[p], children[p], top[p])
        for y in range(top.shape[1]):
            for x in range(top.shape[2]):
                top[p, y, x] = min(top[p, y, x], np.float32(1.0)) ** power
