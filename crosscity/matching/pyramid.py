"""Bottom-up: from the responses of small patches to those of large ones (Revaud et al., Sec. 3.2).

A patch of level l has 4 · 2^l cells a side and four children of half its size, centred a quarter
of its side away. From level 1 on, patches are centred every four cells and may overhang.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.responses import (
    STEPS,
    PooledMaps,
    allocate,
    pool_rows,
    rectification_table,
)
from crosscity.matching.windows import Search, WindowFrames, Windows
from crosscity.matching.workers import Workers

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

SPACING: Final = 4
"""Cells between the centres of patches, at every level."""
BORDER_POWER: Final = np.float32(0.9)
"""Exponent of the weight that is present, where a child's map ends."""
LARGEST_PATCH: Final = 0.9
"""Side of the largest patches against the longer side of the image, at most."""
UPPER_STEP: Final = np.float32(1.0 / (16 * STEPS))
"""Turns a stored cell without its code into a response."""


@dataclass(frozen=True)
class Level:
    """How the patches of one level hang on those below.

    Attributes:
        children: (n, 4) int64 index of each child (upper left, upper right, lower left, lower
            right), -1 where it lies outside the image.
        shifts: (n, 4, 2) int32 (y, x): the place of a child's pooled window that belongs to place
            0, 0 of the patch's own window.
        below: The pooled maps of the children.
        windows: Of this level's patches.
    """

    children: Index
    shifts: npt.NDArray[np.int32]
    below: PooledMaps
    windows: Windows


@dataclass(frozen=True)
class Pyramid:
    """All levels, and the full response maps of the largest patches.

    Attributes:
        levels: From the first level above the atomic patches to the top.
        top: (n, h, w) float32 responses of the largest patches in their windows, in [0, 1].
    """

    levels: tuple[Level, ...]
    top: Float


def level_count(height: int, width: int) -> int:
    """Levels above the atomic patches: while twice the patch leaves a tenth of the longer side.

    (The published program's scores show levels up to patches of 0.8 of the longer side, and none
    with patches of 0.91 of it.)
    """
    size, levels = 4, 0
    while 2 * size <= LARGEST_PATCH * max(height, width):
        size *= 2
        levels += 1
    return levels


def children_of(level: int, rows: int, columns: int) -> Index:
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


def shifts_of(children: Index, windows: Windows, below: Windows) -> npt.NDArray[np.int32]:
    """Where the maps of the children lie against those of the patches, as in `Level`.

    A quarter of the patch is one cell of the pooled maps, whatever the level; windows that were
    moved inwards at the border of the image shift the rest.
    """
    quarters = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)], dtype=np.int32)
    down = windows.top[:, None] - below.top[children] // 2
    across = windows.left[:, None] - below.left[children] // 2
    return np.stack([down, across], axis=2).astype(np.int32) + quarters[None]


def build_pyramid(
    atoms: PooledMaps, search: Search, levels: int, power: float, *, workers: Workers
) -> Pyramid:
    """Aggregates up to the largest patches (eq. 5 and 6 of the paper).

    Args:
        atoms: Pooled maps of the atomic patches.
        search: Where patches were searched for, and are.
        levels: How many levels to build, at least 1.
        power: Exponent of the rectification.
        workers: The threads to work with.
    """
    below, weights = atoms, np.ones(search.rows * search.columns, dtype=np.float32)
    table = rectification_table(power)
    made: list[Level] = []
    for number in range(1, levels + 1):
        children = children_of(number, search.rows, search.columns)
        windows = search.windows(number)
        level = Level(children, shifts_of(children, windows, below.windows), below, windows)
        made.append(level)
        shares, weights = child_shares(weights, children)
        if number == levels:
            top = np.empty((len(children), windows.height, windows.width), dtype=np.float32)
            _make_top(level, shares, power, top, workers)
            return Pyramid(tuple(made), top)
        above = allocate(windows)
        _make_level(level, shares, table, above, workers)
        below = above
    raise ValueError("a pyramid has at least one level above the atomic patches")


def child_shares(weights: Float, children: Index) -> tuple[Float, Float]:
    """What part of its parent each child is, and what the parents weigh.

    A patch weighs what its children inside the image weigh, an atomic one 1.
    """
    present = np.where(children >= 0, weights[children], np.float32(0))
    total = present.sum(axis=1, dtype=np.float32)
    shares = present / np.where(total > 0, total, np.float32(1))[:, None]
    return shares.astype(np.float32), total


def _make_level(
    level: Level,
    shares: Float,
    table: npt.NDArray[np.uint16],
    above: PooledMaps,
    workers: Workers,
) -> None:
    frames = level.windows.frames()

    def make(part: tuple[int, int]) -> None:
        _aggregate_and_pool(
            level.below.cells,
            shares,
            level.children,
            level.shifts,
            frames,
            table,
            above.cells,
            *part,
        )

    workers.each(make, workers.chunks(len(level.children)))


def _make_top(level: Level, shares: Float, power: float, top: Float, workers: Workers) -> None:
    def make(part: tuple[int, int]) -> None:
        _aggregate_top(level.below.cells, shares, level.children, level.shifts, power, top, *part)

    workers.each(make, workers.chunks(len(level.children)))


@compiled_loop()
def aggregate_patch(
    below: npt.NDArray[np.uint16],
    shares: Float,
    children: Index,
    shifts: npt.NDArray[np.int32],
    full: Float,
) -> None:
    """The response map of one patch: the weighted mean of its children, each shifted.

    response(y, x) = Σ_k share_k child_k(y + shift_k, x + shift_k) / present^0.9, where `present` is
    the sum of the shares of those children whose maps reach so far; 0 where none does.

    Args:
        below: (n, h, w) pooled maps of the children's level, as stored.
        shares: (4,) of its children, together 1, or all 0 for a patch without any.
        children: (4,) its children, -1 where there is none.
        shifts: (4, 2) of their maps against this one.
        full: (h', w'), written.
    """
    height, width = full.shape
    # Between these columns all children are there, whichever row it is.
    first, last = 0, width
    for k in range(4):
        if children[k] >= 0:
            first = max(first, -shifts[k, 1])
            last = min(last, below.shape[2] - shifts[k, 1])
    last = max(last, first)
    for y in range(height):
        line = full[y]
        line[:] = np.float32(0.0)
        present = np.float32(0.0)
        for k in range(4):
            there = y + shifts[k, 0]
            if children[k] < 0 or there < 0 or there >= below.shape[1]:
                continue
            present += shares[k]
            share = shares[k] * UPPER_STEP
            shift = shifts[k, 1]
            source = below[children[k], there, first + shift : last + shift]
            middle = line[first:last]
            for x in range(last - first):
                middle[x] += share * np.float32(source[x] & np.uint16(0xFFF0))
        if np.float32(0.0) < present < np.float32(0.99999):
            factor = np.float32(1.0) / present**BORDER_POWER
            for x in range(first, last):
                line[x] *= factor
        for x in range(0, min(first, width)):
            line[x] = _rim(below, shares, children, shifts, y, x)
        for x in range(last, width):
            line[x] = _rim(below, shares, children, shifts, y, x)


@compiled_loop()
def _rim(
    below: npt.NDArray[np.uint16],
    shares: Float,
    children: Index,
    shifts: npt.NDArray[np.int32],
    y: int,
    x: int,
) -> np.float32:
    """One response where some child's map ends."""
    total = np.float32(0.0)
    present = np.float32(0.0)
    for k in range(4):
        i, j = y + shifts[k, 0], x + shifts[k, 1]
        if children[k] >= 0 and 0 <= i < below.shape[1] and 0 <= j < below.shape[2]:
            value = np.float32(below[children[k], i, j] & np.uint16(0xFFF0))
            total += shares[k] * UPPER_STEP * value
            present += shares[k]
    if np.float32(0.0) < present < np.float32(0.99999):
        total /= present**BORDER_POWER
    return total


@compiled_loop()
def _aggregate_and_pool(
    below: npt.NDArray[np.uint16],
    shares: Float,
    children: Index,
    shifts: npt.NDArray[np.int32],
    frames: WindowFrames,
    table: npt.NDArray[np.uint16],
    cells: npt.NDArray[np.uint16],
    begin: int,
    end: int,
) -> None:
    top, left, height, width, _, _ = frames
    full = np.empty((height, width), dtype=np.float32)
    bits = full.view(np.int32)
    scratch = np.empty((2, width + 4), dtype=np.int32)
    for p in range(begin, end):
        aggregate_patch(below, shares[p], children[p], shifts[p], full)
        corner, rows = (top[p], left[p]), (0, top[p] + height)
        window = (top[p], left[p], height, width)
        pool_rows(bits, corner, window, rows, table, scratch, cells[p])


@compiled_loop()
def _aggregate_top(
    below: npt.NDArray[np.uint16],
    shares: Float,
    children: Index,
    shifts: npt.NDArray[np.int32],
    power: float,
    top: Float,
    begin: int,
    end: int,
) -> None:
    for p in range(begin, end):
        aggregate_patch(below, shares[p], children[p], shifts[p], top[p])
        for y in range(top.shape[1]):
            for x in range(top.shape[2]):
                top[p, y, x] = min(top[p, y, x], np.float32(1.0)) ** power
