"""Training steps: pre-training, adaptation, fine-tuning; each resumes from its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from adapters.catalog import SimulatedLabels
from adapters.catalog import Training as TrainingEntry
from adapters.store import ArtifactRef, Draft, Store
from crosscity.adaptation import ALGORITHM_VERSION as ADAPTATION_VERSION
from crosscity.adaptation import (
    FINE_TUNING_PRESETS,
    PRESETS,
    AdaptationSettings,
    FineTuningSettings,
    PretrainingSettings,
    SourceFreeSettings,
)
from crosscity.adaptation.training import OutOfMemoryError
from crosscity.evaluation import evaluate, unlearned_classes
from crosscity.segmenters import ALGORITHM_VERSION as SEGMENTERS_VERSION
from crosscity.segmenters import Segmenter
from tasks.priors.extraction import city_mask, mask_parameters
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.dashboard import only_shown, publish_lineage, publish_table
from tasks.steps.errors import InputError
from tasks.steps.logs import tell
from tasks.steps.plan import Plan
from tasks.steps.schemas import HISTORY
from tasks.steps.settings import checked_settings
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.arms import ARM_NAMES
from tasks.training.checkpoints import Place
from tasks.training.jobs import Job, PairTargets, SetTargets, carry_out, check_device, where
from tasks.training.labelled import StoredLabelled
from tasks.training.segmenters import Starting, starting_segmenter, write_segmenter

TRAINING_VERSION = f"3-adaptation.{ADAPTATION_VERSION}-segmenters.{SEGMENTERS_VERSION}"
PRETRAINING_CHECKPOINT_EVERY = 100
"""Steps; about twenty seconds of the demo's pre-training."""
HOME_IMAGES = 64
"""Images of its own source that show whether a segmenter has learned its classes."""


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


def segmenter_of(city: str, plan: Plan) -> str:
    """Name of the segmenter that a city adapts."""
    return plan.city(city).segmenter


@artifact_task("pre-train", run_name="pre-train {segmenter}, seed {seed}")
def pretrain(parts: Sequence[ArtifactRef], segmenter: str, seed: int, plan: Plan) -> Made:
    """Trains a segmenter on its source set, or takes the weights that the catalog names."""
    entry = plan.segmenter(segmenter)
    starting = starting_segmenter(plan, segmenter, seed)
    for remark in starting.remarks:
        tell(f"segmenters.{segmenter}: {remark}")
    owner = owner_of(segmenter, plan)
    if starting.is_trained:
        made = _given_weights(plan, starting, owner)
        if entry.source is None:
            tell(
                f"segmenters.{segmenter}: it has no source, so nothing tells whether it has "
                "learned its classes; score it before it is adapted",
            )
    else:
        settings = checked_settings(PretrainingSettings(), entry.pretraining)

        def write(draft: Draft, key: str) -> None:
            place = Place("segmenter", owner, key, f"pre-train {segmenter}")
            every = PRETRAINING_CHECKPOINT_EVERY
            job = Job(segmenter, tuple(parts), settings, seed, plan, place, every)
            train(job, draft)

        made = make_once(
            plan.open_store(),
            "segmenter",
            owner,
            inputs=digests(parts),
            parameters=pretraining_parameters(starting, segmenter, seed, plan),
            version=TRAINING_VERSION,
            write=write,
        )
        _publish_training(plan.open_store(), made.ref, owner, "pretrained")
    plan.open_store().set_current(f"pretrained-{segmenter}-{seed}", owner, made.ref)
    return made


def _given_weights(plan: Plan, starting: Starting, source: str) -> Made:
    """The artifact of weights that were trained elsewhere, once they are seen to fit."""

    def write(draft: Draft, _key: str) -> None:
        write_segmenter(draft, starting.segmenter, starting.model)
        draft.summary = {"remarks": list(starting.remarks)}

    return make_once(
        plan.open_store(),
        "segmenter",
        source,
        inputs={},
        parameters={**starting.model, **starting.made_of},
        version=TRAINING_VERSION,
        write=write,
    )


def pretraining_parameters(
    starting: Starting, segmenter: str, seed: int, plan: Plan
) -> dict[str, Any]:
    """What a pre-trained segmenter depends on beside its source's images."""
    described = {**starting.model, **starting.made_of}
    if starting.is_trained:
        return described
    settings = checked_settings(PretrainingSettings(), plan.segmenter(segmenter).pretraining)
    return {**described, **asdict(settings), **where(plan), "seed": seed}


def pretraining_steps(segmenter: str, plan: Plan) -> int:
    """Steps that a segmenter is pre-trained for; 0 where its weights come from elsewhere."""
    entry = plan.segmenter(segmenter)
    if entry.weights is not None or entry.source is None:
        return 0
    return checked_settings(PretrainingSettings(), entry.pretraining).steps


def adaptation_parameters(owner: str, arm: str, seed: int, plan: Plan) -> dict[str, Any]:
    """What an adapted or fine-tuned segmenter depends on beside its inputs."""
    entry = training_of(plan, owner)
    settings: AdaptationSettings | SourceFreeSettings | FineTuningSettings
    if arm == "fine_tuned":
        settings = fine_tuning_settings(entry)
    elif arm == "source_free":
        settings = checked_settings(SourceFreeSettings(), entry.source_free)
    else:
        settings = checked_settings(PRESETS[entry.preset], {**entry.adaptation, "arm": arm})
    ignored = {} if arm == "fine_tuned" else _ignored(owner, plan)
    return {
        "arm": arm,
        **asdict(settings),
        **_sized(entry),
        **ignored,
        **where(plan),
        "seed": seed,
    }


@artifact_task("adapt", run_name="adapt {city}, {arm}, seed {seed}")
def adapt(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    priors: ArtifactRef | None,
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Adapts a pre-trained segmenter to the city's unlabelled images (paper, Sec. 4)."""
    entry = plan.training(plan.city(city).training)
    inputs = {"segmenter": segmenter, "imagery": imagery, "pairs": pairs, **digests(source)}
    if priors is not None:
        inputs["static_prior"] = priors
    targets = PairTargets(imagery, pairs, priors, city)
    return _adapt(plan, entry, segmenter, source, targets, inputs, arm, seed, city)


@artifact_task("adapt to a set", run_name="adapt {transfer}, {arm}, seed {seed}")
def adapt_transfer(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    target: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    transfer: str,
    plan: Plan,
) -> Made:
    """Adapts a pre-trained segmenter to the images of another data set (paper, Sec. 5.4)."""
    if arm == "full":
        raise InputError(f"transfers.{transfer} has no pairs of images, so no static prior")
    entry = plan.training(plan.transfer(transfer).training)
    inputs = {"segmenter": segmenter, **digests(source)}
    inputs |= {f"target-{number:05d}": ref for number, ref in enumerate(target)}
    targets = SetTargets(tuple(target))
    return _adapt(plan, entry, segmenter, source, targets, inputs, arm, seed, transfer)


def _adapt(
    plan: Plan,
    entry: TrainingEntry,
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    target: PairTargets | SetTargets,
    inputs: Mapping[str, ArtifactRef],
    arm: str,
    seed: int,
    owner: str,
) -> Made:
    settings: AdaptationSettings | SourceFreeSettings
    if arm == "source_free":
        settings = checked_settings(SourceFreeSettings(), entry.source_free)
    else:
        settings = checked_settings(PRESETS[entry.preset], {**entry.adaptation, "arm": arm})

    def write(draft: Draft, key: str) -> None:
        place = Place("adaptation", owner, key, f"adapt {owner} {arm}")
        job = Job(
            start=segmenter,
            source=tuple(source),
            settings=settings,
            seed=seed,
            plan=plan,
            place=place,
            every=entry.checkpoint_every,
            image_size=entry.image_size,
            target=target,
        )
        train(job, draft)

    made = make_once(
        plan.open_store(),
        "adaptation",
        owner,
        inputs=inputs,
        parameters=adaptation_parameters(owner, arm, seed, plan),
        version=TRAINING_VERSION,
        write=write,
    )
    plan.open_store().set_current(f"arm-{arm}-{seed}", owner, made.ref)
    _publish_training(plan.open_store(), made.ref, owner, arm)
    return made


@artifact_task("fine-tune", run_name="fine-tune {owner}, seed {seed}")
def fine_tune(
    segmenter: ArtifactRef,
    parts: Sequence[ArtifactRef],
    seed: int,
    owner: str,
    plan: Plan,
    fold: tuple[int, int] | None = None,
) -> Made:
    """Trains on labels of the city itself: the upper bound that adaptation is compared with.

    Args:
        segmenter: Where it begins.
        parts: Labelled shards of the city (or of a transfer's target).
        seed: Of the training.
        owner: The city or transfer.
        plan: The run's plan.
        fold: (which, of how many): train on all images but every n-th, which are kept for
            testing, as the paper does with ten folds; ``None``: train on all.
    """
    entry = training_of(plan, owner)
    settings = fine_tuning_settings(entry)

    def write(draft: Draft, key: str) -> None:
        job = Job(
            start=segmenter,
            source=tuple(parts),
            settings=settings,
            seed=seed,
            plan=plan,
            place=Place("adaptation", owner, key, f"fine-tune {owner}"),
            every=entry.checkpoint_every,
            image_size=entry.image_size,
            chosen=None if fold is None else outside(fold, images_in(plan.open_store(), parts)),
        )
        train(job, draft)

    folded = {} if fold is None else {"fold": list(fold)}
    made = make_once(
        plan.open_store(),
        "adaptation",
        owner,
        inputs={"segmenter": segmenter, **digests(parts)},
        parameters={**adaptation_parameters(owner, "fine_tuned", seed, plan), **folded},
        version=TRAINING_VERSION,
        write=write,
    )
    if fold is None:
        plan.open_store().set_current(f"arm-fine_tuned-{seed}", owner, made.ref)
        _publish_training(plan.open_store(), made.ref, owner, "fine_tuned")
    return made


def check_fine_tuning(city: str, plan: Plan) -> None:
    """Fails before any work; `InputError` where no training place of a city has a label."""
    labels = plan.city(city).labels
    if labels is None:
        raise InputError(
            f"cities.{city} has no labels in the catalog, so the arm 'fine_tuned' has nothing to "
            "train on: name another arm"
        )
    if not isinstance(labels, SimulatedLabels):
        raise InputError(
            f"cities.{city}.labels are of test places alone, so the arm 'fine_tuned' has nothing "
            "to train on: name another arm, or run `crosscity paper-tables`, which fine-tunes in "
            "folds of the test images"
        )
    if labels.fine_tune_places == 0:
        raise InputError(
            f"cities.{city}.labels.fine_tune_places is 0, so the arm 'fine_tuned' has nothing to "
            "train on: set it, or name another arm"
        )


def fine_tuning_settings(entry: TrainingEntry) -> FineTuningSettings:
    """What an entry of `trainings` fine-tunes with: its preset's, and what differs from it."""
    return checked_settings(FINE_TUNING_PRESETS[entry.preset], entry.fine_tuning)


def outside(fold: tuple[int, int], images: int) -> tuple[int, ...]:
    """Places of the images that a fold is trained on; `inside` has those it is tested on."""
    which, folds = fold
    return tuple(place for place in range(images) if place % folds != which)


def inside(fold: tuple[int, int], images: int) -> tuple[int, ...]:
    """Places of the images that a fold is tested on."""
    which, folds = fold
    return tuple(range(which, images, folds))


def images_in(store: Store, parts: Sequence[ArtifactRef]) -> int:
    """Number of good images in labelled shards."""
    return len(StoredLabelled(store, parts))


def training_of(plan: Plan, owner: str) -> TrainingEntry:
    """How a city, or a transfer, is trained."""
    if owner in plan.transfers:
        return plan.training(plan.transfer(owner).training)
    return plan.training(plan.city(owner).training)


def train(job: Job, draft: Draft) -> None:
    """Carries a training out and writes what it leaves: the segmenter and its history."""
    trained = carry_out(job)
    if isinstance(job.settings, PretrainingSettings):
        trained.summary["remarks"] += _unlearned(trained.segmenter, job)
    write_segmenter(draft, trained.segmenter, trained.model)
    write_history(draft, trained.history)
    draft.summary = trained.summary
    for remark in [*trained.summary["remarks"], *trained.summary["warnings"]["last"]]:
        tell(f"{job.place.stage}: {remark}")


def _unlearned(segmenter: Segmenter, job: Job) -> list[str]:
    """A remark on classes that are not recognised on the very images that were trained on.

    Looked for on up to 64 of them, spread over the set.
    """
    images = images_in(job.plan.open_store(), job.source)
    source = StoredLabelled(
        job.plan.open_store(),
        job.source,
        chosen=sorted({place * images // HOME_IMAGES for place in range(HOME_IMAGES)}),
        class_names=segmenter.class_names,
    )
    try:
        counts = evaluate(on_device(segmenter, job.plan), source, job.settings.batch_size)
    except OutOfMemoryError:
        return []  # the training is done, and must not be lost for a remark
    found = unlearned_classes(counts, segmenter.class_names)
    if not found:
        return []
    told = ", ".join(f"{name} ({share:.1%} of the pixels)" for name, share in found)
    return [
        f"hardly a pixel is recognised of {told} on the source's own images, and no adaptation "
        "learns what the segmenter does not know: train for more steps, on larger images, or with "
        "balanced_predictions (docs/segmenters.md, Rare classes)"
    ]


def on_device(segmenter: Segmenter, plan: Plan) -> Segmenter:
    """Moves a segmenter to the device of the compute profile.

    Raises:
        InputError: The machine has no such device.
    """
    check_device(plan.compute.device)
    return segmenter.to(torch.device(plan.compute.device))


def write_history(draft: Draft, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes `history.parquet`: every loss, λ, accuracy, learning rate, speed and memory by step.

    Speed and memory differ from run to run, so the file does not count in the artifact's digest:
    what is made from the weights must not depend on how fast they came.
    """
    rows = [
        {"step": row["step"], "quantity": name, "value": float(value)}
        for row in history
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float)
    ]
    write_rows(draft, "history.parquet", rows, HISTORY)
    draft.measured.add("history.parquet")


@only_shown
def _publish_training(store: Store, ref: ArtifactRef, city: str, arm: str) -> None:
    """Shows the losses at twenty steps, which is what a person looks at, and the lineage."""
    by_step: dict[int, Row] = {}
    for row in read_rows(store, ref, "history.parquet", HISTORY):
        entry = by_step.setdefault(row["step"], {"step": row["step"]})
        entry[row["quantity"]] = None if row["value"] is None else round(row["value"], 4)
    steps = list(by_step.values())
    publish_table(
        f"losses-{city}-{arm}", steps[:: max(1, len(steps) // 20)], f"Losses of {arm} on {city}"
    )
    publish_lineage(
        f"segmenter-{city}-{arm}-lineage", store, ref, f"{ARM_NAMES[arm]}, {len(steps)} steps"
    )


def _ignored(owner: str, plan: Plan) -> dict[str, str]:
    """What of a provider's mask an adaptation depends on; a transfer has none."""
    return {} if owner in plan.transfers else mask_parameters(city_mask(plan, owner))


def _sized(entry: TrainingEntry) -> dict[str, Any]:
    return {} if entry.image_size is None else {"image_size": list(entry.image_size)}
