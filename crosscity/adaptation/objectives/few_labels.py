"""Labels of a few places of the target, learned beside everything else.

    L_few = L_task on a batch of the labelled places

They are drawn as the source's images are: each as often, in an order of the seed.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from crosscity.adaptation.objectives.base import Need, Objective, Surroundings, View
from crosscity.adaptation.task_loss import task_loss


class FewLabels(Objective):
    """Cross-entropy of labelled target images, with the class weights of the source."""

    name = "few_labels"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    rows = ("few_labels_loss",)

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._class_weights = surroundings.class_weights

    def loss(self, view: View) -> Tensor:
        """L_few."""
        labelled = view.batch.labelled
        assert labelled is not None  # noqa: S101 - it is among the needs
        images, labels = labelled
        loss = task_loss(
            self.segmenter(images),
            labels,
            self._class_weights,
            balanced_predictions=self.settings.balanced_predictions,
        )
        self.record("few_labels_loss", loss)
        return loss
