"""What a transfer of the catalog names."""

from __future__ import annotations

from typing import Final

from adapters.catalog.recipes import BUILT_IN_RECIPES
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import (
    ADAPTED_ARMS,
    TRANSFER_ARMS,
    check_source,
    is_fine_tuned,
    is_trained,
    needs_of_arm,
)
from tasks.training.labelled import labelled_parts, unlabelled_parts

WITH_SOURCE: Final = "ga_ca"
WITHOUT_SOURCE: Final = "source_free"
"""How a transfer is adapted where neither a command nor the catalog says it."""


def arm_of_transfer(transfer: str, plan: Plan) -> str:
    """The arm of a transfer where no command names one."""
    sets = plan.transfer(transfer)
    has_source = plan.segmenter(sets.segmenter).source is not None
    return sets.arm or (WITH_SOURCE if has_source else WITHOUT_SOURCE)


def arms_of_transfers(plan: Plan) -> tuple[str, ...]:
    """What transfers may be adapted by: arms that need no pairs, and recipes."""
    return tuple(dict.fromkeys((*TRANSFER_ARMS, *BUILT_IN_RECIPES, *plan.recipes)))


def not_scored(transfer: str, plan: Plan) -> str:
    """Why nothing of a transfer is scored, without a full stop."""
    target = plan.transfer(transfer).target
    if not plan.dataset(target).has_labels:
        return f"datasets.{target} has no labels"
    return f"transfers.{transfer}.test_split is null"


def is_scored_on_what_it_learns(arm: str, transfer: str, plan: Plan) -> bool:
    """Whether an arm learns from labels of the very images that a transfer is scored on."""
    sets, labels = plan.transfer(transfer), needs_of_arm(arm, plan).labels
    if labels is None and not is_fine_tuned(arm):
        return False
    named = None if labels is None else labels.dataset
    learned = (sets.target, sets.target_split) if named is None else (named, "train")
    return learned == (sets.target, plan.scored_split(transfer))


def check_transfer_arm(arm: str, transfer: str, plan: Plan) -> None:
    """Fails before any work where the transfer or the arm is not there."""
    sets = plan.transfer(transfer)
    if arm in ADAPTED_ARMS and arm not in TRANSFER_ARMS:
        lacks = "" if needs_of_arm(arm, plan).pairs else " and so no static prior"
        raise InputError(
            f"transfers.{transfer} has no pairs of images{lacks}: the arm {arm!r} is for cities"
        )
    if arm not in TRANSFER_ARMS and plan.recipe(arm) is None:
        known = ", ".join(arms_of_transfers(plan))
        raise InputError(f"there is no arm {arm!r}; arms are {known}")
    _check_labels(arm, transfer, plan)
    if arm not in TRANSFER_ARMS:
        _check_recipe(arm, transfer, plan)
    check_source(arm, sets.segmenter, plan)


def check_splits(arm: str, transfer: str, plan: Plan) -> None:
    """Fails before any work where a split that an arm reads or is scored on has no images.

    Raises:
        InputError: One is empty.
        DatasetError: The target is not there, or has no such split.
    """
    sets, scored = plan.transfer(transfer), plan.scored_split(transfer)
    if scored is not None:
        labelled_parts(sets.target, scored, None, plan)
    if is_fine_tuned(arm):
        labelled_parts(sets.target, sets.target_split, None, plan)
    elif is_trained(arm):
        unlabelled_parts(sets.target, sets.target_split, plan)


def _check_labels(arm: str, transfer: str, plan: Plan) -> None:
    """Fails where an arm needs labels of the target, to be scored or to learn from."""
    sets, labels = plan.transfer(transfer), needs_of_arm(arm, plan).labels
    if not is_trained(arm) and plan.scored_split(transfer) is None:
        raise InputError(
            f"{not_scored(transfer, plan)}, so nothing can be scored, and the arm {arm!r} does "
            f"nothing else: adapt by --arm {arm_of_transfer(transfer, plan)}"
        )
    if is_scored_on_what_it_learns(arm, transfer, plan):
        raise InputError(
            f"transfers.{transfer} is scored on the split {plan.scored_split(transfer)!r} of "
            f"datasets.{sets.target}, whose labels the arm {arm!r} learns from: name another "
            "test_split, or null, which scores nothing"
        )
    if plan.dataset(sets.target).has_labels:
        return
    if is_fine_tuned(arm) or (labels is not None and labels.dataset is None):
        raise InputError(
            f"datasets.{sets.target} has no labels, so the arm {arm!r} has nothing to train on: "
            f"adapt by --arm {arm_of_transfer(transfer, plan)}"
        )


def _check_recipe(recipe: str, transfer: str, plan: Plan) -> None:
    """Fails where a recipe needs what images of a set have not."""
    needs = needs_of_arm(recipe, plan)
    if needs.prior or needs.pairs:
        what = "static priors" if needs.prior else "both times of a place"
        raise InputError(
            f"the recipe {recipe!r} needs {what}, and transfers.{transfer} has no pairs of images: "
            "it is for cities"
        )
    if needs.labels is not None and needs.labels.chosen == "suggested":
        raise InputError(
            f"the recipe {recipe!r} has places chosen where two times disagree, and "
            f"transfers.{transfer} has no pairs of images: write chosen: random in its labels"
        )
