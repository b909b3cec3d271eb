"""Level 0: normalised correlation of 4×4 patches (Revaud et al., Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.matching.responses import PooledMaps, allocate, pool_map, rectification_table

Float = npt.NDArray[np.float32]

PATCH: Final = 4
"""Side of an atomic patch in cells of the descriptor map."""
BLOCK_BYTES: Final = 48 * 1024 * 1024
"""Correlation of one block of patches; beyond the caches, but small beside the stored maps."""


@dataclass(frozen=True)
class AtomicPatches:
    """The non-overlapping 4×4 patches of the first image, L2-normalised.

    Attributes:
        vectors: (n, 9 · 16) float32, row by row of the patch grid.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
    """

    vectors: Float
    rows: int
    columns: int


def atomic_patches(descriptors: Float) -> AtomicPatches:
    """Cuts (9, 4 r, 4 c) descriptors into r × c patches of unit length."""
    channels, height, width = descriptors.shape
    rows, columns = height // PATCH, width // PATCH
    cut = descriptors[:, : rows * PATCH, : columns * PATCH]
    grid = cut.reshape(channels, rows, PATCH, columns, PATCH).transpose(1, 3, 0, 2, 4)
    vectors = np.ascontiguousarray(grid).reshape(rows * columns, -1)
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return AtomicPatches(vectors / lengths, rows, columns)


def windows(descriptors: Float) -> Float:
    """Every 4×4 window of the second image, of unit length; zero outside the image.

    Args:
        descriptors: (9, h, w).

    Returns:
        (9 · 16, (h + 1) (w + 1)) float32: the window at column y (w + 1) + x covers the cells
        x - 2 … x + 1 and y - 2 … y + 1. The length is that of the part inside the image.
    """
    channels, height, width = descriptors.shape
    padded = np.pad(descriptors, ((0, 0), (2, 2), (2, 2)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(1, 2))
    columns = np.ascontiguousarray(view.transpose(0, 3, 4, 1, 2), dtype=np.float32)
    flat = columns.reshape(channels * PATCH * PATCH, (height + 1) * (width + 1))
    flat /= np.sqrt(np.einsum("kn,kn->n", flat, flat))
    return flat


def border_factors(patches: AtomicPatches) -> tuple[Float, Float]:
    """What a patch's response is multiplied by where its window leaves the image.

    There only the part inside is compared, so the patch too is normalised over that part:
    ‖patch‖ / ‖inside part‖.

    Returns:
        Factors of rows and of columns, each (n, 4): for the first, second, last but one and last
        row (column) of the response map.
    """
    shape = (len(patches.vectors), -1, PATCH, PATCH)
    squares = (patches.vectors * patches.vectors).reshape(shape).sum(axis=1)
    inside = (slice(2, 4), slice(1, 4), slice(0, 3), slice(0, 2))
    rows = [squares[:, part, :].sum(axis=(1, 2)) for part in inside]
    columns = [squares[:, :, part].sum(axis=(1, 2)) for part in inside]
    return _inverse_roots(rows), _inverse_roots(columns)


def _inverse_roots(parts: list[Float]) -> Float:
    return (1.0 / np.sqrt(np.stack(parts, axis=1))).astype(np.float32)


def correlate(
    patches: AtomicPatches, descriptors: Float, *, power: float, radius: float | None
) -> PooledMaps:
    """Response maps of all atomic patches, pooled (eq. 1 and 6).

    response(p, x) = ⟨patch_p, window_x⟩ / (‖patch_p‖ ‖window_x‖), in [0, 1] as descriptors are ≥ 0.

    Args:
        patches: Of the first image.
        descriptors: (9, h, w) of the second image.
        power: Exponent of the rectification.
        radius: Largest displacement in cells along each axis; ``None`` for any.

    Returns:
        Pooled maps of (h + 1) × (w + 1) responses; beyond the radius they are 0.
    """
    height, width = descriptors.shape[1] + 1, descriptors.shape[2] + 1
    columns = windows(descriptors)
    rows_factor, columns_factor = border_factors(patches)
    count = len(patches.vectors)
    pooled = allocate(count, height, width)
    block = max(1, BLOCK_BYTES // (4 * height * width))
    reach = np.inf if radius is None else float(radius)
    table = rectification_table(power)
    for start in range(0, count, block):
        stop = min(start + block, count)
        full = (patches.vectors[start:stop] @ columns).reshape(-1, height, width)
        _finish(
            full,
            rows_factor[start:stop],
            columns_factor[start:stop],
            start,
            patches.columns,
            reach,
            table,
            pooled.values[start:stop],
            pooled.codes[start:stop],
        )
    return pooled


@njit(cache=True, nogil=True)
def _finish(
    full: Float,
    rows_factor: Float,
    columns_factor: Float,
    first: int,
    grid_columns: int,
    radius: float,
    table: npt.NDArray[np.uint16],
    values: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> None:
    """Border factors, radius, pooling: each map while it is in the cache."""
    count, height, width = full.shape
    for p in range(count):
        for side in range(4):
            row = side if side < 2 else height - 4 + side
            column = side if side < 2 else width - 4 + side
            for x in range(width):
                full[p, row, x] *= rows_factor[p, side]
            for y in range(height):
                full[p, y, column] *= columns_factor[p, side]
        if radius < height + width:
            centre_y = 4 * ((first + p) // grid_columns) + 2
            centre_x = 4 * ((first + p) % grid_columns) + 2
            for y in range(height):
                row_outside = abs(y - centre_y) > radius
                for x in range(width):
                    if row_outside or abs(x - centre_x) > radius:
                        full[p, y, x] = 0.0
        pool_map(full[p], table, values[p], codes[p])
