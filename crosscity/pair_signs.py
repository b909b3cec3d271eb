"""What segmenters show on two looks at the same things, without one label.

The safeguard judges by it; suggestions and reports show it.
Whatever changes here raises `ALGORITHM_VERSION` of `crosscity/safeguard.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from crosscity.segmenters import Segmenter, evaluating, image_tensor

if TYPE_CHECKING:
    from crosscity.evaluation import ClassGroups

Image = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]
Points = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Rows and columns of the same points, in one image each: two arrays of (N, 2)."""


@dataclass(frozen=True)
class PairSigns:
    """What one segmenter shows on one pair.

    Attributes:
        table: (C, C) int64, static points by their class at the first and at the second time.
        classes: (C,) int64, pixels of both images by predicted class.
        probability: (C,) float64, predicted probabilities added up over these pixels.
        entropy: Entropies of the predictions in bits, added up over these pixels.
    """

    table: Counts
    classes: Counts
    probability: Shares
    entropy: float


@dataclass(frozen=True)
class ComparedLook:
    """What two segmenters see in one image.

    Attributes:
        before: What the earlier one sees.
        after: What the later one sees.
        moved: As of `ComparedPair`, of this image's pixels.
    """

    before: _Look
    after: _Look
    moved: Shares


@dataclass(frozen=True)
class ComparedPair:
    """What two segmenters show on one pair.

    Attributes:
        before: Signs of the earlier one.
        after: Signs of the later one.
        moved: (C, C) float64, pixels of both images by the earlier's class and by the later's, each
            as much as its class was probable to the earlier one.
    """

    before: PairSigns
    after: PairSigns
    moved: Shares


def pair_signs(
    segmenter: Segmenter,
    images: tuple[Image, Image],
    points: Points,
    *,
    network_images: tuple[Image, Image] | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
    groups: ClassGroups | None = None,
) -> PairSigns:
    """Predicts both images of a pair and counts what the safeguard looks at.

    Args:
        segmenter: Left in the mode (training or not) that it was in.
        images: (H, W, 3) uint8 RGB, as the points refer to them.
        points: `static_points` of the pair.
        network_images: The same images at the size that the network takes; default: as they are.
        ignored: (H, W) pixels of both that show no street and do not count.
        groups: Which of the segmenter's classes count as one; default: none.
    """
    shown = network_images or images
    looks = [
        _looked(segmenter, picture, (image.shape[0], image.shape[1]), ignored, groups)
        for image, picture in zip(images, shown, strict=True)
    ]
    return _signs(looks, points)


def compare_look(
    segmenters: tuple[Segmenter, Segmenter],
    image: Image,
    *,
    shown: tuple[Image, Image] | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
    groups: ClassGroups | None = None,
) -> ComparedLook:
    """What two segmenters see in one image, and where its pixels went from class to class.

    Args:
        segmenters: The earlier and the later, of one label space.
        image: (H, W, 3) uint8 RGB, as points refer to it.
        shown: The image as each of the segmenters is shown it; default: as it is.
        ignored: (H, W) pixels that do not count.
        groups: Which classes count as one.
    """
    size = (image.shape[0], image.shape[1])
    earlier, later = (
        _looked(segmenter, picture, size, ignored, groups)
        for segmenter, picture in zip(segmenters, shown or (image, image), strict=True)
    )
    n_classes = len(earlier.probability)
    cells = earlier.labels[earlier.counted].astype(np.int64) * n_classes
    cells += later.labels[later.counted]
    weights = earlier.sureness[earlier.counted]
    moved = np.bincount(cells, weights, minlength=n_classes**2).astype(np.float64)
    return ComparedLook(earlier, later, moved.reshape(n_classes, n_classes))


def pair_of_looks(first: ComparedLook, second: ComparedLook, points: Points) -> ComparedPair:
    """What two segmenters show on a pair of images, of which each may be in other pairs too.

    Args:
        first: What they see in the first image.
        second: In the second.
        points: The same points in both.
    """
    return ComparedPair(
        _signs([first.before, second.before], points),
        _signs([first.after, second.after], points),
        first.moved + second.moved,
    )


def compare_pair(
    segmenters: tuple[Segmenter, Segmenter],
    images: tuple[Image, Image],
    points: Points,
    *,
    ignored: npt.NDArray[np.bool_] | None = None,
    groups: ClassGroups | None = None,
) -> ComparedPair:
    """`pair_of_looks` of two images as they are; arguments as of `compare_look`."""
    first, second = (
        compare_look(segmenters, image, ignored=ignored, groups=groups) for image in images
    )
    return pair_of_looks(first, second, points)


@dataclass(frozen=True)
class _Look:
    """What a segmenter sees of one image.

    Attributes:
        labels: (H, W) uint8.
        sureness: (H, W) float32, the probability of the label.
        counted: (H, W) bool, the pixels that count.
        probability: (C,), added up over them.
        entropy: In bits, added up over them.
    """

    labels: npt.NDArray[np.uint8]
    sureness: npt.NDArray[np.float32]
    counted: npt.NDArray[np.bool_]
    probability: Shares
    entropy: float


def _looked(
    segmenter: Segmenter,
    image: Image,
    size: tuple[int, int],
    ignored: npt.NDArray[np.bool_] | None,
    groups: ClassGroups | None,
) -> _Look:
    with evaluating(segmenter), torch.inference_mode():
        pictures = image_tensor(image[None], segmenter.input_mean.device)
        logits = segmenter.predicted_logits(pictures, size).float()
        probabilities, labels = logits.softmax(1), logits.argmax(1)
        if groups is not None:
            places = torch.from_numpy(groups.places).to(logits.device)
            merged = probabilities.new_zeros((1, len(groups.names), *size))
            probabilities = merged.index_add_(1, places, probabilities)
            labels = places[labels]
        sureness = probabilities.gather(1, labels[None])[0, 0]
        bits = torch.special.entr(probabilities) / float(np.log(2))
        if ignored is not None:  # a probability of 0 adds nothing to either sum
            left_out = torch.from_numpy(ignored).to(logits.device)
            probabilities, bits = (
                each.masked_fill(left_out, 0.0) for each in (probabilities, bits)
            )
        return _Look(
            labels[0].to(torch.uint8).cpu().numpy(),
            sureness.cpu().numpy(),
            np.ones(size, dtype=np.bool_) if ignored is None else ~ignored,
            probabilities.sum(dim=(0, 2, 3), dtype=torch.float64).cpu().numpy(),
            bits.sum(dtype=torch.float64).item(),
        )


def _signs(looks: Sequence[_Look], points: Points) -> PairSigns:
    n_classes = len(looks[0].probability)
    classes = [np.bincount(look.labels[look.counted], minlength=n_classes) for look in looks]
    ends = [
        look.labels[at[:, 0], at[:, 1]].astype(np.int64)
        for look, at in zip(looks, points, strict=True)
    ]
    cells = np.bincount(ends[0] * n_classes + ends[1], minlength=n_classes**2)
    return PairSigns(
        cells.reshape(n_classes, n_classes),
        np.sum(classes, axis=0),
        np.sum([look.probability for look in looks], axis=0),
        sum(look.entropy for look in looks),
    )
