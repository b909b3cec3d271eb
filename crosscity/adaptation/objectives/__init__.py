"""Objectives of an adaptation: one file a loss, with its equation, by name."""

from __future__ import annotations

from typing import Final, get_args

from crosscity.adaptation.objectives.base import (
    Adversary,
    Batch,
    Need,
    Objective,
    PartnerView,
    Surroundings,
    View,
    upsampled_logits,
)
from crosscity.adaptation.objectives.class_alignment import ClassAlignment
from crosscity.adaptation.objectives.feature_consistency import FeatureConsistency
from crosscity.adaptation.objectives.few_labels import FewLabels
from crosscity.adaptation.objectives.global_alignment import GlobalAlignment
from crosscity.adaptation.objectives.masked_consistency import MaskedConsistency
from crosscity.adaptation.objectives.self_training import SelfTraining
from crosscity.adaptation.objectives.source_task import SourceTask
from crosscity.adaptation.objectives.two_looks import TwoLooks
from crosscity.named_function import named_function

PREFIX: Final = "python:"
OBJECTIVES: Final[dict[str, type[Objective]]] = {
    objective.name: objective
    for objective in (
        SourceTask,
        GlobalAlignment,
        ClassAlignment,
        SelfTraining,
        MaskedConsistency,
        TwoLooks,
        FeatureConsistency,
        FewLabels,
    )
}
"""Every objective of our own."""


def find_objective(name: str) -> type[Objective]:
    """The objective of that name.

    Args:
        name: In `OBJECTIVES`, or `python:package.module:Class`, a subclass of `Objective`.

    Raises:
        ValueError: There is no such objective.
    """
    if not name.startswith(PREFIX):
        if name not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise ValueError(
                f"there is no objective {name!r}; there are: {known}, and "
                f"{PREFIX}package.module:Class"
            )
        return OBJECTIVES[name]
    found = named_function(name.removeprefix(PREFIX))
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ValueError(  # noqa: TRY004 - a wrong recipe, like the others
            f"{name!r} is not a subclass of crosscity.adaptation.objectives.Objective"
        )
    if not hasattr(found, "name"):
        raise ValueError(f"{name!r} has no name: write `name = ...` into the class")
    wrong = set(found.needs) - set(get_args(Need))
    if wrong:
        raise ValueError(
            f"{name!r} needs {', '.join(sorted(map(repr, wrong)))}, which is none of "
            f"{', '.join(get_args(Need))}: write `needs = frozenset({{...}})` of these"
        )
    return found


__all__ = [
    "OBJECTIVES",
    "Adversary",
    "Batch",
    "Need",
    "Objective",
    "PartnerView",
    "Surroundings",
    "View",
    "find_objective",
    "upsampled_logits",
]
