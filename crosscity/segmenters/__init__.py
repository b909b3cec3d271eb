"""Segmentation networks that offer features and a classifier."""

from typing import Final

from crosscity.segmenters.base import Segmenter, evaluating, image_tensor
from crosscity.segmenters.compact import CompactSegmenter
from crosscity.segmenters.registry import ARCHITECTURES, build_segmenter
from crosscity.segmenters.seeding import seeded_randomness
from crosscity.segmenters.weights import WeightsError, load_weights

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same weights give other predictions, or a seed other weights."""

__all__ = [
    "ALGORITHM_VERSION",
    "ARCHITECTURES",
    "CompactSegmenter",
    "Segmenter",
    "WeightsError",
    "build_segmenter",
    "evaluating",
    "image_tensor",
    "load_weights",
    "seeded_randomness",
]
