"""Adversarial adaptation of a segmenter (paper Sec. 4): losses, discriminators, training."""

from crosscity.adaptation.adversarial import Adaptation
from crosscity.adaptation.image_sets import (
    LabelledArrays,
    LabelledImages,
    TargetArrays,
    TargetImages,
)
from crosscity.adaptation.settings import (
    ARMS,
    PRESETS,
    AdaptationSettings,
    Arm,
    FineTuningSettings,
    PretrainingSettings,
)
from crosscity.adaptation.supervised import FineTuning, Pretraining
from crosscity.adaptation.training import (
    ALGORITHM_VERSION,
    DivergedError,
    StateError,
    Training,
    TrainingState,
)

__all__ = [
    "ALGORITHM_VERSION",
    "ARMS",
    "PRESETS",
    "Adaptation",
    "AdaptationSettings",
    "Arm",
    "DivergedError",
    "FineTuning",
    "FineTuningSettings",
    "LabelledArrays",
    "LabelledImages",
    "Pretraining",
    "PretrainingSettings",
    "StateError",
    "TargetArrays",
    "TargetImages",
    "Training",
    "TrainingState",
]
