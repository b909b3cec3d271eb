"""Scoring segmenters on the test places of a city."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import write_table
from crosscity.evaluation import evaluate_each, predict, score
from crosscity.illustrations import before_after_panel
from crosscity.labels import CLASSES, VOID
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.judging.evaluated import (
    EVALUATION_VERSION,
    PANELS,
    evaluation_identity,
    panels_identity,
)
from tasks.judging.image_scores import image_row, write_image_scores
from tasks.judging.scoring_rules import Rules, rules_of
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.dashboard import only_shown, publish_lineage, publish_picture, publish_table
from tasks.steps.device import using_device
from tasks.steps.errors import InputError
from tasks.steps.identity import make
from tasks.steps.pictures import read_picture, write_png
from tasks.steps.plan import Plan
from tasks.steps.tables import Row
from tasks.training.arms import arm_name
from tasks.training.distorted import distorted_images
from tasks.training.folds import inside, places_of
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_images import StoredLabelled, check_some_label
from tasks.training.trainings import on_device

BATCH_SIZE = 16

CONFUSION = pa.schema(
    [
        pa.field("truth", pa.string(), nullable=False),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Evaluated:
    """The content of `evaluation.json`.

    Attributes:
        miou: Mean IoU over the protocol's classes that occur, in [0, 1].
        per_class: IoU by class name in [0, 1]; NaN where a class occurs neither in truth nor in
            prediction.
        images: Number of test images.
        protocol: How the 19 classes were reduced to those scored.
        label_size: (height, width) that labels were scored at; ``None``: their own.
        not_in_truth: Scored classes that the test images do not have.
        miou_of_truth: Mean IoU over those that they have, in [0, 1].
    """

    miou: float
    per_class: dict[str, float]
    images: int
    protocol: str
    label_size: tuple[int, int] | None = None
    not_in_truth: tuple[str, ...] = ()
    miou_of_truth: float = math.nan

    @property
    def counted(self) -> tuple[str, ...]:
        """The classes that the mIoU is over."""
        return tuple(name for name, iou in self.per_class.items() if not math.isnan(iou))

    @property
    def counts_absent(self) -> bool:
        """Whether the mIoU is over a class, too, that the truth does not have."""
        return not set(self.counted).isdisjoint(self.not_in_truth)

    def classes_note(self) -> str:
        """Over how many classes the mIoU is, and which the truth does not have: of all arms."""
        note = f"mIoU over {len(self.counted)} of {len(self.per_class)} classes"
        if self.not_in_truth:
            note += f"; the truth has no {', '.join(self.not_in_truth)}"
        return note

    def class_note(self) -> str:
        """`classes_note`, and the mIoU over those that the truth has where it is another."""
        if not self.counts_absent:
            return self.classes_note()
        return f"{self.classes_note()} (over the classes that it has: {self.of_truth()})"

    def of_truth(self) -> str:
        """The mIoU over the classes that the truth has, in percent."""
        return f"{100 * self.miou_of_truth:.1f} %"


def class_notes(evaluations: Mapping[str, Evaluated]) -> list[str]:
    """What a table of arms says about its mIoU: one line, and a warning where arms differ.

    A class that the truth does not have counts as 0 where an arm predicts it, and not at all where
    it does not: then the arms' mIoU are over different classes.
    """
    first, *others = evaluations.values()
    if not others:
        return [first.class_note()]
    if len({one.counted for one in evaluations.values()}) > 1:
        each = ", ".join(
            f"{arm_name(arm)} {len(one.counted)} ({one.of_truth()})"
            for arm, one in evaluations.items()
        )
        warning = (
            "warning: the arms' mIoU are over different classes, as some predict classes that the "
            f"truth does not have; classes, and mIoU over those that the truth has: {each}"
        )
        return [first.classes_note(), warning]
    if not first.counts_absent:
        return [first.classes_note()]
    each = ", ".join(f"{arm_name(arm)} {one.of_truth()}" for arm, one in evaluations.items())
    return [f"{first.classes_note()} (over the classes that it has: {each})"]


@artifact_task("evaluate", run_name="evaluate {arm} on {city}")
def evaluate(
    segmenter: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Confusion matrix, IoU by class and mIoU of a segmenter on labelled images."""
    torch.set_num_threads(plan.compute.threads)
    rules = rules_of(plan, city)
    stage = f"evaluate {city} {arm}"

    def write(draft: Draft, _key: str) -> None:
        images = StoredLabelled(plan.open_store(), parts)
        check_some_label(images, stage)
        with using_device(plan.compute.device, city):
            network = scored_network(segmenter, plan)
            confusion, rows = _counted(network, images, rules, stage)
        write_evaluation(draft, confusion, rows, rules, network.class_names)
        draft.summary = {**draft.summary, "remarks": _distorted(images, network, rules)}

    identity = evaluation_identity(segmenter, parts, arm, seed, city, plan)
    made = make(plan.open_store(), identity, write)
    _publish(plan.open_store(), made.ref, arm, city)
    return made


@artifact_task("evaluate folds", run_name="evaluate {arm} on {city}, {folds} folds")
def evaluate_folds(
    segmenters: Sequence[ArtifactRef],
    parts: Sequence[ArtifactRef],
    arm: str,
    city: str,
    plan: Plan,
    folds: int,
    pairs: ArtifactRef | None = None,
) -> Made:
    """Each segmenter on the images that its fold kept out; the counts of all folds are added up."""
    torch.set_num_threads(plan.compute.threads)
    rules = rules_of(plan, city)

    def write(draft: Draft, _key: str) -> None:
        total, names = np.zeros((0, 0), dtype=np.int64), tuple[str, ...]()
        rows: list[Row] = []
        remarks: list[str] = []
        places = places_of(plan, parts, pairs)
        every = StoredLabelled(plan.open_store(), parts)
        check_some_label(every, f"evaluate {city} {arm}")
        for which, ref in enumerate(segmenters):
            images = StoredLabelled(plan.open_store(), parts, chosen=inside((which, folds), places))
            stage = f"evaluate {city} {arm}, fold {which}"
            with using_device(plan.compute.device, city):
                network = scored_network(ref, plan)
                confusion, of_fold = _counted(network, images, rules, stage)
            rows += of_fold
            total = confusion if which == 0 else total + confusion
            names = network.class_names
            remarks += _distorted(every, network, rules)
        write_evaluation(draft, total, rows, rules, names)
        draft.summary = {**draft.summary, "remarks": list(dict.fromkeys(remarks))}

    made = make_once(
        plan.open_store(),
        "evaluation",
        city,
        inputs={
            **{f"segmenter-{i:02d}": ref for i, ref in enumerate(segmenters)},
            **digests(parts),
        },
        parameters={**rules.parameters(), "folds": folds},
        version=EVALUATION_VERSION,
        write=write,
    )
    _publish(plan.open_store(), made.ref, arm, city)
    return made


def scored_network(segmenter: ArtifactRef, plan: Plan) -> Segmenter:
    """A segmenter that predicts trainIds, whatever its own classes are."""
    return on_device(
        in_train_ids(stored_segmenter(plan, segmenter)[1]),
        plan,
    )


def _distorted(images: StoredLabelled, network: Segmenter, rules: Rules) -> list[str]:
    """What is said of scored images that the network sees at other proportions than theirs."""
    return distorted_images(images, rules.image_size or network.trained_size)


def _counted(
    network: Segmenter, images: StoredLabelled, rules: Rules, stage: str
) -> tuple[npt.NDArray[np.int64], list[Row]]:
    """The confusion matrix and a row an image; what is lacking is said with the stage."""
    total, rows = np.zeros((network.n_classes, network.n_classes), dtype=np.int64), list[Row]()
    try:
        each = evaluate_each(
            network,
            images,
            BATCH_SIZE,
            image_size=rules.image_size or network.trained_size,
            label_size=rules.label_size,
            on_batch=lambda count: progress.advance(stage, count, len(images)),
        )
        for index, counted in enumerate(each):
            total += counted.confusion
            name = images.name(index)
            rows.append(image_row(name, counted, rules.protocol, network.class_names))
    except ValueError as error:
        raise InputError(f"{stage}: {error}") from error
    return total, rows


def write_evaluation(
    draft: Draft,
    confusion: npt.NDArray[np.int64],
    images: Sequence[Row],
    rules: Rules,
    class_names: Sequence[str],
) -> None:
    """Writes `evaluation.json`, `confusion.parquet` and, with a row an image, `images.parquet`."""
    scores = score(confusion, rules.protocol, class_names=class_names)
    content = {
        "miou": scores.miou,
        "per_class": {
            name: None if math.isnan(iou) else iou for name, iou in scores.per_class.items()
        },
        "classes": scores.n_counted,
        "not_in_truth": list(scores.not_in_truth),
        "miou_of_truth": None if math.isnan(scores.miou_of_truth) else scores.miou_of_truth,
        "images": len(images),
        "label_size": rules.label_size,
        **rules.parameters(),
    }
    (draft.path / "evaluation.json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )
    rows = [
        {"truth": truth, "prediction": predicted, "pixels": int(confusion[i, j])}
        for i, truth in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]
    table = pa.Table.from_pylist(rows, schema=CONFUSION)
    write_table(draft.path / "confusion.parquet", table, CONFUSION)
    write_image_scores(draft, images)
    draft.summary = {"miou": scores.miou, "images": len(images)}


@only_shown
def _publish(store: Store, ref: ArtifactRef, arm: str, city: str) -> None:
    evaluated = read_evaluation(store, ref)
    publish_table(
        f"evaluation-{city}-{arm}",
        [
            {"class": name, "IoU %": None if math.isnan(iou) else round(100 * iou, 1)}
            for name, iou in evaluated.per_class.items()
        ]
        + [{"class": "mIoU", "IoU %": round(100 * evaluated.miou, 1)}],
        f"{arm} on {evaluated.images} test images of {city} ({evaluated.protocol}); "
        f"{evaluated.class_note()}",
    )
    publish_lineage(
        f"evaluation-{city}-{arm}-lineage", store, ref, f"mIoU {100 * evaluated.miou:.1f} %"
    )


@artifact_task("draw before and after", run_name="before and after, {city}, {arm}")
def draw_panels(
    before: ArtifactRef,
    after: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Draws images, labels, and what two segmenters see, like the paper's Fig. 5."""
    torch.set_num_threads(plan.compute.threads)
    rules = rules_of(plan, city)

    def write(draft: Draft, _key: str) -> None:
        images = StoredLabelled(plan.open_store(), parts)
        # Evenly spread over the set, so that nobody chose the pictures.
        chosen = np.linspace(0, len(images) - 1, min(PANELS, len(images))).round().astype(int)
        with using_device(plan.compute.device, city):
            networks = scored_network(before, plan), scored_network(after, plan)
            panels = [before_after(networks, images, index, rules) for index in chosen.tolist()]
        for number, panel in enumerate(panels):
            write_png(draft, f"panel-{number}.png", panel)

    identity = panels_identity(before, after, parts, arm, seed, city)
    made = make(plan.open_store(), identity, write)
    publish_picture(
        f"before-after-{city}-{arm}",
        lambda: read_picture(plan.open_store(), made.ref, "panel-0.png"),
        f"{city}: image, labels, before and after ({arm})",
    )
    return made


def before_after(
    networks: tuple[Segmenter, Segmenter], images: StoredLabelled, index: int, rules: Rules
) -> npt.NDArray[np.uint8]:
    """An image, its labels, and what two segmenters see of it, as one picture.

    What is none of the 19 classes is drawn as void.
    """
    image, labels = images.images([index])[0], images.labels([index])[0]
    shown = resized_image(image, (labels.shape[0], labels.shape[1]))
    seen = (seen_by(network, image, labels.shape, rules) for network in networks)
    drawn = [np.where(each < len(CLASSES), each, VOID).astype(np.uint8) for each in (labels, *seen)]
    return before_after_panel(shown, *drawn)


def seen_by(
    network: Segmenter, image: npt.NDArray[np.uint8], size: tuple[int, ...], rules: Rules
) -> npt.NDArray[np.uint8]:
    """What a segmenter sees of an image by the rules of a scoring; (height, width) of `size`."""
    seen: npt.NDArray[np.uint8] = predict(
        network, image, size=(size[0], size[1]), image_size=rules.image_size
    )
    return seen


def read_evaluation(store: Store, ref: ArtifactRef) -> Evaluated:
    """The content of an `evaluation` artifact."""
    content = json.loads(store.path(ref, "evaluation.json").read_text(encoding="utf-8"))
    of_truth = content.get("miou_of_truth")
    return Evaluated(
        miou=float(content["miou"]),
        per_class={
            name: math.nan if iou is None else float(iou)
            for name, iou in content["per_class"].items()
        },
        images=int(content["images"]),
        protocol=str(content["protocol"]),
        label_size=None if content["label_size"] is None else tuple(content["label_size"]),
        not_in_truth=tuple(content.get("not_in_truth", ())),
        miou_of_truth=math.nan if of_truth is None else float(of_truth),
    )


def short_names() -> dict[str, str]:
    """Names of classes as tables have them."""
    return {road_class.name: road_class.short for road_class in CLASSES}


def score_table(evaluations: Mapping[str, ArtifactRef], plan: Plan) -> str:
    """The evaluations as text, one row an arm, columns in the paper's order, in percent."""
    store = plan.open_store()
    evaluated_arms = {arm: read_evaluation(store, ref) for arm, ref in evaluations.items()}
    names = list(next(iter(evaluated_arms.values())).per_class)
    headings = [short_names().get(name, name[:7]) for name in names]
    width = 1 + max(len(arm_name(arm)) for arm in evaluations)
    lines = [" " * width + "".join(f"{heading:>8}" for heading in [*headings, "mIoU"])]
    for arm, evaluated in evaluated_arms.items():
        cells = [evaluated.per_class[name] for name in names] + [evaluated.miou]
        shown = "".join(f"{'–' if math.isnan(v) else f'{100 * v:.1f}':>8}" for v in cells)
        lines.append(f"{arm_name(arm):<{width}}{shown}")
    lines += class_notes(evaluated_arms)
    return "\n".join(lines)
