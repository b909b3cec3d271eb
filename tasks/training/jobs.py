"""A training as a description that any process can carry out."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch.multiprocessing.spawn import ProcessRaisedException

from adapters.catalog.entry import Auto
from adapters.store import ArtifactRef, Store
from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    Engine,
    FineTuning,
    FineTuningSettings,
    Pretraining,
    PretrainingSettings,
    SourceFree,
    SourceFreeSettings,
    TargetImages,
    Training,
    on_all_devices,
    open_engine,
)
from crosscity.adaptation.pixel_form import MOST_IMAGES, remark_on_form
from crosscity.adaptation.shown_size import ShownSize, choose_size
from crosscity.adaptation.spread import spread_indices
from crosscity.segmenters import HuggingFaceSegmenter, Segmenter, load_weights
from tasks.priors.identities import city_mask
from tasks.steps import progress
from tasks.steps.device import check_device, moved_to, using_device
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.steps.recipes import rates_of, science_of
from tasks.training.checkpoints import CHECKPOINT, CheckpointPlace, Measured, run_resumably
from tasks.training.child_errors import errors_kept, kept_error
from tasks.training.distorted import distorted_images
from tasks.training.extras import Extras, chosen_rows
from tasks.training.flag_rates import read_rates
from tasks.training.history import History
from tasks.training.segmenters import (
    starting_segmenter,
    stored_segmenter,
)
from tasks.training.stored_images import StoredLabelled, StoredUnlabelled, check_some_label
from tasks.training.target_images import StoredTargets

HOME_IMAGES: Final = 128
"""Of the source's validation split that a pre-training looks at each time."""


@dataclass(frozen=True)
class PairTargets:
    """Target images of a city: both of every training pair.

    Attributes:
        imagery: The city's images.
        pairs: Which belong together.
        priors: Their static priors, where the arm uses them.
        city: Whose images they are; the catalog says which of their pixels show the provider.
    """

    imagery: ArtifactRef
    pairs: ArtifactRef
    priors: ArtifactRef | None
    city: str

    def open(self, plan: Plan, size: tuple[int, int] | None) -> TargetImages:
        """The images, ready to be read."""
        mask = city_mask(plan, self.city)
        prior = plan.city(self.city).prior
        return StoredTargets(
            plan, self.imagery, self.pairs, self.priors, size=size, mask=mask, prior=prior
        )


@dataclass(frozen=True)
class SetTargets:
    """Target images of a data set: its `unlabelled` shards."""

    parts: tuple[ArtifactRef, ...]

    def open(self, plan: Plan, size: tuple[int, int] | None) -> TargetImages:
        """The images, ready to be read."""
        return StoredUnlabelled(plan.open_store(), self.parts, size=size)


@dataclass(frozen=True)
class Job:
    """Everything that decides what a training does and where it keeps its checkpoints.

    Attributes:
        start: The segmenter that is trained: one of the catalog by name, or an artifact.
        source: Labelled shards; none where the training reads no label.
        settings: Of the training; their class says which it is.
        seed: Of the training.
        plan: The run's plan; the processes of a training get it with the job.
        place: Of the checkpoints.
        every: Steps between checkpoints.
        image_size: (height, width) at which images go through the network; "auto": chosen without
            a label; ``None``: what the segmenter was trained at, and "auto" for `source_free` where
            nothing tells that.
        target: What is adapted to.
        chosen: Places in the labelled set that are trained on; ``None``: all.
        home: Labelled shards that a pre-training validates on; none: it does not.
        recipe: The recipe of the catalog, by its name; ``None``: the arm of the settings.
        extras: What the recipe reads beside source and target.
        is_from_elsewhere: Whether adapting begins with weights of somebody else's program.
    """

    start: str | ArtifactRef
    source: tuple[ArtifactRef, ...]
    settings: PretrainingSettings | FineTuningSettings | AdaptationSettings | SourceFreeSettings
    seed: int
    plan: Plan
    place: CheckpointPlace
    every: int
    image_size: tuple[int, int] | Auto | None = None
    target: PairTargets | SetTargets | None = None
    chosen: tuple[int, ...] | None = None
    home: tuple[ArtifactRef, ...] = ()
    recipe: str | None = None
    extras: Extras = field(default_factory=Extras)
    is_from_elsewhere: bool = False


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        model: Architecture and options.
        segmenter: The trained network.
        history: One row a step.
        summary: For the manifest: speed and memory, remarks on the data, warnings.
    """

    model: dict[str, Any]
    segmenter: Segmenter
    history: History
    summary: dict[str, Any]


def carry_out(job: Job) -> Trained:
    """Trains on the devices of the compute profile, from the last checkpoint to the end.

    Raises:
        InputError: The machine has no such device, or the job does not fit its inputs.
    """
    plan = job.plan
    compute = plan.compute
    if compute.devices == 1:
        opened = _opened(_engine(plan), job)
        history, summary = _run(opened, job)
        return Trained(opened.model, opened.training.segmenter, history, summary)
    check_device(compute.device)
    # The exchange between processes carries errors as text; the errors themselves go through here.
    with tempfile.TemporaryDirectory(prefix="crosscity-training-") as folder:
        try:
            history, summary = on_all_devices(
                _in_a_process,
                job,
                Path(folder),
                device=compute.device,
                devices=compute.devices,
                precision=compute.precision,
            )
        except ProcessRaisedException:
            error = kept_error(Path(folder))
            if error is not None:
                raise error from None
            raise
    model, segmenter = _start(job)
    _load_checkpoint(segmenter, plan.open_store(), job.place)
    if "home" in summary:
        segmenter.set_prediction_offsets(summary["home"]["offsets"])
        segmenter.trained_size = summary["home"]["image_size"]
    elif job.image_size is not None and job.image_size != "auto":
        segmenter.trained_size = job.image_size
    if summary.get("trained_size") is not None:
        height, width = summary["trained_size"]
        segmenter.trained_size = (height, width)
    return Trained(model, segmenter, history, summary)


def where(plan: Plan) -> dict[str, Any]:
    """What of the compute profile changes the weights that come out; nothing for one in fp32."""
    compute = plan.compute
    parameters: dict[str, Any] = {}
    if compute.devices > 1:
        parameters["ranks"] = compute.devices
    if compute.precision != "fp32":
        parameters["precision"] = compute.precision
    return parameters


def _in_a_process(engine: Engine, job: Job, folder: Path) -> tuple[History, dict[str, Any]]:
    with errors_kept(folder), using_device(str(engine.device), job.place.city):
        return _run(_opened(engine, job), job)


@dataclass(frozen=True)
class _Opened:
    """A training that is ready: with its description, and the size that was chosen for it."""

    training: Training
    model: dict[str, Any]
    shown: ShownSize | None
    remarks: tuple[str, ...] = ()


def _run(opened: _Opened, job: Job) -> tuple[History, dict[str, Any]]:
    training, measured = opened.training, Measured()
    try:
        history = run_resumably(training, job.plan, job.place, every=job.every, measured=measured)
    except ValueError as error:
        # What the science says of settings, data and memory is for whoever wrote the catalog.
        raise InputError(f"{job.place.stage}: {error}") from error
    warnings = [f"step {row['step']}: {row['warning']}" for row in history if row.get("warning")]
    summary = {
        "steps": len(history),
        "remarks": [*training.remarks, *_remarks(opened.shown), *opened.remarks],
        "warnings": {"count": len(warnings), "first": warnings[:3], "last": warnings[-1:]},
        "speed": {"device": str(training.device), **measured.summary()},
    }
    if isinstance(training, Pretraining):
        size = training.segmenter.trained_size
        summary["home"] = {**training.outcome, "image_size": None if size is None else [*size]}
    if opened.shown is not None:
        size = training.segmenter.trained_size
        summary["shown_size"] = opened.shown.fields()
        summary["trained_size"] = None if size is None else [*size]
    return history, summary


def _remarks(shown: ShownSize | None) -> list[str]:
    said = "" if shown is None else shown.remark()
    return [said] if said else []


def _opened(engine: Engine, job: Job) -> _Opened:
    model, segmenter = _start(job)
    shared: dict[str, Any] = {"engine": engine, "readers": _readers(job.plan)}
    try:
        shown = _chosen_size(job, moved_to(segmenter, engine.device))
        pixels = _of_pixels(job, segmenter, shown)
        training = _training(job, segmenter, shared, shown)
        told = () if shown is not None and shown.sizes > 1 else _of_distorted(job, segmenter)
        return _Opened(training, model, shown, (*told, *pixels))
    except InputError:
        raise
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{job.place.stage}: {engine.device} ran out of memory before the first step: use a "
            f"smaller image_size, or end what else runs on it ({reason})"
        ) from None
    except ValueError as error:
        raise InputError(f"{job.place.stage}: {error}") from error


def _of_distorted(job: Job, segmenter: Segmenter) -> tuple[str, ...]:
    """What is said of images that the network sees at other proportions than theirs.

    Of the target's; of the labelled ones where these are what a segmenter is tuned to.
    """
    images: TargetImages | StoredLabelled
    if job.target is not None:
        images = _target(job, None)
    elif isinstance(job.settings, FineTuningSettings):
        images = StoredLabelled(job.plan.open_store(), job.source, chosen=job.chosen)
    else:
        return ()
    if not isinstance(images, StoredUnlabelled | StoredTargets | StoredLabelled):
        return ()
    return tuple(distorted_images(images, segmenter.trained_size))


def _of_pixels(job: Job, segmenter: Segmenter, shown: ShownSize | None) -> tuple[str, ...]:
    """What is said of weights from elsewhere that seem to want their pixels in another form."""
    if job.target is None or not job.is_from_elsewhere:
        return ()
    asked = None if job.image_size == "auto" else job.image_size
    size = asked or segmenter.trained_size if shown is None else shown.chosen
    images = _target(job, size)
    chosen = spread_indices(len(images), MOST_IMAGES)
    pictures = [images.images([one])[0] for one in chosen]
    tell = partial(progress.advance, f"forms of pixels of {job.place.stage}", 1)
    said = remark_on_form(segmenter, pictures, size, on_tried=tell)
    return (said,) if said else ()


def _chosen_size(job: Job, segmenter: Segmenter) -> ShownSize | None:
    """The size that images are shown at, where neither catalog nor segmenter says it."""
    trained = segmenter.trained_size
    alone = isinstance(job.settings, SourceFreeSettings)
    if job.image_size != "auto" and (job.image_size is not None or trained or not alone):
        return None
    if isinstance(segmenter, HuggingFaceSegmenter) and segmenter.fixed_size is not None:
        return None
    store = job.plan.open_store()
    images = StoredLabelled(store, job.source) if job.target is None else _target(job, None)
    sizes: Counter[tuple[int, int]] = Counter()
    if trained is None and isinstance(images, StoredUnlabelled | StoredTargets):
        sizes.update(images.sizes())
    if len(sizes) > 1:  # no size of the network's own says at which they could be shown together
        images = _target(job, _most_common(sizes))
    stage = f"sizes of {job.place.stage}"
    shown = choose_size(
        segmenter,
        images,
        trained=trained,
        on_tried=lambda total: progress.advance(stage, 1, total),
    )
    return shown if shown is None or len(sizes) < 2 else replace(shown, sizes=len(sizes))


def _most_common(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """Of equally common ones the largest."""
    return max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size))


def _training(
    job: Job,
    segmenter: Segmenter,
    shared: Mapping[str, Any],
    shown: ShownSize | None,
) -> Training:
    size = None if job.image_size == "auto" else job.image_size
    if shown is not None and (
        segmenter.trained_size or shown.sizes > 1 or shown.chosen != shown.own
    ):
        size = shown.chosen
    if not isinstance(job.settings, PretrainingSettings):
        size = segmenter.trained_size = size or segmenter.trained_size
    if isinstance(job.settings, SourceFreeSettings):
        # A student of enlarged images learns from windows as large as the images were.
        part = job.settings.window / (1.0 if shown is None else shown.enlarged)
        settings = replace(job.settings, window=part)
        return SourceFree(segmenter, _target(job, size), settings, job.seed, **shared)
    if job.recipe is not None and not job.source:
        return _by_recipe(job, job.recipe, segmenter, None, size, shared)
    source = StoredLabelled(
        job.plan.open_store(),
        job.source,
        size=size,
        chosen=job.chosen,
        class_names=segmenter.class_names,
    )
    check_some_label(source, job.place.stage)
    if isinstance(job.settings, PretrainingSettings):
        home = home_images(job, segmenter.class_names)
        return Pretraining(segmenter, source, job.settings, job.seed, home=home, **shared)
    if isinstance(job.settings, FineTuningSettings):
        return FineTuning(segmenter, source, job.settings, job.seed, **shared)
    if job.recipe is not None:
        return _by_recipe(job, job.recipe, segmenter, source, size, shared)
    return Adaptation(segmenter, source, _target(job, size), job.settings, job.seed, **shared)


def _by_recipe(
    job: Job,
    name: str,
    segmenter: Segmenter,
    source: StoredLabelled | None,
    size: tuple[int, int] | None,
    shared: Mapping[str, Any],
) -> Training:
    entry, store = job.plan.recipe(name), job.plan.open_store()
    if entry is None or not isinstance(job.settings, AdaptationSettings):
        raise InputError(f"there is no recipe {name!r}")
    labelled = None
    if entry.labels is not None:
        labelled = StoredLabelled(
            store,
            job.extras.labels,
            size=size,
            chosen=chosen_rows(store, job.extras, entry.labels, name),
            class_names=segmenter.class_names,
        )
        check_some_label(labelled, f"recipes.{name}.labels")
    measured = None if job.extras.rates is None else read_rates(store, job.extras.rates)
    teacher = taught = None
    if job.extras.teacher is not None:
        teacher = stored_segmenter(job.plan, job.extras.teacher)[1]
        if teacher.trained_size not in (None, size):
            taught = _target(job, teacher.trained_size)
    return Adaptation(
        segmenter,
        source,
        _target(job, size),
        job.settings,
        job.seed,
        recipe=science_of(entry),
        labelled=labelled,
        flag_rates=rates_of(entry, segmenter.class_names, measured),
        teacher=teacher,
        taught=taught,
        **shared,
    )


def home_images(job: Job, class_names: Sequence[str]) -> StoredLabelled | None:
    """Up to `HOME_IMAGES` validation images of a pre-training, spread over the split.

    Images and labels have the size at which the source's training images are stored.
    """
    if not job.home:
        return None
    store, source = job.plan.open_store(), job.plan.segmenter(str(job.start)).source
    size = None if source is None else job.plan.dataset(source).stored_size
    count = len(StoredLabelled(store, job.home))
    chosen = sorted({place * count // HOME_IMAGES for place in range(HOME_IMAGES)})
    return StoredLabelled(store, job.home, size=size, chosen=chosen, class_names=class_names)


def _target(job: Job, size: tuple[int, int] | None) -> TargetImages:
    if job.target is None:
        raise InputError("an adaptation needs images of the target")
    return job.target.open(job.plan, size)


def _readers(plan: Plan) -> int:
    """Threads that read ahead: worth it where the device leaves the processor free."""
    compute = plan.compute
    on_cpu = torch.device(compute.device).type == "cpu"
    return 0 if on_cpu else max(1, compute.workers // compute.devices)


def _engine(plan: Plan) -> Engine:
    check_device(plan.compute.device)
    return open_engine(plan.compute.device, plan.compute.precision)


def _start(job: Job) -> tuple[dict[str, Any], Segmenter]:
    if isinstance(job.start, str):
        starting = starting_segmenter(job.plan, job.start, job.seed)
        return starting.model, starting.segmenter
    return stored_segmenter(job.plan, job.start)


def _load_checkpoint(segmenter: Segmenter, store: Store, place: CheckpointPlace) -> None:
    """The weights that the processes left."""
    path = store.load_progress(place.kind, place.city, place.key, CHECKPOINT)
    if path is None:
        raise InputError(f"{place.stage} left no checkpoint: run it again")
    with safe_open(path, framework="pt") as opened:
        names = [name for name in opened.keys() if name.startswith("segmenter.")]  # noqa: SIM118
        tensors = {name.removeprefix("segmenter."): opened.get_tensor(name) for name in names}
    load_weights(segmenter, tensors)
