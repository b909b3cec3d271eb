"""The size that pictures are predicted at where nobody says it: chosen without a label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.adaptation import TargetArrays
from crosscity.adaptation.shown_size import MOST_IMAGES, ShownSize, choose_size
from crosscity.segmenters import Segmenter
from tasks.judging.predictions import Picture
from tasks.judging.some_pictures import some_pictures
from tasks.steps import progress
from tasks.steps.errors import InputError

STAGE: Final = "sizes"


def size_to_predict(segmenter: Segmenter, pictures: Sequence[Picture]) -> ShownSize:
    """The size at which a network sees pictures best, by those that have the most frequent size.

    Args:
        segmenter: Is left as it is; its `trained_size`, where known, is tried first.
        pictures: Of which some are looked at, spread evenly.

    Raises:
        InputError: None of those can be read.
    """
    by_size: dict[tuple[int, ...], list[npt.NDArray[np.uint8]]] = defaultdict(list)
    for found in some_pictures(pictures, MOST_IMAGES):
        by_size[found.shape].append(found)
    if not by_size:
        raise InputError(
            "none of the pictures that --size auto looked at could be read: give HEIGHTxWIDTH, or "
            "leave --size out to hear why"
        )
    most = max(by_size, key=lambda shape: (len(by_size[shape]), shape))
    shown = choose_size(
        segmenter,
        TargetArrays(np.stack(by_size[most])),
        trained=segmenter.trained_size,
        on_tried=partial(progress.advance, STAGE, 1),
    )
    assert shown is not None  # noqa: S101 - they have one size
    return replace(shown, sizes=len(by_size))
