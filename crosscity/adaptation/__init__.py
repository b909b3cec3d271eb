"""Adaptation of a segmenter (paper Sec. 4): objectives, recipes, discriminators, training.

What is offered here is loaded when it is first asked for: settings and recipes are read wherever a
catalog is, and PyTorch takes longer than all else that is done with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosscity.loaded_late import loaded_late

if TYPE_CHECKING:
    from crosscity.adaptation.adversarial import Adaptation
    from crosscity.adaptation.engine import (
        Engine,
        on_all_devices,
        open_engine,
    )
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
    from crosscity.adaptation.source_free import SourceFree
    from crosscity.adaptation.source_free_settings import SourceFreeSettings
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
    "on_all_devices",
    "open_engine",
]

_MODULES: Final = {
    "adversarial": ("Adaptation",),
    "engine": (
        "Engine",
        "on_all_devices",
        "open_engine",
    ),
    "image_sets": (
        "LabelledArrays",
        "LabelledImages",
        "TargetArrays",
        "TargetImages",
    ),
    "pretraining": ("Pretraining",),
    "recipes": (
        "ARMS_WITH_PRIOR",
        "RECIPES",
        "Recipe",
        "Term",
    ),
    "settings": (
        "ARMS",
        "FINE_TUNING_PRESETS",
        "PRESETS",
        "AdaptationSettings",
        "Arm",
        "FineTuningSettings",
        "PretrainingSettings",
    ),
    "source_free": ("SourceFree",),
    "source_free_settings": ("SourceFreeSettings",),
    "supervised": ("FineTuning",),
    "training": (
        "ALGORITHM_VERSION",
        "CollapsedError",
        "DivergedError",
        "OutOfMemoryError",
        "StateError",
        "Training",
        "TrainingState",
    ),
}
"""By module of this package, what it offers."""
_OFFERED: Final = {
    name: (f"{__name__}.{module}", name) for module, names in _MODULES.items() for name in names
}

if not TYPE_CHECKING:  # a checker knows the names from the imports above, and no others
    __getattr__, __dir__ = loaded_late(__name__, _OFFERED)
