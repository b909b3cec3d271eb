"""The static prior of a place that was captured at more than two times.

Two times cannot tell a parked car that is there both times from a bench; further ones can. How much
of a picture each other time covers with matches is read three times over: in superpixels, which
know where things end; in finer ones, which mix fewer things; and around each pixel, whatever the
superpixels are. Their errors differ, so their mean errs less than any of them:

    e = mean over the n other times and the readings of  t(c)
    t(c) = log((min(c, f) + ε) / ε) / log((f + ε) / ε)

c is the covered share, f one that is as good as all: a quarter of the matches is left out for being
the weakest. The mean of logarithms (a geometric one) lets a time that finds nothing count much. e
is 0 where no time covers anything, 1 where all cover f. What is static has

    e ≥ t(c₀),    c₀ = coverage · (1 + 0.25 u),   u = 1 - 1 / n

The more times there are, the less is left to chance, so a little more may be asked of each. With
the default coverage, of two other times both must speak for a region, as t(c₀) is above one half.
ε, f, the readings and the 0.25 were chosen on one city's style (`benchmarks/several_times.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, check_list, check_map, number, whole_number
from crosscity.static_regions import covered_shares, matched_pixels, superpixels_in_order

if TYPE_CHECKING:
    from crosscity.matching import Matches

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the evidence or the threshold of some input changes."""

DOUBT: Final = 0.2
"""ε: how much a time without any match counts."""
FULL: Final = 0.7
"""f: a covered share that is as good as all."""
STRICTER: Final = 0.25
"""By how much more of a region must be covered where there are very many times."""
FINER: Final = 3
"""How many times as many the finer superpixels are."""
WIDE: Final = 17
"""Side of the window around a pixel, in quarters of the spacing; it slides three times over, which
makes nearly a Gaussian of a standard deviation of twice the spacing, in whole numbers."""

Float = npt.NDArray[np.float64]


def evidence_of_times(
    matches: Sequence[Matches],
    partitions: Sequence[npt.NDArray[np.int32]],
    *,
    sides: Sequence[Literal["a", "b"]] | None = None,
    spacing: int = 1,
) -> Float:
    """How much speaks for a picture's pixels being static, from its pairs with other times.

    Args:
        matches: Trusted ones, of the picture with each of its other times.
        partitions: (H, W) int32 superpixels of the picture, coarser and finer.
        sides: Whether the picture is a or b of each pair; all a by default.
        spacing: Pixels between neighbouring matches; 4 · downscale for `deep_matching`.

    Returns:
        (H, W) float64 in [0, 1]; of several times the mean of what each alone gives.

    Raises:
        ValueError: There is no other time or no partition, partitions differ in shape, or as
            `static_prior_of_times`.
    """
    spacing = whole_number(spacing, "spacing", 1, MAX_SIDE)
    check_list(partitions, "partitions of the picture")
    if not partitions:
        raise ValueError("a picture that is not cut into superpixels has no prior; give some")
    for labels in partitions:
        check_map(labels, "superpixels", types=("int32",), like=np.shape(partitions[0]))
    total: Float = np.zeros(partitions[0].shape)
    for labels in map(superpixels_in_order, partitions):
        shares = covered_shares(matches, labels, sides=sides, spacing=spacing)
        total += _told(shares).mean(axis=0)[labels]
    which = sides or ["a"] * len(matches)
    around = [
        _told(_covered_around(matched_pixels(of_pair, labels.shape, side), spacing))
        for of_pair, side in zip(matches, which, strict=True)
    ]
    total += _enlarged(np.mean(around, axis=0), total.shape, spacing)
    total /= len(partitions) + 1
    return total


def static_by_evidence(evidence: Float, coverage: float, others: int) -> npt.NDArray[np.bool_]:
    """What is static, by `evidence_of_times` of so many other times.

    Args:
        evidence: (H, W) in [0, 1].
        coverage: Share of a region that matches of a pair must cover, above 0; see above for more
            times.
        others: Number of other times.

    Raises:
        ValueError: A number is out of range.
    """
    # A mean that is the least to the last digit is enough.
    static: npt.NDArray[np.bool_] = evidence >= least_evidence(coverage, others) - 1e-9
    return static


def least_evidence(coverage: float, others: int) -> float:
    """The evidence of what is covered just enough at each of so many other times."""
    coverage = number(coverage, "coverage", 0, 1, above=True, what="a share above 0")
    others = whole_number(others, "the number of other times", 1, MAX_SIDE)
    covered = coverage * (1 + STRICTER * (1 - 1 / others))
    return float(_told(np.array(covered)))


def _told(shares: Float) -> Float:
    told: Float = np.log((np.minimum(shares, FULL) + DOUBT) / DOUBT)
    told /= math.log((FULL + DOUBT) / DOUBT)
    return told


def _covered_around(matched: npt.NDArray[np.bool_], spacing: int) -> Float:
    """The share that is covered around each cell of a quarter of the spacing."""
    height, width = matched.shape
    cell = _cell(spacing)
    rows, columns = -(-height // cell), -(-width // cell)
    row, column = np.nonzero(matched)
    points = np.zeros((rows, columns), dtype=np.int64)
    np.add.at(points, (row // cell, column // cell), 1)
    high = np.minimum(cell, height - cell * np.arange(rows))
    broad = np.minimum(cell, width - cell * np.arange(columns))
    area = np.multiply.outer(high, broad)
    shares: Float = _smoothed(points) * float(spacing**2) / _smoothed(area)
    return np.minimum(shares, 1.0)


def _smoothed(values: npt.NDArray[np.int64]) -> Float:
    """Sums over a window, of sums, of sums: in whole numbers, so alike on every machine."""
    for axis in (0, 1):
        # A window that is wider than the picture would be one sum of everything.
        reach = min(WIDE // 2, values.shape[axis] - 1)
        for _ in range(3):
            ends = [(reach + 1, reach) if at == axis else (0, 0) for at in (0, 1)]
            sums = np.cumsum(np.pad(values, ends), axis=axis)
            size, step = values.shape[axis], 2 * reach + 1
            ahead = np.take(sums, np.arange(step, step + size), axis=axis)
            values = ahead - np.take(sums, np.arange(size), axis=axis)
    return values.astype(np.float64)


def _enlarged(values: Float, shape: tuple[int, ...], spacing: int) -> Float:
    row, column = (np.arange(side) // _cell(spacing) for side in shape)
    enlarged: Float = values[row[:, None], column]
    return enlarged


def _cell(spacing: int) -> int:
    return max(1, spacing // 4)
