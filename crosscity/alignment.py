"""How far two views of one place are turned from each other, by the pictures themselves.

The compass of a camera errs by degrees. Two upright views from (almost) one spot differ by a turn,
which on a cylinder around the spot is a shift. Both views are laid on the cylinder, light and
weather are taken out by normalising the local contrast, and the reference is slid along the other,
wider view: the shift with the highest normalised correlation is the turn. No features are matched
and nothing is learnt, and what does not correlate is not a pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, number

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same views give another turn."""

STEP_DEGREES: Final = 0.25
"""Of azimuth, between columns of a strip."""
MIN_OVERLAP: Final = 0.23
"""Least correlation of two views of one place; see docs/imagery.md on how it was found."""

LEAST_SIDE: Final = 8
"""Pixels along each side of a view; smaller ones show nothing that could be correlated."""

_EDGE_DEGREES: Final = 1.0
_HALF_HEIGHT: Final = 0.30
"""Of a strip, as a tangent: buildings rather than road and sky."""
_SLACK: Final = 0.06
"""Up and down, as a tangent: cameras nod."""
_LOCAL_DEGREES: Final = 4.0
_FINE_DEGREES: Final = 0.5
_FLAT: Final = 1e-3
"""Contrast below which there is nothing but rounding; that of a street is above 1."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Turn:
    """What is found.

    Attributes:
        degrees: By how much the other view's heading must be raised to look where the reference
            looks; negative to the left.
        overlap: Correlation of the two there, -1 to 1; 0, with no turn, where a view is of one
            colour.
    """

    degrees: float
    overlap: float


def search_fov(fov: float, degrees: float) -> float:
    """Field of view that shows a view of `fov` turned by up to so many degrees to both sides."""
    return float(min(150.0, fov + 2.0 * degrees))


def relative_turn(reference: Image, fov: float, other: Image, other_fov: float) -> Turn:
    """Finds the turn between two upright views with the same nominal heading.

    Args:
        reference: (H, W, 3) uint8.
        fov: Its horizontal field of view, degrees.
        other: (H', W', 3) uint8, the wider view.
        other_fov: Its horizontal field of view, degrees, at least `fov`; half of the difference
            is how far is searched.

    Raises:
        ValueError: The other view is narrower than the reference, or a picture or field of view is
            not one that this can be measured from.
    """
    for name, picture, angle in (
        ("the reference", reference, fov),
        ("the other view", other, other_fov),
    ):
        check_image(picture, name, grey=False, least=LEAST_SIDE)
        number(angle, f"the field of view of {name}", 5, 170, what="a number of degrees")
    if other_fov < fov:
        raise ValueError(f"A view of {fov:g} degrees cannot be slid along one of {other_fov:g}.")
    low = _half_height(reference, fov, other, other_fov)
    template = _strip(reference, fov, fov / 2 - _EDGE_DEGREES, low)
    field = _strip(other, other_fov, other_fov / 2 - _EDGE_DEGREES, low + _SLACK)
    template, field = _normalised(template), _normalised(field)
    if min(np.ptp(template), np.ptp(field)) < _FLAT:
        return Turn(0.0, 0.0)  # OpenCV gives a template of one colour a correlation of 1
    found = cv2.matchTemplate(field, template, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(int(np.argmax(found)), found.shape)
    shift = float(column) + _peak(found[row], int(column))
    middle = (found.shape[1] - 1) / 2
    return Turn((shift - middle) * STEP_DEGREES, float(found[row, column]))


def _half_height(reference: Image, fov: float, other: Image, other_fov: float) -> float:
    """Half the height of the strip that both views show, as a tangent."""
    both = [
        math.tan(math.radians(angle) / 2) * picture.shape[0] / picture.shape[1]
        for picture, angle in ((reference, fov), (other, other_fov))
    ]
    # At its sides, a view shows less above and below the middle row's ends than in its middle.
    return float(min(_HALF_HEIGHT, 0.9 * both[0], 0.9 * both[1] - _SLACK))


def _strip(
    picture: Image, fov: float, half_width: float, half_height: float
) -> npt.NDArray[np.float32]:
    """Grey values on a cylinder: columns by azimuth, rows by tangent of the elevation."""
    height, width = picture.shape[:2]
    focal = width / 2 / math.tan(math.radians(fov) / 2)
    steps = int(half_width / STEP_DEGREES)
    azimuth = np.radians(np.arange(-steps, steps + 1) * STEP_DEGREES)
    unit = math.radians(STEP_DEGREES)
    rows = int(half_height / unit)
    tangent = np.arange(rows, -rows - 1, -1) * unit
    x = (width - 1) / 2 + focal * np.tan(azimuth)[None, :]
    y = (height - 1) / 2 - focal * tangent[:, None] / np.cos(azimuth)[None, :]
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    # What is finer than the strip's steps would only be noise in it.
    sigma = 0.5 * focal * unit
    if sigma > 0.3:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), dtype=np.float32)
    maps = [np.broadcast_to(m, (len(tangent), len(azimuth))).astype(np.float32) for m in (x, y)]
    found = cv2.remap(grey, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)


def _normalised(strip: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Local mean 0 and contrast 1, so that light, weather and shade matter little."""
    soft = cv2.GaussianBlur(strip, (0, 0), _FINE_DEGREES / STEP_DEGREES)
    wide = _LOCAL_DEGREES / STEP_DEGREES
    mean = cv2.GaussianBlur(soft, (0, 0), wide)
    spread = np.sqrt(cv2.GaussianBlur((soft - mean) ** 2, (0, 0), wide))
    return np.asarray((soft - mean) / (spread + 4.0), dtype=np.float32)


def _peak(values: npt.NDArray[np.float32], at: int) -> float:
    """Where a parabola through three neighbours is highest, relative to the middle one."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(values[at + k]) for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
