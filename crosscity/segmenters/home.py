"""What a segmenter brings from home beside its weights: the size of its images, its rule.

Both stand in its description (`model.json`), as weight files of other programs have no place for
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crosscity.segmenters.base import Segmenter, WeightsError

SIZE: Final = "trained_size"
OFFSETS: Final = "prediction_offsets"
_LONGEST_SIDE: Final = 16_384


def home_fields(segmenter: Segmenter) -> dict[str, Any]:
    """What a description says of it, JSON-able; nothing where there is nothing to say."""
    fields: dict[str, Any] = {}
    if segmenter.trained_size is not None:
        fields[SIZE] = list(segmenter.trained_size)
    offsets = segmenter.prediction_offsets.tolist()
    if any(offsets):
        fields[OFFSETS] = offsets
    return fields


def take_home(segmenter: Segmenter, description: Mapping[str, Any], where: object) -> None:
    """Gives a segmenter what a description says of its home.

    Args:
        segmenter: Receives it.
        description: Out of data: nothing in it is believed.
        where: What messages call the description.

    Raises:
        WeightsError: The size is not one, or the offsets do not suit the classes.
    """
    stated = description.get(SIZE)
    segmenter.trained_size = checked_size(stated)
    if stated is not None and segmenter.trained_size is None:
        raise WeightsError(f"{where}: {SIZE} is not a height and width in pixels")
    offsets = description.get(OFFSETS)
    if offsets is None:
        return
    numbers = isinstance(offsets, list) and all(type(one) in (int, float) for one in offsets)
    if not numbers:
        raise WeightsError(f"{where}: {OFFSETS} is not a list of numbers")
    try:
        segmenter.set_prediction_offsets(offsets)
    except (ValueError, OverflowError) as error:
        raise WeightsError(f"{where}: {OFFSETS}: {error}") from None


def checked_size(stated: object) -> tuple[int, int] | None:
    """A size out of data: two whole numbers from 1 to 16384, or ``None``."""
    if not isinstance(stated, list) or len(stated) != 2:
        return None
    if not all(type(side) is int and 1 <= side <= _LONGEST_SIDE for side in stated):
        return None
    return stated[0], stated[1]
