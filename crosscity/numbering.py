"""Small numbers for regions, so that what is counted by region takes no more than a picture.

A segmenter's or a panoptic data set's regions may be numbered by class and instance; a table as
long as the largest number would take gigabytes for a picture of a few pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def renumbered(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """The same regions, under numbers below that of the pixels.

    Args:
        labels: Whole numbers of any shape, one pixel at least.

    Returns:
        The labels as they are where they lie in [0, pixels), else each one's rank among those
        that there are, as int32 of the same shape.
    """
    if labels.min() >= 0 and labels.max() < labels.size:
        return labels
    ranks = np.unique(labels, return_inverse=True)[1]
    small: npt.NDArray[np.int32] = ranks.reshape(labels.shape).astype(np.int32)
    return small
