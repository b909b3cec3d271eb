"""Classes that a trained segmenter does not recognise even where it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

LEAST_SHARE: Final = 0.001
"""Of the labelled pixels: what occurs less often may well be missed."""
LEAST_FOUND: Final = 0.01
"""Of a class's pixels: below it, the class is as good as never predicted."""


def unlearned_classes(
    counts: npt.NDArray[np.int64], class_names: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    """Classes that occur and are hardly ever recognised.

    No adaptation finds a class again that the segmenter does not know at home, so a training that
    was too short, or images that are too small, should show before anything is adapted.

    Args:
        counts: (C, C) confusion matrix on images of the source; rows are the truth.
        class_names: Of the C classes.

    Returns:
        Name and share of the labelled pixels (0 to 1) of every class that has at least a
        thousandth of them, of which fewer than a hundredth are predicted as this class; most
        frequent first.

    Raises:
        ValueError: Another number of names than of classes.
    """
    occurs = counts.sum(axis=1)
    if occurs.shape != (len(class_names),):
        raise ValueError(f"{len(class_names)} class names for {len(occurs)} classes")
    total = max(1, int(occurs.sum()))
    found = np.diagonal(counts)
    unlearned = [
        (name, int(pixels) / total)
        for name, pixels, right in zip(class_names, occurs, found, strict=True)
        if pixels and pixels >= LEAST_SHARE * total and right < LEAST_FOUND * pixels
    ]
    return tuple(sorted(unlearned, key=lambda one: -one[1]))
