"""From matches at half the density to those at the whole: a search within a small window of each.

DeepMatching everywhere at some density costs sixteen times what it costs at half of it. So patches
of half the density are matched as published, and those of the whole density only near where the
patches around them went: correlation, aggregation over the smallest levels, backtracking and the
reciprocal filter are the same.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.backtracking import backtrack
from crosscity.matching.correlation import AtomicPatches, SecondImage, border_factors
from crosscity.matching.pyramid import build_pyramid
from crosscity.matching.reciprocal import AtomicMatches, reciprocal_matches
from crosscity.matching.responses import PooledMaps, allocate, pool_rows, rectification_table
from crosscity.matching.windows import SearchNear, WindowFrames
from crosscity.matching.workers import Workers

Float = npt.NDArray[np.float32]
Int = npt.NDArray[np.int32]

REACH: Final = 9
"""Cells along each axis that a patch may lie off where the coarser matches say."""
LEVELS: Final = 3
"""Levels above the atomic patches: what larger patches say, the coarser matches have said."""


def refined(
    patches: AtomicPatches,
    image: SecondImage,
    coarse: AtomicMatches,
    coarse_grid: tuple[int, int],
    *,
    power: float,
    radius: int | None,
    workers: Workers,
) -> AtomicMatches:
    """Matches atomic patches near where the twice as large ones around them went.

    Args:
        patches: Of the first image.
        image: The second image.
        coarse: Matches of the same images whose descriptors were halved once more; at least one.
        coarse_grid: (rows, columns) of their atomic patches.
        power: Exponent of the rectification.
        radius: Largest displacement in cells along each axis; ``None`` for any.
        workers: The threads to work with.
    """
    moved = expected_moves(coarse, coarse_grid, (patches.rows, patches.columns))
    search = SearchNear(
        patches.rows, patches.columns, image.whole, radius, moved=moved, reach=REACH
    )
    atoms = correlate_near(patches, image, search, power, workers)
    pyramid = build_pyramid(atoms, search, LEVELS, power, workers=workers)
    return reciprocal_matches(pyramid.levels[0], backtrack(pyramid, workers), workers)


def expected_moves(
    coarse: AtomicMatches, coarse_grid: tuple[int, int], grid: tuple[int, int]
) -> Int:
    """By how many cells patches are expected to have moved: (rows, columns, 2) int32 (y, x).

    A patch moves as the coarser one that it lies in, or as the nearest of those that have a match.
    """
    rows, columns = coarse_grid
    row, column = coarse.patch // columns, coarse.patch % columns
    unknown = np.ones(coarse_grid, dtype=np.uint8)
    unknown[row, column] = 0
    _, label = cv2.distanceTransformWithLabels(
        unknown, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    went = np.zeros((int(label.max()) + 1, 2), dtype=np.int32)
    went[label[row, column], 0] = 2 * (coarse.y - (4 * row + 2))
    went[label[row, column], 1] = 2 * (coarse.x - (4 * column + 2))
    inside_y = np.minimum(np.arange(grid[0]) // 2, rows - 1)
    inside_x = np.minimum(np.arange(grid[1]) // 2, columns - 1)
    moved: Int = went[label[np.ix_(inside_y, inside_x)]]
    return moved


def correlate_near(
    patches: AtomicPatches, image: SecondImage, search: SearchNear, power: float, workers: Workers
) -> PooledMaps:
    """`crosscity.matching.correlation.correlate` where every patch has a window of its own."""
    windows = search.windows(0)
    pooled = allocate(windows)
    table = rectification_table(power)
    factors = border_factors(patches)

    def make(part: tuple[int, int]) -> None:
        _correlate_near(
            patches.vectors, image.padded, image.inverse, image.constant, factors,
            windows.frames(), table, pooled.cells, *part,
        )  # fmt: skip

    workers.each(make, workers.chunks(len(windows)))
    return pooled


@compiled_loop()
def _correlate_near(
    vectors: Float,
    padded: Float,
    inverse: Float,
    constant: Float,
    factors: tuple[Float, Float],
    frames: WindowFrames,
    table: npt.NDArray[np.uint16],
    cells: npt.NDArray[np.uint16],
    begin: int,
    end: int,
) -> None:
    tops, lefts, height, width, whole_height, whole_width = frames
    rows_factor, columns_factor = factors
    full = np.empty((height, width), dtype=np.float32)
    bits = full.view(np.int32)
    scratch = np.empty((2, width + 4), dtype=np.int32)
    for p in range(begin, end):
        top, left = tops[p], lefts[p]
        vector = vectors[p]
        last = vector[len(vector) - 1]
        for y in range(height):
            line = full[y]
            line[:] = last * constant[top + y, left : left + width]
            for channel in range(padded.shape[0]):
                for dy in range(4):
                    source = padded[channel, top + y + dy, left : left + width + 3]
                    term = 16 * channel + 4 * dy
                    a, b, c, d = vector[term], vector[term + 1], vector[term + 2], vector[term + 3]
                    for x in range(width):
                        line[x] += (
                            a * source[x]
                            + b * source[x + 1]
                            + c * source[x + 2]
                            + d * source[x + 3]
                        )
            scale = inverse[top + y, left : left + width]
            for x in range(width):
                line[x] *= scale[x]
        for side in range(4):
            row = (side if side < 2 else whole_height - 4 + side) - top
            if 0 <= row < height:
                full[row] *= rows_factor[p, side]
            column = (side if side < 2 else whole_width - 4 + side) - left
            if 0 <= column < width:
                full[:, column] *= columns_factor[p, side]
        window = (top, left, height, width)
        pool_rows(bits, (top, left), window, (0, top + height), table, scratch, cells[p])
