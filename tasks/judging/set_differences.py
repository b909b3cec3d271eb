"""What two segmenters see in the images of a transfer's target, beside labels if there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from adapters.images import decode_image, decode_label_png
from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.differences import (
    BEFORE_AFTER,
    DIFFERENCES_VERSION,
    MOST_IMAGES,
    PICTURES,
    write_differences,
)
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.device import device_turn
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.training.identities import numbered, size_parameters
from tasks.training.stored_images import GoodRows

SHOWN: Final = ("target", "labelled")
"""Begin the roles of the shards of images: those without labels, and with labels."""


class SetPictures:
    """The images of `unlabelled` or `labelled` shards by id.

    Args:
        store: Holds the shards.
        parts: The shards.
    """

    def __init__(self, store: Store, parts: Sequence[ArtifactRef]) -> None:
        self._rows = GoodRows(store, parts)
        self._places = {self._rows.name(index): index for index in range(len(self._rows))}

    def ids(self) -> list[str]:
        """Ids of the images that could be read, sorted."""
        return sorted(self._places)

    def read(self, image_id: str) -> npt.NDArray[np.uint8]:
        """An image: (H, W, 3) uint8 RGB."""
        return decode_image(self._rows.data(self._places[image_id], "image"), image_id)

    def labels(self, image_id: str) -> npt.NDArray[np.uint8]:
        """The labels of an image of `labelled` shards: (H, W) uint8 trainIds, 255 where void."""
        return decode_label_png(self._rows.data(self._places[image_id], "labels"), image_id)


@artifact_task("compare on a set", run_name="compare two segmenters on images of {transfer}")
def compare_on_set(
    before: ArtifactRef,
    after: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
    captions: tuple[str, str] = BEFORE_AFTER,
) -> Made:
    """Predicts images of a transfer's target with two segmenters; draws where they differ most.

    Args:
        before: The first segmenter.
        after: The second.
        images: `unlabelled` shards of the target, or `labelled` ones, whose labels are drawn too.
        transfer: Of the catalog.
        plan: The run's plan.
        captions: What the two are called in the pictures.
    """
    torch.set_num_threads(plan.compute.threads)

    def write(draft: Draft, _key: str) -> None:
        pictures = SetPictures(plan.open_store(), images)
        labels = pictures.labels if is_labelled(images) else None
        with device_turn(plan, transfer):
            write_differences(draft, (before, after), pictures, transfer, plan, captions, labels)

    identity = set_differences_identity(before, after, images, transfer, plan, captions)
    return make(plan.open_store(), identity, write)


def set_differences_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
    captions: tuple[str, str] = BEFORE_AFTER,
) -> Identity:
    """What decides a comparison on a set; arguments as of `compare_on_set`."""
    return Identity(
        "differences",
        transfer,
        inputs={"before": before, "after": after, **shown_images(images)},
        parameters={
            "most_images": MOST_IMAGES,
            "pictures": PICTURES,
            **size_parameters(plan, transfer),
            **({} if captions == BEFORE_AFTER else {"captions": list(captions)}),
        },
        version=DIFFERENCES_VERSION,
        words=Words(
            what=f"the comparison of two segmenters on images of {transfer} was",
            absent=f"no two segmenters of {transfer} have been compared on its images yet",
            verb=f"crosscity report {transfer}",
        ),
    )


def shown_images(images: Sequence[ArtifactRef]) -> dict[str, ArtifactRef]:
    """Shards of a transfer's target as inputs, by a role that says whether they have labels."""
    return numbered(SHOWN[1] if is_labelled(images) else SHOWN[0], images)


def is_labelled(images: Sequence[ArtifactRef]) -> bool:
    """Whether shards of images are of the kind that has labels."""
    return all(ref.kind == "labelled" for ref in images)
