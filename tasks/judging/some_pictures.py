"""Some of the pictures that are to be predicted, to look at before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from adapters.images import ImageError, decode_image
from crosscity.adaptation.spread import spread_indices
from tasks.judging.predictions import Picture


def some_pictures(pictures: Sequence[Picture], most: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Of at most so many that are spread evenly, those that can be read: H×W×3 RGB each."""
    for index in spread_indices(len(pictures), most):
        try:
            yield decode_image(pictures[index].data(), pictures[index].name)
        except (OSError, ImageError):
            continue  # predicting says why
