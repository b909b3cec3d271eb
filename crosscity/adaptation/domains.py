"""The sets that an adaptation reads, and its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from crosscity.adaptation.batches import ReadingAhead, SourceBatches, TargetBatches
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.image_sets import LabelledImages, PairedImages, TargetImages
from crosscity.adaptation.objectives import Batch, Need
from crosscity.adaptation.rare_class_sampling import RareClassSampler, pixels_by_image
from crosscity.adaptation.recipes import Sampling
from crosscity.adaptation.settings import AdaptationSettings
from crosscity.adaptation.spread import mean_colour
from crosscity.adaptation.task_loss import class_pixels, shown_classes
from crosscity.adaptation.training import check_source
from crosscity.segmenters import Segmenter

LABELLED_STREAM: Final = 7
"""Key of the order in which labelled images of the target are read."""


class Domains:
    """Source, target, and labels of the target: what a recipe needs of them.

    Args:
        segmenter: Is adapted; its input mean moves where the settings say so.
        source: Labelled images, or ``None``.
        target: Images of the city.
        labelled: Labelled images of the target, or ``None``.
        needs: Of the recipe.
        settings: Of the adaptation.
        seed: Of the training.
        engine: Of the training.
        readers: See `Adaptation`.
        sampling: Which source images are read.
        probabilities: Whether static priors come as probabilities, and not as masks.
        taught: See `Adaptation`.

    Raises:
        ValueError: A set is empty, or is needed and not there.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages | None,
        target: TargetImages,
        labelled: LabelledImages | None,
        *,
        needs: set[Need],
        settings: AdaptationSettings,
        seed: int,
        engine: Engine,
        readers: int,
        sampling: Sampling,
        probabilities: bool = False,
        taught: TargetImages | None = None,
    ) -> None:
        _check(source, target, labelled, needs, settings)
        if taught is not None and len(taught) != len(target):
            raise ValueError(
                f"the teacher is shown {len(taught)} images, and there are {len(target)} of the "
                "target: give it the same ones"
            )
        self.target = target
        self._paired = "partner" in needs
        self._settings = settings
        self._nothing = torch.zeros((0, 3, 1, 1), device=engine.device)
        shared: dict[str, Any] = {
            "seed": seed,
            "flip": settings.flip,
            "device": engine.device,
            "threads": readers,
            "stride": engine.ranks,
        }
        self._source = None
        if source is not None:
            sampler = None
            if sampling == "rare_classes":
                sampler = RareClassSampler(pixels_by_image(source, segmenter.n_classes), seed=seed)
            self._source = SourceBatches(source, segmenter, **shared, sampler=sampler)
        self._target = TargetBatches(target, **shared, probabilities=probabilities, taught=taught)
        self._labelled = None
        if labelled is not None and "labels" in needs:
            self._labelled = SourceBatches(labelled, segmenter, **shared, stream=LABELLED_STREAM)
        learned_from = source if source is not None else labelled
        self.counted = np.zeros(segmenter.n_classes, dtype=np.int64)
        self.shown = np.ones(segmenter.n_classes, dtype=np.bool_)
        if learned_from is not None:
            self.counted = class_pixels(learned_from, segmenter.n_classes)
        if source is not None:
            self.shown = shown_classes(source, self.counted)
        self._source_shift = None
        if settings.domain_means and source is not None:
            self._source_shift = _separate_means(segmenter, source, target)

    @property
    def readings(self) -> Sequence[ReadingAhead]:
        """What reads the images."""
        sets = (self._source, self._target, self._labelled)
        found = [each.reading for each in sets if each is not None]
        taught = self._target.reading_taught
        return found if taught is None else [*found, taught]

    def images_of(self, size: int) -> int:
        """How many images a batch has, of so many of each domain; other looks do not count."""
        labelled = 0 if self._labelled is None else _labelled_beside(size)
        return size * (1 if self._source is None else 2) + labelled

    def batch(self, number: int, size: int) -> Batch:
        """The batch of that number, of so many images of each domain."""
        source, labels = self._nothing, self._nothing[:, 0].long()
        if self._source is not None:
            source, labels = self._source.batch(number, size)
        if self._source_shift is not None:
            source = source + self._source_shift
        target, prior, ignored = self._target.batch(number, size)
        partner = self._target.partner(number, size) if self._paired else None
        labelled = None
        if self._labelled is not None:
            labelled = self._labelled.batch(number, _labelled_beside(size))
        keys = {"target": tuple(self._target.keys(number, size))}
        if self._source is not None:
            keys["source"] = tuple(self._source.keys(number, size))
        taught = self._target.taught(number, size)
        return Batch(source, labels, target, prior, ignored, partner, labelled, keys, taught)


def _labelled_beside(size: int) -> int:
    """Half as many: they are few, and a step is to cost little more than without them."""
    return max(1, size // 2)


def _check(
    source: LabelledImages | None,
    target: TargetImages,
    labelled: LabelledImages | None,
    needs: set[Need],
    settings: AdaptationSettings,
) -> None:
    if source is not None:
        check_source(source)
    elif "source" in needs:
        raise ValueError("the recipe trains on a source set, and there is none")
    elif settings.label_shift and "grid_labels" in needs:
        raise ValueError("label_shift compares with a source set, and there is none")
    if not len(target):
        raise ValueError("the target set is empty: harvest images of the city first")
    if "partner" in needs and not isinstance(target, PairedImages):
        raise ValueError(
            "the recipe looks at both times of a place, and the target set has no pairs of images"
        )
    if "labels" in needs and (labelled is None or not len(labelled)):
        raise ValueError("the recipe learns from labels of the target, and there are none")


def _separate_means(segmenter: Segmenter, source: LabelledImages, target: TargetImages) -> Tensor:
    """Moves the input mean by what the two sets' means differ; returns that shift.

    The network's own constant need not be its source's mean (it is ImageNet's, or a half), so the
    difference is measured on both sets. Source images are shifted with it, and so are normalised as
    they always were.
    """
    shift = torch.tensor(mean_colour(target) - mean_colour(source), dtype=torch.float32)
    shift = shift.to(segmenter.input_mean.device).reshape(1, 3, 1, 1)
    segmenter.input_mean.add_(shift)
    return shift
