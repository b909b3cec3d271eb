"""Batches of images as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crosscity.adaptation.augmentation import Augmentation
from crosscity.adaptation.image_sets import (
    LabelledImages,
    TargetImages,
    check_labels,
    check_priors,
)
from crosscity.adaptation.sampling import (
    AUGMENTATION_STREAM,
    SOURCE_STREAM,
    TARGET_STREAM,
    PermutationSampler,
)
from crosscity.segmenters import Segmenter, image_tensor


class SourceBatches:
    """Labelled batches as tensors: sampled by number, checked, augmented.

    Args:
        source: The labelled images.
        segmenter: Gives the number of classes and the device.
        seed: Of the training.
        flip: See `Augmentation`.
        smallest_crop: See `Augmentation`.
    """

    def __init__(
        self,
        source: LabelledImages,
        segmenter: Segmenter,
        *,
        seed: int,
        flip: bool,
        smallest_crop: float = 1.0,
    ) -> None:
        self._source = source
        self._n_classes = segmenter.n_classes
        self._device = segmenter.input_mean.device
        self._sampler = PermutationSampler(len(source), seed=seed, stream=SOURCE_STREAM)
        self._augment = Augmentation(flip=flip, smallest_crop=smallest_crop)
        self._seed = seed

    def batch(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Images (N×3×H×W floats in [0, 1]) and labels (N×H×W int64) of a batch."""
        indices = self._sampler.batch(number, size)
        pictures, labels = self._source.images(indices), self._source.labels(indices)
        check_labels(pictures, labels, indices, self._n_classes)
        images = image_tensor(pictures, self._device)
        maps = torch.from_numpy(np.ascontiguousarray(labels)).to(self._device)
        random = np.random.default_rng([self._seed, AUGMENTATION_STREAM, SOURCE_STREAM, number])
        images, maps = self._augment(images, maps, random)
        return images, maps.long()


class TargetBatches:
    """Target batches as tensors: sampled by number, checked, augmented.

    Args:
        target: The target images.
        seed: Of the training.
        flip: See `Augmentation`.
        device: Where the tensors go.
    """

    def __init__(
        self, target: TargetImages, *, seed: int, flip: bool, device: torch.device
    ) -> None:
        self._target = target
        self._device = device
        self._seed = seed
        self._sampler = PermutationSampler(len(target), seed=seed, stream=TARGET_STREAM)
        self._augment = Augmentation(flip=flip, smallest_crop=1.0)

    def batch(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Images (N×3×H×W floats in [0, 1]) and priors (N×H×W bool) of a batch."""
        indices = self._sampler.batch(number, size)
        pictures, priors = self._target.images(indices), self._target.priors(indices)
        check_priors(pictures, priors, indices)
        images = image_tensor(pictures, self._device)
        maps = torch.from_numpy(np.ascontiguousarray(priors)).to(self._device)
        random = np.random.default_rng([self._seed, AUGMENTATION_STREAM, TARGET_STREAM, number])
        return self._augment(images, maps, random)
