"""The unlabelled images of a city with their static priors, as adaptation reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import decode_label_png, decode_mask_png
from adapters.store import ArtifactRef
from crosscity.adaptation.correspondence import field_of_matches
from crosscity.resizing import resized_image, resized_map
from tasks.priors.stored import StoredPriors
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGES_OF_PAIR, PAIRS
from tasks.steps.stacking import stacked
from tasks.steps.tables import Row, read_rows
from tasks.training.pair_matching import PairMatching

MOST_LOOKS: Final = 4
"""Other images of a place that are looked at: each costs a step a look of the teacher."""


class StoredTargets:
    """Both images of every training pair; decoded when asked for.

    Images of the places at further times follow them: they are looked at, and not learned from.

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
        store = plan.open_store()
        self._imagery = Imagery(store, imagery)
        self._priors = StoredPriors(store, priors)
        rows = read_rows(store, pairs, "pairs.parquet", PAIRS, (*IMAGES_OF_PAIR, "split"))
        train = [row for row in rows if row["split"] == "train"]
        if not train:
            raise InputError("there is no training pair to adapt on")
        self._learned = 2 * len(train)
        self._ids = [image_id for row in train for image_id in (row["image_a"], row["image_b"])]
        self._looked_at: dict[int, range] = {}  # beside the two images of these pairs
        for place, row in enumerate(train):
            further = self._further(row)
            if further:
                self._looked_at[place] = range(len(self._ids), len(self._ids) + len(further))
                self._ids += further

    def _further(self, row: Row) -> list[str]:
        """Images of a pair's place at further times that fit it, and have a prior where others do.

        Those without show another place, or cannot be read.
        """
        fitting = [
            image_id
            for image_id in row.get("others") or ()
            if self._imagery.size(image_id) == self._imagery.size(row["image_a"])
            and (image_id in self._priors or not self._priors.is_known)
        ]
        return fitting[: MOST_LOOKS - 1]

    def __len__(self) -> int:
        return self._learned

    def sizes(self, indices: Iterable[int] | None = None) -> list[tuple[int, int]]:
        """(height, width) of these images, or of all that are learned from, as they are stored."""
        wanted = range(self._learned) if indices is None else indices
        return [self._imagery.size(self._ids[index]) for index in wanted]

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
        maps = (self._mask.pixels(self._imagery.size(self._ids[index])) for index in indices)
        shown = [resized_map(pixels, self._size) for pixels in maps]
        return stacked(shown, [self._ids[index] for index in indices])

    def partners(self, indices: Sequence[int]) -> list[list[int]]:
        """The indices of the other images of each one's place, that of its pair first."""
        return [[index ^ 1, *self._looked_at.get(index // 2, ())] for index in indices]

    def fields(self, indices: Sequence[int], others: Sequence[int]) -> npt.NDArray[np.float32]:
        """(N, H, W, 2): where static, trusted points lie in a partner, else NaN."""
        pairs = zip(indices, others, strict=True)
        return np.stack([self._field(index, other) for index, other in pairs])

    def _field(self, index: int, other: int) -> npt.NDArray[np.float32]:
        # The second image of a pair is matched with the first as the first is with the second.
        turned = other < index
        first, second = sorted((index, other))
        points = self._matching.points(self._ids[first], self._ids[second], self._imagery)
        shape = self._imagery.size(self._ids[index])
        size = self._size or shape
        return field_of_matches(
            points[turned],
            points[not turned],
            size,
            spacing=self._matching.spacing,
            scale=(size[1] / shape[1], size[0] / shape[0]),
        )

    def _prior(self, image_id: str) -> npt.NDArray[np.bool_]:
        size = self._imagery.size(image_id)
        data = self._priors.mask(image_id)
        if data is None:
            return np.zeros(size, dtype=np.bool_)
        mask = decode_mask_png(data, image_id)
        if mask.shape != size:
            raise InputError(
                f"the static prior of {image_id} is {mask.shape[0]}×{mask.shape[1]} pixels high "
                f"and wide, its image {size[0]}×{size[1]}: run `crosscity priors` again"
            )
        return mask

    def _probability(self, image_id: str) -> npt.NDArray[np.uint8]:
        size = self._imagery.size(image_id)
        if image_id not in self._priors:
            return np.zeros(size, dtype=np.uint8)
        data = self._priors.probability(image_id)
        if data is None:
            raise InputError(
                f"the static prior of {image_id} has no probability, which the recipe takes as a "
                "weight: extract the priors with matcher: deep_matching and this version"
            )
        return decode_label_png(data, image_id, size=size)
