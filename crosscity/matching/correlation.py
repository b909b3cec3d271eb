"""Level 0: normalised correlation of 4×4 patches (Revaud et al., Sec. 3.2)."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.matching.descriptors import CONSTANT, ORIENTATIONS
from crosscity.matching.responses import PooledMaps, allocate, pool_rows, rectification_table
from crosscity.matching.windows import WindowFrames, Windows, windows_of_level
from crosscity.matching.workers import Workers

Float = npt.NDArray[np.float32]

PATCH: Final = 4
"""Side of an atomic patch in cells of the descriptor map."""
TERMS: Final = ORIENTATIONS * PATCH * PATCH + 1
"""Products in one correlation; the constant channel's sixteen are one, as all are equal."""
TILE: Final = 4096
"""Windows in one matrix product. With `BLOCK` patches, what it reads and writes stays in one core's
share of the last cache."""
BLOCK: Final = 192
"""Patches in one matrix product."""
SLAB_BYTES: Final = 24 * 1024 * 1024
"""Windows of the second image that one thread holds at a time when a radius is given."""


@dataclass(frozen=True)
class AtomicPatches:
    """The non-overlapping 4×4 patches of the first image, L2-normalised.

    Attributes:
        vectors: (n, 129) float32: eight orientations of 4×4 cells, row by row; last, the value
            that all sixteen cells of the constant channel have.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
    """

    vectors: Float
    rows: int
    columns: int


def atomic_patches(descriptors: Float) -> AtomicPatches:
    """Cuts (9, 4 r, 4 c) descriptors into r × c patches of unit length."""
    height, width = descriptors.shape[1:]
    rows, columns = height // PATCH, width // PATCH
    cut = descriptors[:ORIENTATIONS, : rows * PATCH, : columns * PATCH]
    grid = cut.reshape(ORIENTATIONS, rows, PATCH, columns, PATCH).transpose(1, 3, 0, 2, 4)
    vectors = np.empty((rows * columns, TERMS), dtype=np.float32)
    vectors[:, :-1] = grid.reshape(rows * columns, -1)
    vectors[:, -1] = CONSTANT
    squares = np.einsum("nk,nk->n", vectors[:, :-1], vectors[:, :-1])
    squares += PATCH * PATCH * CONSTANT * CONSTANT
    vectors /= np.sqrt(squares)[:, None]
    return AtomicPatches(vectors, rows, columns)


@dataclass(frozen=True)
class SecondImage:
    """The second image, ready to be cut into 4×4 windows.

    The window at (y, x), 0 ≤ y ≤ h, 0 ≤ x ≤ w, covers the rows y - 2 … y + 1 and the columns
    x - 2 … x + 1; outside the image it is zero.

    Attributes:
        padded: (8, h + 4, w + 4) float32 orientations with a rim of two zeros.
        inverse: (h + 1, w + 1) float32, one over the length of the part of each window inside.
        constant: (h + 1, w + 1) float32, the sum of the constant channel over that part.
    """

    padded: Float
    inverse: Float
    constant: Float

    @property
    def whole(self) -> tuple[int, int]:
        """(height, width) of a whole response map."""
        return self.inverse.shape[0], self.inverse.shape[1]


def second_image(descriptors: Float) -> SecondImage:
    """Prepares (9, h, w) descriptors."""
    padded = np.pad(descriptors[:ORIENTATIONS], ((0, 0), (2, 2), (2, 2)))
    inside = np.pad(np.ones(descriptors.shape[1:], dtype=np.float32), 2)
    squares = np.einsum("kyx,kyx->yx", padded, padded) + CONSTANT * CONSTANT * inside
    inverse = 1.0 / np.sqrt(_window_sums(squares))
    constant = CONSTANT * _window_sums(inside)
    return SecondImage(padded, inverse.astype(np.float32), constant.astype(np.float32))


def _window_sums(padded: Float) -> Float:
    height, width = padded.shape[0] - 3, padded.shape[1] - 3
    cut = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH))
    total: Float = cut[:height, :width].sum(axis=(2, 3), dtype=np.float32)
    return total


@compiled_loop()
def fill_windows(
    padded: Float, inverse: Float, constant: Float, top: int, left: int, out: Float
) -> None:
    """Cuts out normalised windows, one a column of a matrix.

    Args:
        padded: As in `SecondImage`.
        inverse: As in `SecondImage`.
        constant: As in `SecondImage`.
        top: y of the first window.
        left: x of the first window.
        out: (129, rows, columns) float32, written; the order of `AtomicPatches.vectors`.
    """
    rows, columns = out.shape[1:]
    for channel in range(padded.shape[0]):
        for dy in range(4):
            for dx in range(4):
                term = 16 * channel + 4 * dy + dx
                for y in range(rows):
                    source = padded[channel, top + y + dy, left + dx : left + dx + columns]
                    scale = inverse[top + y, left : left + columns]
                    line = out[term, y]
                    for x in range(columns):
                        line[x] = source[x] * scale[x]
    for y in range(rows):
        source = constant[top + y, left : left + columns]
        scale = inverse[top + y, left : left + columns]
        line = out[out.shape[0] - 1, y]
        for x in range(columns):
            line[x] = source[x] * scale[x]


def border_factors(patches: AtomicPatches) -> tuple[Float, Float]:
    """What a patch's response is multiplied by where its window leaves the image.

    There only the part inside is compared, so the patch too is normalised over that part:
    ‖patch‖ / ‖inside part‖.

    Returns:
        Factors of rows and of columns, each (n, 4): for the first, second, last but one and last
        row (column) of the response map.
    """
    squares = patches.vectors * patches.vectors
    grid = squares[:, :-1].reshape(-1, ORIENTATIONS, PATCH, PATCH).sum(axis=1)
    grid += squares[:, -1, None, None]
    inside = (slice(2, 4), slice(1, 4), slice(0, 3), slice(0, 2))
    rows = [grid[:, part, :].sum(axis=(1, 2)) for part in inside]
    columns = [grid[:, :, part].sum(axis=(1, 2)) for part in inside]
    return _inverse_roots(rows), _inverse_roots(columns)


def _inverse_roots(parts: list[Float]) -> Float:
    return (1.0 / np.sqrt(np.stack(parts, axis=1))).astype(np.float32)


def correlate(
    patches: AtomicPatches,
    image: SecondImage,
    *,
    power: float,
    radius: int | None = None,
    workers: Workers,
) -> PooledMaps:
    """Response maps of all atomic patches, pooled (eq. 1 and 6).

    response(p, x) = ⟨patch_p, window_x⟩ / (‖patch_p‖ ‖window_x‖), in [0, 1] as descriptors are ≥ 0.

    Matrix products over tiles small enough that their result is pooled while it is in the cache.

    Args:
        patches: Of the first image.
        image: The second image.
        power: Exponent of the rectification.
        radius: Largest displacement in cells along each axis; ``None`` for any.
        workers: The threads to work with.

    Returns:
        Pooled maps of (h + 1) × (w + 1) responses, or of the part within the radius.
    """
    windows = windows_of_level(0, patches.rows, patches.columns, image.whole, radius)
    pooled = allocate(windows)
    correlation = _Correlation(patches, image, pooled, power)
    regions = _tiles(windows) if windows.everywhere else _bands(patches, windows)
    workers.each(correlation.make, list(regions))
    return pooled


@dataclass(frozen=True)
class _Region:
    """Work for one thread: windows of the second image that are cut out once.

    Attributes:
        begin: First row of the whole pooled map, of those whose windows are cut out.
        end: One beyond the last.
        left: First column of the whole pooled map.
        right: One beyond the last.
        groups: Patches, and which pooled rows their maps need; any of them fit in the region.
    """

    begin: int
    end: int
    left: int
    right: int
    groups: tuple[tuple[npt.NDArray[np.int64], int, int], ...]


def _rows_of_a_tile(width: int) -> int:
    """Rows of the pooled map that one matrix product over this width is for."""
    return max(TILE // (2 * width), 1)


def _tiles(windows: Windows) -> Iterator[_Region]:
    """The whole map in tiles, each for all patches."""
    everyone = np.arange(len(windows))
    height, width = (windows.whole_height + 1) // 2, (windows.whole_width + 1) // 2
    step = _rows_of_a_tile(windows.whole_width)
    for begin in range(0, height, step):
        end = min(begin + step, height)
        yield _Region(begin, end, 0, width, ((everyone, begin, end),))


def _bands(patches: AtomicPatches, windows: Windows) -> Iterator[_Region]:
    """Squares of neighbouring patches, whose windows overlap most of the way.

    Below each other in one band as long as the memory for one thread allows: they share the
    windows that are cut out.
    """
    # Wider squares compute more that is not asked for, narrower ones make poor matrix products.
    side = min(max(windows.width // 16, 8), 24)
    pooled_height, pooled_width = (windows.height + 1) // 2, (windows.width + 1) // 2
    for column in range(0, patches.columns, side):
        across = np.arange(column, min(column + side, patches.columns))
        left = int(windows.left[across[0]]) // 2
        right = int(windows.left[across[-1]]) // 2 + pooled_width
        tallest = SLAB_BYTES // (4 * TERMS * 2 * (right - left))
        groups: list[tuple[npt.NDArray[np.int64], int, int]] = []
        for row in range(0, patches.rows, side):
            down = np.arange(row, min(row + side, patches.rows))
            begin = int(windows.top[down[0] * patches.columns]) // 2
            end = int(windows.top[down[-1] * patches.columns]) // 2 + pooled_height
            if groups and 2 * (end - groups[0][1]) > tallest:
                yield _Region(groups[0][1], groups[-1][2], left, right, tuple(groups))
                groups = []
            members = (down[:, None] * patches.columns + across[None, :]).ravel()
            groups.append((members, begin, end))
        yield _Region(groups[0][1], groups[-1][2], left, right, tuple(groups))


class _Correlation:
    """What all regions of one pair share."""

    def __init__(
        self, patches: AtomicPatches, image: SecondImage, pooled: PooledMaps, power: float
    ) -> None:
        self._vectors = patches.vectors
        self._image = image
        self._pooled = pooled
        self._factors = border_factors(patches)
        self._table = rectification_table(power)
        self._kept = threading.local()

    def _room(self, name: str, values: int) -> Float:
        """Memory of this thread, kept for its next region."""
        room: Float | None = getattr(self._kept, name, None)
        if room is None or len(room) < values:
            room = np.empty(values, dtype=np.float32)
            setattr(self._kept, name, room)
        return room[:values]

    def make(self, region: _Region) -> None:
        """Makes the pooled maps of a region's patches, as far as they lie in it."""
        height, width = self._image.whole
        top, bottom = max(2 * region.begin - 1, 0), min(2 * region.end, height)
        left, right = max(2 * region.left - 1, 0), min(2 * region.right, width)
        size = (TERMS, bottom - top, right - left)
        slab = self._room("slab", math.prod(size)).reshape(size)
        image = self._image
        fill_windows(image.padded, image.inverse, image.constant, top, left, slab)
        step = _rows_of_a_tile(right - left)
        products = self._room("products", BLOCK * (2 * step + 1) * (right - left))
        scratch = np.empty((2, right - left + 4), dtype=np.int32)
        for members, first, last in region.groups:
            for begin in range(first, last, step):
                end = min(begin + step, last)
                above, below = max(2 * begin - 1, 0), min(2 * end, height)
                columns = slab[:, above - top : below - top].reshape(TERMS, -1)
                for start in range(0, len(members), BLOCK):
                    block = members[start : start + BLOCK]
                    tile = products[: len(block) * columns.shape[1]].reshape(len(block), -1)
                    np.matmul(self._vectors[block], columns, out=tile)
                    self._finish(
                        tile.reshape(len(block), below - above, right - left),
                        (above, left),
                        block,
                        (begin, end),
                        scratch,
                    )

    def _finish(
        self,
        tile: Float,
        corner: tuple[int, int],
        block: npt.NDArray[np.int64],
        rows: tuple[int, int],
        scratch: npt.NDArray[np.int32],
    ) -> None:
        frames = self._pooled.windows.frames()
        cells = self._pooled.cells
        _finish_tile(tile, corner, block, self._factors, frames, rows, self._table, scratch, cells)


@compiled_loop()
def _finish_tile(
    tile: Float,
    corner: tuple[int, int],
    block: npt.NDArray[np.int64],
    factors: tuple[Float, Float],
    frames: WindowFrames,
    rows: tuple[int, int],
    table: npt.NDArray[np.uint16],
    scratch: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint16],
) -> None:
    """Border factors and pooling: each map while it is in the cache."""
    first_row, first_column = corner
    rows_factor, columns_factor = factors
    top, left, height, width, whole_height, whole_width = frames
    bits = tile.view(np.int32)
    for b in range(len(block)):
        p = block[b]
        for side in range(4):
            row = (side if side < 2 else whole_height - 4 + side) - first_row
            if 0 <= row < tile.shape[1]:
                for x in range(tile.shape[2]):
                    tile[b, row, x] *= rows_factor[p, side]
            column = (side if side < 2 else whole_width - 4 + side) - first_column
            if 0 <= column < tile.shape[2]:
                for y in range(tile.shape[1]):
                    tile[b, y, column] *= columns_factor[p, side]
        window = (top[p], left[p], height, width)
        pool_rows(bits[b], corner, window, rows, table, scratch, cells[p])
