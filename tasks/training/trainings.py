"""Training steps: pre-training, adaptation, fine-tuning; each resumes from its last checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adapters.catalog import SimulatedLabels
from adapters.catalog import Training as TrainingEntry
from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import read_table, write_table
from crosscity.adaptation import PretrainingSettings
from crosscity.segmenters import Segmenter
from tasks.steps.artifact_task import Made, artifact_task, digests
from tasks.steps.dashboard import only_shown, publish_lineage, publish_table
from tasks.steps.device import check_device, device_turn, moved_to
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, make
from tasks.steps.logs import warn_user
from tasks.steps.plan import Plan
from tasks.steps.schemas import HISTORY
from tasks.steps.settings import lacks_of_recipe
from tasks.steps.simulated_only import simulated_only_remark
from tasks.steps.tables import Row
from tasks.training.arms import (
    ARM_NAMES,
    BOUND,
    START,
    arm_name,
    check_arm,
    check_source,
    is_fine_tuned,
)
from tasks.training.at_home import unlearned, unlearned_remark, warn_of_unlearned
from tasks.training.checkpoints import CheckpointPlace
from tasks.training.extras import Extras
from tasks.training.folds import Fold, outside, places_of
from tasks.training.history import history_table
from tasks.training.identities import (
    adaptation_inputs,
    adaptation_settings,
    adapted_identity,
    fine_tuning_settings,
    owner_of,
    pretrained_identity,
    pretraining_settings,
    segmenter_of,
    training_of,
    transfer_inputs,
    wanted_size,
)
from tasks.training.jobs import Job, PairTargets, SetTargets, carry_out
from tasks.training.segmenters import (
    Starting,
    is_from_elsewhere,
    starting_segmenter,
    write_segmenter,
)

PRETRAINING_CHECKPOINT_EVERY = 100
"""Steps; about twenty seconds of the demo's pre-training."""


@artifact_task("pre-train", run_name="pre-train {segmenter}, seed {seed}")
def pretrain(
    parts: Sequence[ArtifactRef],
    home: Sequence[ArtifactRef],
    segmenter: str,
    seed: int,
    plan: Plan,
) -> Made:
    """Trains a segmenter on its source set, or takes the weights that the catalog names.

    Args:
        parts: Labelled shards of the source.
        home: Labelled shards of the source's validation split, where it looks at one.
        segmenter: Of the catalog.
        seed: Of the training.
        plan: The run's plan.
    """
    entry = plan.segmenter(segmenter)
    starting = starting_segmenter(plan, segmenter, seed)
    for remark in starting.remarks:
        warn_user(f"segmenters.{segmenter}: {remark}")
    owner = owner_of(segmenter, plan)
    identity = pretrained_identity(starting, parts, home, segmenter, seed, plan)
    if starting.is_trained:
        made = _given_weights(plan, starting, identity)
        if entry.source is None:
            warn_user(
                f"segmenters.{segmenter}: it has no source, so nothing tells whether it has "
                "learned its classes; where there are labels, score it before it is adapted",
            )
    else:
        settings = pretraining_settings(segmenter, plan)

        def write(draft: Draft, key: str) -> None:
            place = CheckpointPlace("segmenter", owner, key, f"pre-train {segmenter}")
            every = PRETRAINING_CHECKPOINT_EVERY
            job = Job(segmenter, tuple(parts), settings, seed, plan, place, every, home=tuple(home))
            train(job, draft)

        made = make(plan.open_store(), identity, write)
        _publish_training(plan.open_store(), made.ref, owner, START)
    return made


def _given_weights(plan: Plan, starting: Starting, identity: Identity) -> Made:
    """The artifact of weights that were trained elsewhere, once they are seen to fit."""

    def write(draft: Draft, _key: str) -> None:
        write_segmenter(draft, starting.segmenter, starting.model)
        draft.summary = {"remarks": list(starting.remarks)}

    return make(plan.open_store(), identity, write)


@artifact_task("adapt", run_name="adapt {city}, {arm}, seed {seed}")
def adapt(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    priors: ArtifactRef | None,
    extras: Extras,
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Adapts a pre-trained segmenter to the city's unlabelled images (paper, Sec. 4)."""
    entry = plan.training(plan.city(city).training)
    inputs = adaptation_inputs(segmenter, source, imagery, pairs, priors, extras)
    targets = PairTargets(imagery, pairs, priors, city)
    return _adapt(plan, entry, segmenter, source, targets, extras, inputs, arm, seed, city)


@artifact_task("adapt to a set", run_name="adapt {transfer}, {arm}, seed {seed}")
def adapt_transfer(
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    target: Sequence[ArtifactRef],
    extras: Extras,
    arm: str,
    seed: int,
    transfer: str,
    plan: Plan,
) -> Made:
    """Adapts a pre-trained segmenter to the images of another data set (paper, Sec. 5.4)."""
    entry = plan.training(plan.transfer(transfer).training)
    inputs = transfer_inputs(segmenter, source, target, extras)
    targets = SetTargets(tuple(target))
    return _adapt(plan, entry, segmenter, source, targets, extras, inputs, arm, seed, transfer)


def _adapt(
    plan: Plan,
    entry: TrainingEntry,
    segmenter: ArtifactRef,
    source: Sequence[ArtifactRef],
    target: PairTargets | SetTargets,
    extras: Extras,
    inputs: Mapping[str, ArtifactRef],
    arm: str,
    seed: int,
    owner: str,
) -> Made:
    recipe = None if arm in ARM_NAMES else plan.recipe(arm)
    settings = adaptation_settings(entry, arm, recipe)
    warn_of_unlearned(plan, segmenter, owner)
    foreign = simulated_only_remark(plan, owner)
    if foreign is not None:
        warn_user(f"adapt {owner}: {foreign}")

    def write(draft: Draft, key: str) -> None:
        place = CheckpointPlace("adaptation", owner, key, f"adapt {owner} {arm}")
        job = Job(
            start=segmenter,
            source=tuple(source),
            settings=settings,
            seed=seed,
            plan=plan,
            place=place,
            every=entry.checkpoint_every,
            image_size=wanted_size(plan, owner),
            target=target,
            recipe=None if recipe is None else arm,
            extras=extras,
            is_from_elsewhere=is_from_elsewhere(plan.segmenter(segmenter_of(owner, plan))),
        )
        train(job, draft)

    identity = adapted_identity(inputs, arm, seed, owner, plan)
    made = make(plan.open_store(), identity, write)
    _publish_training(plan.open_store(), made.ref, owner, arm)
    return made


@artifact_task("fine-tune", run_name="fine-tune {owner}, seed {seed}")
def fine_tune(
    segmenter: ArtifactRef,
    parts: Sequence[ArtifactRef],
    seed: int,
    owner: str,
    plan: Plan,
    fold: Fold | None = None,
    pairs: ArtifactRef | None = None,
) -> Made:
    """Trains on labels of the city itself: the upper bound that adaptation is compared with.

    Args:
        segmenter: Where it begins.
        parts: Labelled shards of the city (or of a transfer's target).
        seed: Of the training.
        owner: The city or transfer.
        plan: The run's plan.
        fold: (which, of how many): train on all images but those of every n-th place, which are
            kept for testing, as the paper does with ten folds; ``None``: train on all.
        pairs: The city's, which know the places of images; of folds alone.
    """
    places = () if fold is None else places_of(plan, parts, pairs)
    entry = training_of(plan, owner)
    settings = fine_tuning_settings(entry)

    def write(draft: Draft, key: str) -> None:
        job = Job(
            start=segmenter,
            source=tuple(parts),
            settings=settings,
            seed=seed,
            plan=plan,
            place=CheckpointPlace("adaptation", owner, key, f"fine-tune {owner}"),
            every=entry.checkpoint_every,
            image_size=wanted_size(plan, owner),
            chosen=None if fold is None else outside(fold, places),
        )
        train(job, draft)

    inputs = {"segmenter": segmenter, **digests(parts)}
    identity = adapted_identity(inputs, BOUND, seed, owner, plan, fold, places)
    made = make(plan.open_store(), identity, write)
    if fold is None:
        _publish_training(plan.open_store(), made.ref, owner, BOUND)
    return made


def check_adaptation(city: str, arm: str, plan: Plan) -> None:
    """Fails before any work where the catalog alone says that a city cannot be adapted to so.

    Args:
        city: A city of the catalog.
        arm: An arm of `adapt-city`, or a recipe.
        plan: Of the run.

    Raises:
        InputError: There is no such arm, or it needs a source set, labels or a teacher of the same
            classes that are not there.
    """
    check_arm(arm, plan)
    check_source(arm, plan.city(city).segmenter, plan)
    recipe = None if arm in ARM_NAMES else plan.recipe(arm)
    if recipe is not None:
        for lack in lacks_of_recipe(arm, recipe, plan.city(city), plan.segmenters):
            raise InputError(f"cities.{city}: {lack}")
    if is_fine_tuned(arm):
        check_fine_tuning(city, plan)


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


def check_folds(
    folds: int,
    tested: Mapping[str, Sequence[ArtifactRef]],
    pairs: Mapping[str, ArtifactRef],
    plan: Plan,
) -> None:
    """Fails where some fold would have no image to be tested on.

    Args:
        folds: How many there are to be.
        tested: `labelled` shards of the test images, by the city whose they are.
        pairs: The cities' pairs, which know the places of images.
        plan: The run's plan.

    Raises:
        InputError: There are fewer places; says how many folds all cities allow.
    """
    places = {city: len({*places_of(plan, parts, pairs[city])}) for city, parts in tested.items()}
    few = {city: count for city, count in places.items() if count < folds}
    if not few:
        return
    least = min(few.values())
    remedy = f"give --folds {least}" if least > 1 else "give it more test_places or labels"
    counted = " and ".join(
        f"{city} has readable labelled test images of {count} places" for city, count in few.items()
    )
    raise InputError(
        f"{counted}, and {folds} folds are each tested on one place at least: {remedy}, "
        f"or leave {' and '.join(few)} out: name the others with --city"
    )


def train(job: Job, draft: Draft) -> None:
    """Carries a training out and writes what it leaves: the segmenter and its history."""
    with device_turn(job.plan, job.place.city):
        trained = carry_out(job)
        if isinstance(job.settings, PretrainingSettings):
            found = unlearned(on_device(trained.segmenter, job.plan), job)
            trained.summary["unlearned"] = [
                {"class": name, "share": share} for name, share in found
            ]
            if found:
                trained.summary["remarks"].append(unlearned_remark(found))
    write_segmenter(draft, trained.segmenter, trained.model)
    write_history(draft, trained.history)
    draft.summary = trained.summary
    for remark in [*trained.summary["remarks"], *trained.summary["warnings"]["last"]]:
        warn_user(f"{job.place.stage}: {remark}")


def on_device(segmenter: Segmenter, plan: Plan) -> Segmenter:
    """Moves a segmenter to the device of the compute profile.

    Raises:
        InputError: The machine has no such device.
    """
    check_device(plan.compute.device)
    return moved_to(segmenter, plan.compute.device)


def write_history(draft: Draft, history: Iterable[Mapping[str, Any]]) -> None:
    """Writes `history.parquet`: every loss, λ, accuracy, learning rate, speed and memory by step.

    Speed and memory differ from run to run, so the file does not count in the artifact's digest:
    what is made from the weights must not depend on how fast they came.
    """
    table = history_table(history)
    write_table(draft.path / "history.parquet", table, HISTORY)
    draft.rows = len(table)
    draft.measured.add("history.parquet")


@only_shown
def _publish_training(store: Store, ref: ArtifactRef, city: str, arm: str) -> None:
    """Shows the losses at twenty steps, which is what a person looks at, and the lineage."""
    table = read_table(store.path(ref, "history.parquet"), HISTORY)
    steps = np.unique(table["step"].to_numpy())
    shown = steps[:: max(1, len(steps) // 20)]
    by_step: dict[int, Row] = {step: {"step": step} for step in shown.tolist()}
    for row in table.filter(pc.is_in(table["step"], pa.array(shown))).to_pylist():
        value = row["value"]
        by_step[row["step"]][row["quantity"]] = None if value is None else round(value, 4)
    publish_table(f"losses-{city}-{arm}", list(by_step.values()), f"Losses of {arm} on {city}")
    publish_lineage(
        f"segmenter-{city}-{arm}-lineage", store, ref, f"{arm_name(arm)}, {len(steps)} steps"
    )
