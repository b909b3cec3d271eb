"""Dense inverse search (Kroeger, Timofte, Dai, Van Gool, ECCV 2016), OpenCV's, as a `Matcher`.

Optical flow there and back; a point that does not come back to where it started is not a match.
Made for small displacements between like pictures: a baseline, and the cheapest matcher there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, number, whole_number
from crosscity.matching.matches import Matches
from crosscity.prior_parts import check_pair

if TYPE_CHECKING:
    from crosscity.prior_parts import Matcher, MatcherSettings

Float = npt.NDArray[np.float32]

RETURN: Final = 2.0
"""Pixels by which a point may miss its start when it is followed there and back."""
PATCH: Final = 4
LEAST: Final = 32
"""Pixels each side must have: below, OpenCV's pyramid has no level."""
MOST: Final = 32_766
"""Pixels a side may have: what OpenCV looks up in has 16-bit coordinates."""


def build(settings: MatcherSettings) -> Matcher:
    """DIS with these settings; the device is the processor."""
    downscale = whole_number(settings.downscale, "downscale", 1, 4)
    radius = settings.search_radius
    if radius is not None:
        # Nothing moves further than the picture reaches.
        radius = min(number(radius, "the search radius", 0, above=True), float(MAX_SIDE))
    return _Dis(PATCH * downscale, radius)


@dataclass(frozen=True)
class _Dis:
    spacing: int
    radius: float | None

    def __call__(self, image_a: npt.NDArray[np.uint8], image_b: npt.NDArray[np.uint8]) -> Matches:
        check_pair(image_a, image_b)
        if min(image_a.shape[:2]) < max(LEAST, self.spacing):
            raise ValueError(
                f"images of {image_a.shape[1]}×{image_a.shape[0]} pixels are too small to match: "
                f"each side must have at least {max(LEAST, self.spacing)}"
            )
        if max(image_a.shape[:2]) > MOST:
            raise ValueError(
                f"images of {image_a.shape[1]}×{image_a.shape[0]} pixels are too large for DIS: no "
                f"side may have more than {MOST}"
            )
        grey_a, grey_b = _grey(image_a), _grey(image_b)
        there, back = _flow(grey_a, grey_b), _flow(grey_b, grey_a)
        height, width = grey_a.shape
        half = self.spacing // 2
        grid = np.mgrid[
            half : height // self.spacing * self.spacing : self.spacing,
            half : width // self.spacing * self.spacing : self.spacing,
        ].astype(np.float32)
        y, x = (axis.ravel() for axis in grid)
        moved = there[y.astype(np.int64), x.astype(np.int64)]
        to_x, to_y = x + moved[:, 0], y + moved[:, 1]
        # As a picture of the points: a row of all of them is longer than OpenCV takes.
        points = grid.shape[1:]
        returned = cv2.remap(back, to_x.reshape(points), to_y.reshape(points), cv2.INTER_LINEAR)
        missed = np.abs(moved + returned.reshape(-1, 2)).max(axis=1)
        kept = (missed <= RETURN) & (to_x >= 0) & (to_x <= width - 1)
        kept &= (to_y >= 0) & (to_y <= height - 1)
        if self.radius is not None:
            kept &= np.abs(moved).max(axis=1) <= self.radius
        return Matches(
            x_a=x[kept],
            y_a=y[kept],
            x_b=to_x[kept],
            y_b=to_y[kept],
            score=(RETURN - missed[kept]).astype(np.float32),
            entry=np.flatnonzero(kept).astype(np.int32),
        )


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if image.ndim == 2:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _flow(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Float:
    # An object of one's own: it holds the pyramids, and threads may call side by side.
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    nothing: npt.NDArray[np.float32] = np.zeros((*first.shape, 2), dtype=np.float32)
    return np.asarray(method.calc(first, second, nothing), dtype=np.float32)
