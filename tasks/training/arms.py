"""The arms that are compared: rows of the paper's Table 2, cheap baselines, and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.catalog import FewLabelsEntry
from adapters.catalog.recipes import BUILT_IN_RECIPES, WAYS, Way
from crosscity.adaptation import ARMS_WITH_PRIOR
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.steps.recipes import needs_of_entry


@dataclass(frozen=True)
class Arm:
    """What is known of an arm before anything is run.

    Attributes:
        title: The name that people read.
        for_sets: Whether a data set, which has no pairs of images, can be adapted to by it.
    """

    title: str
    for_sets: bool = True


START: Final = "pretrained"
"""The arm that all others begin with."""

LOOKS: Final = "source_free_looks"
"""The arm without a source whose labels are of all times of a place."""

BOUND: Final = "fine_tuned"
"""The arm that says how much labels would bring."""

_ARMS: Final = {
    START: Arm("Pre-trained"),
    "control": Arm("Source training continued"),
    "bn": Arm("Batch-norm statistics"),
    "ga": Arm("GA"),
    "ga_ca": Arm("GA+CA"),
    "full": Arm("Full method", for_sets=False),  # self-training takes predictions as they are
    "self_training": Arm("Full + self-training"),
    "source_free": Arm("Source-free"),
    LOOKS: Arm("Source-free, all looks", for_sets=False),
    BOUND: Arm("Fine-tuned"),
}

ARM_NAMES: Final = {name: arm.title for name, arm in _ARMS.items()}
"""Every arm, in the order of a table, under the name that people read."""

DEMO_ARMS: Final = (START, "ga", "ga_ca", "full", "self_training", BOUND)
"""What the demo compares: Table 2, and what goes beyond it."""

TRANSFER_ARMS: Final = tuple(name for name, arm in _ARMS.items() if arm.for_sets)
"""What `adapt-transfer` can run, beside recipes."""

ADAPTED_ARMS: Final = tuple(name for name in _ARMS if WAYS[name] != "none")
"""What `adapt-city` can run, beside recipes."""


def way_of(arm: str) -> Way:
    """How an arm comes to its segmenter; a recipe is an adaptation."""
    return WAYS.get(arm, "adaptation")


def is_trained(arm: str) -> bool:
    """Whether an arm trains anything beside the pre-training."""
    return way_of(arm) != "none"


def is_fine_tuned(arm: str) -> bool:
    """Whether an arm trains on all labels of the target, and on nothing else."""
    return way_of(arm) == "fine_tuning"


@dataclass(frozen=True)
class ArmNeeds:
    """What an arm, or a recipe by its name, reads beside the segmenter and the target's images.

    Attributes:
        source: Whether it reads images of the source set.
        prior: Whether it reads static priors.
        pairs: Whether it looks at both times of a place.
        labels: Which labels of the target it learns from beside everything else.
        teacher: The segmenter of the catalog that predicts in place of a slow copy.
        rates_of: The city on whose labelled pairs the prior's evidence is measured.
        is_recipe: Whether it is one of `recipes`.
    """

    source: bool
    prior: bool
    pairs: bool = False
    labels: FewLabelsEntry | None = None
    teacher: str | None = None
    rates_of: str | None = None
    is_recipe: bool = False


def needs_of_arm(arm: str, plan: Plan) -> ArmNeeds:
    """What an arm needs.

    Raises:
        InputError: There is no such arm or recipe, or the recipe is wrong.
    """
    if arm in ARM_NAMES:
        return ArmNeeds(
            source=way_of(arm) == "adaptation", prior=arm in ARMS_WITH_PRIOR, pairs=arm == LOOKS
        )
    entry = plan.recipe(arm)
    if entry is None:
        known = ", ".join([*ARM_NAMES, *dict.fromkeys([*BUILT_IN_RECIPES, *plan.recipes])])
        raise InputError(f"there is no arm {arm!r}; arms are {known}")
    try:
        needs = needs_of_entry(entry)
    except ValueError as error:
        raise InputError(f"recipes.{arm}: {error}") from error
    return ArmNeeds(
        source="source" in needs,
        prior=entry.prior != "none",
        pairs="partner" in needs,
        labels=entry.labels,
        teacher=entry.teacher,
        rates_of=entry.flag_rates_of,
        is_recipe=True,
    )


def saw_labels(arm: str, owner: str, plan: Plan) -> bool:
    """Whether an arm learns from labels of the target: from all, or as a recipe from a few.

    Args:
        arm: An arm, or a recipe of the catalog.
        owner: The city or transfer.
        plan: Of the catalog.

    Raises:
        InputError: There is no such arm or recipe.
    """
    needs = needs_of_arm(arm, plan)
    return is_fine_tuned(arm) or needs.labels is not None or needs.rates_of == owner


def arm_name(arm: str) -> str:
    """The name that people read; a recipe's is its own."""
    return ARM_NAMES.get(arm, arm)


def check_arm(arm: str, plan: Plan) -> None:
    """Fails before any work; `InputError` tells the arms that `adapt-city` can run."""
    if arm not in ADAPTED_ARMS and plan.recipe(arm) is None:
        known = ", ".join([*ADAPTED_ARMS, *dict.fromkeys([*BUILT_IN_RECIPES, *plan.recipes])])
        raise InputError(f"there is no arm {arm!r} to adapt by; arms are {known}")
    needs_of_arm(arm, plan)


def check_source(arm: str, segmenter: str, plan: Plan) -> None:
    """Fails before any work where an arm trains on a source set that the segmenter has not."""
    if needs_of_arm(arm, plan).source and plan.segmenter(segmenter).source is None:
        raise InputError(
            f"segmenters.{segmenter} has no source, and the arm {arm!r} trains on its images: "
            "adapt by --arm source_free, or name the source set in the catalog"
        )
