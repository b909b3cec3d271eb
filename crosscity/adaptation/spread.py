"""Looking at a set through images that are spread over it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crosscity.adaptation.image_sets import IgnoresPixels, LabelledImages, TargetImages

IMAGES_OF_A_MEAN = 200


def spread_indices(length: int, most: int = IMAGES_OF_A_MEAN) -> list[int]:
    """Up to so many indices, evenly spread over a set."""
    spread: list[int] = np.unique(np.linspace(0, length - 1, most).round().astype(int)).tolist()
    return spread


def mean_colour(images: LabelledImages | TargetImages) -> npt.NDArray[np.float64]:
    """Mean RGB of a set in [0, 1], without pixels to ignore."""
    means = [_mean_of(images, index) for index in spread_indices(len(images))]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _mean_of(images: LabelledImages | TargetImages, index: int) -> npt.NDArray[np.float64]:
    pixels = images.images([index])[0].reshape(-1, 3)
    ignored = images.ignored([index]) if isinstance(images, IgnoresPixels) else None
    if ignored is not None and not ignored.all():
        pixels = pixels[~ignored[0].ravel()]
    return np.asarray(pixels.mean(0) / 255, dtype=np.float64)
