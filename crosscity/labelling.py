"""Which places to label first: those that are disputed, and not all of them at one corner."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crosscity.areas import METRES_A_DEGREE, east_of, westmost
from crosscity.checks import whole_number

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever other places would be chosen."""

Float = npt.NDArray[np.float64]


def combined_ranks(signals: npt.NDArray[Any]) -> Float:
    """One score a place out of several signals of different scales.

    A signal counts by its rank: the share of the other places that it is higher than, ties half. So
    one that differs in hundredths weighs as much as one that differs in tenths. Signals that a
    place lacks are left out for it.

    Args:
        signals: (N, K) floats, NaN where a place lacks a signal.

    Returns:
        (N,) float64 in [0, 1]; 0.5 where a place has no signal, or no other to be compared with.

    Raises:
        ValueError: The array has not two dimensions.
    """
    if np.ndim(signals) != 2:
        raise ValueError("signals are an array of places by signals, (N, K)")
    values = np.asarray(signals, dtype=np.float64)
    ranks = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = np.flatnonzero(np.isfinite(values[:, column]))
        row = values[known, column]
        ordered = np.sort(row)
        below = np.searchsorted(ordered, row, side="left")
        up_to = np.searchsorted(ordered, row, side="right")
        others = max(1, len(row) - 1)
        ranks[known, column] = (below + up_to - 1) / 2 / others if len(row) > 1 else 0.5
    has = np.isfinite(ranks)
    total = np.where(has, ranks, 0.0).sum(axis=1)
    score: Float = np.where(has.any(axis=1), total / np.maximum(1, has.sum(axis=1)), 0.5)
    return score


def spread_choice(scores: Float, lat: Float, lon: Float, n: int) -> list[int]:
    """The best places that do not crowd.

    Greedy: next is the place with the highest score times min(1, d / s), where d is its distance
    to the nearest place that was chosen and s = √(area / n) the distance that n places would have
    if they were spread evenly over the bounds of all.

    Args:
        scores: (N,) in [0, 1].
        lat: (N,) WGS84 degrees; NaN where a place's position is not known, which is then far from
            all others.
        lon: (N,) WGS84 degrees.
        n: How many, at least 1; all where there are fewer.

    Returns:
        Indices, the first chosen first; of equal ones the first in the list.

    Raises:
        ValueError: The arrays differ in length, or n is below 1.
    """
    if not len(scores) == len(lat) == len(lon):
        raise ValueError("every place has a score, a latitude and a longitude")
    whole_number(n, "n", 1, 2**31 - 1)
    if not len(scores):
        return []
    north, east = _metres(np.asarray(lat, np.float64), np.asarray(lon, np.float64))
    known = np.isfinite(north) & np.isfinite(east)
    spacing = _spacing(north[known], east[known], n)
    nearest = np.full(len(scores), np.inf)
    left = np.ones(len(scores), dtype=np.bool_)
    chosen: list[int] = []
    while left.any() and len(chosen) < n:
        gains = np.where(left, scores * np.minimum(1.0, nearest / spacing), -np.inf)
        best = int(np.argmax(gains))
        chosen.append(best)
        left[best] = False
        if known[best]:
            away = np.hypot(north - north[best], east - east[best])
            nearest = np.fmin(nearest, np.where(known, away, np.inf))
    return chosen


def _metres(lat: Float, lon: Float) -> tuple[Float, Float]:
    """North and east of the equator and of Greenwich, near enough within a city."""
    known = np.isfinite(lat) & np.isfinite(lon)
    if not known.any():
        return np.full(lat.shape, np.nan), np.full(lon.shape, np.nan)
    scale = METRES_A_DEGREE * math.cos(math.radians(float(lat[known].mean())))
    return lat * METRES_A_DEGREE, east_of(lon, westmost(lon[known])) * scale


def _spacing(north: Float, east: Float, n: int) -> float:
    if not len(north):
        return 1.0
    return max(1.0, math.sqrt(float(np.ptp(north)) * float(np.ptp(east)) / n))
