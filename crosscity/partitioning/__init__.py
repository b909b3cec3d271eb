"""Entropy Rate Superpixels (Liu, Tuzel, Ramalingam, Chellappa, CVPR 2011)."""

from typing import Final

from crosscity.partitioning.entropy_rate import entropy_rate_superpixels
from crosscity.partitioning.hierarchy import (
    SuperpixelHierarchy,
    balance_weight_for,
    superpixel_hierarchy,
)
from crosscity.partitioning.objective import (
    PartitionObjective,
    greedy_partition,
    partition_objective,
)
from crosscity.partitioning.quality import SuperpixelQuality, superpixel_quality

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever the labels of some image change."""

__all__ = [
    "ALGORITHM_VERSION",
    "PartitionObjective",
    "SuperpixelHierarchy",
    "SuperpixelQuality",
    "balance_weight_for",
    "entropy_rate_superpixels",
    "greedy_partition",
    "partition_objective",
    "superpixel_hierarchy",
    "superpixel_quality",
]
