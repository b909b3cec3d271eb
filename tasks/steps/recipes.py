"""Recipes of the catalog as the science takes them, and what each needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.catalog import RecipeEntry
from crosscity.adaptation import Recipe, Term
from crosscity.adaptation.adversarial import needs_of
from crosscity.adaptation.objectives import Need, find_objective
from crosscity.adaptation.objectives.base import checked_options


def science_of(entry: RecipeEntry) -> Recipe:
    """The recipe of an entry.

    Raises:
        ValueError: One sentence: there is no such objective or option, or a value is refused.
    """
    terms = []
    for one in entry.objectives:
        objective = find_objective(one.name)
        checked_options(objective, one.options)
        terms.append(Term(one.name, one.weight, "", one.start, one.ramp, dict(one.options)))
    return Recipe(
        tuple(terms),
        uses_prior=entry.prior != "none",
        trainable=entry.trainable,
        evidence=entry.prior == "evidence",
        source_sampling=entry.source_sampling,
        probability=entry.prior == "probability",
        static_from=entry.static_from,
    )


def needs_of_entry(entry: RecipeEntry) -> set[Need]:
    """What the objectives of an entry look at; see `needs_of`.

    Raises:
        ValueError: One sentence: as of `science_of`, or nothing would read a part of the entry.
    """
    needs = needs_of(science_of(entry))
    for sentence in _unread(entry, needs):
        raise ValueError(sentence)
    return needs


def _unread(entry: RecipeEntry, needs: set[Need]) -> Iterator[str]:
    """Parts of an entry that none of its objectives reads."""
    if entry.teacher is not None and not needs & {"predictions", "partner"}:
        yield "teacher predicts what objectives learn from, and none learns from that: remove it"
    if entry.teacher is not None and "teacher_momentum" in entry.settings:
        yield "teacher_momentum is of a slow copy, and teacher takes its place: remove one of them"
    if entry.source_sampling != "uniform" and "source" not in needs:
        yield "source_sampling says which source images are read, and none is: remove it"
    if entry.prior != "none" and not needs & {"predictions", "partner", "target"}:
        yield "prior changes predictions on target images, and no objective reads any: remove it"
    if entry.prior != "none" and entry.trainable == "statistics":
        yield "prior changes predictions, and statistics are estimated without any: remove it"


def rates_of(
    entry: RecipeEntry, class_names: Sequence[str], measured: Mapping[str, float] | None = None
) -> list[float] | None:
    """P(flagged | class) in the order of a label space; ``None`` where the prior is not evidence.

    Args:
        entry: The recipe.
        class_names: The label space; a class without a rate has the mean of the others.
        measured: By class, where the recipe has the rates of a city.
    """
    rates = measured or entry.flag_rates
    if entry.prior != "evidence" or not rates:
        return None
    mean = sum(rates.values()) / len(rates)
    return [rates.get(name, mean) for name in class_names]


def described(entry: RecipeEntry, times: int = 2) -> dict[str, Any]:
    """What of an entry decides the weights; JSON-able.

    Args:
        entry: The recipe.
        times: At how many a place of the target was captured, at most.
    """
    found = entry.model_dump(mode="json", exclude={"settings"}, exclude_defaults=True)
    if "partner" in needs_of_entry(entry):
        if entry.prior != "none":
            found["partner"] = "refined"  # as it once was not
        if times > 2:
            found["looks"] = "of all times"  # it was one other once
    return found
