"""Training of the source segmenter: until it is done, by what it shows at home."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from crosscity.adaptation.engine import Engine
from crosscity.adaptation.home_validation import HomeValidation
from crosscity.adaptation.image_sets import LabelledImages
from crosscity.adaptation.photometric import photometric_jitter, sensor_noise
from crosscity.adaptation.sampling import AUGMENTATION_STREAM, SOURCE_STREAM
from crosscity.adaptation.schedule import learning_rate_factor
from crosscity.adaptation.settings import PretrainingSettings
from crosscity.adaptation.supervised import SupervisedTraining
from crosscity.adaptation.teachers import fixed_copy
from crosscity.adaptation.training import HistoryRow
from crosscity.segmenters import Rule, Segmenter, rule_offsets


class Pretraining(SupervisedTraining):
    """Trains the source segmenter.

    With `until: plateau` the learning rate stays as it is until the mIoU on the validation images
    has not risen for `patience` looks, and then falls to 0 in a last stretch, as in *Scaling Laws
    and Compute-Optimal Training Beyond Fixed Training Durations* (Hägele et al., NeurIPS 2024): how
    long a training must be need not be known when it begins. The last stretch begins in time for
    the limit in any case. Of all that was examined, the best is delivered.

    Args:
        segmenter: Is trained in place.
        source: The labelled images.
        settings: Of the training.
        seed: Fixes order, augmentation and dropout.
        engine: See `Training`.
        readers: See `SupervisedTraining`.
        home: Validation images of the source; no step learns from them.

    Raises:
        ValueError: A training until its plateau, or a choice of the rule, without `home`.
    """

    kind: ClassVar[str] = "pretraining"
    settings: PretrainingSettings

    def __init__(
        self,
        segmenter: Segmenter,
        source: LabelledImages,
        settings: PretrainingSettings,
        seed: int,
        *,
        engine: Engine | None = None,
        readers: int = 0,
        home: LabelledImages | None = None,
    ) -> None:
        if settings.until == "plateau" and home is None:
            raise ValueError(
                "until: plateau looks at validation images of the source, and there are none: give "
                "the set a split `val`, or train for a number of steps"
            )
        super().__init__(segmenter, source, settings, seed, engine=engine, readers=readers)
        height, width = source.images([0]).shape[1:3]
        segmenter.trained_size = (int(height), int(width))
        self._home = None
        if home is not None:
            self._home = HomeValidation(
                home,
                self.class_pixels,
                settings.class_balance,
                network_is_weighted=settings.balanced_predictions,
            )
        self._average = fixed_copy(segmenter) if settings.average else None
        self._best = fixed_copy(segmenter) if settings.until == "plateau" else None
        self._looks: list[tuple[int, float]] = []
        self._plateau: int | None = None  # or where the limit was near enough
        self._at_limit = False
        self._end: dict[str, Any] = {}

    @property
    def outcome(self) -> dict[str, Any]:
        """How it ended, for a manifest; JSON-able, empty before the end.

        `ended` ("steps", "plateau" or "limit"), `at` (the steps done), `taken_from` (the step whose
        weights were taken), `rule` and its `offsets`, and, where there are validation images,
        `miou` by rule in [0, 1].
        """
        return dict(self._end)

    def _modules(self) -> dict[str, nn.Module]:
        modules = super()._modules()
        if self._average is not None:
            modules["average"] = self._average
        if self._best is not None:
            modules["best"] = self._best
        return modules

    def _notes(self) -> dict[str, Any]:
        looks = [list(look) for look in self._looks]
        return {
            "looks": looks,
            "plateau": self._plateau,
            "at_limit": self._at_limit,
            "end": self._end,
        }

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:
        if not notes:
            return
        self._looks = [(int(step), float(miou)) for step, miou in notes["looks"]]
        self._end = dict(notes["end"])
        if notes["plateau"] is not None:
            self._begin_last_stretch(int(notes["plateau"]), at_limit=bool(notes["at_limit"]))
        if self._end:
            self.segmenter.set_prediction_offsets(self._end["offsets"])

    def _rate_factor(self) -> float:
        if self.settings.until == "steps":
            return super()._rate_factor()
        if self._plateau is not None:
            t = (self.step - self._plateau) / max(1, self.total_steps - self._plateau)
            return 0.5 * (1.0 + math.cos(math.pi * t))
        return learning_rate_factor(
            self.step, self.settings.steps, schedule="constant", warm_up=self.settings.warm_up
        )

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        images, labels = super()._batch(number)
        strength = self.settings.jitter
        if strength:
            key = [self.seed, AUGMENTATION_STREAM, SOURCE_STREAM, number, 1]
            random = np.random.default_rng(key)
            images = sensor_noise(photometric_jitter(images, random, strength), random, strength)
        return images, labels

    def _after_step(self, row: HistoryRow) -> None:
        if self._average is not None:
            _update_average(self._average, self.segmenter, self.settings.average, self.step)
        if self._best is None:
            return
        row["home_miou"] = None
        if self.step % self.settings.validate_every == 0 or self.finished:
            row["home_miou"] = self._score_at_home()
        if self._plateau is None:
            plateaued = self._has_plateaued()
            if plateaued or self._must_end():
                self._begin_last_stretch(self.step, at_limit=not plateaued)

    def _score_at_home(self) -> float:
        """Scores what would be delivered now, and keeps it where it is the best so far."""
        assert self._home is not None  # noqa: S101 - refused without
        assert self._best is not None  # noqa: S101 - read only where it is kept
        shown = self._delivered
        # By the first process, for all: each has batch-norm statistics of its own, and what is
        # delivered, and what a checkpoint has, are the first one's.
        found = torch.zeros((), device=self.device)
        if self.engine.rank == 0:
            found += self.engine.ranks * self._home.miou(shown, self._own_rule)
        miou = float(self.engine.mean(found))
        if all(miou > earlier for _, earlier in self._looks):
            self._best.load_state_dict(shown.state_dict())
        self._looks.append((self.step, miou))
        return miou

    def _has_plateaued(self) -> bool:
        patience = self.settings.patience
        if len(self._looks) <= patience or self._looks[-1][0] != self.step:
            return False
        before = max(miou for _, miou in self._looks[:-patience])
        since = max(miou for _, miou in self._looks[-patience:])
        return since < before + self.settings.least_gain

    def _must_end(self) -> bool:
        """Whether the last stretch begins now, so that it ends at the limit."""
        return self.step + self._stretch_of(self.step + 1) > self.settings.steps - 1

    def _stretch_of(self, steps: int) -> int:
        return math.ceil(self.settings.cooldown * steps)

    def _begin_last_stretch(self, step: int, *, at_limit: bool) -> None:
        self._plateau, self._at_limit = step, at_limit
        limit = self.settings.steps
        self.total_steps = limit if at_limit else min(limit, step + self._stretch_of(step))

    @property
    def _delivered(self) -> Segmenter:
        return self.segmenter if self._average is None else self._average

    @property
    def _own_rule(self) -> Rule:
        return "weighted" if self.settings.balanced_predictions else "plain"

    @torch.no_grad()
    def _deliver(self) -> None:
        taken, ended = self.step, "steps"
        source = self._delivered
        if self._best is not None:
            source = self._best
            taken = max(self._looks, key=lambda look: (look[1], -look[0]))[0]
            ended = "limit" if self._at_limit else "plateau"
        if source is not self.segmenter:
            self.segmenter.load_state_dict(source.state_dict())
        self._end = {"ended": ended, "at": self.step, "taken_from": taken, **self._choose_rule()}
        self.segmenter.set_prediction_offsets(self._end["offsets"])

    def _choose_rule(self) -> dict[str, Any]:
        wanted = self.settings.prediction_rule
        rule: Rule = self._own_rule if wanted == "auto" else wanted
        found: dict[str, Any] = {}
        if self._home is not None:
            score = self._home.look(self.segmenter)
            rule = score.best if wanted == "auto" else rule
            found["miou"] = dict(score.miou)
        offsets = rule_offsets(
            rule,
            self.class_pixels,
            self.settings.class_balance,
            network_is_weighted=self.settings.balanced_predictions,
        )
        return {"rule": rule, "offsets": list(offsets), **found}


@torch.no_grad()
def _update_average(average: Segmenter, segmenter: Segmenter, momentum: float, step: int) -> None:
    """Moves the average towards the weights and statistics; at first faster, as they are new."""
    share = 1 - min(momentum, step / (step + 10))
    # Not by `state_dict`, in which a tensor of several names would be moved several times.
    pairs = zip(_tensors(average), _tensors(segmenter), strict=True)
    for kept, value in pairs:
        if value.is_floating_point():
            kept.lerp_(value, share)
        else:
            kept.copy_(value)


def _tensors(network: Segmenter) -> Iterator[Tensor]:
    """Weights and statistics, each once."""
    yield from network.parameters()
    yield from network.buffers()


__all__ = ["Pretraining"]
