"""Matching the two images of a pair while a training reads them, each pair once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import nullcontext

import numpy as np

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import ImageError
from crosscity.matching import PATCH
from crosscity.safeguard import static_points
from tasks.priors.pair_prior import extract_prior, why_unmatched
from tasks.steps.imagery import Imagery
from tasks.training.kept_points import KeptPoints, Points


class PairMatching:
    """Static points that trusted matches join; kept once they are known.

    Readers match different pairs side by side on the processor. A device has the training to do,
    and matches one at a time.

    Args:
        settings: How the images of a pair are matched.
        device: Where.
        mask: Pixels that show the provider.
    """

    def __init__(self, settings: PriorSettings, device: str, mask: ImageMask | None) -> None:
        self._settings, self._device, self._mask = settings, device, mask
        self._kept = KeptPoints()
        self._under_way: dict[tuple[str, str], Future[Points]] = {}
        self._lock = threading.Lock()
        self._turn = threading.Lock() if device != "cpu" else nullcontext()
        self.spacing = float(PATCH * settings.downscale)

    def points(self, first: str, second: str, imagery: Imagery) -> Points:
        """Pixels (x, y) of a pair of images; none where they cannot be matched."""
        pair = first, second
        with self._lock:
            under_way = self._under_way.get(pair)
            found = self._kept.find(pair) if under_way is None else None
            if found is not None:
                return found
            mine = Future[Points]()
            if under_way is None:
                self._under_way[pair] = mine
        if under_way is not None:
            return under_way.result()
        try:
            with self._turn:
                points = self._matched(first, second, imagery)
            self._kept.keep(pair, points)
            mine.set_result(points)
        except BaseException as error:
            mine.set_exception(error)  # the next to ask tries again
            raise
        finally:
            with self._lock:
                del self._under_way[pair]
        return points

    def _matched(self, first: str, second: str, imagery: Imagery) -> Points:
        nothing = np.zeros((0, 2))
        try:
            both = imagery.read(first), imagery.read(second)
            prior = extract_prior(*both, self._settings, self._device, self._mask)
        except (ImageError, ValueError) as error:
            why_unmatched(error, f"{first} and {second}")
            return nothing, nothing  # as such a pair has no static prior either
        rows = static_points(prior.matches, prior.masks)
        one, other = (np.asarray(each, dtype=np.float64)[:, ::-1] for each in rows)
        return one, other
