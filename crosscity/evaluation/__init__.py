"""Confusion matrices, scoring protocols and per-class IoU."""

from typing import Final

from crosscity.evaluation.confusion import ConfusionMatrix, confusion_matrix
from crosscity.evaluation.prediction import (
    ImageCounts,
    Prediction,
    evaluate,
    evaluate_each,
    predict,
    predict_each,
)
from crosscity.evaluation.protocols import (
    PROTOCOLS,
    ClassGroups,
    ProtocolName,
    ScoringProtocol,
    own_protocol,
    predicted_groups,
)
from crosscity.evaluation.scores import Scores, score, scored_counts
from crosscity.evaluation.unlearned import unlearned_classes

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever the same predictions would be scored differently."""

__all__ = [
    "ALGORITHM_VERSION",
    "PROTOCOLS",
    "ClassGroups",
    "ConfusionMatrix",
    "ImageCounts",
    "Prediction",
    "ProtocolName",
    "Scores",
    "ScoringProtocol",
    "confusion_matrix",
    "evaluate",
    "evaluate_each",
    "own_protocol",
    "predict",
    "predict_each",
    "predicted_groups",
    "score",
    "scored_counts",
    "unlearned_classes",
]
