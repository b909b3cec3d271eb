"""Gradient-orientation descriptors of pixels (Revaud et al., IJCV 2016, Sec. 3.1).

Constants are those of the published program, so that results can be compared with its.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

ORIENTATIONS: Final = 8
CHANNELS: Final = ORIENTATIONS + 1
"""Eight orientations and one constant, which keeps flat regions from matching by noise alone."""
CONSTANT: Final = np.float32(0.3)
SIGMOID_SLOPE: Final = 0.2

TAPS: Final = (135, 607, 1000, 607, 135)
"""A Gaussian of σ = 1 pixel in integers."""
_TAP_SUM: Final = sum(TAPS)


def grey_image(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(R + G + B) / 3, truncated: (H, W) uint8. A (H, W) image is taken as it is."""
    if image.ndim == 2:
        return image
    total = image[..., 0].astype(np.uint16)
    total += image[..., 1]
    total += image[..., 2]
    total //= 3
    return total.astype(np.uint8)


def smooth_integers(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Gaussian σ = 1 on integers, rows then columns, truncated after each; edges replicated."""
    # Sums stay below 2^24, where float32 holds every integer.
    rows = np.floor(_convolve(grey.astype(np.float32), TAPS, (1.0,)) / _TAP_SUM)
    both = np.floor(_convolve(rows, (1.0,), TAPS) / _TAP_SUM)
    return both.astype(np.int32)


def smooth(values: Float) -> Float:
    """Gaussian σ = 1 on floats; edges replicated."""
    taps = tuple(tap / _TAP_SUM for tap in TAPS)
    return _convolve(values, taps, taps)


def gradients(smoothed: npt.NDArray[np.int32]) -> tuple[Float, Float]:
    """Vertical and horizontal differences [-1, 0, 1], one-sided at the borders."""
    padded = np.pad(smoothed, 1, mode="edge").astype(np.float32)
    return padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]


def pixel_descriptors(grey: npt.NDArray[np.uint8], halvings: int = 0) -> Float:
    """Descriptors of all pixels, or of larger cells.

    o_l = max(0, cos(a_l) G_v + sin(a_l) G_h) with a_l = -2π (l - 2) / 8, smoothed, squashed by
    2 / (1 + exp(-0.2 o)) - 1, smoothed again; and one constant channel. The descriptors are halved,
    not the image: one channel after the other, so that one is held at full size at a time.

    Args:
        grey: (H, W) uint8.
        halvings: How often to average 2×2, as `halve` does.

    Returns:
        (9, h, w) float32 in [0, 1).
    """
    vertical, horizontal = gradients(smooth_integers(grey))
    height, width = (side >> halvings for side in grey.shape)
    descriptors = np.empty((CHANNELS, height, width), dtype=np.float32)
    for number in range(ORIENTATIONS):
        angle = -2.0 * np.pi * (number - 2) / ORIENTATIONS
        along = cv2.addWeighted(vertical, math.cos(angle), horizontal, math.sin(angle), 0)
        cv2.threshold(along, 0, 0, cv2.THRESH_TOZERO, dst=along)
        channel = smooth(_squash(smooth(np.asarray(along, dtype=np.float32))))
        descriptors[number] = _averaged(channel, halvings)
    descriptors[ORIENTATIONS] = CONSTANT
    return descriptors


def _averaged(channel: Float, halvings: int) -> Float:
    """`halve` of one channel, so often, in one pass."""
    if not halvings:
        return channel
    height, width = (side >> halvings for side in channel.shape)
    even = channel[: height << halvings, : width << halvings]
    averaged = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(averaged, dtype=np.float32)


def halve(descriptors: Float) -> Float:
    """Averages 2×2 pixels: (C, H, W) → (C, H // 2, W // 2), without an odd last row or column."""
    height, width = descriptors.shape[1] // 2 * 2, descriptors.shape[2] // 2 * 2
    even = descriptors[:, :height, :width]
    quarters = (
        even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    ) * np.float32(0.25)
    return np.ascontiguousarray(quarters, dtype=np.float32)


def _squash(values: Float) -> Float:
    """2 / (1 + exp(-0.2 x)) - 1, in place of `values`."""
    values *= np.float32(-SIGMOID_SLOPE)
    cv2.exp(values, values)
    values += np.float32(1)
    cv2.divide(2.0, values, values)
    values -= np.float32(1)
    return values


def _convolve(values: Float, across: Sequence[float], down: Sequence[float]) -> Float:
    """Convolution with symmetric taps along the rows and down the columns; edges replicated."""
    smoothed = cv2.sepFilter2D(
        values,
        cv2.CV_32F,
        np.array(across, dtype=np.float32),
        np.array(down, dtype=np.float32),
        borderType=cv2.BORDER_REPLICATE,
    )
    return np.asarray(smoothed, dtype=np.float32)
