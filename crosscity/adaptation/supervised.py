"""Training on labels, and the fine-tuned upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from crosscity.adaptation.batches import ReadingAhead, SourceBatches
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.image_sets import LabelledImages
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.settings import (
    FineTuningSettings,
    SupervisedSettings,
)
from crosscity.adaptation.task_loss import (
    class_pixels,
    class_weights,
    missing_classes,
    shown_classes,
    task_loss,
)
from crosscity.adaptation.training import (
    HistoryRow,
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
        engine: See `Training`.
        readers: Threads that read images ahead; 0 reads them in between.
    """

    settings: SupervisedSettings

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: SupervisedSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
    ) -> None:
        check_source(source)
        super().__init__(segmenter, settings, seed, engine)
        self.settings = settings
        self._source = SourceBatches(
            source,
            segmenter,
            seed=seed,
            flip=settings.flip,
            smallest_crop=settings.smallest_crop,
            device=self.device,
            threads=readers,
            stride=self.engine.ranks,
        )
        counted = class_pixels(source, segmenter.n_classes)
        shown = shown_classes(source, counted)
        which = "target" if isinstance(settings, FineTuningSettings) else "source"
        self._remarks = missing_classes(shown, segmenter.class_names, which)
        self.class_pixels = counted
        weights = class_weights(counted, settings.class_balance)
        self._class_weights = None if weights is None else weights.to(self.device)
        self._optimiser = _optimiser(segmenter, settings)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Classes that the images have no pixel of."""
        return self._remarks

    def _readings(self) -> Sequence[ReadingAhead]:
        return (self._source.reading,)

    def _optimisers(self) -> dict[str, Optimizer]:
        return {"segmenter": self._optimiser}

    def _rate_factor(self) -> float:
        """What the learning rate is multiplied by in this step."""
        return learning_rate_factor(
            self.step,
            self.total_steps,
            schedule=self.settings.schedule,
            warm_up=self.settings.warm_up,
        )

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a batch, augmented."""
        return self._source.batch(number, self.settings.batch_size)

    def _update(self) -> HistoryRow:
        learning_rate = self.settings.learning_rate * self._rate_factor()
        set_learning_rate(self._optimiser, learning_rate)
        self.segmenter.train()
        if self.settings.freeze_batch_norm:
            freeze_batch_norm(self.segmenter)
        row: HistoryRow = {
            "task_loss": None,
            "task_accuracy": None,
            "learning_rate": learning_rate,
            "warning": "",
        }
        self._zero(self._optimiser)
        for number in self._numbers():
            images, labels = self._batch(number)
            with self.engine.autocast():
                logits = self.segmenter(images)
                loss = task_loss(
                    logits,
                    labels,
                    self._class_weights,
                    balanced_predictions=self.settings.balanced_predictions,
                )
            self._record("task_loss", loss)
            self._record("task_accuracy", pixel_accuracy(logits, labels))
            self.engine.backward(loss / self.settings.accumulation)
        self._fill_row(row)
        self._move(self._optimiser, self.segmenter)
        return row


class FineTuning(SupervisedTraining):
    """Trains a segmenter further on labels of the target city: what adaptation does without."""

    kind: ClassVar[str] = "fine_tuning"

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: FineTuningSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
    ) -> None:
        super().__init__(segmenter, source, settings, seed, engine=engine, readers=readers)


def pixel_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the labelled pixels that are classified right, in [0, 1]; NaN-free: 0 if none."""
    known = labels < logits.shape[1]
    right = (logits.detach().argmax(1) == labels) & known
    return right.sum() / known.sum().clamp_min(1)


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
