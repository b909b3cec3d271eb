"""DeepMatching that searches at half the density first, as a `Matcher`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscity.matching.by_deep_matching import with_settings

if TYPE_CHECKING:
    from crosscity.prior_parts import Matcher, MatcherSettings


def build(settings: MatcherSettings) -> Matcher:
    """`deep_matching` with `refine`, on one thread: the cores are busy with other pairs."""
    return with_settings(settings, refine=True)
