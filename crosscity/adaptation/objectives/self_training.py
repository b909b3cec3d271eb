"""Self-training: target images are labelled by what is predicted of them.

    L_self = - Σ_i log softmax(z_i)_{ŷ_i} / |I|,  ŷ_i = argmax_c φ^c_i, over pixels not ignored

φ is the teacher's where there is one, refined by the static prior where the recipe says so.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from crosscity.adaptation.objectives.base import Need, Objective, View, upsampled_logits
from crosscity.adaptation.task_loss import task_loss
from crosscity.labels import VOID


class SelfTraining(Objective):
    """Cross-entropy of target images against predicted labels.

    All pixels count alike: the weights of rare classes would multiply what is predicted wrongly of
    them.
    """

    name = "self_training"
    needs: ClassVar[frozenset[Need]] = frozenset({"target", "predictions"})
    rows = ("self_training_loss",)

    def prepare(self, view: View) -> Tensor:
        """ŷ, B×H×W; void where pixels are ignored."""
        assert view.predictions is not None  # noqa: S101 - it is among the needs
        predicted = view.predictions.argmax(1)
        if view.batch.ignored is None:
            return predicted
        return predicted.masked_fill(view.batch.ignored, VOID)

    def loss(self, view: View) -> Tensor:
        """L_self."""
        predicted: Tensor = view.prepared[self.name]
        logits = upsampled_logits(self.segmenter, view.target_features, predicted)
        loss = task_loss(logits, predicted, None)
        self.record("self_training_loss", loss)
        return loss
