"""No superpixels: squares that disregard the picture, to measure what regarding it brings."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from crosscity.prior_parts import check_superpixel_input


def squares(image: npt.NDArray[np.uint8], n_superpixels: int, /) -> npt.NDArray[np.int32]:
    """Cuts a picture into rows of about `n_superpixels` equal rectangles, as square as they can be.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        n_superpixels: 1 to H * W.

    Returns:
        (H, W) int32 labels 0 to K - 1 in raster order, all there.

    Raises:
        ValueError: The picture or the number is not such a one.
    """
    n_superpixels = check_superpixel_input(image, n_superpixels)
    height, width = image.shape[:2]
    rows = min(height, max(1, round(math.sqrt(n_superpixels * height / width))))
    columns = min(width, max(1, round(n_superpixels / rows)))
    down = np.arange(height) * rows // height
    across = np.arange(width) * columns // width
    labels: npt.NDArray[np.int32] = (down[:, None] * columns + across[None, :]).astype(np.int32)
    return labels
