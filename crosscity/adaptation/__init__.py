"""Adaptation of a segmenter (paper Sec. 4): objectives, recipes, discriminators, training."""

from crosscity.adaptation.adversarial import Adaptation
from crosscity.adaptation.engine import (
    Engine,
    on_all_devices,
    open_engine,
)
from crosscity.adaptation.freed_memory import keep_freed_memory
from crosscity.adaptation.image_sets import (
    LabelledArrays,
    LabelledImages,
    TargetArrays,
    TargetImages,
)
from crosscity.adaptation.pretraining import Pretraining
from crosscity.adaptation.recipes import ARMS_WITH_PRIOR, RECIPES, Recipe, Term
from crosscity.adaptation.settings import (
    ARMS,
    FINE_TUNING_PRESETS,
    PRESETS,
    AdaptationSettings,
    Arm,
    FineTuningSettings,
    PretrainingSettings,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.supervised import FineTuning
from crosscity.adaptation.training import (
    ALGORITHM_VERSION,
    CollapsedError,
    DivergedError,
    OutOfMemoryError,
    StateError,
    Training,
    TrainingState,
)

__all__ = [
    "ALGORITHM_VERSION",
    "ARMS",
    "ARMS_WITH_PRIOR",
    "FINE_TUNING_PRESETS",
    "PRESETS",
    "RECIPES",
    "Adaptation",
    "AdaptationSettings",
    "Arm",
    "CollapsedError",
    "DivergedError",
    "Engine",
    "FineTuning",
    "FineTuningSettings",
    "LabelledArrays",
    "LabelledImages",
    "OutOfMemoryError",
    "Pretraining",
    "PretrainingSettings",
    "Recipe",
    "SourceFree",
    "SourceFreeSettings",
    "StateError",
    "TargetArrays",
    "TargetImages",
    "Term",
    "Training",
    "TrainingState",
    "keep_freed_memory",
    "on_all_devices",
    "open_engine",
]
