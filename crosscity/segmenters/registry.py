"""Segmenters by the name that the catalog gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crosscity.segmenters.base import Segmenter
from crosscity.segmenters.compact import CompactSegmenter
from crosscity.segmenters.seeding import seeded_randomness

ARCHITECTURES: Final[dict[str, type[Segmenter]]] = {
    CompactSegmenter.architecture: CompactSegmenter,
}
"""Every architecture that `build_segmenter` knows."""


def build_segmenter(
    architecture: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Segmenter:
    """A randomly initialised segmenter.

    Args:
        architecture: A name in `ARCHITECTURES`.
        options: Arguments of the architecture's constructor; a segmenter's `options()`.
        seed: Fixes the weights; the process's own random state is neither used nor changed.

    Raises:
        ValueError: No such architecture, or options that it does not take.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"there is no segmenter {architecture!r}; there are: {known}")
    try:
        with seeded_randomness(seed):
            return ARCHITECTURES[architecture](**dict(options or {}))
    except TypeError as error:
        raise ValueError(
            f"the options do not suit the segmenter {architecture!r}: {error}"
        ) from None
