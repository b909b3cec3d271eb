"""Dense matching between two images of one place (Revaud et al., IJCV 2016)."""

from typing import Final

from crosscity.matching.correlation import PATCH
from crosscity.matching.deep_matching import deep_matching, pairs_left_to_the_processor
from crosscity.matching.matches import Matches
from crosscity.matching.reliability import reliable_matches

ALGORITHM_VERSION: Final = "3"
"""Raised by hand whenever the matches of some input change."""

__all__ = [
    "ALGORITHM_VERSION",
    "PATCH",
    "Matches",
    "deep_matching",
    "pairs_left_to_the_processor",
    "reliable_matches",
]
