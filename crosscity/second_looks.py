"""Second looks at a place of which there is no second time: an image, mirrored or smaller.

A street that is mirrored, or of 0.6 times the size, has the same classes at the same points, so a
segmenter that names a point differently in such a copy is wrong at least once, as with two times of
a place (`safeguard`). The two copies miss different harms. Copies in another light were tried
beside, and refused what gains (benchmarks/results/second_looks.md). Not in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image
from crosscity.pair_signs import Image, Points
from crosscity.safeguard import Looks

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the copies or points of some image change."""
SHARE: Final = 0.6
"""Size of the smaller copy; much smaller, and few pixels are left of what is thin."""
SPACING: Final = 4
"""Pixels between points in the image."""
LEAST: Final = 16
"""Pixels that an image must have in height and width."""

Copy = Callable[[Image], tuple[Image, Points]]
"""Makes the copy, and says where the same points lie: (N, 2) int64 (row, column) in either."""


def mirrored(image: Image) -> tuple[Image, Points]:
    """The image from right to left.

    Args:
        image: (H, W, 3) uint8 RGB, at least 16 × 16.

    Raises:
        ValueError: It is no such image.
    """
    rows, columns = _points(image)
    there = image.shape[1] - 1 - columns
    return np.ascontiguousarray(image[:, ::-1]), (_ends(rows, columns), _ends(rows, there))


def smaller(image: Image) -> tuple[Image, Points]:
    """A smaller copy on a canvas of the image's size.

    The rest of the canvas continues the copy by reflection, as a black frame would be something
    that no street has; no point lies there.

    Args:
        image: (H, W, 3) uint8 RGB, at least 16 × 16.

    Raises:
        ValueError: It is no such image.
    """
    rows, columns = _points(image)
    height, width = image.shape[:2]
    high, wide = round(SHARE * height), round(SHARE * width)
    top, left = (height - high) // 2, (width - wide) // 2
    copy = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    canvas = cv2.copyMakeBorder(
        copy, top, height - high - top, left, width - wide - left, cv2.BORDER_REFLECT_101
    )
    there = _ends(
        _scaled(rows, high / height, high) + top, _scaled(columns, wide / width, wide) + left
    )
    return np.asarray(canvas, dtype=np.uint8), (_ends(rows, columns), there)


LOOKS: Final[dict[str, tuple[Copy, Looks]]] = {
    "smaller": (smaller, Looks("an image and its smaller copy", "points", "images")),
    "mirrored": (mirrored, Looks("an image and its mirror image", "points", "images")),
}
"""The copies that the safeguard looks at, with what is said of them."""


def _points(image: Image) -> npt.NDArray[np.int64]:
    """(2, N): rows and columns."""
    check_image(image, "the image", grey=False, least=LEAST)
    start = SPACING // 2
    grid = np.mgrid[start : image.shape[0] : SPACING, start : image.shape[1] : SPACING]
    return grid.reshape(2, -1).astype(np.int64)


def _ends(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.stack([rows, columns], 1)


def _scaled(at: npt.NDArray[np.int64], share: float, size: int) -> npt.NDArray[np.int64]:
    """The pixel of the copy that the centre of a pixel falls into."""
    return np.minimum(((at + 0.5) * share).astype(np.int64), size - 1)
