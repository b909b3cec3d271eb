"""Training steps: pre-training, adaptation, fine-tuning; each resumes from its last checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from adapters.store import ArtifactRef, Draft, Store
from crosscity.adaptation import ALGORITHM_VERSION as ADAPTATION_VERSION
from crosscity.adaptation import (
    PRESETS,
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    Pretraining,
    PretrainingSettings,
    Training,
    TrainingState,
)
from crosscity.segmenters import ALGORITHM_VERSION as SEGMENTERS_VERSION
from crosscity.segmenters import Segmenter, build_segmenter, load_weights
from tasks import progress
from tasks.arms import ARM_NAMES
from tasks.artifact_task import Made, artifact_task, digests, make_once
from tasks.dashboard import publish_lineage, publish_table
from tasks.errors import InputError
from tasks.labelled import StoredLabelled
from tasks.schemas import HISTORY
from tasks.tables import Row, read_rows, write_rows
from tasks.target_images import StoredTargets
from tasks.workspace import Workspace, open_workspace

TRAINING_VERSION = f"1-adaptation.{ADAPTATION_VERSION}-segmenters.{SEGMENTERS_VERSION}"
Settings = TypeVar("Settings", PretrainingSettings, FineTuningSettings, AdaptationSettings)
CHECKPOINT = "checkpoint.safetensors"
"""Model, discriminators, optimisers, random states and history so far, in one file: a checkpoint
is there whole or not at all."""
PRETRAINING_CHECKPOINT_EVERY = 100
"""Steps; about twenty seconds of the demo's pre-training."""


def source_of(segmenter: str, catalog: str) -> str:
    """Name of the data set that a segmenter is pre-trained on."""
    segmenters = open_workspace(catalog).catalog.segmenters
    if segmenter not in segmenters:
        raise InputError(
            f"the catalog has no segmenter {segmenter!r}; it has "
            f"{', '.join(sorted(segmenters)) or 'none'}"
        )
    return segmenters[segmenter].source


def segmenter_of(city: str, catalog: str) -> str:
    """Name of the segmenter that a city adapts."""
    return open_workspace(catalog).city(city).segmenter


@artifact_task("pre-train", run_name="pre-train {segmenter}, seed {seed}")
def pretrain(parts: Sequence[ArtifactRef], segmenter: str, seed: int, catalog: str) -> Made:
    """Trains a segmenter on its source set, or takes the weights that the catalog names."""
    workspace = open_workspace(catalog)
    entry = workspace.catalog.segmenters[segmenter]
    model = {"architecture": entry.architecture, "options": entry.options}
    if entry.weights is not None:
        weights = workspace.folder(entry.weights, key=f"segmenters.{segmenter}.weights")
        made = _given_weights(workspace, weights, model, entry.source)
    else:
        settings = checked_settings(PretrainingSettings(), entry.pretraining)

        def write(draft: Draft, key: str) -> None:
            training = Pretraining(
                on_device(fresh_segmenter(model, seed), workspace),
                StoredLabelled(workspace.store, parts),
                settings,
                seed=seed,
            )
            place = Place("segmenter", entry.source, key, f"pre-train {segmenter}")
            train(training, workspace, place, draft, model, every=PRETRAINING_CHECKPOINT_EVERY)

        made = make_once(
            workspace.store,
            "segmenter",
            entry.source,
            inputs=digests(parts),
            parameters={**model, **asdict(settings), "seed": seed},
            version=TRAINING_VERSION,
            write=write,
        )
        _publish_training(workspace.store, made.ref, entry.source, "pretrained")
    workspace.store.set_current(f"pretrained-{segmenter}-{seed}", entry.source, made.ref)
    return made


def _given_weights(
    workspace: Workspace, weights: Path, model: Mapping[str, Any], source: str
) -> Made:
    """The artifact of weights that were trained elsewhere, once they are seen to fit."""
    network = fresh_segmenter(model, seed=0)
    load_checked(network, weights)

    def write(draft: Draft, _key: str) -> None:
        write_segmenter(draft, network, model)

    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return make_once(
        workspace.store,
        "segmenter",
        source,
        inputs={},
        parameters={**model, "weights_sha256": digest},
        version=TRAINING_VERSION,
        write=write,
    )


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
    catalog: str,
) -> Made:
    """Adapts a pre-trained segmenter to the city's unlabelled images (paper, Sec. 4)."""
    workspace = open_workspace(catalog)
    entry = workspace.city(city)
    training_entry = workspace.catalog.trainings[entry.training]
    preset = PRESETS[training_entry.preset]
    settings = checked_settings(preset, {**training_entry.adaptation, "arm": arm})

    def write(draft: Draft, key: str) -> None:
        model, network = read_segmenter(workspace.store, segmenter)
        training = Adaptation(
            on_device(network, workspace),
            StoredLabelled(workspace.store, source),
            StoredTargets(workspace, imagery, pairs, priors),
            settings,
            seed=seed,
        )
        place = Place("adaptation", city, key, f"adapt {city} {arm}")
        every = training_entry.checkpoint_every
        train(training, workspace, place, draft, model, every=every)

    inputs = {"segmenter": segmenter, "imagery": imagery, "pairs": pairs, **digests(source)}
    if priors is not None:
        inputs["static_prior"] = priors
    made = make_once(
        workspace.store,
        "adaptation",
        city,
        inputs=inputs,
        parameters={**asdict(settings), "seed": seed},
        version=TRAINING_VERSION,
        write=write,
    )
    workspace.store.set_current(f"arm-{arm}-{seed}", city, made.ref)
    _publish_training(workspace.store, made.ref, city, arm)
    return made


@artifact_task("fine-tune", run_name="fine-tune {city}, seed {seed}")
def fine_tune(
    segmenter: ArtifactRef, parts: Sequence[ArtifactRef], seed: int, city: str, catalog: str
) -> Made:
    """Trains on labels of the city itself: the upper bound that adaptation is compared with."""
    workspace = open_workspace(catalog)
    training_entry = workspace.catalog.trainings[workspace.city(city).training]
    settings = checked_settings(FineTuningSettings(), training_entry.fine_tuning)

    def write(draft: Draft, key: str) -> None:
        model, network = read_segmenter(workspace.store, segmenter)
        training = FineTuning(
            on_device(network, workspace),
            StoredLabelled(workspace.store, parts),
            settings,
            seed=seed,
        )
        place = Place("adaptation", city, key, f"fine-tune {city}")
        every = training_entry.checkpoint_every
        train(training, workspace, place, draft, model, every=every)

    made = make_once(
        workspace.store,
        "adaptation",
        city,
        inputs={"segmenter": segmenter, **digests(parts)},
        parameters={"arm": "fine_tuned", **asdict(settings), "seed": seed},
        version=TRAINING_VERSION,
        write=write,
    )
    workspace.store.set_current(f"arm-fine_tuned-{seed}", city, made.ref)
    _publish_training(workspace.store, made.ref, city, "fine_tuned")
    return made


@dataclass(frozen=True)
class Place:
    """Where a training keeps its checkpoints, and the name of its stage."""

    kind: str
    city: str
    key: str
    stage: str


def train(
    training: Training,
    workspace: Workspace,
    place: Place,
    draft: Draft,
    model: Mapping[str, Any],
    *,
    every: int,
) -> None:
    """Runs a training and writes what it leaves: the segmenter and its history."""
    history = run_resumably(training, workspace, place, every=every)
    write_segmenter(draft, training.segmenter, model)
    write_history(draft, history)


def on_device(segmenter: Segmenter, workspace: Workspace) -> Segmenter:
    """Moves a segmenter to the device of the compute profile.

    Raises:
        InputError: The machine has no such device.
    """
    device = workspace.compute.device
    try:
        return segmenter.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the device {device!r} of the compute profile cannot be used ({reason}): choose "
            "another profile with --compute or CROSSCITY_COMPUTE"
        ) from None


def run_resumably(
    training: Training, workspace: Workspace, place: Place, *, every: int
) -> list[dict[str, Any]]:
    """Trains to the end from the last whole checkpoint, saving one every so many steps.

    Args:
        training: A training at its first step.
        workspace: Gives the store and the machine's threads.
        place: Where the checkpoints go.
        every: Steps between checkpoints: what a kill can lose.

    Returns:
        The history from the first step on, one row a step.

    Raises:
        InputError: The checkpoint is of another training.
    """
    torch.set_num_threads(workspace.compute.threads)
    history = _restore(training, workspace.store, place)
    progress.advance(place.stage, training.step, training.total_steps)
    while not training.finished:
        before = training.step
        history += training.advance(min(every, training.total_steps - training.step))
        _save(training, history, workspace.store, place)
        progress.advance(place.stage, training.step - before, training.total_steps)
    return history


def _save(training: Training, history: list[dict[str, Any]], store: Store, place: Place) -> None:
    state = training.state()
    notes = {"meta": json.dumps(state.meta), "history": json.dumps(history)}
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    store.save_progress(
        place.kind,
        place.city,
        place.key,
        CHECKPOINT,
        lambda path: save_file(tensors, path, metadata=notes),
    )


def _restore(training: Training, store: Store, place: Place) -> list[dict[str, Any]]:
    path = store.load_progress(place.kind, place.city, place.key, CHECKPOINT)
    if path is None:
        return []
    try:
        with safe_open(path, framework="pt") as opened:
            notes = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        training.restore(TrainingState(tensors=tensors, meta=json.loads(notes["meta"])))
        history: list[dict[str, Any]] = json.loads(notes["history"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"the checkpoint {path} does not fit this training ({error}): delete it and run again"
        ) from None
    return history


def checked_settings(defaults: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with what the catalog changes of them.

    Raises:
        InputError: There is no such field, or a value is of the wrong type or out of range.
    """
    kind = type(defaults)
    values = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    unknown = sorted(set(changes) - set(values))
    if unknown:
        raise InputError(
            f"the catalog's settings of {kind.__name__} are wrong: there is no {unknown[0]!r}; "
            f"there are {', '.join(values)}"
        )
    try:
        return TypeAdapter(kind).validate_python({**values, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or kind.__name__
        raise InputError(
            f"the catalog's settings of {kind.__name__} are wrong: {where}: {first['msg']}"
        ) from None


def fresh_segmenter(model: Mapping[str, Any], seed: int) -> Segmenter:
    """A randomly initialised segmenter; the seed fixes the weights."""
    try:
        return build_segmenter(model["architecture"], model["options"], seed=seed)
    except ValueError as error:
        raise InputError(str(error)) from None


def write_segmenter(draft: Draft, segmenter: Segmenter, model: Mapping[str, Any]) -> None:
    """Writes weights and description: `weights.safetensors`, `model.json`."""
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.state_dict().items()
    }
    save_file(weights, draft.path / "weights.safetensors")
    description = {**model, "config": segmenter.config()}
    (draft.path / "model.json").write_text(
        json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def read_segmenter(store: Store, ref: ArtifactRef) -> tuple[dict[str, Any], Segmenter]:
    """The description and the network of a `segmenter` or `adaptation` artifact."""
    path = store.path(ref, "model.json")
    description = json.loads(path.read_text(encoding="utf-8"))
    model = {"architecture": description["architecture"], "options": description["options"]}
    segmenter = fresh_segmenter(model, seed=0)
    load_checked(segmenter, store.path(ref, "weights.safetensors"))
    return model, segmenter


def load_checked(segmenter: Segmenter, path: Path) -> None:
    """Loads a safetensors file into a segmenter; `InputError` where it does not fit."""
    try:
        load_weights(segmenter, load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path}: {error}") from None


def write_history(draft: Draft, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes `history.parquet`: every loss, λ, accuracy and learning rate by step."""
    rows = [
        {"step": row["step"], "quantity": name, "value": float(value)}
        for row in history
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float)
    ]
    write_rows(draft, "history.parquet", rows, HISTORY)
    draft.summary = {"steps": len(history)}


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
