"""What two segmenters see in the images of a transfer's target: no label is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from adapters.images import decode_image
from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.differences import (
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


class SetPictures:
    """The images of `unlabelled` shards by id.

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


@artifact_task("compare on a set", run_name="compare two segmenters on images of {transfer}")
def compare_on_set(
    before: ArtifactRef,
    after: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Made:
    """Predicts images of a transfer's target with two segmenters; draws where they differ most.

    Args:
        before: The segmenter that the adaptation began with.
        after: The adapted one.
        images: `unlabelled` shards of the target.
        transfer: Of the catalog.
        plan: The run's plan.
    """
    torch.set_num_threads(plan.compute.threads)

    def write(draft: Draft, _key: str) -> None:
        pictures = SetPictures(plan.open_store(), images)
        with device_turn(plan, transfer):
            write_differences(draft, (before, after), pictures, transfer, plan)

    identity = set_differences_identity(before, after, images, transfer, plan)
    return make(plan.open_store(), identity, write)


def set_differences_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Identity:
    """What decides a comparison on a set; arguments as of `compare_on_set`."""
    return Identity(
        "differences",
        transfer,
        inputs={"before": before, "after": after, **numbered("target", images)},
        parameters={
            "most_images": MOST_IMAGES,
            "pictures": PICTURES,
            **size_parameters(plan, transfer),
        },
        version=DIFFERENCES_VERSION,
        words=Words(
            what=f"the comparison of two segmenters on images of {transfer} was",
            absent=f"no two segmenters of {transfer} have been compared on its images yet",
            verb=f"crosscity report {transfer}",
        ),
    )
