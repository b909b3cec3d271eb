"""Adapting a segmenter to a city without labels (paper, Sec. 4), by a recipe of objectives."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from crosscity.adaptation.batches import ReadingAhead, SourceBatches, TargetBatches
from crosscity.adaptation.collapse import CollapseWatch
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.grid_labels import source_grid_labels
from crosscity.adaptation.image_sets import (
    IgnoresPixels,
    LabelledImages,
    TargetImages,
    check_priors,
    ignored_pixels,
)
from crosscity.adaptation.label_shift import class_ratios, class_shares
from crosscity.adaptation.objectives import (
    Adversary,
    Batch,
    Need,
    Objective,
    Surroundings,
    View,
    find_objective,
)
from crosscity.adaptation.objectives.base import adam, checked_loss
from crosscity.adaptation.prior_refinement import refine_by_prior, static_class_indices
from crosscity.adaptation.recipes import RECIPES, Recipe, Term
from crosscity.adaptation.sampling import INITIALISATION_STREAM
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.settings import AdaptationSettings
from crosscity.adaptation.task_loss import (
    class_pixels,
    class_weights,
    missing_classes,
    shown_classes,
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


class Adaptation(Training):
    """Adapts a pre-trained segmenter with labelled source and unlabelled target images.

    A step lets the adversaries tell the domains apart (eq. 4 and 9), then moves the features so
    that these err (eq. 5 and 10) while the source stays segmented (eq. 1). The two are separate
    minimisations (eq. 3 and 11); no gradient is reversed. Which objectives there are says the
    recipe: the arm's, or one of one's own.

    Args:
        segmenter: A pre-trained segmenter; is adapted in place.
        source: Labelled images.
        target: Images of the city, with static priors. Pixels to ignore enter no loss; batch-norm
            statistics are of whole images, as the network sees them when it predicts.
        settings: Arm, steps and weights.
        seed: Fixes order, augmentation, dropout and the adversaries' first weights.
        engine: See `Training`.
        readers: Threads that read images ahead; 0 reads them in between.
        recipe: Default: that of the arm of the settings.

    Raises:
        ValueError: An empty set; statistics to estimate of a segmenter without batch norm; an
            objective that there is not.
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
        recipe: Recipe | None = None,
    ) -> None:
        check_source(source)
        if not len(target):
            raise ValueError("the target set is empty: harvest images of the city first")
        self.recipe = RECIPES[settings.arm] if recipe is None else recipe
        self._estimates = self.recipe.trainable == "statistics"
        if self._estimates and not batch_norms(segmenter):
            raise ValueError(
                f"the segmenter {segmenter.architecture!r} has no batch norm, so the arm 'bn' has "
                "nothing to estimate"
            )
        super().__init__(segmenter, settings, seed, engine)
        if recipe is not None:
            self._identity["recipe"] = repr(recipe)
        self.settings = settings
        self._batches_of(source, target, readers)
        counted = class_pixels(source, segmenter.n_classes)
        shown = shown_classes(source, counted)
        self._remarks = missing_classes(shown, segmenter.class_names, "source")
        self._static_classes = static_class_indices(segmenter.class_names)
        self._source_shift = self._separate_means(source, target) if settings.domain_means else None
        self._objectives = self._made_objectives(counted, shown, target)
        self._adversaries = {
            name: adversary
            for name, objective in self._objectives.items()
            if (adversary := objective.adversary()) is not None
        }
        self._teacher = self._copied() if self._needs_teacher else None
        self._drops = _drops_features(segmenter)
        self._optimiser = adam(segmenter, settings.learning_rate, settings)
        self._watch = CollapseWatch()
        if self._estimates:
            for layer in batch_norms(segmenter):
                layer.reset_running_stats()

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

    def _made_objectives(
        self, counted: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_], target: TargetImages
    ) -> dict[str, Objective]:
        """The recipe's objectives by the name that the recipe has for them."""
        weights = class_weights(counted, self.settings.class_balance)
        surroundings = Surroundings(
            segmenter=self.segmenter,
            settings=self.settings,
            class_weights=None if weights is None else weights.to(self.device),
            in_source=torch.from_numpy(shown).to(self.device).reshape(1, -1, 1, 1),
            class_ratios=lambda: self._class_ratios(counted, target),
            record=self._record,
        )
        with seeded_randomness(self.seed, INITIALISATION_STREAM):
            made = [find_objective(term.objective)(surroundings) for term in self.recipe.terms]
        return {objective.name: objective for objective in made}

    @property
    def _needs_teacher(self) -> bool:
        predicts = any("predictions" in each.needed() for each in self._objectives.values())
        return predicts and self.settings.teacher_momentum > 0

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
        """φ of one target image, refined where the recipe has priors."""
        pictures, prior = target.images([index]), target.priors([index])
        check_priors(pictures, prior, [index])
        with evaluating(self.segmenter), self.engine.autocast():
            logits = self.segmenter(image_tensor(pictures, self.device))
        phi = functional.softmax(logits.float(), dim=1)
        if self.recipe.uses_prior:
            static = torch.from_numpy(prior).to(self.device)
            phi = refine_by_prior(phi, static, self._static_classes)
        ignored = ignored_pixels(target, [index])
        return phi if ignored is None else _without(phi, torch.from_numpy(ignored).to(self.device))

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
        modules |= {each.name: each.network for each in self._adversaries.values()}
        if self._teacher is not None:
            modules["teacher"] = self._teacher
        return modules

    def _optimisers(self) -> dict[str, Optimizer]:
        optimisers: dict[str, Optimizer] = {"segmenter": self._optimiser}
        return optimisers | {each.name: each.optimiser for each in self._adversaries.values()}

    def _notes(self) -> dict[str, Any]:
        return self._watch.notes()

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:
        self._watch.restore(notes)

    def _update(self) -> Row:
        if self._estimates:
            return self._estimate_statistics()
        set_learning_rate(self._optimiser, self._learning_rate)
        self.segmenter.train()
        # The statistics of mixed or alternating domains would move under the adversaries.
        freeze_batch_norm(self.segmenter)
        row = self._empty_row()
        batches = list(self._batches())
        # One batch is seen once; of several, only one at a time keeps its graph in memory.
        shared = list(self._views(batches, gradient=True)) if len(batches) == 1 else None
        self._adversary_step(shared or self._views(batches, gradient=False))
        self._feature_step(shared or self._views(batches, gradient=True), row)
        row["warning"] = self._watch.look(row)
        if row["warning"] and self.settings.on_collapse == "stop" and not self._trial:
            raise CollapsedError(
                f"the adaptation has collapsed by step {self.step}: {row['warning']} over the last "
                "20 steps; lower the discriminators' learning rate or the λ, begin from a better "
                "segmenter, or set on_collapse: warn to train on"
            )
        return row

    def _batches(self) -> Iterator[Batch]:
        size = self.settings.batch_size
        for number in self._numbers():
            source, labels = self._source.batch(number, size)
            if self._source_shift is not None:
                source = source + self._source_shift
            target, prior, ignored = self._target.batch(number, size)
            yield Batch(source, labels, target, prior, ignored)

    def _active(self) -> list[tuple[Term, Objective]]:
        """The objectives that have begun, with what the recipe says of them."""
        pairs = zip(self.recipe.terms, self._objectives.values(), strict=True)
        return [(term, each) for term, each in pairs if term.is_active(self.step, self.settings)]

    def _views(self, batches: list[Batch], *, gradient: bool) -> Iterator[View]:
        for batch in batches:
            with torch.set_grad_enabled(gradient), self.engine.autocast():
                view = self._view(batch)
            yield view

    def _view(self, batch: Batch) -> View:
        active = [objective for _, objective in self._active()]
        needs: set[Need] = {need for objective in active for need in objective.needed()}
        source = self.segmenter.features(batch.source)
        target = self.segmenter.features(batch.target) if "target" in needs else source[:0]
        grid_labels = None
        if "grid_labels" in needs:
            grid = (source.shape[-2], source.shape[-1])
            grid_labels = source_grid_labels(batch.labels, self.segmenter.n_classes, grid)
        predictions = self._predictions(batch, target) if "predictions" in needs else None
        view = View(batch, source, target, grid_labels, predictions)
        for objective in active:
            view.prepared[objective.name] = objective.prepare(view)
        return view

    @torch.no_grad()
    def _predictions(self, batch: Batch, target_features: Tensor) -> Tensor:
        """φ of the target images, refined by the prior where the recipe has one."""
        if self._teacher is not None:
            logits = self._teacher.classify(self._teacher.features(batch.target))
        else:
            features = target_features.detach()
            with evaluating(self.segmenter):  # no dropout in what counts as a label
                if self._drops or not len(features):
                    features = self.segmenter.features(batch.target)
                logits = self.segmenter.classify(features)
        height, width = batch.target.shape[-2:]
        logits = self.segmenter.upsample(logits, (height, width))
        phi = functional.softmax(logits.float(), dim=1)
        if self.recipe.uses_prior:
            phi = refine_by_prior(phi, batch.prior, self._static_classes)
        return phi if batch.ignored is None else _without(phi, batch.ignored)

    def _adversary_step(self, views: Iterable[View]) -> None:
        """Lets the adversaries tell the domains apart (eq. 4 and 9); the features stay."""
        moved: list[Adversary] = [
            self._adversaries[each.name]
            for _, each in self._active()
            if each.name in self._adversaries
        ]
        if not moved:
            return
        for adversary in moved:
            self._zero(adversary.optimiser)
        for view in views:
            with self.engine.autocast():
                loss = _sum([adversary.loss(view) for adversary in moved])
            self._backward(loss)
        for adversary in moved:
            self._move(adversary.optimiser, adversary.network)

    def _feature_step(self, views: Iterable[View], row: Row) -> None:
        """Moves the segmenter by the one summed loss of eq. 1; the adversaries stay."""
        self._zero(self._optimiser)
        for view in views:
            with self.engine.autocast():
                loss = _sum([self._weighted(term, each, view) for term, each in self._active()])
            self._record("total_loss", loss)
            self._backward(loss)
        self._settle(row)
        self._move(self._optimiser, self.segmenter)
        if self._teacher is not None and not self._trial:
            _follow(self._teacher, self.segmenter, self.settings.teacher_momentum)

    def _weighted(self, term: Term, objective: Objective, view: View) -> Tensor:
        """λ_k(t) L_k."""
        loss = checked_loss(objective, objective.loss(view))
        if term.weight is None:
            return loss
        return term.weight_at(self.step, self.settings) * loss

    def _empty_row(self) -> Row:
        terms = list(zip(self.recipe.terms, self._objectives.values(), strict=True))
        row: Row = {name: None for term, o in terms if term.weight is None for name in o.rows}
        row["total_loss"] = None
        for term, objective in terms:
            if term.weight is not None:
                row[term.column] = term.weight_at(self.step, self.settings)
                row |= dict.fromkeys(objective.rows)
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
        """One forward pass, half source, half target; nothing is trained."""
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


def _sum(losses: Sequence[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


def _without(phi: Tensor, ignored: Tensor) -> Tensor:
    """φ, B×C×H×W, of no class where pixels are ignored, B×H×W."""
    return phi.masked_fill(ignored.unsqueeze(1), 0.0)


def _drops_features(segmenter: Segmenter) -> bool:
    """Whether something in the network drops values while it trains (dropout, drop path, …).

    Then its features of a training step are not what it predicts with.
    """
    return any("drop" in type(module).__name__.lower() for module in segmenter.modules())


def _mean_colour(images: LabelledImages | TargetImages) -> npt.NDArray[np.float64]:
    """Mean RGB of a set in [0, 1], on up to `_IMAGES_OF_A_MEAN` images spread over it."""
    counted = _spread_indices(len(images), _IMAGES_OF_A_MEAN)
    means = [_mean_of(images, index) for index in counted]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _mean_of(images: LabelledImages | TargetImages, index: int) -> npt.NDArray[np.float64]:
    """Mean RGB of an image in [0, 1], without pixels to ignore."""
    pixels = images.images([index])[0].reshape(-1, 3)
    ignored = images.ignored([index]) if isinstance(images, IgnoresPixels) else None
    if ignored is not None and not ignored.all():
        pixels = pixels[~ignored[0].ravel()]
    return np.asarray(pixels.mean(0) / 255, dtype=np.float64)


def _spread_indices(length: int, most: int) -> list[int]:
    """Up to so many indices, evenly spread over a set."""
    spread: list[int] = np.unique(np.linspace(0, length - 1, most).round().astype(int)).tolist()
    return spread


@torch.no_grad()
def _follow(teacher: Segmenter, segmenter: Segmenter, momentum: float) -> None:
    """Moves the teacher's weights a little towards the segmenter's."""
    for mine, its in zip(teacher.parameters(), segmenter.parameters(), strict=True):
        mine.lerp_(its, 1 - momentum)
