"""Paired differences of two arms over seeds, as the tables of the benchmarks show them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Of = Callable[[Counts], float]
"""What a (C, C) confusion matrix scores."""
Runs = Sequence[Counts]
"""(N, C, C) confusion of each image, of each seed."""

# Two-sided 95 % quantiles of Student's t for 1 to 9 degrees of freedom.
T_QUANTILES: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(gains: Sequence[float]) -> str:
    """Mean and 95 % interval (Student's t) of one difference a seed: "+0.4 (+0.1 … +0.8)"."""
    if not gains:
        return "–"
    mean = statistics.mean(gains)
    if len(gains) < 2:
        return f"{mean:+.1f}"
    quantile = T_QUANTILES[len(gains) - 2] if len(gains) - 2 < len(T_QUANTILES) else 1.96
    half = quantile * statistics.stdev(gains) / math.sqrt(len(gains))
    return with_interval((mean, mean - half, mean + half))


def with_interval(found: Sequence[float], digits: int = 1) -> str:
    """A difference and both ends of its interval: "+0.4 (+0.1 … +0.8)"."""
    mean, low, high = (f"{value:+.{digits}f}" for value in found)
    return f"{mean} ({low} … {high})"


def resampled_difference(
    cities: Sequence[tuple[Runs, Runs]], of: Of, resamples: int = 1000
) -> list[float]:
    """Mean difference of two arms over cities, and its 95 % interval over seeds and images.

    Args:
        cities: Of each city both arms' runs, seeds in one order; an arm of one run has no seed and
            stands against each run of the other. Cities are not resampled.
        of: What a confusion matrix scores.
        resamples: Of the percentile bootstrap; seeds and images are drawn together.

    Returns:
        The difference, and both ends of the interval, in what `of` returns.
    """
    random = np.random.default_rng(0)

    def difference(draw: bool) -> float:
        gains = []
        for ours, others in cities:
            images, seeds = len(ours[0]), max(len(ours), len(others))
            weights = np.ones(images, dtype=np.int64)
            chosen = list(range(seeds))
            if draw:
                weights = np.bincount(random.integers(0, images, images), minlength=images)
                chosen = random.integers(0, seeds, seeds).tolist()
            for seed in chosen:
                one, other = ours[seed % len(ours)], others[seed % len(others)]
                gains.append(
                    (of(np.tensordot(weights, one, 1)) - of(np.tensordot(weights, other, 1)))
                    / (seeds * len(cities))
                )
        return math.fsum(gains)

    drawn = [difference(True) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return [difference(False), low, high]
