"""Entropy Rate Superpixels (Liu, Tuzel, Ramalingam, Chellappa, CVPR 2011)."""

from typing import Final

from crosscity.superpixels.entropy_rate import entropy_rate_superpixels
from crosscity.superpixels.objective import (
    PartitionObjective,
    greedy_partition,
    partition_objective,
)

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever the labels of some image change."""

__all__ = [
    "ALGORITHM_VERSION",
    "PartitionObjective",
    "entropy_rate_superpixels",
    "greedy_partition",
    "partition_objective",
]
