"""Images of one batch in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tasks.steps.errors import InputError

Value = TypeVar("Value", np.uint8, np.bool_)


def stacked(arrays: Sequence[npt.NDArray[Value]], names: Sequence[str]) -> npt.NDArray[Value]:
    """(N, ...) of N arrays.

    Args:
        arrays: Images or maps, (H, W, ...) each.
        names: What they are called where they do not fit together.

    Raises:
        InputError: They differ in size.
    """
    height, width = arrays[0].shape[:2]
    for array, name in zip(arrays, names, strict=True):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"{name} is {array.shape[0]}×{array.shape[1]} pixels high and wide, {names[0]} "
                f"{height}×{width}: images of a batch need one size, so set image_size in the "
                "catalog, in `trainings` or for the data set"
            )
    return np.stack(arrays)
