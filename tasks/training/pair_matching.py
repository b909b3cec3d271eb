"""Matching the two images of a pair while a training reads them, each pair once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import nullcontext

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

    Readers match different pairs side by side on the processor. A device has the training to do,
    and matches one at a time.

    Args:
        settings: How the images of a pair are matched.
        device: Where.
        mask: Pixels that show the provider.
    """

    def __init__(self, settings: PriorSettings, device: str, mask: ImageMask | None) -> None:
        self._settings, self._device, self._mask = settings, device, mask
        self._known: dict[tuple[str, str], Future[Points]] = {}
        self._lock = threading.Lock()
        self._turn = threading.Lock() if device != "cpu" else nullcontext()
        self.spacing = float(PATCH * settings.downscale)

    def points(self, first: str, second: str, imagery: Imagery) -> Points:
        """The points of a pair of images; none where they cannot be matched."""
        pair = first, second
        with self._lock:
            known = self._known.get(pair)
            mine = Future[Points]()
            if known is None:
                self._known[pair] = mine
        if known is not None:
            return known.result()
        try:
            with self._turn:
                mine.set_result(self._matched(first, second, imagery))
        except BaseException as error:
            with self._lock:
                del self._known[pair]  # the next to ask tries again
            mine.set_exception(error)
            raise
        return mine.result()

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
