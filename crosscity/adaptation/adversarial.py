"""Adapting a segmenter to a city without labels (paper, Sec. 4)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from crosscity.adaptation.batches import ReadingAhead, SourceBatches, TargetBatches
from crosscity.adaptation.class_alignment import (
    class_accuracy,
    class_discriminator_loss,
    class_inverse_loss,
)
from crosscity.adaptation.collapse import CollapseWatch
from crosscity.adaptation.discriminators import ClassDiscriminators, GlobalDiscriminator
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.global_alignment import (
    global_accuracy,
    global_discriminator_loss,
    global_inverse_loss,
)
from crosscity.adaptation.grid_labels import (
    normalise_over_cells,
    source_grid_labels,
    target_grid_labels,
)
from crosscity.adaptation.image_sets import LabelledImages, TargetImages, check_priors
from crosscity.adaptation.label_shift import class_ratios, class_shares, source_cell_weights
from crosscity.adaptation.prior_refinement import refine_by_prior, static_class_indices
from crosscity.adaptation.sampling import INITIALISATION_STREAM
from crosscity.adaptation.schedule import learning_rate_factor, ramp
from crosscity.adaptation.settings import ARMS_WITH_PRIOR, AdaptationSettings
from crosscity.adaptation.task_loss import (
    class_pixels,
    class_weights,
    missing_classes,
    shown_classes,
    task_loss,
)
from crosscity.adaptation.training import (
    CollapsedError,
    Row,
    Training,
    batch_norms,
    check_source,
    freeze_batch_norm,
    set_learning_rate,
)
from crosscity.segmenters import Segmenter, evaluating, image_tensor, seeded_randomness

_IMAGES_OF_A_MEAN = 200
_DISCRIMINATING = ("ga", "ga_ca", "full", "self_training")
_CLASS_WISE = ("ga_ca", "full", "self_training")


@dataclass(frozen=True)
class _Batch:
    source: Tensor
    labels: Tensor
    target: Tensor
    prior: Tensor


@dataclass(frozen=True)
class _View:
    """What the network makes of a batch, and what the losses need beside it.

    In an arm without discriminators the target is not looked at, and its features are empty; the
    weights of the class-wise losses are there while classes are aligned, those of the global ones
    where the label shift is made up for, and predicted labels where they are trained on.
    """

    batch: _Batch
    source_features: Tensor
    target_features: Tensor
    weights: tuple[Tensor, Tensor] | None = None
    shift_weights: Tensor | None = None
    predicted: Tensor | None = None


class Adaptation(Training):
    """Adapts a pre-trained segmenter with labelled source and unlabelled target images.

    A step lets the discriminators tell the domains apart (eq. 4 and 9), then moves the features so
    that these discriminators err (eq. 5 and 10) while the source stays segmented (eq. 1). The two
    are separate minimisations (eq. 3 and 11); no gradient is reversed.

    Args:
        segmenter: A pre-trained segmenter; is adapted in place.
        source: Labelled images.
        target: Images of the city, with static priors.
        settings: Arm, steps and weights.
        seed: Fixes order, augmentation, dropout and the discriminators' first weights.
        engine: See `Training`.
        readers: Threads that read images ahead; 0 reads them in between.

    Raises:
        ValueError: An empty set; a segmenter without batch norm for the arm "bn".
    """

    kind: ClassVar[str] = "adaptation"
    settings: AdaptationSettings

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        target: TargetImages,
        settings: AdaptationSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
    ) -> None:
        check_source(source)
        if not len(target):
            raise ValueError("the target set is empty: harvest images of the city first")
        if settings.arm == "bn" and not batch_norms(segmenter):
            raise ValueError(
                f"the segmenter {segmenter.architecture!r} has no batch norm, so the arm 'bn' has "
                "nothing to estimate"
            )
        super().__init__(segmenter, settings, seed, engine)
        self.settings = settings
        self._batches_of(source, target, readers)
        counted = class_pixels(source, segmenter.n_classes)
        shown = shown_classes(source, counted)
        self._remarks = missing_classes(shown, segmenter.class_names, "source")
        # A class that the source never shows has nothing to be aligned with.
        self._in_source = torch.from_numpy(shown).to(self.device).reshape(1, -1, 1, 1)
        weights = class_weights(counted, settings.class_balance)
        self._class_weights = None if weights is None else weights.to(self.device)
        self._static_classes = static_class_indices(segmenter.class_names)
        self._source_shift = self._separate_means(source, target) if settings.domain_means else None
        self._make_discriminators()
        self._teacher = self._copied() if self._needs_teacher else None
        self._ratios = self._class_ratios(counted, target) if self._weighs_shift else None
        self._optimiser = _adam(segmenter, settings.learning_rate, settings)
        self._watch = CollapseWatch()
        self._drops = _drops_features(segmenter)
        if settings.arm == "bn":
            _forget_statistics(segmenter)

    def _batches_of(self, source: LabelledImages, target: TargetImages, readers: int) -> None:
        shared: dict[str, Any] = {
            "seed": self.seed,
            "flip": self.settings.flip,
            "device": self.device,
            "threads": readers,
            "stride": self.engine.ranks,
        }
        self._source = SourceBatches(source, self.segmenter, **shared)
        self._target = TargetBatches(target, **shared)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Classes that the source set has no pixel of."""
        return self._remarks

    @property
    def images_a_step(self) -> int:
        """Images that go through the network in one step: of both domains."""
        return 2 * super().images_a_step

    def _readings(self) -> Sequence[ReadingAhead]:
        return (self._source.reading, self._target.reading)

    def _make_discriminators(self) -> None:
        settings, n_features = self.settings, self.segmenter.n_features
        self._global: GlobalDiscriminator | None = None
        self._class_wise: ClassDiscriminators | None = None
        hidden, dropout = settings.discriminator_hidden, settings.discriminator_dropout
        with seeded_randomness(self.seed, INITIALISATION_STREAM):
            if settings.arm in _DISCRIMINATING:
                self._global = GlobalDiscriminator(n_features, hidden, dropout).to(self.device)
                rate = settings.learning_rate * settings.global_discriminator_rate
                self._global_optimiser = _adam(self._global, rate, settings)
            if settings.arm in _CLASS_WISE:
                self._class_wise = ClassDiscriminators(
                    n_features, self.segmenter.n_classes, hidden, dropout
                ).to(self.device)
                rate = settings.learning_rate * settings.class_discriminator_rate
                self._class_optimiser = _adam(self._class_wise, rate, settings)

    @property
    def _needs_teacher(self) -> bool:
        return self._class_wise is not None and self.settings.teacher_momentum > 0

    @property
    def _weighs_shift(self) -> bool:
        return self._global is not None and self.settings.label_shift

    def _copied(self) -> Segmenter:
        teacher = copy.deepcopy(self.segmenter).eval()
        teacher.requires_grad_(False)
        return teacher

    def _class_ratios(self, counted: npt.NDArray[np.int64], target: TargetImages) -> Tensor:
        """How much more often the classes occur in the target, as the segmenter sees it now."""
        indices = _spread_indices(len(target), _IMAGES_OF_A_MEAN)
        predictions = (self._first_prediction(target, index) for index in indices)
        shares = class_shares(predictions, self.segmenter.n_classes)
        source_shares = torch.from_numpy(counted / max(1, counted.sum())).float()
        return class_ratios(shares, source_shares).to(self.device)

    @torch.no_grad()
    def _first_prediction(self, target: TargetImages, index: int) -> Tensor:
        """φ of one target image, refined where the arm has priors."""
        pictures, prior = target.images([index]), target.priors([index])
        check_priors(pictures, prior, [index])
        with evaluating(self.segmenter), self.engine.autocast():
            logits = self.segmenter(image_tensor(pictures, self.device))
        phi = functional.softmax(logits.float(), dim=1)
        if self.settings.arm in ARMS_WITH_PRIOR:
            static = torch.from_numpy(prior).to(self.device)
            phi = refine_by_prior(phi, static, self._static_classes)
        return phi

    def _separate_means(self, source: LabelledImages, target: TargetImages) -> Tensor:
        """Moves the input mean by what the two sets' means differ; returns that shift.

        The network's own constant need not be its source's mean (it is ImageNet's, or a half), so
        the difference is measured on both sets. Source images are shifted with it, and so are
        normalised as they always were.
        """
        shift = torch.tensor(_mean_colour(target) - _mean_colour(source), dtype=torch.float32)
        shift = shift.to(self.device).reshape(1, 3, 1, 1)
        self.segmenter.input_mean.add_(shift)
        return shift

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"segmenter": self.segmenter}
        if self._global is not None:
            modules["global_discriminator"] = self._global
        if self._class_wise is not None:
            modules["class_discriminators"] = self._class_wise
        if self._teacher is not None:
            modules["teacher"] = self._teacher
        return modules

    def _optimisers(self) -> dict[str, Optimizer]:
        optimisers: dict[str, Optimizer] = {"segmenter": self._optimiser}
        if self._global is not None:
            optimisers["global_discriminator"] = self._global_optimiser
        if self._class_wise is not None:
            optimisers["class_discriminators"] = self._class_optimiser
        return optimisers

    def _notes(self) -> dict[str, Any]:
        return self._watch.notes()

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:
        self._watch.restore(notes)

    def _update(self) -> Row:
        if self.settings.arm == "bn":
            return self._estimate_statistics()
        set_learning_rate(self._optimiser, self._learning_rate)
        self.segmenter.train()
        # The statistics of mixed or alternating domains would move under the discriminators.
        freeze_batch_norm(self.segmenter)
        row = self._empty_row()
        batches = list(self._batches())
        # One batch is seen once; of several, only one at a time keeps its graph in memory.
        shared = list(self._views(batches, gradient=True)) if len(batches) == 1 else None
        self._discriminator_step(shared or self._views(batches, gradient=False))
        self._feature_step(shared or self._views(batches, gradient=True), row)
        row["warning"] = self._watch.look(row)
        if row["warning"] and self.settings.on_collapse == "stop" and not self._trial:
            raise CollapsedError(
                f"the adaptation has collapsed by step {self.step}: {row['warning']} over the last "
                "20 steps; lower the discriminators' learning rate or the λ, begin from a better "
                "segmenter, or set on_collapse: warn to train on"
            )
        return row

    def _batches(self) -> Iterator[_Batch]:
        size = self.settings.batch_size
        for number in self._numbers():
            source, labels = self._source.batch(number, size)
            if self._source_shift is not None:
                source = source + self._source_shift
            target, prior = self._target.batch(number, size)
            yield _Batch(source, labels, target, prior)

    def _views(self, batches: list[_Batch], *, gradient: bool) -> Iterator[_View]:
        for batch in batches:
            with torch.set_grad_enabled(gradient), self.engine.autocast():
                view = self._view(batch)
            yield view

    def _view(self, batch: _Batch) -> _View:
        source_features = self.segmenter.features(batch.source)
        if self._global is None:
            return _View(batch, source_features, source_features[:0])
        target_features = self.segmenter.features(batch.target)
        if self._ratios is None and not self._uses_predictions:
            return _View(batch, source_features, target_features)
        source_labels = source_grid_labels(
            batch.labels, self.segmenter.n_classes, _size(source_features)
        )
        shift = None if self._ratios is None else source_cell_weights(source_labels, self._ratios)
        if not self._uses_predictions:
            return _View(batch, source_features, target_features, None, shift)
        phi = self._pseudo_labels(batch, target_features)
        weights = None
        if self._aligns_classes:
            target_labels = target_grid_labels(phi, _size(target_features), self.settings.phi_floor)
            target_labels = target_labels * self._in_source
            weights = (normalise_over_cells(source_labels), normalise_over_cells(target_labels))
        predicted = phi.argmax(1) if self._trains_on_predictions else None
        return _View(batch, source_features, target_features, weights, shift, predicted)

    @property
    def _aligns_classes(self) -> bool:
        begin = self.settings.ca_start * self.total_steps
        return self._class_wise is not None and self.step >= begin

    @property
    def _trains_on_predictions(self) -> bool:
        return self.settings.arm == "self_training"

    @property
    def _uses_predictions(self) -> bool:
        return self._aligns_classes or self._trains_on_predictions

    @torch.no_grad()
    def _pseudo_labels(self, batch: _Batch, target_features: Tensor) -> Tensor:
        """φ of the target images, refined by the prior in the arms that have one."""
        height, width = batch.target.shape[-2:]
        if self._teacher is not None:
            logits = self._teacher.classify(self._teacher.features(batch.target))
        else:
            features = target_features.detach()
            with evaluating(self.segmenter):  # no dropout in what counts as a label
                if self._drops:
                    features = self.segmenter.features(batch.target)
                logits = self.segmenter.classify(features)
        phi = functional.softmax(self.segmenter.upsample(logits, (height, width)).float(), dim=1)
        if self.settings.arm in ARMS_WITH_PRIOR:
            phi = refine_by_prior(phi, batch.prior, self._static_classes)
        return phi

    def _discriminator_step(self, views: Iterable[_View]) -> None:
        """Lets the discriminators tell the domains apart (eq. 4 and 9); the features stay."""
        if self._global is None:
            return
        moved: list[tuple[Optimizer, nn.Module]] = [(self._global_optimiser, self._global)]
        if self._class_wise is not None and self._aligns_classes:
            moved.append((self._class_optimiser, self._class_wise))
        for optimiser, _ in moved:
            self._zero(optimiser)
        for view in views:
            with self.engine.autocast():
                loss = self._discriminator_loss(self._global, view)
            self._backward(loss)
        for optimiser, module in moved:
            self._move(optimiser, module)

    def _discriminator_loss(self, global_discriminator: GlobalDiscriminator, view: _View) -> Tensor:
        """L_G^D (eq. 4), and L_class^D (eq. 9) while classes are aligned."""
        source, target = view.source_features.detach(), view.target_features.detach()
        logits = (global_discriminator(source).float(), global_discriminator(target).float())
        loss = global_discriminator_loss(*logits, view.shift_weights)
        self._record("global_discriminator_loss", loss)
        self._record("global_accuracy", global_accuracy(*logits, view.shift_weights))
        if self._class_wise is None or view.weights is None:
            return loss
        logits = _class_logits(self._class_wise, (source, target), view.weights)
        reduction = self.settings.class_reduction
        class_loss = class_discriminator_loss(*logits, *view.weights, reduction)
        self._record("class_discriminator_loss", class_loss)
        self._record("class_accuracy", class_accuracy(*logits, *view.weights))
        return loss + class_loss

    def _feature_step(self, views: Iterable[_View], row: Row) -> None:
        """Moves the segmenter by the one summed loss of eq. 1; the discriminators stay."""
        self._zero(self._optimiser)
        for view in views:
            with self.engine.autocast():
                loss = self._feature_loss(view, row)
            self._backward(loss)
        self._settle(row)
        self._move(self._optimiser, self.segmenter)
        if self._teacher is not None and not self._trial:
            _follow(self._teacher, self.segmenter, self.settings.teacher_momentum)

    def _feature_loss(self, view: _View, row: Row) -> Tensor:
        """L_task + λ_G L_G^Dinv + λ_class L_class^Dinv (eq. 1), and λ_self L_self."""
        height, width = view.batch.labels.shape[-2:]
        logits = self.segmenter.classify(view.source_features)
        upsampled = self.segmenter.upsample(logits, (height, width))
        loss = task_loss(
            upsampled,
            view.batch.labels,
            self._class_weights,
            balanced_predictions=self.settings.balanced_predictions,
        )
        self._record("task_loss", loss)
        if self._global is not None:
            loss = loss + row["lambda_global"] * self._global_loss(self._global, view)
        if self._class_wise is not None and view.weights is not None:
            class_loss = self._class_loss(self._class_wise, view, view.weights)
            loss = loss + row["lambda_class"] * class_loss
        if view.predicted is not None:
            loss = loss + row["lambda_self"] * self._self_training_loss(view, view.predicted)
        self._record("total_loss", loss)
        return loss

    def _self_training_loss(self, view: _View, predicted: Tensor) -> Tensor:
        """Cross-entropy of target images against predicted labels.

        All pixels count alike: the weights of rare classes would multiply what is predicted
        wrongly of them.
        """
        height, width = predicted.shape[-2:]
        logits = self.segmenter.classify(view.target_features)
        loss = task_loss(self.segmenter.upsample(logits, (height, width)), predicted, None)
        self._record("self_training_loss", loss)
        return loss

    def _global_loss(self, discriminator: GlobalDiscriminator, view: _View) -> Tensor:
        """L_G^Dinv (eq. 5)."""
        with _fixed(discriminator):
            logits = (discriminator(view.source_features), discriminator(view.target_features))
        source, target = (values.float() for values in logits)
        loss = global_inverse_loss(source, target, view.shift_weights)
        self._record("global_inverse_loss", loss)
        return loss

    def _class_loss(
        self,
        discriminators: ClassDiscriminators,
        view: _View,
        weights: tuple[Tensor, Tensor],
    ) -> Tensor:
        """L_class^Dinv (eq. 10), or what the settings put in its place."""
        with _fixed(discriminators):
            domains = (view.source_features, view.target_features)
            logits = _class_logits(discriminators, domains, weights)
        reduction = self.settings.class_reduction
        loss = class_inverse_loss(*logits, *weights, reduction)
        self._record("class_inverse_loss", loss)
        if self.settings.class_feature_loss == "confusion":
            loss = (loss + class_discriminator_loss(*logits, *weights, reduction)) / 2
        return loss

    def _empty_row(self) -> Row:
        settings = self.settings
        row: Row = {"task_loss": None, "total_loss": None}
        if self._global is not None:
            steepness = settings.ramp_steepness
            rise = ramp(self.step, self.total_steps, steepness=steepness)
            row |= {
                "lambda_global": settings.lambda_global * rise,
                "global_discriminator_loss": None,
                "global_inverse_loss": None,
                "global_accuracy": None,
            }
        if self._class_wise is not None:
            rise = ramp(
                self.step,
                self.total_steps,
                steepness=settings.ramp_steepness,
                start=settings.ca_start,
            )
            row |= {
                "lambda_class": settings.lambda_class * rise,
                "class_discriminator_loss": None,
                "class_inverse_loss": None,
                "class_accuracy": None,
            }
        if self._trains_on_predictions:
            rise = ramp(self.step, self.total_steps, steepness=settings.ramp_steepness)
            row |= {"lambda_self": settings.lambda_self * rise, "self_training_loss": None}
        return {**row, "learning_rate": self._learning_rate, "warning": ""}

    @property
    def _learning_rate(self) -> float:
        factor = learning_rate_factor(
            self.step, self.total_steps, schedule=self.settings.schedule, warm_up=0.0
        )
        return self.settings.learning_rate * factor

    def _backward(self, loss: Tensor) -> None:
        self.engine.backward(loss / self.settings.accumulation)

    @torch.no_grad()
    def _estimate_statistics(self) -> Row:
        """The arm "bn": one forward pass, half source, half target; nothing is trained."""
        self.segmenter.eval()
        layers = batch_norms(self.segmenter)
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.train()
            layer.momentum = None  # the mean over all batches
        for batch in self._batches():
            target = batch.target
            if target.shape[-2:] != batch.source.shape[-2:]:
                target = functional.interpolate(
                    target, size=batch.source.shape[-2:], mode="bilinear", align_corners=False
                )
            with self.engine.autocast():
                features = self.segmenter.features(torch.cat([batch.source, target]))
                self.segmenter.classify(features)  # a head may have batch norm too
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
        return {"learning_rate": 0.0, "warning": ""}


@contextmanager
def _fixed(module: nn.Module) -> Iterator[None]:
    """Inside, a module's parameters get no gradient, but pass on that of their input."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _class_logits(
    discriminators: ClassDiscriminators,
    domains: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Logits of both domains; only those that a loss gives weight to count."""
    source, target = (
        discriminators(features, weight > 0).float()
        for features, weight in zip(domains, weights, strict=True)
    )
    return source, target


def _adam(module: nn.Module, learning_rate: float, settings: AdaptationSettings) -> Adam:
    parameters = list(module.parameters())
    # One kernel for all parameters where there are kernels to launch.
    fused = True if parameters[0].device.type == "cuda" else None
    return Adam(parameters, lr=learning_rate, betas=settings.betas, fused=fused)


def _forget_statistics(segmenter: Segmenter) -> None:
    for layer in batch_norms(segmenter):
        layer.reset_running_stats()


def _drops_features(segmenter: Segmenter) -> bool:
    """Whether something in the network drops values while it trains (dropout, drop path, …).

    Then its features of a training step are not what it predicts with.
    """
    return any("drop" in type(module).__name__.lower() for module in segmenter.modules())


def _mean_colour(images: LabelledImages | TargetImages) -> npt.NDArray[np.float64]:
    """Mean RGB of a set in [0, 1], on up to `_IMAGES_OF_A_MEAN` images spread over it."""
    counted = _spread_indices(len(images), _IMAGES_OF_A_MEAN)
    means = [images.images([index])[0].reshape(-1, 3).mean(0) / 255 for index in counted]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _size(features: Tensor) -> tuple[int, int]:
    height, width = features.shape[-2:]
    return height, width


def _spread_indices(length: int, most: int) -> list[int]:
    """Up to so many indices, evenly spread over a set."""
    spread: list[int] = np.unique(np.linspace(0, length - 1, most).round().astype(int)).tolist()
    return spread


@torch.no_grad()
def _follow(teacher: Segmenter, segmenter: Segmenter, momentum: float) -> None:
    """Moves the teacher's weights a little towards the segmenter's."""
    for mine, its in zip(teacher.parameters(), segmenter.parameters(), strict=True):
        mine.lerp_(its, 1 - momentum)
