"""Scatter plots of points in two groups, as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

PANEL: Final = 420
MARGIN: Final = 24
CAPTION: Final = 34
FIRST: Final = (31, 97, 183)
SECOND: Final = (214, 82, 34)
INK: Final = (40, 40, 40)
_OVERSAMPLING: Final = 3


def scatter_panels(
    points: Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
) -> Picture:
    """Draws one panel a caption, side by side: points of the first group blue, the others orange.

    Args:
        points: By caption, (N, 2) coordinates and (N,) whether a point is of the first group.

    Returns:
        (CAPTION + PANEL, PANEL × panels, 3) uint8 RGB.

    Raises:
        ValueError: No panel, or arrays of other shapes.
    """
    if not points:
        raise ValueError("there is nothing to draw")
    return np.concatenate([_panel(*entry, caption) for caption, entry in points.items()], axis=1)


def _panel(at: npt.NDArray[np.float32], first: npt.NDArray[np.bool_], caption: str) -> Picture:
    if at.ndim != 2 or at.shape[1] != 2 or first.shape != at.shape[:1]:
        raise ValueError(f"points {at.shape} and groups {first.shape} do not belong together")
    if not np.isfinite(at).all():
        raise ValueError(f"the points of {caption!r} are not all finite")
    fine = _OVERSAMPLING
    canvas = np.full(((CAPTION + PANEL) * fine, PANEL * fine, 3), 255, dtype=np.uint8)
    low, high = at.min(0), at.max(0)
    scaled = (at - low) / np.maximum(high - low, 1e-9) * (PANEL - 2 * MARGIN) + MARGIN
    # Alternately, so that neither group lies on top of the other.
    order = np.argsort(np.concatenate([np.arange(n) / max(n, 1) for n in _sizes(first)]))
    of_groups = np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)])
    for index in of_groups[order]:
        x, y = scaled[index] * fine
        centre = (round(float(x)), round(float(y)) + CAPTION * fine)
        colour = FIRST if first[index] else SECOND
        cv2.circle(canvas, centre, 3 * fine, colour, -1, cv2.LINE_AA)
    cv2.putText(
        canvas,
        caption,
        (MARGIN * fine, 24 * fine),
        cv2.FONT_HERSHEY_DUPLEX,
        0.6 * fine,
        INK,
        fine,
        cv2.LINE_AA,
    )
    shrunk = cv2.resize(canvas, (PANEL, CAPTION + PANEL), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8)


def _sizes(first: npt.NDArray[np.bool_]) -> tuple[int, int]:
    count = int(first.sum())
    return count, len(first) - count
