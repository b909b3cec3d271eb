"""How well a segmenter does at home: its mIoU on validation images, by every rule of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crosscity.adaptation.image_sets import LabelledImages, check_labels
from crosscity.evaluation.confusion import ConfusionMatrix
from crosscity.segmenters import RULES, Rule, Segmenter, evaluating, image_tensor, rule_offsets


@dataclass(frozen=True)
class HomeScore:
    """What a look at the validation images gave.

    Attributes:
        miou: In [0, 1], by rule, over the classes that the labels show.
        counts: Confusion matrix (C, C) by rule; rows are the truth.
    """

    miou: dict[Rule, float]
    counts: dict[Rule, npt.NDArray[np.int64]]

    @property
    def best(self) -> Rule:
        """The rule with the highest mIoU; of equal ones the plainest."""
        return max(RULES, key=lambda rule: self.miou[rule])


class HomeValidation:
    """Scores a segmenter on validation images of its source.

    Args:
        images: The images; all are read each time.
        class_pixels: (C,) of the source's training images, which the rules weigh classes by.
        balance: Exponent of the class weights.
        network_is_weighted: See `rule_offsets`.

    Raises:
        ValueError: There is no image.
    """

    def __init__(
        self,
        images: LabelledImages,
        class_pixels: npt.NDArray[np.int64],
        balance: float,
        *,
        network_is_weighted: bool,
    ) -> None:
        if not len(images):
            raise ValueError("there is no validation image of the source to look at")
        self._images = images
        self.offsets: dict[Rule, tuple[float, ...]] = {
            rule: rule_offsets(rule, class_pixels, balance, network_is_weighted=network_is_weighted)
            for rule in RULES
        }

    def look(self, segmenter: Segmenter) -> HomeScore:
        """The scores of a segmenter, by every rule from one prediction of each image."""
        return self._score_rules(segmenter, RULES)

    def miou(self, segmenter: Segmenter, rule: Rule) -> float:
        """The mIoU by one rule, in [0, 1]."""
        return self._score_rules(segmenter, (rule,)).miou[rule]

    @torch.no_grad()
    def _score_rules(self, segmenter: Segmenter, rules: Sequence[Rule]) -> HomeScore:
        device = segmenter.input_mean.device
        matrices = {rule: ConfusionMatrix(segmenter.n_classes, device) for rule in rules}
        offsets = {
            rule: torch.tensor(self.offsets[rule], device=device).reshape(1, -1, 1, 1)
            for rule in rules
        }
        with evaluating(segmenter):
            for index in range(len(self._images)):
                pictures, labels = self._images.images([index]), self._images.labels([index])
                check_labels(pictures, labels, [index], segmenter.n_classes)
                truth = torch.from_numpy(labels).to(device)
                logits = segmenter(image_tensor(pictures, device)).float()
                for rule in rules:
                    predicted = (logits + offsets[rule]).argmax(1).to(torch.uint8)
                    matrices[rule].add(truth, predicted)
        counts = {rule: matrix.counts() for rule, matrix in matrices.items()}
        return HomeScore({rule: mean_iou(found) for rule, found in counts.items()}, counts)


def mean_iou(counts: npt.NDArray[np.int64]) -> float:
    """Mean IoU of a (C, C) confusion matrix over the classes that its rows show; 0 if none."""
    shown = counts.sum(1) > 0
    right = np.diagonal(counts)
    union = counts.sum(1) + counts.sum(0) - right
    return float((right[shown] / union[shown]).mean()) if shown.any() else 0.0
