"""The unlabelled images of a city with their static priors, as adaptation reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import decode_label_png, decode_mask_png
from adapters.store import ArtifactRef
from crosscity.adaptation.correspondence import field_of_matches
from crosscity.resizing import resized_image, resized_map
from tasks.priors.extraction import static_prior_rows
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.steps.schemas import OK, PAIRS
from tasks.steps.stacking import stacked
from tasks.steps.tables import read_rows
from tasks.training.pair_matching import PairMatching


class StoredTargets:
    """Both images of every training pair; decoded when asked for.

    Args:
        plan: Gives the store.
        imagery: The city's images.
        pairs: Which of them belong together.
        priors: Their static priors, or ``None``.
        size: (height, width) that images and priors are given at; ``None``: their own.
        mask: Pixels of all images that show their provider, ``None`` where there are none.
        prior: How the images of a pair are matched, where both times are examined.
    """

    def __init__(
        self,
        plan: Plan,
        imagery: ArtifactRef,
        pairs: ArtifactRef,
        priors: ArtifactRef | None,
        *,
        size: tuple[int, int] | None = None,
        mask: ImageMask | None = None,
        prior: PriorSettings | None = None,
    ) -> None:
        self._size = size
        self._matching = PairMatching(prior or PriorSettings(), plan.compute.device, mask)
        self._mask = mask
        self._imagery = Imagery(plan.open_store(), imagery)
        rows = read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS)
        self._ids = [
            image_id
            for row in rows
            if row["split"] == "train"
            for image_id in (row["image_a"], row["image_b"])
        ]
        if not self._ids:
            raise InputError("there is no training pair to adapt on")
        self._masks: dict[str, bytes] = {}
        self._probabilities: dict[str, bytes | None] = {}
        if priors is not None:
            found = [row for row in static_prior_rows(plan, priors) if row["status"] == OK]
            self._masks = {row["image_id"]: row["mask"] for row in found}
            self._probabilities = {row["image_id"]: row["probability"] for row in found}

    def __len__(self) -> int:
        return len(self._ids)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        read = (self._imagery.read(self._ids[index]) for index in indices)
        shown = [resized_image(image, self._size) for image in read]
        return stacked(shown, [self._ids[index] for index in indices])

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W) bool; all False where an image has no prior."""
        masks = (self._prior(self._ids[index]) for index in indices)
        shown = [resized_map(mask, self._size) for mask in masks]
        return stacked(shown, [self._ids[index] for index in indices])

    def probabilities(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8, 255 times the probability; all 0 where an image has no prior.

        Raises:
            InputError: The priors were extracted without.
        """
        maps = (self._probability(self._ids[index]) for index in indices)
        shown = [resized_map(values, self._size) for values in maps]
        return stacked(shown, [self._ids[index] for index in indices])

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[np.bool_] | None:
        """(N, H, W) bool, true where a pixel shows the provider; ``None`` without a mask."""
        if self._mask is None:
            return None
        rows = (self._imagery.row(self._ids[index]) for index in indices)
        maps = (self._mask.pixels((row["height"], row["width"])) for row in rows)
        shown = [resized_map(pixels, self._size) for pixels in maps]
        return stacked(shown, [self._ids[index] for index in indices])

    def partners(self, indices: Sequence[int]) -> list[int]:
        """The indices of the other images of the pairs."""
        return [index ^ 1 for index in indices]

    def fields(self, indices: Sequence[int]) -> npt.NDArray[np.float32]:
        """(N, H, W, 2): where static, trusted points lie in the other image, else NaN."""
        return np.stack([self._field(index) for index in indices])

    def _field(self, index: int) -> npt.NDArray[np.float32]:
        first, second = (self._ids[index - index % 2 + end] for end in (0, 1))
        points = self._matching.points(first, second, self._imagery)
        row = self._imagery.row(self._ids[index])
        shape = (row["height"], row["width"])
        size = self._size or shape
        return field_of_matches(
            points[index % 2],
            points[1 - index % 2],
            size,
            spacing=self._matching.spacing,
            scale=(size[1] / shape[1], size[0] / shape[0]),
        )

    def _prior(self, image_id: str) -> npt.NDArray[np.bool_]:
        row = self._imagery.row(image_id)
        data = self._masks.get(image_id)
        if data is None:
            return np.zeros((row["height"], row["width"]), dtype=np.bool_)
        size = (row["height"], row["width"])
        mask = decode_mask_png(data, image_id)
        if mask.shape != size:
            raise InputError(
                f"the static prior of {image_id} is {mask.shape[0]}×{mask.shape[1]} pixels high "
                f"and wide, its image {size[0]}×{size[1]}: run `crosscity priors` again"
            )
        return mask

    def _probability(self, image_id: str) -> npt.NDArray[np.uint8]:
        row = self._imagery.row(image_id)
        size = (row["height"], row["width"])
        if image_id not in self._probabilities:
            return np.zeros(size, dtype=np.uint8)
        data = self._probabilities[image_id]
        if data is None:
            raise InputError(
                f"the static prior of {image_id} has no probability, which the recipe takes as a "
                "weight: extract the priors with matcher: deep_matching and this version"
            )
        return decode_label_png(data, image_id, size=size)
