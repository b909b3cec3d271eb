"""What is said before predicting where a network seems to want its pixels in another form."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.adaptation.pixel_form import remark_on_form
from tasks.judging.chosen_segmenter import Chosen
from tasks.steps import progress

STAGE: Final = "forms of pixels"


def remark_on_pixels(
    chosen: Chosen, images: Iterable[npt.NDArray[np.uint8]], size: tuple[int, int] | None
) -> str:
    """One sentence; empty where nothing is to be said, or the network's form is known.

    Args:
        chosen: On the device that predicts.
        images: H×W×3 RGB each, a handful; are read only where they are looked at.
        size: (height, width) at which they go through the network; ``None``: their own.
    """
    if not chosen.is_from_elsewhere:
        return ""
    tell = partial(progress.advance, STAGE, 1)
    return remark_on_form(chosen.segmenter, list(images), size, on_tried=tell)
