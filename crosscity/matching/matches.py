"""What dense matching gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, check_matches, check_row

Float = npt.NDArray[np.float32]


COORDINATES: Final = ("x_a", "y_a", "x_b", "y_b")


class MatchesError(ValueError):
    """These are no matches: the code that made them is wrong, and not the pictures."""


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

    Raises:
        MatchesError: An array is of another type or shape, the lengths differ, a number is not
            finite, or a coordinate lies further out than any picture reaches.
    """

    x_a: Float
    y_a: Float
    x_b: Float
    y_b: Float
    score: Float
    entry: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Checks what code that indexes by coordinates relies on."""
        try:
            self._check()
        except ValueError as error:
            raise MatchesError(str(error)) from None

    def _check(self) -> None:
        for name in (*COORDINATES, "score", "entry"):
            column = getattr(self, name)
            kind = "int32" if name == "entry" else "float32"
            check_row(column, f"the {name} of matches", dtype=kind)
            if len(column) != len(self.x_a):
                raise ValueError(
                    f"the columns of matches must be equally long, but there are {len(self.x_a)} "
                    f"x_a and {len(column)} {name}"
                )
            if not np.isfinite(column).all():
                raise ValueError(
                    f"the {name} of matches holds what is not finite; drop those matches"
                )
            if name in COORDINATES and len(column) and np.abs(column).max() > MAX_SIDE:
                raise ValueError(
                    f"the {name} of matches reaches {column[np.abs(column).argmax()]:g}, but no "
                    f"picture has more than {MAX_SIDE} pixels a side"
                )

    def __len__(self) -> int:
        return len(self.x_a)


def no_matches() -> Matches:
    """The result where there is nothing to match."""
    empty = np.empty(0, dtype=np.float32)
    return Matches(empty, empty, empty, empty, empty, np.empty(0, dtype=np.int32))


def chosen_matches(matches: Matches, kept: npt.NDArray[np.bool_]) -> Matches:
    """Those matches for which `kept`, (n,) bool, is True, in the same order.

    Raises:
        ValueError: That is not a row of as many bool.
    """
    check_matches(matches)
    check_row(kept, "what says which matches are kept", dtype="bool", length=len(matches))
    return Matches(
        x_a=matches.x_a[kept],
        y_a=matches.y_a[kept],
        x_b=matches.x_b[kept],
        y_b=matches.y_b[kept],
        score=matches.score[kept],
        entry=matches.entry[kept],
    )
