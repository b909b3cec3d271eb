"""Training on labels: the source segmenter, and the fine-tuned upper bound."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from crosscity.adaptation.batches import SourceBatches
from crosscity.adaptation.image_sets import LabelledImages
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.settings import (
    FineTuningSettings,
    PretrainingSettings,
    SupervisedSettings,
)
from crosscity.adaptation.task_loss import class_weights, task_loss
from crosscity.adaptation.training import (
    Row,
    Training,
    check_source,
    freeze_batch_norm,
    set_learning_rate,
)
from crosscity.segmenters import Segmenter


class SupervisedTraining(Training):
    """Minimises L_task on labelled images.

    Args:
        segmenter: Is trained in place.
        source: The labelled images.
        settings: Of the training.
        seed: Fixes order, augmentation and dropout.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: SupervisedSettings,
        seed: int,
    ) -> None:
        check_source(source)
        super().__init__(segmenter, settings, seed)
        self.settings = settings
        self._source = SourceBatches(
            source, segmenter, seed=seed, flip=settings.flip, smallest_crop=settings.smallest_crop
        )
        weights = class_weights(source, segmenter.n_classes, settings.class_balance)
        self._class_weights = None if weights is None else weights.to(self.device)
        self._optimiser = _optimiser(segmenter, settings)

    def _optimisers(self) -> dict[str, Optimizer]:
        return {"segmenter": self._optimiser}

    def _update(self) -> Row:
        learning_rate = self.settings.learning_rate * learning_rate_factor(
            self.step,
            self.total_steps,
            schedule=self.settings.schedule,
            warm_up=self.settings.warm_up,
        )
        set_learning_rate(self._optimiser, learning_rate)
        self.segmenter.train()
        if self.settings.freeze_batch_norm:
            freeze_batch_norm(self.segmenter)
        images, labels = self._source.batch(self.step, self.settings.batch_size)
        logits = self.segmenter(images)
        loss = task_loss(logits, labels, self._class_weights)
        value = self._finite("task loss", loss)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return {
            "task_loss": value,
            "task_accuracy": pixel_accuracy(logits, labels),
            "learning_rate": learning_rate,
            "warning": "",
        }


class Pretraining(SupervisedTraining):
    """Trains the source segmenter."""

    kind: ClassVar[str] = "pretraining"

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: PretrainingSettings,
        seed: int,
    ) -> None:
        super().__init__(segmenter, source, settings, seed)


class FineTuning(SupervisedTraining):
    """Trains a segmenter further on labels of the target city: what adaptation does without."""

    kind: ClassVar[str] = "fine_tuning"

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: FineTuningSettings,
        seed: int,
    ) -> None:
        super().__init__(segmenter, source, settings, seed)


def pixel_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the labelled pixels that are classified right, in [0, 1]; NaN-free: 0 if none."""
    known = labels < logits.shape[1]
    right = (logits.detach().argmax(1) == labels) & known
    return float(right.sum() / known.sum().clamp_min(1))


def _optimiser(segmenter: nn.Module, settings: SupervisedSettings) -> Optimizer:
    parameters = list(segmenter.parameters())
    if settings.optimiser == "sgd":
        return SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
