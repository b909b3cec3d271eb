"""DeepMatching that searches at half the density first, as a `Matcher`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crosscity.matching.deep_matching import deep_matching

if TYPE_CHECKING:
    from crosscity.prior_parts import Matcher, MatcherSettings


def build(settings: MatcherSettings) -> Matcher:
    """`deep_matching` with `refine`, on one thread: the cores are busy with other pairs."""
    return partial(
        deep_matching,
        downscale=settings.downscale,
        search_radius=settings.search_radius,
        refine=True,
        device=settings.device,
        threads=1,
    )
