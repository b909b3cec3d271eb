"""Adapting a segmenter to images alone: no source image, no label.

A slow teacher predicts the target's images; the student learns these labels under other lights,
crops and mixtures; the teacher follows the student. What is delivered is the mean of start and
teacher (or the teacher), which has seen many students, and not the last student.

    labels      y = argmax p, p = softmax of the teacher on the image as it is; with `looks` fused
                with what it sees at other times of the place (`objectives.two_looks`)
    weights     w = max p where it is among the surest of its class, or very sure
                (`ClassThresholds`), else 0
    loss        Σ w · CE(student(augmented image), y) / Σ w
    teacher     θ' ← m θ' + (1 - m) θ
    statistics  of batch norm: mixed with the target's from the start (`batch_norm_mixture`), and
                kept

Mean teacher: Tarvainen & Valpola (NeurIPS 2017). Mixing of classes: Olsson et al., *ClassMix*
(WACV 2021), here between two target images. Not in the paper, which has the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from crosscity.adaptation.augmentation import Augmentation
from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.batches import ReadingAhead, TargetBatches
from crosscity.adaptation.class_thresholds import ClassThresholds
from crosscity.adaptation.correspondence import carry
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.image_sets import PairedImages, TargetImages
from crosscity.adaptation.objectives.two_looks import fused
from crosscity.adaptation.photometric import photometric_jitter
from crosscity.adaptation.sampling import AUGMENTATION_STREAM, TARGET_STREAM
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.source_free_settings import Deliver, SourceFreeSettings
from crosscity.adaptation.teachers import fixed_copy, follow
from crosscity.adaptation.training import (
    HistoryRow,
    Training,
    batch_norms,
    freeze_batch_norm,
    set_learning_rate,
)
from crosscity.segmenters import Segmenter, image_tensor

MIXED_CLASSES: Final = (
    *("pole", "traffic light", "traffic sign", "fence", "person", "rider"),
    *("car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""Thin and moving classes: what hard labels lose first, and what may stand anywhere on a street."""
_STATISTICS_BATCH: Final = 4


@dataclass(frozen=True)
class _Lesson:
    """What the student is shown: N×3×H×W images, (N, H, W) labels and weights."""

    images: Tensor
    labels: Tensor
    weights: Tensor


class SourceFree(Training):
    """Self-training on the target's images from given weights.

    Args:
        segmenter: Has learned its classes elsewhere; is adapted in place.
        target: Images of the city; their priors are not read. Pixels to ignore are not learned.
            With `looks` they know each other (`PairedImages`).
        settings: Of the recipe.
        seed: Fixes order, augmentation and dropout.
        engine: See `Training`.
        readers: Threads that read images ahead; 0 reads them in between.

    Raises:
        ValueError: An empty set; one without pairs where both looks are asked for.
    """

    kind: ClassVar[str] = "source_free"
    settings: SourceFreeSettings  # type: ignore[assignment]

    def __init__(
        self,
        segmenter: Segmenter,
        target: TargetImages,
        settings: SourceFreeSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
    ) -> None:
        if not len(target):
            raise ValueError("the target set is empty: harvest images of the city first")
        if settings.looks and not isinstance(target, PairedImages):
            raise ValueError(
                "both looks at a place need pairs of images, and the target set has none: leave "
                "looks out"
            )
        super().__init__(segmenter, settings, seed, engine)  # type: ignore[arg-type]
        self.settings = settings
        self._target = TargetBatches(
            target,
            seed=seed,
            flip=settings.flip,
            device=self.device,
            threads=readers,
            stride=self.engine.ranks,
        )
        self._crop = Augmentation(
            flip=False, smallest_crop=settings.smallest_crop, window=settings.window
        )
        if settings.statistics and batch_norms(segmenter):
            self._mix_in(target)
        self._teacher = fixed_copy(segmenter)
        self._start = fixed_copy(segmenter)
        names = segmenter.class_names
        mixed = [names.index(name) for name in MIXED_CLASSES if name in names]
        self._mixed = torch.tensor(mixed, device=self.device)
        self._thresholds = ClassThresholds(
            segmenter.n_classes, kept=settings.kept, device=self.device
        )
        self._optimiser = AdamW(
            segmenter.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def _mix_in(self, target: TargetImages) -> None:
        """Mixes the target's batch-norm statistics into the network's."""
        most = min(self.settings.statistics_images, len(target))
        chosen = np.unique(np.linspace(0, len(target) - 1, most).round().astype(int)).tolist()

        def batches() -> Iterator[Tensor]:
            for first in range(0, len(chosen), _STATISTICS_BATCH):
                some = chosen[first : first + _STATISTICS_BATCH]
                yield image_tensor(target.images(some), self.device)

        theirs = measure_statistics(self.segmenter, batches())
        mixture = mix_statistics(statistics_of(self.segmenter), theirs, self.settings.statistics)
        set_statistics(self.segmenter, mixture)

    def _readings(self) -> Sequence[ReadingAhead]:
        return (self._target.reading,)

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"segmenter": self.segmenter, "teacher": self._teacher}
        if self._needs_start:
            modules["start"] = self._start
        return modules

    @property
    def _needs_start(self) -> bool:
        return self.settings.deliver == "averaged" or self.settings.anchor > 0

    def _optimisers(self) -> dict[str, Optimizer]:
        return {"segmenter": self._optimiser}

    def _notes(self) -> dict[str, Any]:
        values = self._thresholds.values.tolist()
        return {"thresholds": [None if value != value else value for value in values]}  # noqa: PLR0124

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:
        values = [float("nan") if each is None else each for each in notes["thresholds"]]
        self._thresholds.values = torch.tensor(values, device=self.device)

    def _update(self) -> HistoryRow:
        rate = self.settings.learning_rate * learning_rate_factor(
            self.step, self.total_steps, schedule=self.settings.schedule, warm_up=0.0
        )
        set_learning_rate(self._optimiser, rate)
        self.segmenter.train()
        freeze_batch_norm(self.segmenter)
        row: HistoryRow = {"self_training_loss": None, "kept_share": None, "learning_rate": rate}
        if self.settings.looks:
            row["two_looks_matched"] = None
        self._zero(self._optimiser)
        for number in self._numbers():
            lesson = self._lesson(number)
            with self.engine.autocast():
                logits = self.segmenter(lesson.images)
            loss = _weighted_loss(logits.float(), lesson)
            self._record("self_training_loss", loss)
            self._record("kept_share", (lesson.weights > 0).float().mean())
            if self.settings.anchor:
                loss = loss + self.settings.anchor * self._distance()
            self.engine.backward(loss / self.settings.accumulation)
        self._share_thresholds()
        self._fill_row(row)
        self._move(self._optimiser, self.segmenter)
        if not self._trial:
            follow(self._teacher, self.segmenter, self.settings.teacher_momentum)
            if self.step + 1 == self.total_steps:
                self._hand_over()
        return {**row, "warning": ""}

    def _share_thresholds(self) -> None:
        """Makes those of all processes their mean: a checkpoint has one of each."""
        if self.engine.ranks == 1:
            return
        values = self._thresholds.values
        known = ~values.isnan()
        total, share = self.engine.mean(torch.stack([values.nan_to_num(), known.float()]))
        self._thresholds.values = total / share  # NaN where no process has seen the class

    def _lesson(self, number: int) -> _Lesson:
        """Labels of the teacher, mixed, cropped and in another light."""
        images, _, ignored = self._target.batch(number, self.settings.batch_size)
        sureness, labels = self._predicted(number, images).max(1)
        kept = self._thresholds.keep(labels, sureness, ignored)
        lesson = _Lesson(images, labels, sureness * kept)
        if self.settings.mix and len(images) > 1 and len(self._mixed):
            lesson = _mixed(lesson, self._mixed)
        key = [self.seed, AUGMENTATION_STREAM, TARGET_STREAM, number, 1]
        cut, labels = self._crop(lesson.images, lesson.labels, np.random.default_rng(key))
        _, weights = self._crop(lesson.images, lesson.weights, np.random.default_rng(key))
        random = np.random.default_rng([*key, 2])
        return _Lesson(photometric_jitter(cut, random, self.settings.jitter), labels, weights)

    @torch.no_grad()
    def _predicted(self, number: int, images: Tensor) -> Tensor:
        """What labels of a batch are made of, N×C×H×W."""
        own = self._seen(images)
        if not self.settings.looks:
            return own
        partner = self._target.partner(number, self.settings.batch_size)
        # As many at once as the batch has: the memory of a step is that of its batch.
        parts = torch.split(partner.images, len(images))
        theirs = torch.cat([self._seen(part) for part in parts])
        if partner.ignored is not None:
            theirs = theirs.masked_fill(partner.ignored.unsqueeze(1), 0.0)
        carried, known = carry(theirs, partner.field)
        self._record("two_looks_matched", known.float().mean())
        return fused(own, carried, known, partner.of)

    def _seen(self, images: Tensor) -> Tensor:
        with self.engine.autocast():
            logits = self._teacher(images)
        return functional.softmax(logits.float(), dim=1)

    def _distance(self) -> Tensor:
        """Squared distance of the weights to the first ones."""
        pairs = zip(self.segmenter.parameters(), self._start.parameters(), strict=True)
        return torch.stack([((mine - first) ** 2).sum() for mine, first in pairs]).sum()

    def _hand_over(self) -> None:
        """Makes the segmenter what is delivered."""
        self.segmenter.load_state_dict(self.weights_of(self.settings.deliver))

    @torch.no_grad()
    def weights_of(self, way: Deliver) -> dict[str, Tensor]:
        """What would be delivered now; after the last step, the segmenter itself is that."""
        network = self.segmenter if way == "student" else self._teacher
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        if way == "averaged":
            # With all names of a parameter that has several: each has a copy of its own here.
            for name, first in self._start.named_parameters(remove_duplicate=False):
                weights[name].lerp_(first, 0.5)
        return weights


def _weighted_loss(logits: Tensor, lesson: _Lesson) -> Tensor:
    """Σ w CE / Σ w; 0 where nothing is kept."""
    losses = functional.cross_entropy(logits, lesson.labels, reduction="none")
    return (losses * lesson.weights).sum() / lesson.weights.sum().clamp_min(1e-6)


def _mixed(lesson: _Lesson, classes: Tensor) -> _Lesson:
    """Puts the kept pixels of these classes of each image into the next one."""
    partner = _Lesson(*(part.roll(1, 0) for part in (lesson.images, lesson.labels, lesson.weights)))
    moved = torch.isin(partner.labels, classes) & (partner.weights > 0)
    return _Lesson(
        torch.where(moved[:, None], partner.images, lesson.images),
        torch.where(moved, partner.labels, lesson.labels),
        torch.where(moved, partner.weights, lesson.weights),
    )


__all__ = ["MIXED_CLASSES", "SourceFree", "SourceFreeSettings"]
