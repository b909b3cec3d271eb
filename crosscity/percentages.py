"""Shares as people read them."""

from __future__ import annotations

import math


def percentage(share: float, digits: int = 2) -> str:
    """A share in percent, without the sign; what is there is never shown as 0.

    Args:
        share: At least 0.
        digits: Behind the point; a share that is 0 to so many has as many as show its first.
    """
    value = 100 * share
    text = f"{value:.{digits}f}"
    if value > 0 and float(text) == 0:
        return f"{value:.{-math.floor(math.log10(value))}f}"
    return text
