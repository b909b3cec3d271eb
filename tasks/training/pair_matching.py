"""Matching the two images of a pair while a training reads them, each pair once."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import ImageError
from crosscity.matching import PATCH
from crosscity.safeguard import static_points
from tasks.priors.pair_prior import extract_prior
from tasks.steps.imagery import Imagery

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""x and y, (K, 2), in the first and the second image of a pair, in pixels of each."""


class PairMatching:
    """Static points that trusted matches join; kept once they are known, as they are small.

    Args:
        settings: How the images of a pair are matched.
        device: Where.
        mask: Pixels that show the provider.
    """

    def __init__(self, settings: PriorSettings, device: str, mask: ImageMask | None) -> None:
        self._settings, self._device, self._mask = settings, device, mask
        self._known: dict[tuple[str, str], Points] = {}
        self._lock = threading.Lock()
        self.spacing = float(PATCH * settings.downscale)

    def points(self, first: str, second: str, imagery: Imagery) -> Points:
        """The points of a pair of images; none where they cannot be matched."""
        with self._lock:
            if (first, second) not in self._known:
                self._known[first, second] = self._matched(first, second, imagery)
            return self._known[first, second]

    def _matched(self, first: str, second: str, imagery: Imagery) -> Points:
        nothing = np.zeros((0, 2))
        try:
            both = imagery.read(first), imagery.read(second)
            prior = extract_prior(*both, self._settings, self._device, self._mask)
        except (ImageError, ValueError):
            return nothing, nothing  # as such a pair has no static prior either
        rows = static_points(prior.matches, prior.masks)
        one, other = (np.asarray(each, dtype=np.float64)[:, ::-1] for each in rows)
        return one, other
