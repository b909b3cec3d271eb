"""L_task on source images (eq. 1); its equation is that of `task_loss`."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from crosscity.adaptation.objectives.base import (
    Need,
    Objective,
    Surroundings,
    View,
    upsampled_logits,
)
from crosscity.adaptation.task_loss import task_loss


class SourceTask(Objective):
    """Cross-entropy of source images against their labels."""

    name = "source_task"
    needs: ClassVar[frozenset[Need]] = frozenset({"source"})
    rows = ("task_loss",)

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._class_weights = surroundings.class_weights

    def loss(self, view: View) -> Tensor:
        """L_task, with the class weights of the pre-training."""
        labels = view.batch.labels
        loss = task_loss(
            upsampled_logits(self.segmenter, view.source_features, labels),
            labels,
            self._class_weights,
            balanced_predictions=self.settings.balanced_predictions,
        )
        self.record("task_loss", loss)
        return loss
