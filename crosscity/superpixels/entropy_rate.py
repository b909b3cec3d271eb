"""`entropy_rate_superpixels`, the function that people call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from crosscity.superpixels.lazy_greedy import balance_rate, join_greedily
from crosscity.superpixels.pixel_graph import MAX_PIXELS, pixel_graph


def entropy_rate_superpixels(
    image: npt.NDArray[Any],
    n_superpixels: int,
    *,
    balance: float = 0.5,
    sigma: float = 5.0,
    connectivity: int = 8,
) -> npt.NDArray[np.int32]:
    """Cuts a picture into exactly `n_superpixels` connected regions of even colour and size.

    Greedy maximisation of the entropy rate of a random walk on the pixels plus a balancing term,
    over edge sets without cycles (Liu, Tuzel, Ramalingam, Chellappa: Entropy Rate Superpixel
    Segmentation, CVPR 2011, eqs. 3, 7, 9 and Algorithm 1, with λ = λ' K max(entropy gain) /
    max(balance gain) as in Sec. 5). The same input gives the same labels; ties go to the edge
    with the lowest `scores.tie_break`. Needs about 60 bytes a pixel with eight neighbours
    (8192 × 4096: 2 GB), and up to 170 where there are fewer than four pixels a superpixel or the
    picture is mostly of one colour and cut finely. May be called from several threads at once and
    does not hold the interpreter lock.

    Args:
        image: (H, W) grey or (H, W, 3) colour, uint8 or uint16, in any memory layout. 16-bit
            values are measured in units of 257, so that `sigma` means the same.
        n_superpixels: K, 1 to H * W.
        balance: λ', the weight of the balancing term, zero or more.
        sigma: Scale of colour differences in 8-bit grey levels, positive.
        connectivity: 4 or 8 neighbours. Regions are connected in this sense only: regions from
            eight neighbours may touch at corners alone.

    Returns:
        (H, W) int32 labels 0 to K - 1, in raster order of each region's first pixel.

    Raises:
        ValueError: If the image is empty or of another shape or type, or a parameter is out of
            its range.
    """
    check_image(image)
    check_parameters(image, n_superpixels, balance, sigma, connectivity)
    graph = pixel_graph(image, float(sigma), connectivity)
    rate = balance_rate(graph, int(n_superpixels), float(balance))
    labels = join_greedily(graph, int(n_superpixels), rate).labels
    return labels.reshape(graph.height, graph.width)


def check_image(image: npt.NDArray[Any]) -> None:
    """Raises a ValueError of one sentence if the image is not one that superpixels take."""
    if not isinstance(image, np.ndarray):
        # One kind of error for whatever is wrong with the input.
        raise ValueError(  # noqa: TRY004
            f"the image must be a numpy array, not {type(image).__name__}"
        )
    if np.issubdtype(image.dtype, np.floating) and bool(np.isnan(image).any()):
        raise ValueError("the image holds NaN; replace it and convert the image to uint8 or uint16")
    if image.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ValueError(
            f"the image must be uint8 or uint16, not {image.dtype}; scale and convert it first"
        )
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] != 3):
        raise ValueError(f"the image must have shape (H, W) or (H, W, 3), not {tuple(image.shape)}")
    if image.size == 0:
        raise ValueError(f"the image is empty: its shape is {tuple(image.shape)}")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise ValueError(
            f"the image has {image.shape[0] * image.shape[1]} pixels, more than the {MAX_PIXELS} "
            "that 32-bit edge numbers allow; cut it into parts"
        )


def check_parameters(
    image: npt.NDArray[Any], n_superpixels: int, balance: float, sigma: float, connectivity: int
) -> None:
    """Raises a ValueError of one sentence if a parameter is out of its range for the image."""
    n_pixels = image.shape[0] * image.shape[1]
    if isinstance(n_superpixels, bool) or not isinstance(n_superpixels, (int, np.integer)):
        raise ValueError(  # noqa: TRY004
            f"n_superpixels must be a whole number, not {n_superpixels!r}"
        )
    if not 1 <= n_superpixels <= n_pixels:
        raise ValueError(
            f"n_superpixels must be 1 to {n_pixels}, the number of pixels, not {n_superpixels}"
        )
    if not (math.isfinite(balance) and balance >= 0):
        raise ValueError(f"balance must be a finite number, zero or more, not {balance!r}")
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a finite number above zero, not {sigma!r}")
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8, not {connectivity!r}")
