"""Segmentation networks that offer features and a classifier."""

from typing import Final

from crosscity.segmenters.base import (
    Segmenter,
    WeightsError,
    evaluating,
    grey_image,
    image_tensor,
)
from crosscity.segmenters.compact import CompactSegmenter
from crosscity.segmenters.delivered import load_segmenter
from crosscity.segmenters.dilated_vgg16 import DilatedVgg16
from crosscity.segmenters.efficientnet_lite0 import EfficientNetLite0
from crosscity.segmenters.export import onnx_bytes
from crosscity.segmenters.hugging_face import HuggingFaceSegmenter
from crosscity.segmenters.label_space import class_table, in_train_ids
from crosscity.segmenters.plug_in import ComposedSegmenter
from crosscity.segmenters.prediction_rule import RULES, Rule, rule_offsets
from crosscity.segmenters.registry import ARCHITECTURES, build_segmenter
from crosscity.segmenters.seeding import seeded_randomness
from crosscity.segmenters.weights import load_weights, separate_tensors
from crosscity.segmenters.whole_network import whole_network

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same weights give other predictions, or a seed other weights."""

__all__ = [
    "ALGORITHM_VERSION",
    "ARCHITECTURES",
    "RULES",
    "CompactSegmenter",
    "ComposedSegmenter",
    "DilatedVgg16",
    "EfficientNetLite0",
    "HuggingFaceSegmenter",
    "Rule",
    "Segmenter",
    "WeightsError",
    "build_segmenter",
    "class_table",
    "evaluating",
    "grey_image",
    "image_tensor",
    "in_train_ids",
    "load_segmenter",
    "load_weights",
    "onnx_bytes",
    "rule_offsets",
    "seeded_randomness",
    "separate_tensors",
    "whole_network",
]
