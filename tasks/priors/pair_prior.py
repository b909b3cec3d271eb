"""The static prior of one pair: dense matching and superpixels (paper, Sec. 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from crosscity.matching import PATCH, Matches, reliable_matches
from crosscity.matching.masking import matches_outside, without_pixels
from crosscity.prior_parts import (
    MatcherFaultError,
    MatcherSettings,
    build_matcher,
    superpixel_method,
)
from crosscity.static_probability import static_probability
from crosscity.static_regions import static_prior
from tasks.steps.errors import InputError

Probability = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairPrior:
    """Everything that was computed on one pair.

    Attributes:
        matches: The dense matches between the two images that were counted.
        superpixels: (H, W) int32 labels of the first and the second image.
        masks: (H, W) bool static prior of the first and the second image.
        probabilities: (H, W) float32, how probable it is that pixels of them are static; ``None``
            where the matcher is another than the one that this was fitted to.
    """

    matches: Matches
    superpixels: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    masks: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
    probabilities: tuple[Probability | None, Probability | None]


def extract_prior(
    image_a: npt.NDArray[np.uint8],
    image_b: npt.NDArray[np.uint8],
    settings: PriorSettings,
    device: str = "cpu",
    mask: ImageMask | None = None,
) -> PairPrior:
    """Matches two images of one place and marks the superpixels that stayed the same.

    Args:
        image_a: (H, W, 3) uint8 RGB.
        image_b: (H, W, 3) uint8 RGB of the same size.
        settings: The catalog's `prior` settings.
        device: Where to match; superpixels are made on the processor.
        mask: Pixels that show the provider: never static, and matched with nothing.

    Raises:
        ValueError: The sizes differ, an image is too small to match or for that many superpixels,
            or the mask has other proportions.
    """
    if image_a.shape != image_b.shape:
        sizes = " and ".join(f"{image.shape[1]}×{image.shape[0]}" for image in (image_a, image_b))
        raise ValueError(f"the two images differ in size ({sizes}): resize or crop one of them")
    check_superpixels((image_a.shape[0], image_a.shape[1]), settings)
    ignored = None if mask is None else mask.pixels((image_a.shape[0], image_a.shape[1]))
    trusted = trusted_matches(image_a, image_b, settings, device, ignored)
    spacing = PATCH * settings.downscale
    labels_a, labels_b = (superpixels_of(image, settings) for image in (image_a, image_b))

    def static_of(labels: npt.NDArray[np.int32], side: Literal["a", "b"]) -> npt.NDArray[np.bool_]:
        static = static_prior(
            trusted, labels, k=settings.k, coverage=settings.coverage, spacing=spacing, side=side
        )
        return static if ignored is None else static & ~ignored

    masks = (static_of(labels_a, "a"), static_of(labels_b, "b"))
    probabilities = (
        probability_of([trusted], labels_a, ["a"], settings, ignored),
        probability_of([trusted], labels_b, ["b"], settings, ignored),
    )
    return PairPrior(trusted, (labels_a, labels_b), masks, probabilities)


def why_unmatched(error: Exception, pair_id: str) -> str:
    """In a line, why a pair has no prior, where the pair itself is the reason.

    Args:
        error: What reading or matching its images raised.
        pair_id: The pair.

    Raises:
        InputError: A matcher of one's own is wrong. A row of it would be found again once the
            matcher is mended, and what it gave of other pairs is as doubtful.
    """
    reason = " ".join(str(error).split())
    if isinstance(error, MatcherFaultError):
        raise InputError(
            f"the pair {pair_id}: {reason}; mend it, and run the same command again (where two "
            "pictures cannot be matched, it raises a ValueError)"
        ) from error
    return reason


def probability_of(
    matches: Sequence[Matches],
    labels: npt.NDArray[np.int32],
    sides: Sequence[Literal["a", "b"]],
    settings: PriorSettings,
    ignored: npt.NDArray[np.bool_] | None,
) -> Probability | None:
    """How probable it is that pixels of an image are static, 0 where they are ignored.

    Args:
        matches: Trusted ones with each other time.
        labels: (H, W) int32 superpixels.
        sides: Whether the image is a or b of each pair.
        settings: The catalog's `prior` settings.
        ignored: (H, W) bool.

    Returns:
        ``None`` for matchers whose matches the probability was not fitted to.
    """
    if not settings.is_calibrated:
        return None
    found = static_probability(matches, labels, sides=sides, spacing=PATCH * settings.downscale)
    if ignored is not None:
        found[ignored] = 0
    return found


def trusted_matches(
    image_a: npt.NDArray[np.uint8],
    image_b: npt.NDArray[np.uint8],
    settings: PriorSettings,
    device: str = "cpu",
    ignored: npt.NDArray[np.bool_] | None = None,
) -> Matches:
    """The matches between two images of one size that count; `ignored` pixels match nothing."""
    seen = (image_a, image_b)
    if ignored is not None:
        seen = (without_pixels(image_a, ignored, 0), without_pixels(image_b, ignored, 1))
    matcher = build_matcher(
        settings.matcher, MatcherSettings(settings.downscale, settings.search_radius, device)
    )
    matches = matcher(*seen)
    spacing = PATCH * settings.downscale
    if ignored is not None:
        matches = matches_outside(matches, ignored, spacing / 2)
    return reliable_matches(
        matches,
        spacing,
        weakest=settings.weakest,
        neighbours=settings.neighbours,
        tolerance=settings.tolerance,
    )


def check_superpixels(shape: tuple[int, int], settings: PriorSettings) -> None:
    """Fails where an image is to have more superpixels than pixels: before it is matched.

    Args:
        shape: (height, width) of the image.
        settings: The catalog's `prior` settings.

    Raises:
        ValueError: It has.
    """
    fault = settings.superpixel_fault(shape)
    if fault is not None:
        raise ValueError(fault)


def superpixels_of(image: npt.NDArray[np.uint8], settings: PriorSettings) -> npt.NDArray[np.int32]:
    """Superpixels of an image, made on a smaller one where the settings say so: (H, W) int32.

    Noise is averaged away there, and priors were no worse for it (docs/results.md), in a part of
    the time; borders then lie within a pixel or two.
    """
    cut = superpixel_method(settings.superpixel_method)
    height, width = image.shape[:2]
    scale = settings.superpixel_downscale
    if scale == 1:
        return cut(image, settings.superpixels)
    size = (max(width // scale, 1), max(height // scale, 1))
    smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    labels = cut(np.asarray(smaller, dtype=np.uint8), settings.superpixels)
    enlarged = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(enlarged, dtype=np.int32)
