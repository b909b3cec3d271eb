"""`entropy_rate_superpixels`, the function that people call."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, number, whole_number
from crosscity.partitioning.lazy_greedy import balance_rate, join_greedily
from crosscity.partitioning.pixel_graph import pixel_graph

IMAGE_TYPES: Final = ("uint8", "uint16")
MAX_BALANCE: Final = 1e6
"""Beyond it scores are too large for their entropy part to matter."""
SIGMA_RANGE: Final = (1e-6, 1e6)
"""Below, every weight but that of equal colours is zero; above, all are one."""


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
        balance: λ', the weight of the balancing term, 0 to 1e6.
        sigma: Scale of colour differences in 8-bit grey levels, 1e-6 to 1e6.
        connectivity: 4 or 8 neighbours. Regions are connected in this sense only: regions from
            eight neighbours may touch at corners alone.

    Returns:
        (H, W) int32 labels 0 to K - 1, in raster order of each region's first pixel.

    Raises:
        ValueError: If the image is empty or of another shape or type, or a parameter is out of
            its range.
    """
    check_image(image, types=IMAGE_TYPES)
    check_parameters(image, n_superpixels, balance, sigma, connectivity)
    graph = pixel_graph(image, float(sigma), connectivity)
    rate = balance_rate(graph, int(n_superpixels), float(balance))
    labels = join_greedily(graph, int(n_superpixels), rate).labels
    return labels.reshape(graph.height, graph.width)


def check_parameters(
    image: npt.NDArray[Any], n_superpixels: int, balance: float, sigma: float, connectivity: int
) -> None:
    """Raises a ValueError of one sentence if a parameter is out of its range for the image."""
    n_pixels = image.shape[0] * image.shape[1]
    whole_number(n_superpixels, "n_superpixels", 1, n_pixels)
    number(balance, "balance", 0, MAX_BALANCE)
    number(sigma, "sigma", *SIGMA_RANGE)
    if whole_number(connectivity, "connectivity", 4, 8) not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8, not {connectivity!r}")
