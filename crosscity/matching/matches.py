"""What dense matching gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Matches:
    """Matches between two images, one a row; all arrays have the same length.

    Attributes:
        x_a: float32 column in the first image, pixels of the image as given (the centre of the
            first pixel is 0).
        y_a: float32 row in the first image.
        x_b: float32 column in the second image.
        y_b: float32 row in the second image.
        score: float32, the sum of the responses along the way from the largest patch down; higher
            is surer.
        entry: int32, which maximum of the largest patches the match came from, counted by falling
            response; matches of one entry moved together.
    """

    x_a: Float
    y_a: Float
    x_b: Float
    y_b: Float
    score: Float
    entry: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x_a)


def no_matches() -> Matches:
    """The result where there is nothing to match."""
    empty = np.empty(0, dtype=np.float32)
    return Matches(empty, empty, empty, empty, empty, np.empty(0, dtype=np.int32))
