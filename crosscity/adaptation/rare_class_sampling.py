"""Reading source images of rare classes more often.

A class is drawn with P(c) ∝ exp((1 - f_c) / T), then one of the images that show enough of it, each
as likely (Hoyer et al., *DAFormer*, CVPR 2022, eq. 6); f_c is the class's share of the pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.adaptation.image_sets import LabelledImages, check_label_values
from crosscity.labels import VOID

RARE_CLASS_STREAM: Final = 6
"""Key of the random numbers of this sampler."""


class RareClassSampler:
    """Indices of batches; what a batch has depends on its number alone.

    Args:
        pixels: (N, C) pixels of each class on each image.
        seed: Of the training.
        temperature: T; small values draw almost only the rarest class.
        least_pixels: An image with fewer of a class does not show it, if another shows more.

    Raises:
        ValueError: No image has a labelled pixel.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.int64],
        *,
        seed: int,
        temperature: float = 0.1,
        least_pixels: int = 100,
    ) -> None:
        totals = pixels.sum(0)
        shown = np.flatnonzero(totals)
        if not len(shown):
            raise ValueError("no source image has a labelled pixel to sample by")
        shares = totals[shown] / totals.sum()
        logits = (1 - shares) / temperature
        weights = np.exp(logits - logits.max())
        self.chances: npt.NDArray[np.float64] = weights / weights.sum()
        self._seed = seed
        self._images = []
        for index in shown:
            enough = np.flatnonzero(pixels[:, index] >= least_pixels)
            self._images.append(enough if len(enough) else np.flatnonzero(pixels[:, index]))

    def batch(self, number: int, size: int) -> list[int]:
        """The indices of the batch of that number."""
        return [self._image_at(number * size + offset) for offset in range(size)]

    def _image_at(self, position: int) -> int:
        random = np.random.default_rng([self._seed, RARE_CLASS_STREAM, position])
        images = self._images[int(random.choice(len(self.chances), p=self.chances))]
        return int(images[random.integers(len(images))])


def pixels_by_image(source: LabelledImages, n_classes: int) -> npt.NDArray[np.int64]:
    """(N, C) pixels of each class on each image; every label map is read once.

    Raises:
        ValueError: Labels that are not classes.
    """
    counts = np.zeros((len(source), n_classes), dtype=np.int64)
    for index in range(len(source)):
        labels = source.labels([index])
        check_label_values(labels, [index], n_classes)
        counts[index] = np.bincount(labels[labels != VOID], minlength=n_classes)
    return counts
