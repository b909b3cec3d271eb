"""The static priors of a place that was captured at more than two times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from crosscity.matching import PATCH, Matches
from crosscity.matching.same_place import same_place
from crosscity.several_times import FINER, evidence_of_times, static_by_evidence
from crosscity.static_probability import delivered_of_times
from crosscity.static_regions import static_prior_of_times
from tasks.priors.pair_prior import (
    Probability,
    check_superpixels,
    probability_of,
    superpixels_of,
    trusted_matches,
)

ANOTHER_PLACE = "it shows another place than the other times, or from too far away: few matches"
ALONE = "no other time of its place can be used"

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImagePrior:
    """The prior of one image from all its pairs.

    Attributes:
        mask: (H, W) bool.
        superpixels: (H, W) int32 labels.
        matches: How many of its matches counted, over all pairs.
        probability: As of `PairPrior`.
    """

    mask: npt.NDArray[np.bool_]
    superpixels: npt.NDArray[np.int32]
    matches: int
    probability: Probability | None


def priors_of_times(
    images: Sequence[Image],
    settings: PriorSettings,
    device: str = "cpu",
    mask: ImageMask | None = None,
) -> list[ImagePrior | str]:
    """Matches each two images of a place, and marks what stayed the same in all of them.

    An image of another size than most, or that matches the others as little as one of another place
    does, is left out and takes no part in the priors of the others.

    Args:
        images: (H, W, 3) uint8 RGB, of different times.
        settings: The catalog's `prior` settings.
        device: Where to match.
        mask: Pixels that show the provider.

    Returns:
        Of each image its prior, or why it was left out.

    Raises:
        ValueError: An image is too small to match or for that many superpixels, or the mask has
            other proportions.
    """
    found: list[ImagePrior | str] = [ALONE] * len(images)
    sizes = Counter(image.shape[:2] for image in images)
    if not sizes:
        return found
    usual = max(sizes, key=lambda size: sizes[size])  # the first of equally frequent ones
    fitting = [index for index, image in enumerate(images) if image.shape[:2] == usual]
    for index in set(range(len(images))) - set(fitting):
        height, width = images[index].shape[:2]
        found[index] = (
            f"it is {width}×{height} pixels wide and high, the other times {usual[1]}×{usual[0]}"
        )
    check_superpixels((usual[0], usual[1]), settings)
    ignored = None if mask is None else mask.pixels((usual[0], usual[1]))
    matches = {
        (first, second): trusted_matches(images[first], images[second], settings, device, ignored)
        for first, second in combinations(fitting, 2)
    }
    table = np.zeros((len(images), len(images)), dtype=np.int64)
    for pair, of_pair in matches.items():
        table[pair] = len(of_pair)
    seen = same_place(table[np.ix_(fitting, fitting)])
    kept = [index for index, shown in zip(fitting, seen, strict=True) if shown]
    for index in set(fitting) - set(kept):
        found[index] = ANOTHER_PLACE
    if len(kept) < 2:
        return found
    for index in kept:
        found[index] = _prior(index, kept, images[index], matches, settings, ignored)
    return found


def _prior(
    index: int,
    kept: Sequence[int],
    image: Image,
    matches: dict[tuple[int, int], Matches],
    settings: PriorSettings,
    ignored: npt.NDArray[np.bool_] | None,
) -> ImagePrior:
    """The prior of the image of that number, from its pairs with the others that are kept."""
    own: list[Matches] = []
    sides: list[Literal["a", "b"]] = []
    for other in kept:
        if other != index:
            own.append(matches[min(index, other), max(index, other)])
            sides.append("a" if index < other else "b")
    labels = superpixels_of(image, settings)
    if is_by_evidence(settings) and len(own) > 1:
        static, probability = _by_evidence(own, sides, image, labels, settings)
    else:
        static = static_prior_of_times(
            own,
            labels,
            sides=sides,
            k=settings.k,
            coverage=settings.coverage,
            spacing=PATCH * settings.downscale,
        )
        probability = probability_of(own, labels, sides, settings, ignored)
    if ignored is not None:
        static[ignored] = False
        if probability is not None:
            probability[ignored] = 0
    return ImagePrior(static, labels, sum(map(len, own)), probability)


def is_by_evidence(settings: PriorSettings) -> bool:
    """Whether several times are read by evidence; without a coverage they are by counts alone."""
    return settings.coverage > 0


def _by_evidence(
    matches: Sequence[Matches],
    sides: Sequence[Literal["a", "b"]],
    image: Image,
    labels: npt.NDArray[np.int32],
    settings: PriorSettings,
) -> tuple[npt.NDArray[np.bool_], Probability | None]:
    """Mask and probability from two other times or more."""
    scale = settings.superpixel_downscale
    most = max(image.shape[0] // scale, 1) * max(image.shape[1] // scale, 1)
    finer = settings.model_copy(update={"superpixels": min(FINER * settings.superpixels, most)})
    evidence = evidence_of_times(
        matches,
        [labels, superpixels_of(image, finer)],
        sides=sides,
        spacing=PATCH * settings.downscale,
    )
    static = static_by_evidence(evidence, settings.coverage, len(matches))
    if not settings.is_calibrated:
        return static, None
    probability = delivered_of_times().of_evidence(evidence, len(matches))
    return static, probability.astype(np.float32)
