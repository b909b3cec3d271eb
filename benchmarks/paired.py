"""Paired differences of two arms over seeds, as the tables of the benchmarks show them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

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
    return f"{mean:+.1f} ({mean - half:+.1f} … {mean + half:+.1f})"
