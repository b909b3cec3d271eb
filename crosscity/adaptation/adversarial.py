"""Adapting a segmenter to a city without labels (paper, Sec. 4), by a recipe of objectives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from crosscity.adaptation.batches import ReadingAhead
from crosscity.adaptation.collapse import CollapseWatch
from crosscity.adaptation.domains import Domains
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.frozen_features import FrozenFeatures
from crosscity.adaptation.grid_labels import source_grid_labels
from crosscity.adaptation.image_sets import LabelledImages, TargetImages
from crosscity.adaptation.label_shift import class_ratios, class_shares
from crosscity.adaptation.low_rank import add_low_rank, merge_low_rank, rank_of
from crosscity.adaptation.objectives import (
    Adversary,
    Batch,
    Need,
    Objective,
    PartnerView,
    Surroundings,
    View,
    find_objective,
)
from crosscity.adaptation.objectives.base import is_foreign, its_errors, loss_of
from crosscity.adaptation.prior_evidence import checked_rates
from crosscity.adaptation.recipes import RECIPES, Recipe, Term
from crosscity.adaptation.sampling import INITIALISATION_STREAM
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.settings import AdaptationSettings
from crosscity.adaptation.spread import spread_indices
from crosscity.adaptation.statistics_estimate import estimate_statistics, reset_statistics
from crosscity.adaptation.target_predictions import TargetPredictions
from crosscity.adaptation.task_loss import class_weights, missing_classes
from crosscity.adaptation.trainable import adam_of, trainable_parameters
from crosscity.adaptation.training import (
    CollapsedError,
    DivergedError,
    HistoryRow,
    Training,
    TrainingState,
    freeze_batch_norm,
    set_learning_rate,
)
from crosscity.segmenters import Segmenter, seeded_randomness

_LOOKS_OF_TEACHER: Final[frozenset[Need]] = frozenset({"predictions", "partner"})


class Adaptation(Training):
    """Adapts a segmenter by what a recipe minimises.

    A step lets the adversaries tell the domains apart (eq. 4 and 9), then moves the features so
    that these err (eq. 5 and 10) while the source stays segmented (eq. 1). The two are separate
    minimisations (eq. 3 and 11); no gradient is reversed. The recipe says which objectives
    there are: the arm's, or one of one's own.

    Args:
        segmenter: A trained segmenter; is adapted in place.
        source: Labelled images; ``None`` where the recipe needs no source.
        target: Images of the city, with static priors.
        settings: Arm, steps and weights.
        seed: Fixes order, augmentation, dropout and the adversaries' first weights.
        engine: See `Training`.
        readers: Threads that read images ahead; 0 reads them in between.
        recipe: Default: that of the arm of the settings.
        labelled: Labelled images of the target, where the recipe learns from some.
        flag_rates: (C,) P(flagged | class), where the recipe takes the prior as evidence.
        teacher: Another segmenter that predicts in place of a slow copy; it is not changed.
        taught: The images of `target` as the teacher is shown them, where it was trained at another
            size; what it predicts comes at the target's size. Default: as the segmenter sees them.
        features: Folder in which features are kept where the head alone is trained; default: a
            temporary one.

    Raises:
        ValueError: An empty set; a set that the recipe needs and that is not given; statistics to
            estimate of a segmenter without batch norm; an objective that there is not; a teacher of
            other classes.
    """

    kind: ClassVar[str] = "adaptation"
    settings: AdaptationSettings

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages | None,
        target: TargetImages,
        settings: AdaptationSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
        recipe: Recipe | None = None,
        labelled: LabelledImages | None = None,
        flag_rates: Sequence[float] | None = None,
        teacher: Segmenter | None = None,
        taught: TargetImages | None = None,
        features: Path | None = None,
    ) -> None:
        self.recipe = RECIPES[settings.arm] if recipe is None else recipe
        needs = needs_of(self.recipe)
        super().__init__(segmenter, settings, seed, engine)
        if recipe is not None:
            self._identity["recipe"] = repr(recipe)
        self.settings = settings
        terms = self.recipe.terms
        if terms and not any(term.is_active(0, settings) for term in terms):
            raise ValueError(
                "no objective of the recipe begins with the first step, which needs one: let one "
                "start at 0"
            )
        self._domains = Domains(
            segmenter,
            source,
            target,
            labelled,
            needs=needs,
            settings=settings,
            seed=seed,
            engine=self.engine,
            readers=readers,
            sampling=self.recipe.source_sampling,
            probabilities=self.recipe.prior == "probability",
            taught=taught if teacher is not None and needs & _LOOKS_OF_TEACHER else None,
        )
        self._remarks = missing_classes(self._domains.shown, segmenter.class_names, "source")
        if source is None:
            self._remarks = ()
        rates = self._checked_rates(flag_rates)
        self._predictions = TargetPredictions(
            segmenter,
            self.engine,
            self.recipe.prior,
            rates,
            static_from=self.recipe.static_from,
            frozen=self.recipe.trainable == "head",
        )
        self._losses: dict[str, Tensor] = {}
        self._objectives = self._made_objectives()
        self._adversaries: dict[str, Adversary] = {}
        for name, objective in self._objectives.items():
            with its_errors(type(objective)):
                adversary = objective.adversary()
            if adversary is not None:
                self._adversaries[name] = adversary
        self._learns = [(one, one.requires_grad) for one in segmenter.parameters()]
        moved = self._low_rank_parts()
        self._choose_teacher(teacher, needs)
        self._watch = CollapseWatch()
        if self.recipe.estimates_statistics:
            moved = list(segmenter.parameters())
            reset_statistics(segmenter)
        elif moved is None:
            moved = trainable_parameters(segmenter, self.recipe.trainable)
        is_head = self.recipe.trainable == "head"
        self._frozen = FrozenFeatures(segmenter, features) if is_head else None
        self._optimiser = adam_of(moved, settings.learning_rate, settings.betas)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Classes that the source set has no pixel of."""
        return self._remarks

    @property
    def images_a_step(self) -> int:
        """Images that are learned from in one step, of each set that is read."""
        settings = self.settings
        of_a_batch = self._domains.images_of(settings.batch_size)
        return of_a_batch * settings.accumulation * self.engine.ranks

    def _readings(self) -> Sequence[ReadingAhead]:
        return self._domains.readings

    def _checked_rates(self, rates: Sequence[float] | None) -> Tensor | None:
        if self.recipe.prior != "evidence":
            return None
        if rates is None:
            raise ValueError(
                "the recipe takes the static prior as evidence, and nothing says how often each "
                "class is flagged: give flag_rates, measured on labelled pairs"
            )
        found = checked_rates(rates, self.segmenter.class_names)
        self._identity["flag_rates"] = [round(rate, 6) for rate in found.tolist()]
        return found

    def _low_rank_parts(self) -> list[nn.Parameter] | None:
        """Adds them to the segmenter where the recipe trains these alone; else ``None``."""
        if not self.recipe.trainable.startswith("lora"):
            return None
        with seeded_randomness(self.seed, INITIALISATION_STREAM, 1):
            parts = add_low_rank(self.segmenter, rank_of(self.recipe.trainable))
        self.segmenter.to(self.device)
        return parts

    def _choose_teacher(self, teacher: Segmenter | None, needs: set[Need]) -> None:
        """Takes a teacher, or a slow copy of the segmenter where the settings want one."""
        self._follows = False
        if not needs & _LOOKS_OF_TEACHER:
            return
        if teacher is not None:
            if teacher.class_names != self.segmenter.class_names:
                raise ValueError(
                    f"the teacher knows the classes {', '.join(teacher.class_names)}, the "
                    f"segmenter {', '.join(self.segmenter.class_names)}: take a teacher of the "
                    "same classes"
                )
            self._predictions.use_teacher(teacher)
        elif self.settings.teacher_momentum > 0:
            self._predictions.use_teacher()
            self._follows = True

    def _made_objectives(self) -> dict[str, Objective]:
        """The recipe's objectives by the name that the recipe has for them."""
        weights = class_weights(self._domains.counted, self.settings.class_balance)
        made = []
        with seeded_randomness(self.seed, INITIALISATION_STREAM):
            for term in self.recipe.terms:
                surroundings = Surroundings(
                    segmenter=self.segmenter,
                    settings=self.settings,
                    class_weights=None if weights is None else weights.to(self.device),
                    in_source=torch.from_numpy(self._domains.shown)
                    .to(self.device)
                    .reshape(1, -1, 1, 1),
                    class_ratios=self._class_ratios,
                    record=self._record,
                    options=term.options,
                )
                kind = find_objective(term.objective)
                with its_errors(kind):
                    made.append(kind(surroundings))
        return {objective.name: objective for objective in made}

    def _class_ratios(self) -> Tensor:
        """How much more often the classes occur in the target, as the segmenter sees it now."""
        target, counted = self._domains.target, self._domains.counted
        predictions = (
            self._predictions.first(target, index) for index in spread_indices(len(target))
        )
        shares = class_shares(predictions, self.segmenter.n_classes)
        source_shares = torch.from_numpy(counted / np.maximum(1, counted.sum())).float()
        return class_ratios(shares, source_shares).to(self.device)

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"segmenter": self.segmenter}
        modules |= {each.name: each.network for each in self._adversaries.values()}
        if self._follows and self._predictions.teacher is not None:
            modules["teacher"] = self._predictions.teacher
        return modules

    def _optimisers(self) -> dict[str, Optimizer]:
        optimisers: dict[str, Optimizer] = {"segmenter": self._optimiser}
        return optimisers | {each.name: each.optimiser for each in self._adversaries.values()}

    def restore(self, state: TrainingState) -> None:
        """See `Training.restore`; what a finished training leaves has no low-rank parts."""
        if int(state.meta["step"]) >= self.total_steps:
            self._deliver()
        super().restore(state)

    def _deliver(self) -> None:
        merge_low_rank(self.segmenter)
        # What was kept for this training is not kept for ever: the next one may move all of it.
        for parameter, learned in self._learns:
            parameter.requires_grad_(learned)

    def _notes(self) -> dict[str, Any]:
        return self._watch.notes()

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:
        self._watch.restore(notes)

    def _update(self) -> HistoryRow:
        if self.recipe.estimates_statistics:
            estimate_statistics(self.segmenter, self.engine, self._batches())
            return {"learning_rate": 0.0, "warning": ""}
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
        for number in self._numbers():
            yield self._domains.batch(number, self.settings.batch_size)

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
        nothing = batch.target.new_zeros((0, self.segmenter.n_features, 1, 1))
        source = self._features("source", batch.source, batch) if len(batch.source) else nothing
        target = self._features("target", batch.target, batch) if "target" in needs else nothing
        grid_labels = predictions = partner = None
        if "grid_labels" in needs:
            grid = (source.shape[-2], source.shape[-1])
            grid_labels = source_grid_labels(batch.labels, self.segmenter.n_classes, grid)
        if "predictions" in needs:
            if self._frozen is not None:
                target = self._features("target", batch.target, batch)
            predictions = self._predictions.of(
                batch.target, batch.prior, batch.ignored, target, batch.taught
            )
        if "partner" in needs and batch.partner is not None:
            theirs = self._predictions.of_partner(batch.partner)
            partner = PartnerView(batch.partner.of, batch.partner.field, *theirs)
        view = View(batch, source, target, grid_labels, predictions, partner)
        for objective in active:
            with its_errors(type(objective)):
                view.prepared[objective.name] = objective.prepare(view)
        return view

    def _features(self, domain: str, images: Tensor, batch: Batch) -> Tensor:
        """Features of the images of a domain; read where they cannot have changed."""
        if self._frozen is None:
            return self.segmenter.features(images)
        return self._frozen.of(domain, batch.keys[domain], images)

    def _adversary_step(self, views: Iterable[View]) -> None:
        """Lets the adversaries tell the domains apart (eq. 4 and 9); the features stay."""
        moved = [
            (type(each), self._adversaries[each.name])
            for _, each in self._active()
            if each.name in self._adversaries
        ]
        if not moved:
            return
        for _, adversary in moved:
            self._zero(adversary.optimiser)
        for view in views:
            losses = []
            for objective, adversary in moved:
                with self.engine.autocast(), its_errors(objective):
                    losses.append(adversary.loss(view))
            self._backward(_sum(losses))
        for _, adversary in moved:
            self._move(adversary.optimiser, adversary.network)

    def _feature_step(self, views: Iterable[View], row: HistoryRow) -> None:
        """Moves the segmenter by the one summed loss of eq. 1; the adversaries stay."""
        self._zero(self._optimiser)
        for view in views:
            with self.engine.autocast():
                loss = _sum([self._weighted(term, each, view) for term, each in self._active()])
            self._record("total_loss", loss)
            if not loss.requires_grad:
                raise ValueError(
                    f"no objective that has begun by step {self.step} depends on what is trainable "
                    f"({self.recipe.trainable}): take another objective, or trainable: all"
                )
            self._backward(loss)
        try:
            self._fill_row(row)
        except DivergedError as error:
            raise DivergedError(f"{error}{self._culprits()}") from None
        self._move(self._optimiser, self.segmenter)
        if self._follows and not self._trial:
            self._predictions.follow(self.settings.teacher_momentum)

    def _weighted(self, term: Term, objective: Objective, view: View) -> Tensor:
        """λ_k(t) L_k."""
        loss = loss_of(objective, view)
        self._losses[objective.name] = loss.detach()
        # A loss of 0 may have nothing to learn from in this batch; any other was meant to move it.
        if not loss.requires_grad and bool(loss != 0):
            raise ValueError(
                f"the loss of the objective {objective.name!r} is {float(loss):g} in step "
                f"{self.step} and depends on nothing that is trainable ({self.recipe.trainable}), "
                "so it would move nothing: compute it of features and what the segmenter makes of "
                "them (a view's predictions have no gradient), or take trainable: all"
            )
        if term.weight is None:
            return loss
        return term.weight_at(self.step, self.settings) * loss

    def _culprits(self) -> str:
        """The end of a sentence on a loss that is not finite: the objectives that gave it."""
        wrong = [name for name, loss in self._losses.items() if not bool(loss.isfinite())]
        return f" (the objective {', '.join(wrong)} gave it)" if wrong else ""

    def _empty_row(self) -> HistoryRow:
        terms = list(zip(self.recipe.terms, self._objectives.values(), strict=True))
        row: HistoryRow = {
            name: None for term, o in terms if term.weight is None for name in o.rows
        }
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
        try:
            self.engine.backward(loss / self.settings.accumulation)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            own = [name for name, each in self._objectives.items() if is_foreign(type(each))]
            if not own:
                raise
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"no gradient can be computed of the losses of step {self.step} ({reason}): look "
                f"for what the objective {' or '.join(own)} changes in place"
            ) from error


def needs_of(recipe: Recipe) -> set[Need]:
    """What the objectives of a recipe look at; statistics are estimated on source and target.

    Raises:
        ValueError: There is no such objective, two have one name, or one moves nothing.
    """
    if recipe.estimates_statistics:
        return {"source", "target"}
    objectives = [find_objective(term.objective) for term in recipe.terms]
    names = [objective.name for objective in objectives]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two objectives of the recipe have the name {twice[0]!r}: rename one")
    for objective in objectives:
        if objective.of_features and recipe.trainable == "head":
            raise ValueError(
                f"the objective {objective.name!r} moves features alone, and trainable: head "
                "leaves them as they are: take another objective, or trainable: last: N"
            )
    return {need for objective in objectives for need in objective.needs}


def _sum(losses: Sequence[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total
