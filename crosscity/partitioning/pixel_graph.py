"""The graph over pixels that Entropy Rate Superpixels cut: which edges, and how heavy.

An edge has no record. Its number says where it is: edge `p * D + direction` leaves the
pixel with raster index p for its right, lower, lower right or lower left neighbour (D = 4 with
eight neighbours; D = 2, the first two, with four). All that is stored per edge is the colour
distance, two bytes for 8-bit pictures, from which a small table gives the weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.partitioning.scores import (
    Distances,
    Floats,
    Tables,
    chord,
    entropy,
    make_tables,
    x_log_x,
)

GREY_LEVELS_OF_UINT16 = 257.0
"""65535 / 255: 16-bit values are measured in 8-bit grey levels, so sigma keeps its meaning."""

SLACK = 1e-4
"""A guess from chords is less below the entropy than this."""


@dataclass(frozen=True)
class PixelGraph:
    """A picture as the weighted graph of Liu et al. (2011), Sec. 3.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        distances: (H * W, D) unsigned; the L1 colour distance along each edge in the picture's
            own levels.
        absent: The distance, larger than any, of an edge that would leave the picture.
        tables: Weights by distance, and their logarithms.
        loops: (H * W,) float64; l of every pixel, the sum of its edges' weights.
        total: The sum of all l.
        largest_entropy: The largest entropy part of a first edge's score, which sets λ.
    """

    height: int
    width: int
    distances: Distances
    absent: int
    tables: Tables
    loops: Floats
    total: float
    largest_entropy: float


@compiled_loop()
def _row_distances(
    image: npt.NDArray[np.unsignedinteger[Any]],
    distances: npt.NDArray[np.unsignedinteger[Any]],
    y: int,
    direction: int,
    step_x: int,
    step_y: int,
    absent: int,
) -> int:
    """Fills one direction's distances of a row; returns the largest."""
    height, width, channels = image.shape
    largest = np.int64(0)
    first, last = max(0, -step_x), width - max(0, step_x)
    if y + step_y >= height:
        last = first
    for x in range(first):
        distances[y, x, direction] = absent
    for x in range(last, width):
        distances[y, x, direction] = absent
    if last == first:
        distances[y, :, direction] = absent
    for x in range(first, last):
        total = np.int64(0)
        for channel in range(channels):
            here = np.int64(image[y, x, channel])
            total += abs(here - np.int64(image[y + step_y, x + step_x, channel]))
        distances[y, x, direction] = total
        largest = max(largest, total)
    return int(largest)


@compiled_loop()
def _fill_distances(
    image: npt.NDArray[np.unsignedinteger[Any]],
    distances: npt.NDArray[np.unsignedinteger[Any]],
    absent: int,
) -> int:
    """Fills (H, W, D) distances, `absent` where an edge would leave; returns the largest."""
    largest = 0
    for y in range(image.shape[0]):
        largest = max(largest, _row_distances(image, distances, y, 0, 1, 0, absent))
        largest = max(largest, _row_distances(image, distances, y, 1, 0, 1, absent))
        if distances.shape[2] == 4:
            largest = max(largest, _row_distances(image, distances, y, 2, 1, 1, absent))
            largest = max(largest, _row_distances(image, distances, y, 3, -1, 1, absent))
    return largest


@compiled_loop()
def fill_loops(
    distances: npt.NDArray[np.unsignedinteger[Any]],
    absent: int,
    weights: Floats,
    offsets: npt.NDArray[np.int64],
    loops: Floats,
) -> float:
    """Sums the weights at every pixel, in the order of the edges; returns the sum of all."""
    loops[:] = 0.0
    for pixel in range(loops.size):
        for direction in range(offsets.size):
            distance = distances[pixel, direction]
            if distance != absent:
                weight = weights[direction >> 1, distance]
                loops[pixel] += weight
                loops[pixel + offsets[direction]] += weight
    total = 0.0
    for pixel in range(loops.size):
        total += loops[pixel]
    return total


@compiled_loop()
def _largest_entropy(
    distances: npt.NDArray[np.unsignedinteger[Any]],
    absent: int,
    tables: Tables,
    offsets: npt.NDArray[np.int64],
    loops: Floats,
) -> float:
    """The largest entropy part of a first edge's score."""
    # Logarithms only for edges that the table of f cannot rule out.
    weights, weight_logs, _, chords = tables
    largest = 0.0
    for pixel in range(loops.size):
        loop = loops[pixel]
        log = x_log_x(loop)
        for direction in range(offsets.size):
            distance = distances[pixel, direction]
            if distance == absent:
                continue
            other = loops[pixel + offsets[direction]]
            weight = weights[direction >> 1, distance]
            weight_log = weight_logs[direction >> 1, distance]
            guess = log - chord(chords, loop - weight)
            guess += chord(chords, other) - chord(chords, other - weight)
            if guess - 2.0 * weight_log + SLACK > largest:
                largest = max(largest, entropy(loop, other, weight, weight_log))
    return largest


def edge_offsets(width: int, directions: int) -> npt.NDArray[np.int64]:
    """The raster distance to the neighbour in each direction."""
    return np.array([1, width, width + 1, width - 1][:directions], dtype=np.int64)


def pixel_graph(image: npt.NDArray[Any], sigma: float, connectivity: int) -> PixelGraph:
    """Weighs the edges between neighbouring pixels.

    A straight edge weighs exp(-d² / 2 (C sigma)²) with d the L1 distance over the C channels; on a
    diagonal d counts √2 times. So a grey picture and its RGB copy have the same weights.

    Args:
        image: (H, W) or (H, W, 3), uint8 or uint16; checked by the caller.
        sigma: Scale of the weights in 8-bit grey levels, positive.
        connectivity: 4 or 8.

    Returns:
        The graph; 16-bit values are measured in units of 257, one 8-bit grey level.
    """
    layers = image[:, :, np.newaxis] if image.ndim == 2 else image
    # A contiguous, writeable array is the one kind that the compiled code is made for.
    layers = np.require(layers, requirements=["C", "W"])
    height, width, channels = layers.shape
    directions = 4 if connectivity == 8 else 2
    is_bytes = layers.dtype == np.uint8
    absent = 2**16 - 1 if is_bytes else 2**32 - 1
    distances = np.empty((height, width, directions), np.uint16 if is_bytes else np.uint32)
    largest = _fill_distances(layers, distances, absent)
    unit = 1.0 if is_bytes else GREY_LEVELS_OF_UINT16
    scaled = np.arange(largest + 1, dtype=np.float64) / (channels * sigma * unit)
    tables = make_tables(np.stack([np.exp(-0.5 * scaled**2), np.exp(-(scaled**2))]))
    flat = distances.reshape(-1, directions)
    offsets = edge_offsets(width, directions)
    loops = np.empty(height * width, dtype=np.float64)
    total = fill_loops(flat, absent, tables.weights, offsets, loops)
    unit = _largest_entropy(flat, absent, tables, offsets, loops)
    return PixelGraph(height, width, flat, absent, tables, loops, total, unit)
