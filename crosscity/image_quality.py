"""Whether a street view is fit for use: dark, blurred, overexposed, covered or turned pictures.

No network and no weights: each measure is one number of the picture's brightness, reduced to at
most `WIDTH` columns, so that it means the same at every size. How well they separate, and at which
limits: `benchmarks/image_quality.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same picture gets another measure."""
WIDTH: Final = 480
_BLUR_WINDOW: Final = 9
_SATURATED: Final = 250
_TEXTURE_WINDOW: Final = 9
_SMOOTH: Final = 2.0
_DARK: Final = 70
_MIDDLE: Final = 0.5

Image = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageQuality:
    """Measures of one picture.

    Attributes:
        night: Mean brightness of the lower two thirds, 0 to 255: of the street, not of the sky,
            which is bright at dusk. Low at night.
        blur: How much of the steps between neighbouring pixels survives one more blur, 0 to 1:
            little in a sharp picture, most in a blurred one (Crété-Roffet et al., SPIE 6492, 2007).
        overexposed: Share of the lower two thirds that is saturated, 0 to 1; the sky is not asked.
        obstructed: Share of the picture that one dark region without texture covers which touches
            its edge, 0 to 1: a bonnet, a finger, the frame of a windscreen.
        turned: By how much the brightest of bottom, left and right exceeds the top, in units of
            brightness: the sky is above in an upright picture, so it is negative there.
    """

    night: float
    blur: float
    overexposed: float
    obstructed: float
    turned: float


@dataclass(frozen=True)
class QualityLimits:
    """From which measures on a picture is left out; ``None`` leaves a fault unlooked for.

    Attributes:
        night: Pictures that are darker than this.
        blur: Pictures that are more blurred than this.
        overexposed: Pictures of which a larger share is saturated.
        obstructed: Pictures of which a larger share is covered.
        turned: Pictures whose top is exceeded by more than this.
    """

    night: float | None = None
    blur: float | None = None
    overexposed: float | None = None
    obstructed: float | None = None
    turned: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything is looked for."""
        return any(getattr(self, field.name) is not None for field in fields(self))


def image_quality(image: Image) -> ImageQuality:
    """Measures a picture.

    Args:
        image: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: It is not such a picture.
    """
    grey = _brightness(image)
    street = grey[grey.shape[0] // 3 :]
    return ImageQuality(
        night=float(street.mean()),
        blur=_blur(grey),
        overexposed=float((street >= _SATURATED).mean()),
        obstructed=_obstructed(grey),
        turned=_turned(grey),
    )


def quality_fault(image: Image, limits: QualityLimits) -> str | None:
    """`fault_of` a picture, (H, W, 3) uint8 RGB; nothing is measured where nothing is refused.

    Raises:
        ValueError: It is not a picture.
    """
    return fault_of(image_quality(image), limits) if limits.any else None


def fault_of(measured: ImageQuality, limits: QualityLimits) -> str | None:
    """Why a picture is not fit for use, ``None`` where nothing speaks against it.

    Args:
        measured: The picture's measures.
        limits: What is looked for.

    Returns:
        The name of the fault and what it means, without numbers, so that equal faults count as
        one.
    """
    if limits.night is not None and measured.night < limits.night:
        return "night: the street is darker than the catalog's `quality` allows"
    for name, sentence in _TOO_MUCH.items():
        limit = getattr(limits, name)
        if limit is not None and getattr(measured, name) > limit:
            return sentence
    return None


_TOO_MUCH: Final = {
    "overexposed": "overexposed: more is saturated than the catalog's `quality` allows",
    "obstructed": "obstructed: something dark and near covers more than `quality` allows",
    "blur": "blur: it is more blurred than the catalog's `quality` allows",
    "turned": "turned: its top is darker than another side, and the sky is above",
}


def _brightness(image: Image) -> Grey:
    check_image(image, "the picture", grey=False)
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    height, width = grey.shape
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return grey


def _blur(grey: Grey) -> float:
    """The larger of both directions; a picture without any step is as blurred as can be."""
    worst = 0.0
    for axis, window in ((1, (_BLUR_WINDOW, 1)), (0, (1, _BLUR_WINDOW))):
        blurred = np.asarray(cv2.blur(grey, window), dtype=np.float32)
        steps = np.abs(np.diff(grey, axis=axis))
        lost = np.maximum(0.0, steps - np.abs(np.diff(blurred, axis=axis)))
        whole = float(steps.sum(dtype=np.float64))
        kept = 1.0 if whole <= 0 else 1.0 - float(lost.sum(dtype=np.float64)) / whole
        worst = max(worst, kept)
    return worst


def _obstructed(grey: Grey) -> float:
    window = (_TEXTURE_WINDOW, _TEXTURE_WINDOW)
    mean = cv2.blur(grey, window)
    variance = cv2.blur(grey * grey, window) - mean * mean
    plain = ((variance < _SMOOTH**2) & (mean < _DARK)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(plain, connectivity=4)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    areas = [int(stats[k, cv2.CC_STAT_AREA]) for k in edge.tolist() if 0 < k < count]
    return max(areas, default=0) / grey.size


def _turned(grey: Grey) -> float:
    """Compares the middles of the four sides, a third of the picture deep."""
    height, width = grey.shape
    deep, aside = max(1, height // 3), max(1, width // 3)
    top, bottom = (float(np.median(part)) for part in (grey[:deep], grey[-deep:]))
    left, right = (float(np.median(part)) for part in (grey[:, :aside], grey[:, -aside:]))
    return max(bottom, left, right) - top
