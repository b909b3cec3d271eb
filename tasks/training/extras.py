"""What a recipe reads beside source and target: labels of a few places, and a teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adapters.catalog import FewLabelsEntry
from adapters.store import ArtifactRef, Store
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.stored_images import GoodRows

CHOICE: Final = "places.json"
"""Of an artifact `label_choice`: names of places, the best first."""
_LABEL: Final = "label-"
_RATES: Final = "flag_rates"


@dataclass(frozen=True)
class Extras:
    """Artifacts that a recipe reads beside source and target.

    Attributes:
        labels: Labelled shards of the target.
        choice: Which of their places are learned from, best first; ``None``: a random choice.
        teacher: The segmenter that predicts in place of a slow copy.
        rates: How often the prior flags each class, measured on labelled pairs of a city.
    """

    labels: tuple[ArtifactRef, ...] = ()
    choice: ArtifactRef | None = None
    teacher: ArtifactRef | None = None
    rates: ArtifactRef | None = None

    def inputs(self) -> dict[str, ArtifactRef]:
        """The artifacts by role."""
        found = {f"{_LABEL}{number:05d}": ref for number, ref in enumerate(self.labels)}
        named = {"choice": self.choice, "teacher": self.teacher, _RATES: self.rates}
        return found | {role: ref for role, ref in named.items() if ref is not None}


def made_with_labels(inputs: Mapping[str, ArtifactRef | None], owner: str) -> bool:
    """Whether a recipe has seen labels of its target: of a few places, or in the prior's rates.

    Args:
        inputs: Of its adaptation, by role.
        owner: The city or transfer.
    """
    rates = inputs.get(_RATES)
    of_rates = rates is not None and rates.city == owner
    return of_rates or any(role.startswith(_LABEL) for role in inputs)


def labels_of(wanted: FewLabelsEntry, owner: str, plan: Plan) -> tuple[str, str]:
    """Whose labels of which split a recipe of a city or transfer learns from."""
    if wanted.dataset is not None:
        return wanted.dataset, "train"
    if owner in plan.transfers:
        sets = plan.transfer(owner)
        return sets.target, sets.target_split
    return owner, "train"


def chosen_rows(store: Store, extras: Extras, wanted: FewLabelsEntry, recipe: str) -> list[int]:
    """Which of the labelled images a recipe learns from: rows of the good ones.

    Raises:
        InputError: There are labels of fewer places than the recipe asks for.
    """
    names = labelled_places(store, extras.labels)
    check_enough(len(names), wanted, recipe)
    if extras.choice is not None:
        order = json.loads(store.path(extras.choice, CHOICE).read_text(encoding="utf-8"))
        places = {name: row for row, name in enumerate(names)}
        return [places[name] for name in order[: wanted.places]]
    order = np.random.default_rng([wanted.seed, len(names)]).permutation(len(names))
    return sorted(order[: wanted.places].tolist())


def labelled_places(store: Store, parts: Sequence[ArtifactRef]) -> list[str]:
    """Names of the labelled images of shards, in their order."""
    rows = GoodRows(store, parts)
    return [rows.name(index) for index in range(len(rows))]


def check_enough(there: int, wanted: FewLabelsEntry, recipe: str) -> None:
    """Fails where there are labels of fewer places than a recipe asks for."""
    if there < wanted.places:
        raise InputError(
            f"the recipe {recipe!r} asks for labels of {wanted.places} places, and there are "
            f"{there}: label more (`crosscity suggest` ranks them), or lower labels.places"
        )
