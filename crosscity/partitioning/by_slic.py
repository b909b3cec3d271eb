"""SLIC superpixels (Achanta et al., PAMI 2012), OpenCV's."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.prior_parts import check_superpixel_input

COMPACTNESS: Final = 10.0
ITERATIONS: Final = 10
SMALLEST: Final = 25
"""Percent of the mean size below which a piece is joined to a neighbour."""


def slic_superpixels(image: npt.NDArray[np.uint8], n_superpixels: int, /) -> npt.NDArray[np.int32]:
    """Cuts a picture into about `n_superpixels` regions: k-means over colour and place.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        n_superpixels: 1 to H * W.

    Returns:
        (H, W) int32 labels 0 to K - 1, all there; K is near `n_superpixels` but not it.

    Raises:
        ValueError: The picture or the number is not such a one.
    """
    n_superpixels = check_superpixel_input(image, n_superpixels)
    height, width = image.shape[:2]
    side = max(1, round(math.sqrt(height * width / n_superpixels)))
    if side < 2 or min(height, width) < 2 * side:
        from crosscity.partitioning.by_squares import squares  # noqa: PLC0415 - no room for k-means

        return squares(image, n_superpixels)
    colour = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    lab = cv2.cvtColor(cv2.GaussianBlur(colour, (3, 3), 0), cv2.COLOR_RGB2LAB)
    method = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, COMPACTNESS)
    method.iterate(ITERATIONS)
    method.enforceLabelConnectivity(SMALLEST)
    found = np.asarray(method.getLabels(), dtype=np.int64)
    labels = np.unique(found, return_inverse=True)[1]
    return np.asarray(labels.reshape(height, width), dtype=np.int32)
