"""The last filter: matches that are the best in both images (Revaud et al., Sec. 3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.matching.matches import Matches

Float = npt.NDArray[np.float32]


def reciprocal_matches(matches: Matches, bin_size: int) -> Matches:
    """Keeps what is the best of its bin in the first image and of its bin in the second.

    Args:
        matches: Any, in any order; coordinates are at least 0.
        bin_size: Side of the square bins in pixels.

    Returns:
        Those kept, by bin of the first image, row by row. Of equal scores the best is the one
        with the smaller (y_a, x_a, y_b, x_b).
    """
    if not len(matches):
        return matches
    bin_a, bin_b = (
        _bins(x, y, bin_size) for x, y in ((matches.x_a, matches.y_a), (matches.x_b, matches.y_b))
    )
    places = (matches.y_a, matches.x_a, matches.y_b, matches.x_b)
    best_a = _best_in_bins(bin_a, matches.score, *places)
    best_b = _best_in_bins(bin_b, matches.score, *places)
    kept = best_a[best_a >= 0]
    kept = kept[best_b[bin_b[kept]] == kept]
    return Matches(
        x_a=matches.x_a[kept],
        y_a=matches.y_a[kept],
        x_b=matches.x_b[kept],
        y_b=matches.y_b[kept],
        score=matches.score[kept],
        entry=matches.entry[kept],
    )


def _bins(x: Float, y: Float, bin_size: int) -> npt.NDArray[np.int64]:
    """Number of each point's bin, row by row."""
    column = (x // bin_size).astype(np.int64)
    row = (y // bin_size).astype(np.int64)
    numbers: npt.NDArray[np.int64] = row * (int(column.max()) + 1) + column
    return numbers


@njit(cache=True, nogil=True)
def _best_in_bins(
    bins: npt.NDArray[np.int64],
    score: Float,
    y_a: Float,
    x_a: Float,
    y_b: Float,
    x_b: Float,
) -> npt.NDArray[np.int64]:
    """Index of the best match of each bin, -1 where a bin is empty."""
    best = np.full(bins.max() + 1, -1, dtype=np.int64)
    for n in range(len(bins)):
        other = best[bins[n]]
        if other < 0 or score[n] > score[other]:
            best[bins[n]] = n
        elif score[n] == score[other]:
            mine = (y_a[n], x_a[n], y_b[n], x_b[n])
            if mine < (y_a[other], x_a[other], y_b[other], x_b[other]):
                best[bins[n]] = n
    return best
