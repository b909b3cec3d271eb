"""Objectives of an adaptation: one file a loss, with its equation, by name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
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
from crosscity.named_function import PREFIX, function_of, is_plug_in, named_function

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
    if not is_plug_in(name):
        if name not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise ValueError(
                f"there is no objective {name!r}; there are: {known}, and "
                f"{PREFIX}package.module:Class"
            )
        return OBJECTIVES[name]
    found = named_function(function_of(name))
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ValueError(  # noqa: TRY004 - a wrong recipe, like the others
            f"{name!r} is not a subclass of crosscity.adaptation.objectives.Objective"
        )
    for fault in _faults(found):
        raise ValueError(f"{name!r} {fault}")
    return found


def _faults(objective: type[Objective]) -> Iterator[str]:
    """What is wrong with a class of the user's own, as it stands there."""
    if not isinstance(getattr(objective, "name", None), str):
        yield "has no name: write `name = ...` into the class"
    if inspect.isabstract(objective):
        lacking = ", ".join(sorted(objective.__abstractmethods__))
        yield f"has no {lacking}: write `def loss(self, view)`, which gives one number"
    needs: object = objective.needs
    known, write = ", ".join(get_args(Need)), "write `needs = frozenset({...})` of"
    if isinstance(needs, str) or not isinstance(needs, Collection):
        yield f"needs {needs!r}: {write} {known}"
    elif wrong := set(needs) - set(get_args(Need)):
        shown = ", ".join(sorted(map(repr, wrong)))
        yield f"needs {shown}, which is none of {known}: {write} these"
    rows: object = objective.rows
    if not isinstance(rows, tuple) or not all(isinstance(row, str) for row in rows):
        yield f'has the rows {rows!r}: write a tuple of names, as `rows = ("my_loss",)`'
    if not (isinstance(objective.Options, type) and is_dataclass(objective.Options)):
        yield "has Options that are no dataclass: write `@dataclass(frozen=True)` above them"


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
