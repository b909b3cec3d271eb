"""Images, labels and masks at other sizes."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_PIXELS, MAX_SIDE, check_image, check_map, whole_number

Values = TypeVar("Values", bound=np.generic)


def resized_image(
    image: npt.NDArray[np.uint8], size: tuple[int, int] | None
) -> npt.NDArray[np.uint8]:
    """A picture at another size: pixels are averaged where it shrinks, cubic where it grows.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        size: (height, width), or ``None`` for its own.

    Returns:
        (height, width, 3) or (height, width) uint8; the picture itself where it has that size.

    Raises:
        ValueError: It is not a picture, or that is not a size.
    """
    check_image(image)
    height, width = image.shape[:2] if size is None else checked_size(size)
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def resized_map(labels: npt.NDArray[Values], size: tuple[int, int] | None) -> npt.NDArray[Values]:
    """Labels or a mask at another size: every pixel takes the value nearest to its centre.

    Args:
        labels: (H, W) of any type; no new value appears.
        size: (height, width), or ``None`` for its own.

    Returns:
        (height, width) of the same type; the map itself where it has that size.

    Raises:
        ValueError: It is not a map, or that is not a size.
    """
    check_map(labels, "map", kinds="iubf")
    wanted = labels.shape if size is None else checked_size(size)
    if labels.shape == wanted:
        return labels
    rows, columns = (
        _nearest(there, here) for there, here in zip(wanted, labels.shape, strict=True)
    )
    nearest: npt.NDArray[Values] = labels[rows[:, None], columns]
    return nearest


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture as Python's integers, or a ValueError of one sentence."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"a size must be (height, width), not {size!r}")
    height, width = (
        whole_number(side, f"the {name}", 1, MAX_SIDE)
        for name, side in zip(("height", "width"), size, strict=True)
    )
    if height * width > MAX_PIXELS:
        raise ValueError(f"a size of {width}×{height} pixels is too large: {MAX_PIXELS} at most")
    return height, width


def _nearest(count: int, source: int) -> npt.NDArray[np.signedinteger[Any]]:
    """Index of the source pixel that holds the centre of each of `count` pixels."""
    return (2 * np.arange(count) + 1) * source // (2 * count)
