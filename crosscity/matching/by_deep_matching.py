"""DeepMatching as a `Matcher`: what the paper used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crosscity.matching.deep_matching import deep_matching

if TYPE_CHECKING:
    from crosscity.prior_parts import Matcher, MatcherSettings


def build(settings: MatcherSettings) -> Matcher:
    """`deep_matching` with these settings, on one thread: the cores are busy with other pairs."""
    return with_settings(settings, refine=False)


def with_settings(settings: MatcherSettings, *, refine: bool) -> Matcher:
    """The same, at half the density first if `refine` says so."""
    return partial(
        deep_matching,
        downscale=settings.downscale,
        search_radius=settings.search_radius,
        refine=refine,
        device=settings.device,
        threads=1,
    )
