"""Images that go through a network at other proportions than theirs, which it sees distorted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

Size = tuple[int, int]
_DISTORTED: Final = math.log(1.25)
"""Proportions that differ by more are told: a wheel is no longer round then."""
_MULTIPLE: Final = 8
_LEAST: Final = 32


def distorted(sizes: Mapping[Size, int], shown: Size | None) -> Counter[Size]:
    """Of images, those that have clearly other proportions than they are shown at.

    Args:
        sizes: (height, width) of images, and how many have it.
        shown: (height, width) at which all go through the network; ``None``: each at its own.
    """
    if shown is None:
        return Counter()
    return Counter(
        {
            size: count
            for size, count in sizes.items()
            if abs(math.log(size[0] * shown[1] / (size[1] * shown[0]))) > _DISTORTED
        }
    )


def fitting(size: Size, shown: Size) -> Size:
    """The size with as many pixels as `shown` has, about, and the proportions of `size`."""
    scale = math.sqrt(shown[0] * shown[1] / (size[0] * size[1]))
    height, width = (max(_LEAST, _MULTIPLE * round(scale * side / _MULTIPLE)) for side in size)
    return height, width


def distorted_remark(sizes: Mapping[Size, int], shown: Size | None, advice: str) -> str:
    """One sentence on images that a network sees distorted; empty where it sees none so.

    Args:
        sizes: (height, width) of images, and how many have it.
        shown: (height, width) at which all go through the network.
        advice: What to do, with `{size}` for the most frequent size of those, and `{height}` and
            `{width}` for what fits it.
    """
    found = distorted(sizes, shown)
    if shown is None or not found:
        return ""
    size, _ = found.most_common(1)[0]
    height, width = fitting(size, shown)
    said = advice.format(size=f"{size[0]}×{size[1]}", height=height, width=width)
    return (
        f"{found.total()} of {sum(sizes.values())} images have other proportions than the "
        f"{shown[0]}×{shown[1]} at which they go through the network, which sees them distorted: "
        f"{said}"
    )
