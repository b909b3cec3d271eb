"""What a transfer of the catalog names."""

from __future__ import annotations

from adapters.catalog.recipes import BUILT_IN_RECIPES
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import ADAPTED_ARMS, TRANSFER_ARMS, check_source, needs_of_arm


def check_transfer_arm(arm: str, transfer: str, plan: Plan) -> None:
    """Fails before any work where the transfer or the arm is not there."""
    sets = plan.transfer(transfer)
    if arm in ADAPTED_ARMS and arm not in TRANSFER_ARMS:
        raise InputError(
            f"transfers.{transfer} has no pairs of images and so no static prior: the arm {arm!r} "
            "is for cities"
        )
    if arm not in TRANSFER_ARMS and plan.recipe(arm) is None:
        known = ", ".join([*TRANSFER_ARMS, *dict.fromkeys([*BUILT_IN_RECIPES, *plan.recipes])])
        raise InputError(f"there is no arm {arm!r}; arms are {known}")
    if arm not in TRANSFER_ARMS:
        _check_recipe(arm, transfer, plan)
    check_source(arm, sets.segmenter, plan)


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
