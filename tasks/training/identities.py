"""What decides a trained segmenter: settings, version and inputs, for making it and finding it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from adapters.catalog import RecipeEntry
from adapters.catalog import Training as TrainingEntry
from adapters.catalog.entry import Auto
from adapters.store import ArtifactRef
from crosscity.adaptation import ALGORITHM_VERSION as ADAPTATION_VERSION
from crosscity.adaptation import (
    FINE_TUNING_PRESETS,
    PRESETS,
    RECIPES,
    AdaptationSettings,
    FineTuningSettings,
    PretrainingSettings,
    SourceFreeSettings,
)
from crosscity.adaptation.adversarial import needs_of
from crosscity.adaptation.shown_size import ALGORITHM_VERSION as SIZE_CHOICE_VERSION
from crosscity.labelling import ALGORITHM_VERSION as LABELLING_VERSION
from crosscity.segmenters import ALGORITHM_VERSION as SEGMENTERS_VERSION
from tasks.priors.identities import (
    PRIOR_VERSION,
    city_mask,
    mask_parameters,
    prior_parameters,
    prior_version,
)
from tasks.steps.artifact_task import digests
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words
from tasks.steps.plan import Plan
from tasks.steps.recipes import described, science_of
from tasks.steps.settings import checked_settings
from tasks.training.arms import ARM_NAMES, LOOKS, is_fine_tuned, needs_of_arm, way_of
from tasks.training.extras import Extras
from tasks.training.folds import inside
from tasks.training.jobs import where
from tasks.training.segmenters import Starting

TRAINING_VERSION = f"5-adaptation.{ADAPTATION_VERSION}-segmenters.{SEGMENTERS_VERSION}"
CHOICE_VERSION: Final = f"1-labelling.{LABELLING_VERSION}-prior.{PRIOR_VERSION}"
_MACHINE: Final = {
    "ranks": "devices of the compute profile",
    "precision": "precision of the compute profile",
    "together": "version of what the processes of a training share",
}
CARRIED: Final = {"feature_consistency"}
"""Objectives that carry features from one look at a place to another: in fp32, whatever the
precision of the networks."""
MAY_DROP: Final = (None, "dilated_vgg16")
"""Architectures, beside those of one's own, whose features drop values by a function; ``None`` is
that of a folder."""
TOGETHER_VERSION: Final = "2"
"""Of what several processes share where one of them decides: the thresholds of `source_free`, the
score at home of a pre-training. Since 2 a resumed training does what a whole one does."""
_ONCE: Final = {
    "taught": "labels of a teacher that was shown images at its student's size",
    "own_labels": "labels that a network made for itself with dropout",
    "carried": "features that were carried in half a precision",
    "ignored_looks": "other looks at a place whose ignored pixels counted too",
}
"""What adaptations were made of before a parameter, which no catalog holds, says otherwise."""
_SECTIONS: Final = {"fine_tuned": "fine_tuning.", "source_free": "source_free."}
"""Where the catalog's trainings have the settings of an arm; of the others: `adaptation.`"""


def source_of(segmenter: str, plan: Plan) -> str:
    """Name of the data set that a segmenter is pre-trained on.

    Raises:
        InputError: It comes trained, and names none.
    """
    source = plan.segmenter(segmenter).source
    if source is None:
        raise InputError(
            f"segmenters.{segmenter} has no source, and its images are needed here: name the set "
            "in the catalog"
        )
    return source


def owner_of(segmenter: str, plan: Plan) -> str:
    """Under which name the store keeps a segmenter: its source's, or its own where it has none."""
    return plan.segmenter(segmenter).source or segmenter


def segmenter_of(owner: str, plan: Plan) -> str:
    """Name of the segmenter that a city, or a transfer, adapts."""
    if owner in plan.transfers:
        return plan.transfer(owner).segmenter
    return plan.city(owner).segmenter


def training_of(plan: Plan, owner: str) -> TrainingEntry:
    """How a city, or a transfer, is trained."""
    if owner in plan.transfers:
        return plan.training(plan.transfer(owner).training)
    return plan.training(plan.city(owner).training)


def pretraining_settings(segmenter: str, plan: Plan) -> PretrainingSettings:
    """What a segmenter is pre-trained with: the defaults, and what its entry changes of them."""
    return checked_settings(PretrainingSettings(), plan.segmenter(segmenter).pretraining)


def looks_at_home(segmenter: str, plan: Plan) -> bool:
    """Whether a pre-training reads validation images of its source."""
    entry = plan.segmenter(segmenter)
    if entry.weights is not None or entry.source is None:
        return False
    settings = pretraining_settings(segmenter, plan)
    return settings.until == "plateau" or settings.prediction_rule == "auto"


def network_size(plan: Plan, owner: str) -> tuple[int, int] | None:
    """The size at which the catalog has a city's or transfer's images go through the network.

    Returns:
        That of its training, else of a city of a folder; ``None``: the segmenter's own, which is
        stored with it (`Segmenter.trained_size`).
    """
    given = training_of(plan, owner).image_size
    if given is None and owner in plan.cities:
        given = plan.city(owner).network_size
    return None if given == "auto" else given


def wanted_size(plan: Plan, owner: str) -> tuple[int, int] | Auto | None:
    """`network_size`, or "auto" where the catalog has every adaptation choose its own."""
    given = training_of(plan, owner).image_size
    return given if given == "auto" else network_size(plan, owner)


def size_parameters(plan: Plan, owner: str) -> dict[str, Any]:
    """What of `network_size` the key of a step depends on; nothing where the segmenter decides."""
    size = network_size(plan, owner)
    return {} if size is None else {"image_size": list(size)}


def view_parameters(plan: Plan, city: str) -> dict[str, Any]:
    """How a city's images are shown to networks that are compared: size, and pixels left out."""
    mask = city_mask(plan, city)
    left_out = {} if mask is None else {"left_out": mask.digest()}
    return {**size_parameters(plan, city), **left_out}


def pretraining_steps(segmenter: str, plan: Plan) -> int:
    """Steps that a segmenter is pre-trained for; 0 where its weights come from elsewhere."""
    entry = plan.segmenter(segmenter)
    if entry.weights is not None or entry.source is None:
        return 0
    return pretraining_settings(segmenter, plan).steps


def fine_tuning_settings(entry: TrainingEntry) -> FineTuningSettings:
    """What an entry of `trainings` fine-tunes with: its preset's, and what differs from it."""
    return checked_settings(FINE_TUNING_PRESETS[entry.preset], entry.fine_tuning)


def adaptation_settings(
    entry: TrainingEntry, arm: str, recipe: RecipeEntry | None = None
) -> AdaptationSettings | SourceFreeSettings:
    """What an entry of `trainings` adapts with: its preset's, and what differs from it.

    A recipe's own settings go before the training's; it is not an arm, and `arm` is the preset's.
    """
    if recipe is not None:
        return checked_settings(PRESETS[entry.preset], {**entry.adaptation, **recipe.settings})
    if way_of(arm) == "source_free":
        return checked_settings(SourceFreeSettings(looks=arm == LOOKS), entry.source_free)
    return checked_settings(PRESETS[entry.preset], {**entry.adaptation, "arm": arm})


def adaptation_parameters(owner: str, arm: str, seed: int, plan: Plan) -> dict[str, Any]:
    """What an adapted or fine-tuned segmenter depends on beside its inputs."""
    entry = training_of(plan, owner)
    fine_tuned = is_fine_tuned(arm)
    recipe = None if arm in ARM_NAMES else plan.recipe(arm)
    made_with = (
        fine_tuning_settings(entry) if fine_tuned else adaptation_settings(entry, arm, recipe)
    )
    settings = asdict(made_with)
    if settings.get("looks") is False:  # as it was when there was no such setting
        del settings["looks"]
    if recipe is not None:
        settings |= {"arm": arm, "recipe": described(recipe, _times(plan, owner))}
        if plan.compute.precision != "fp32" and CARRIED & {one.name for one in recipe.objectives}:
            settings["carried"] = "in fp32"  # as it once was not
        if recipe.teacher is not None:
            settings["taught"] = "at the teacher's size"  # once it was at the student's
    if _labels_itself(made_with, owner, recipe, plan):
        settings["own_labels"] = "without dropout"  # as they once were not
    size = size_parameters(plan, owner)
    wanted = wanted_size(plan, owner)
    if wanted == "auto" or (wanted is None and way_of(arm) == "source_free"):
        size = {"image_size": wanted, "size_choice": SIZE_CHOICE_VERSION}
    # A transfer has no provider, and labels say themselves where there is nothing to learn.
    unmasked = fine_tuned or owner in plan.transfers
    ignored = {} if unmasked else mask_parameters(city_mask(plan, owner))
    matched = {} if unmasked else _matched(owner, arm, plan, masked=bool(ignored))
    shared = _together(plan) if way_of(arm) == "source_free" else {}
    made_where = {**where(plan), **shared}
    return {"arm": arm, **settings, **size, **ignored, **matched, **made_where, "seed": seed}


def _labels_itself(
    settings: FineTuningSettings | AdaptationSettings | SourceFreeSettings,
    owner: str,
    recipe: RecipeEntry | None,
    plan: Plan,
) -> bool:
    """Whether a network that may drop values by a function predicts what it learns from itself."""
    if not isinstance(settings, AdaptationSettings) or settings.teacher_momentum:
        return False
    entry = plan.segmenter(segmenter_of(owner, plan))
    if not entry.python and entry.architecture not in MAY_DROP:
        return False
    made = RECIPES[settings.arm] if recipe is None else science_of(recipe)
    taught = recipe is not None and recipe.teacher is not None
    return not taught and made.trainable != "head" and "predictions" in needs_of(made)


def _together(plan: Plan) -> dict[str, Any]:
    return {"together": TOGETHER_VERSION} if plan.compute.devices > 1 else {}


def _matched(city: str, arm: str, plan: Plan, *, masked: bool) -> dict[str, Any]:
    """What other looks at a place depend on, where an arm reads them."""
    needs = needs_of_arm(arm, plan)
    found: dict[str, Any] = {}
    if needs.pairs and masked:
        found["ignored_looks"] = "left out"  # once they counted as looks that are sure of nothing
    if needs.pairs and not needs.prior:  # a prior is an input, and of the same matches
        found["matches"] = {**prior_parameters(city, plan), "version": prior_version(city, plan)}
    return found


def _times(plan: Plan, owner: str) -> int:
    """At how many times places of a city are captured, at most; elsewhere a place has no pair."""
    return plan.cities[owner].times if owner in plan.cities else 2


def adaptation_inputs(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    priors: ArtifactRef | None,
    extras: Extras,
) -> dict[str, ArtifactRef]:
    """The inputs of an adaptation to a city, by role."""
    inputs = {"segmenter": segmenter, "imagery": imagery, "pairs": pairs, **digests(source)}
    inputs |= extras.inputs()
    return inputs if priors is None else {**inputs, "static_prior": priors}


def transfer_inputs(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    target: Sequence[ArtifactRef],
    extras: Extras,
) -> dict[str, ArtifactRef]:
    """The inputs of an adaptation to a data set, by role."""
    inputs = {"segmenter": segmenter, **digests(source), **extras.inputs()}
    return inputs | numbered("target", target)


def numbered(role: str, refs: Sequence[ArtifactRef]) -> dict[str, ArtifactRef]:
    """Shards as inputs, in their order."""
    return {f"{role}-{number:05d}": ref for number, ref in enumerate(refs)}


def pretrained_identity(
    starting: Starting,
    parts: Sequence[ArtifactRef],
    home: Sequence[ArtifactRef],
    segmenter: str,
    seed: int,
    plan: Plan,
) -> Identity:
    """What decides the segmenter that adaptations begin with.

    Args:
        starting: What it is before pre-training; weights from elsewhere are taken as they are.
        parts: Labelled shards of its source; of no matter where it comes trained.
        home: Labelled shards of the source's validation split, where it looks at one.
        segmenter: A segmenter of the catalog.
        seed: Of the training.
        plan: The run's plan.
    """
    parameters = {**starting.model, **starting.made_of}
    if not starting.is_trained:
        settings = asdict(pretraining_settings(segmenter, plan))
        parameters |= {**settings, **where(plan), "seed": seed}
        if settings["until"] == "plateau":
            parameters |= _together(plan)
    owner = owner_of(segmenter, plan)
    here = f"segmenters.{segmenter}"
    given = ("weights_sha256", "backbone_sha256", "hf_sha256", "built_sha256")
    return Identity(
        "segmenter",
        owner,
        inputs={} if starting.is_trained else digests(parts) | numbered("home", home),
        parameters=parameters,
        version=TRAINING_VERSION,
        words=Words(
            what=f"the segmenter {segmenter} (seed {seed}) was",
            absent=f"there is no segmenter {segmenter!r} (seed {seed}) yet",
            verb=pretraining_verb(segmenter, seed),
            section="pretraining.",
            keys={
                "architecture": f"{here}.architecture",
                "options": f"{here}.options",
                "rename": f"{here}.rename",
                "image_size": f"{here}.image_size",
                **_MACHINE,
            },
            inputs={
                "part": f"other labelled images of {owner}",
                "home": f"other validation images of {owner}",
                "folder": "a folder that says another size, rule or normalisation",
            }
            | dict.fromkeys(given, "other weights that the catalog names"),
        ),
        producer=f"{segmenter}-{seed}",
        marks=("architecture", "seed"),
    )


def adapted_identity(
    inputs: Mapping[str, ArtifactRef],
    arm: str,
    seed: int,
    owner: str,
    plan: Plan,
    fold: tuple[int, int] | None = None,
    places: Sequence[str] = (),
) -> Identity:
    """What decides an adapted or fine-tuned segmenter.

    Args:
        inputs: By role; see `adaptation_inputs` and `transfer_inputs`.
        arm: An arm of the adaptation.
        seed: Of the training.
        owner: The city or transfer.
        plan: The run's plan.
        fold: See `fine_tune`.
        places: Of the labelled images that are dealt into folds.
    """
    folded: dict[str, Any] = {} if fold is None else {"fold": list(fold)}
    if fold is not None and len({*places}) < len(places):
        # Where each image is of a place of its own, the numbers of the fold say all.
        folded["kept_out"] = list(inside(fold, places))
    number = "" if fold is None else f"-fold-{fold[0]}-of-{fold[1]}"
    return Identity(
        "adaptation",
        owner,
        inputs=inputs,
        parameters={**adaptation_parameters(owner, arm, seed, plan), **folded},
        version=TRAINING_VERSION,
        words=Words(
            what=f"the segmenter {arm!r} of {owner} (seed {seed}) was",
            absent=no_segmenter(arm, owner),
            verb=adaptation_verb(owner, arm, seed, plan),
            section=_SECTIONS.get(arm, "adaptation."),
            keys={
                **_MACHINE,
                "mask": f"cities.{owner}.provider.mask",
                "matches": f"cities.{owner}.prior",
                "matches.version": "version of the matches",
                "recipe": f"recipes.{arm}",
                "size_choice": "version of the choice of a size",
            },
            inputs={
                "part": "other labelled images",
                "target": "other images of the target",
                **_ONCE,
            },
        ),
        producer=f"{arm}-{seed}{number}",
        marks=("arm", "seed", "fold"),
    )


def choice_identity(
    segmenter: ArtifactRef,
    labels: Sequence[ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    teacher: ArtifactRef | None,
    arm: str,
    city: str,
    plan: Plan,
) -> Identity:
    """What decides which labelled places a recipe learns from; arguments as of `choose_places`."""
    inputs = {"segmenter": segmenter, "imagery": imagery, "pairs": pairs}
    inputs |= Extras(tuple(labels), None, teacher).inputs()
    wanted = needs_of_arm(arm, plan).labels
    return Identity(
        "label_choice",
        city,
        inputs=inputs,
        parameters={
            "prior": plan.city(city).prior.model_dump(),
            "places": None if wanted is None else wanted.places,
            **mask_parameters(city_mask(plan, city)),
            **size_parameters(plan, city),
        },
        version=CHOICE_VERSION,
        words=Words(
            what=f"the choice of labelled places of {city} was",
            absent=no_segmenter(arm, city),
            verb=adaptation_verb(city, arm, 0, plan),
            section=f"cities.{city}.",
            keys={"places": f"recipes.{arm}.labels.places"},
            inputs={"label": "other labelled images"},
        ),
        producer=f"choice-{arm}",
        marks=("segmenter",),
    )


def no_segmenter(arm: str, owner: str) -> str:
    """That there is no segmenter of an arm."""
    return f"there is no segmenter {arm!r} for {owner} yet"


def pretraining_verb(segmenter: str, seed: int) -> str:
    """The command that pre-trains a segmenter."""
    return f"crosscity pretrain {segmenter} --seed {seed}"


def adaptation_verb(owner: str, arm: str, seed: int, plan: Plan) -> str:
    """The command that adapts to a city or a transfer."""
    verb = "transfer" if owner in plan.transfers else "adapt"
    return f"crosscity {verb} {owner} --arm {arm} --seed {seed}"
