"""What two segmenters see in the images of a city, side by side: no label is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from adapters.image_masks import ImageMask
from adapters.images import ImageError
from adapters.store import ArtifactRef, Draft, Store
from crosscity.evaluation import Prediction, predict_each
from crosscity.illustrations import DRAWING_VERSION, before_after_panel
from crosscity.labels import CLASSES, VOID
from crosscity.resizing import resized_map
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.priors.identities import city_mask
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.dashboard import small_jpeg
from tasks.steps.device import device_turn
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.steps.schemas import DIFFERENCES, FAILED, OK
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.identities import TRAINING_VERSION, network_size, view_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.trainings import on_device

DIFFERENCES_VERSION: Final = f"1-{TRAINING_VERSION}-drawing.{DRAWING_VERSION}"
MOST_IMAGES: Final = 200
"""Images that are compared, evenly spread: enough for shares of classes, minutes on two cores."""
PICTURES: Final = 12
"""Before/after pictures; half of them are found, half evenly spread."""
BEFORE_AFTER: Final = ("Before adaptation", "After adaptation")
MOST_DIFFERENT: Final = "most different"
EVENLY_SPREAD: Final = "evenly spread"
PICTURE_BYTES: Final = 150_000
"""Of a picture: twelve of them, and everything else, fit on a page that is mailed around."""
OTHER_CLASSES: Final = "other classes"
CLASS_NAMES: Final = (*(road_class.name for road_class in CLASSES), OTHER_CLASSES)
"""What the counts of a row are of, in their order."""
_AT_ONCE: Final = 8
_TABLE: Final = "differences.parquet"
Labels = Callable[[str], npt.NDArray[np.uint8]]
"""Gives the labels of an image by its id: (H, W) uint8 trainIds, 255 where void."""


@dataclass(frozen=True)
class Shown:
    """A before/after picture of a `differences` artifact.

    Attributes:
        file: Its name.
        image_id: The image.
        why: `MOST_DIFFERENT` or `EVENLY_SPREAD`.
        changed: Share of the pixels whose class differs, in [0, 1].
    """

    file: str
    image_id: str
    why: str
    changed: float


@dataclass(frozen=True)
class Differences:
    """What two segmenters see in the same images.

    Attributes:
        images: Images that both predicted.
        failed: Images that could not be read.
        changed: Share of the pixels whose class differs, in [0, 1].
        confidence: Mean probability of the predicted class, before and after.
        shares: By class name, the share of the pixels before and after; classes that neither
            predicts are left out.
        pictures: Those that were drawn.
    """

    images: int
    failed: int
    changed: float
    confidence: tuple[float, float]
    shares: Mapping[str, tuple[float, float]]
    pictures: tuple[Shown, ...]


class Pictures(Protocol):
    """Images by id, as the harvest of a city and the target of a transfer have them."""

    def ids(self) -> list[str]:
        """The ids, sorted."""

    def read(self, image_id: str) -> npt.NDArray[np.uint8]:
        """An image: (H, W, 3) uint8 RGB; `ImageError` where it cannot be decoded."""


@artifact_task("compare on images", run_name="compare two segmenters on images of {city}")
def compare_on_images(
    before: ArtifactRef,
    after: ArtifactRef,
    imagery: ArtifactRef,
    city: str,
    plan: Plan,
    captions: tuple[str, str] = BEFORE_AFTER,
) -> Made:
    """Predicts images of a city with two segmenters; draws those where they differ most.

    Args:
        before: The first segmenter.
        after: The second.
        imagery: Of the city.
        city: The city.
        plan: The run's plan.
        captions: What the two are called in the pictures.
    """
    torch.set_num_threads(plan.compute.threads)

    def write(draft: Draft, _key: str) -> None:
        images = Imagery(plan.open_store(), imagery)
        with device_turn(plan, city):
            write_differences(draft, (before, after), images, city, plan, captions)

    identity = differences_identity(before, after, imagery, city, plan, captions)
    return make(plan.open_store(), identity, write)


def write_differences(
    draft: Draft,
    segmenters: tuple[ArtifactRef, ArtifactRef],
    images: Pictures,
    owner: str,
    plan: Plan,
    captions: tuple[str, str] = BEFORE_AFTER,
    labels: Labels | None = None,
) -> None:
    """Writes what two segmenters see in images of a city, or of a transfer's target.

    Args:
        draft: Gets `differences.parquet` and the pictures.
        segmenters: The two.
        images: What they look at.
        owner: The city or transfer.
        plan: The run's plan.
        captions: What the two are called in the pictures.
        labels: Of the images, which the pictures then show too.
    """
    networks = (_network(segmenters[0], plan), _network(segmenters[1], plan))
    mask = city_mask(plan, owner) if owner in plan.cities else None
    size = network_size(plan, owner)
    look = _Look(networks, images, size, mask, owner, captions, labels)
    rows = list(look.rows(evenly(look.images.ids(), MOST_IMAGES)))
    if not any(row["status"] == OK for row in rows):
        raise InputError(f"no image of {owner} can be read: {rows[0]['reason']}")
    write_rows(draft, _TABLE, rows, DIFFERENCES)
    pictures = []
    for number, (row, why) in enumerate(pictured(rows)):
        name = f"picture-{number:02d}.jpg"
        (draft.path / name).write_bytes(look.picture(row["image_id"]))
        facts = {"file": name, "image_id": row["image_id"], "why": why}
        pictures.append({**facts, "changed": row["changed"]})
    draft.summary = {"pictures": pictures}


def differences_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    imagery: ArtifactRef,
    city: str,
    plan: Plan,
    captions: tuple[str, str] = BEFORE_AFTER,
) -> Identity:
    """What decides a comparison on images; arguments as of `compare_on_images`."""
    return Identity(
        "differences",
        city,
        inputs={"before": before, "after": after, "imagery": imagery},
        parameters={
            "most_images": MOST_IMAGES,
            "pictures": PICTURES,
            **view_parameters(plan, city),
            **({} if captions == BEFORE_AFTER else {"captions": list(captions)}),
        },
        version=DIFFERENCES_VERSION,
        words=Words(
            what=f"the comparison of two segmenters on images of {city} was",
            absent=f"no two segmenters of {city} have been compared on its images yet",
            verb=f"crosscity report {city}",
        ),
    )


def read_difference_rows(store: Store, ref: ArtifactRef) -> list[Row]:
    """The rows of a `differences` artifact, of images that could be read."""
    return [row for row in read_rows(store, ref, _TABLE, DIFFERENCES) if row["status"] == OK]


def read_differences(store: Store, ref: ArtifactRef) -> Differences:
    """The content of a `differences` artifact; each pixel counts once."""
    every = read_rows(store, ref, _TABLE, DIFFERENCES)
    rows = [row for row in every if row["status"] == OK]
    counts = {
        when: np.array([row[f"classes_{when}"] for row in rows], dtype=np.int64)
        for when in ("before", "after")
    }
    pixels = counts["before"].sum(axis=1)

    def mean(name: str) -> float:
        return float(np.average([row[name] for row in rows], weights=pixels))

    before, after = (counts[when].sum(axis=0) / pixels.sum() for when in ("before", "after"))
    drawn: Any = store.manifest(ref).summary["pictures"]
    return Differences(
        images=len(rows),
        failed=len(every) - len(rows),
        changed=mean("changed"),
        confidence=(mean("confidence_before"), mean("confidence_after")),
        shares={
            name: (float(first), float(second))
            for name, first, second in zip(CLASS_NAMES, before, after, strict=True)
            if first > 0 or second > 0
        },
        pictures=tuple(Shown(**each) for each in drawn),
    )


def evenly(values: Sequence[str], most: int) -> list[str]:
    """At most so many values, evenly spread, so that nobody chose them."""
    places = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return [values[place] for place in places.tolist()]


def pictured(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Which images are drawn and why: where most pixels differ, and others evenly spread.

    Of images with equal shares of changed pixels, that of the smaller id comes first.
    """
    good = [row for row in rows if row["status"] == OK]
    ordered = sorted(good, key=lambda row: (-row["changed"], row["image_id"]))
    found = ordered[: PICTURES // 2]
    rest = sorted(row["image_id"] for row in ordered[PICTURES // 2 :])
    spread = set(evenly(rest, PICTURES - PICTURES // 2))
    return [
        *((row, MOST_DIFFERENT) for row in found),
        *((row, EVENLY_SPREAD) for row in good if row["image_id"] in spread),
    ]


def _network(ref: ArtifactRef, plan: Plan) -> Segmenter:
    return on_device(in_train_ids(stored_segmenter(plan, ref)[1]), plan)


@dataclass(frozen=True)
class _Look:
    """Two segmenters, and the images that they look at."""

    networks: tuple[Segmenter, Segmenter]
    images: Pictures
    size: tuple[int, int] | None
    mask: ImageMask | None
    city: str
    captions: tuple[str, str]
    labels: Labels | None

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """A row for each image, a batch at a time, so that memory does not grow with the city."""
        for first in range(0, len(chosen), _AT_ONCE):
            batch = chosen[first : first + _AT_ONCE]
            yield from self._batch(batch)
            progress.advance(f"compare {self.city}", len(batch), len(chosen))

    def picture(self, image_id: str) -> bytes:
        """The picture of an image before and after, as a JPEG; with its labels if there are."""
        image = self.images.read(image_id)
        truth = None if self.labels is None else self.labels(image_id)
        if truth is not None:  # of another size than the image where that is stored at one
            truth = resized_map(truth, (image.shape[0], image.shape[1]))
        before, after = (seen[0].labels.copy() for seen in self._seen([image]))
        ignored = self._ignored(image)
        for labels in (before, after):
            labels[labels >= len(CLASSES)] = VOID
            if ignored is not None:
                labels[ignored] = VOID
        panel = before_after_panel(image, truth, before, after, captions=self.captions)
        return small_jpeg(panel, PICTURE_BYTES)

    def _batch(self, batch: Sequence[str]) -> Iterator[Row]:
        read: dict[str, npt.NDArray[np.uint8]] = {}
        faults: dict[str, str] = {}
        for image_id in batch:
            try:
                read[image_id] = self.images.read(image_id)
            except ImageError as error:
                faults[image_id] = " ".join(str(error).split())
        before, after = self._seen(list(read.values()))
        seen = dict(zip(read, zip(before, after, strict=True), strict=True))
        for image_id in batch:
            if image_id in seen:
                yield _row(image_id, *seen[image_id], self._ignored(read[image_id]))
            else:
                empty = dict.fromkeys(DIFFERENCES.names)
                failed = {"image_id": image_id, "status": FAILED, "reason": faults[image_id]}
                yield {**empty, **failed}

    def _seen(
        self, images: Sequence[npt.NDArray[np.uint8]]
    ) -> tuple[list[Prediction], list[Prediction]]:
        try:
            before, after = (
                list(
                    predict_each(
                        network, images, _AT_ONCE, image_size=self.size or network.trained_size
                    )
                )
                for network in self.networks
            )
        except ValueError as error:
            raise InputError(f"compare {self.city}: {error}") from error
        return before, after

    def _ignored(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_] | None:
        return None if self.mask is None else self.mask.pixels((image.shape[0], image.shape[1]))


def _row(
    image_id: str,
    before: Prediction,
    after: Prediction,
    ignored: npt.NDArray[np.bool_] | None,
) -> Row:
    kept = np.ones(before.labels.shape, np.bool_) if ignored is None else ~ignored
    return {
        "image_id": image_id,
        "changed": float((before.labels[kept] != after.labels[kept]).mean()),
        "confidence_before": float(before.confidence[kept].mean(dtype=np.float64)),
        "confidence_after": float(after.confidence[kept].mean(dtype=np.float64)),
        "classes_before": _counts(before.labels[kept]),
        "classes_after": _counts(after.labels[kept]),
        "status": OK,
        "reason": None,
    }


def _counts(labels: npt.NDArray[np.uint8]) -> list[int]:
    """Pixels by trainId; all that is none of the 19 classes counts as one."""
    known = np.minimum(labels, len(CLASSES))
    return [int(n) for n in np.bincount(known.ravel(), minlength=len(CLASSES) + 1)]
