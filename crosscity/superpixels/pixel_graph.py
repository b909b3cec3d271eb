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
from numba import njit

MAX_PIXELS = 2**29 - 1
"""Edge numbers are 32-bit and an eight-connected pixel owns four of them."""

GREY_LEVELS_OF_UINT16 = 257.0
"""65535 / 255: 16-bit values are measured in 8-bit grey levels, so sigma keeps its meaning."""


@dataclass(frozen=True)
class PixelGraph:
    """A picture as the weighted graph of Liu et al. (2011), Sec. 3.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        pixels: (H * W,) records. `distances`: (D,) unsigned, the L1 colour distance along each
            edge in the picture's own levels. `loop`, `loop_log` and `parent` are for the greedy,
            which wants all about a pixel in one place.
        absent: The distance, larger than any, of an edge that would leave the picture.
        weights: (2, levels) float64; the weight of a straight and of a diagonal edge by distance.
        directions: D, the number of edges that each pixel owns: 4 or 2.
    """

    height: int
    width: int
    pixels: npt.NDArray[np.void]
    absent: int
    weights: npt.NDArray[np.float64]
    directions: int


def _record(distance: type[np.unsignedinteger[Any]], directions: int) -> np.dtype[np.void]:
    """What is kept of a pixel: 32 bytes for 8-bit pictures, half a cache line."""
    return np.dtype(
        [
            ("loop", np.float64),
            ("loop_log", np.float64),
            ("parent", np.int32),
            ("distances", distance, (directions,)),
        ],
        align=True,
    )


@njit(cache=True, nogil=True)
def _fill_distances(
    image: npt.NDArray[np.unsignedinteger[Any]],
    distances: npt.NDArray[np.unsignedinteger[Any]],
    absent: int,
) -> int:
    """Fills (H, W, D) distances, `absent` where an edge would leave; returns the largest."""
    height, width, channels = image.shape
    offsets_x = (1, 0, 1, -1)
    offsets_y = (0, 1, 1, 1)
    largest = np.int64(0)
    for y in range(height):
        for x in range(width):
            for direction in range(distances.shape[2]):
                to_x = x + offsets_x[direction]
                to_y = y + offsets_y[direction]
                if to_x < 0 or to_x >= width or to_y >= height:
                    distances[y, x, direction] = absent
                    continue
                total = np.int64(0)
                for channel in range(channels):
                    total += abs(
                        np.int64(image[y, x, channel]) - np.int64(image[to_y, to_x, channel])
                    )
                distances[y, x, direction] = total
                largest = max(largest, total)
    return int(largest)


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
    kind = _record(np.uint16 if is_bytes else np.uint32, directions)
    pixels = np.empty((height, width), dtype=kind)
    absent = 2**16 - 1 if is_bytes else 2**32 - 1
    largest = _fill_distances(layers, pixels["distances"], absent)
    unit = 1.0 if is_bytes else GREY_LEVELS_OF_UINT16
    scaled = np.arange(largest + 1, dtype=np.float64) / (channels * sigma * unit)
    weights = np.stack([np.exp(-0.5 * scaled**2), np.exp(-(scaled**2))])
    return PixelGraph(height, width, pixels.reshape(-1), absent, weights, directions)
