"""Which images a step reads: a function of (seed, stream, step), so nothing needs to be saved."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SOURCE_STREAM: Final = 1
"""Keys of the streams: the same in every arm, so that all arms see the same images in order."""
TARGET_STREAM: Final = 2
AUGMENTATION_STREAM: Final = 3
STEP_STREAM: Final = 4
INITIALISATION_STREAM: Final = 5


class PermutationSampler:
    """Goes through a set again and again, each time in another seeded order.

    Args:
        n_items: Size of the set.
        seed: Of the training.
        stream: Tells apart the sets of one training.
    """

    def __init__(self, n_items: int, *, seed: int, stream: int) -> None:
        if n_items < 1:
            raise ValueError("there is no image to draw from")
        self._n_items = n_items
        self._key = (seed, stream)
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def batch(self, number: int, size: int) -> list[int]:
        """The indices of the batch of that number; every epoch has each index exactly once."""
        return [self._image_at(number * size + offset) for offset in range(size)]

    def _image_at(self, position: int) -> int:
        epoch, place = divmod(position, self._n_items)
        if epoch != self._epoch:
            order = np.random.default_rng([*self._key, epoch]).permutation(self._n_items)
            self._order, self._epoch = order.astype(np.int64), epoch
        return int(self._order[place])
