"""What every training offers: steps, a state that can be stored, and a faithful resumption."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from crosscity.adaptation.batches import ReadingAhead
from crosscity.adaptation.engine import Engine, MemoryProbe, average_gradients, open_engine
from crosscity.adaptation.image_sets import LabelledImages
from crosscity.adaptation.memory_advice import advice, fitting_batch
from crosscity.adaptation.sampling import STEP_STREAM
from crosscity.adaptation.settings import AdaptationSettings, SupervisedSettings
from crosscity.adaptation.training_state import (
    StateError,
    TrainingState,
    check_identity,
    jsonable,
    packed,
    unpack,
)
from crosscity.segmenters import Segmenter, evaluating, grey_image, seeded_randomness

ALGORITHM_VERSION: Final = "5"
"""Raised by hand whenever the same settings and seed would give other weights."""

HistoryRow = dict[str, Any]
"""A row of the history: the same keys in every row of a training, values JSON-able."""


class DivergedError(ValueError):
    """A loss, a weight or a prediction that is not a finite number."""


class CollapsedError(ValueError):
    """An adversarial training that has stopped being one."""


class OutOfMemoryError(ValueError):
    """The device has too little memory for a batch; the message says which batch would fit."""


class Training(ABC):
    """A training that can be stopped after any step and resumed with bit-identical results.

    What a step does depends on the weights, the optimisers' states, the seed and the step's number,
    and on nothing else: the sampling order is a seeded permutation, and random numbers (dropout,
    augmentation) are drawn afresh from (seed, step) in every step.

    With several processes every one reads batches of its own, and all make the same steps.

    Args:
        segmenter: Is trained in place; it is moved to the engine's device.
        settings: Of the training.
        seed: Non-negative.
        engine: Where it runs; default: the device that the segmenter is on, in fp32.
    """

    kind: ClassVar[str]
    settings: SupervisedSettings | AdaptationSettings

    def __init__(
        self,
        segmenter: Segmenter,
        settings: SupervisedSettings | AdaptationSettings,
        seed: int,
        engine: Engine | None = None,
    ) -> None:
        if seed < 0:
            raise ValueError(f"a seed must be at least 0, not {seed}")
        self.engine = open_engine(segmenter.input_mean.device) if engine is None else engine
        self.segmenter = segmenter.to(self.engine.device)
        if self.engine.device.type in ("cpu", "cuda"):
            # What cuDNN's and oneDNN's fast kernels read, so that they need not turn every tensor
            # round; the discriminators see cells as rows without a copy.
            self.segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.seed = seed
        self.device = self.engine.device
        self.probe = MemoryProbe(self.device)
        self._measured: dict[str, list[Tensor]] = {}
        self._trial = False
        self.total_steps = settings.steps
        self._step = 0
        # As the state's meta is compared with this, it must be what JSON makes of it.
        self._identity = jsonable(
            {
                "kind": self.kind,
                "version": ALGORITHM_VERSION,
                "seed": seed,
                "settings": asdict(settings),
                "precision": self.engine.precision,
                "ranks": self.engine.ranks,
                "segmenter": {
                    key: value
                    for key, value in segmenter.config().items()
                    if key not in ("input_mean", "input_std")
                },
            }
        )

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self._step >= self.total_steps

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of the data, one sentence each."""
        return ()

    @property
    def images_a_step(self) -> int:
        """Images that go through the network in one step, over all processes."""
        settings = self.settings
        return settings.batch_size * settings.accumulation * self.engine.ranks

    @property
    def seconds_waited(self) -> float:
        """How long the steps so far have waited for images to be read."""
        return math.fsum(reading.waiting.seconds for reading in self._readings())

    def advance(self, n_steps: int) -> list[HistoryRow]:
        """Does up to so many steps, fewer if the training ends.

        Returns:
            One history row a step.

        Raises:
            DivergedError: A loss was not finite; the segmenter has not taken that step. Or the last
                step left weights or predictions that are not finite.
            CollapsedError: The adversarial training has collapsed, and the settings say that
                this ends it.
            OutOfMemoryError: A batch does not fit into the device's memory.
            ValueError: All weights are frozen, or a batch has labels that are not classes, or a
                prior of another size.
        """
        if self._step == 0:
            self._check_trainable()
        rows = []
        for _ in range(n_steps):
            if self.finished:
                break
            row = {"step": self._step, **self._one_step()}
            self._step += 1
            self._after_step(row)
            rows.append(row)
            if self.finished:
                self._deliver()
                self._check_outcome()
        return rows

    def _check_trainable(self) -> None:
        moved = self._optimisers().get("segmenter")
        if moved is None or any(
            weight.requires_grad for group in moved.param_groups for weight in group["params"]
        ):
            return
        raise ValueError(
            f"all weights of the segmenter {self.segmenter.architecture!r} are frozen, so a "
            "training has nothing to move: return it with requires_grad_(True); a recipe's "
            "`trainable` says what moves"
        )

    def _after_step(self, row: HistoryRow) -> None:  # noqa: B027 - most do nothing
        """What is done after a step, which may add to its row and move the end of the training."""

    def _deliver(self) -> None:  # noqa: B027 - most deliver what the last step left
        """Makes the segmenter what is delivered, after the last step."""

    @torch.no_grad()
    def _check_outcome(self) -> None:
        """No loss follows the last step and would show what it has done to the segmenter."""
        with evaluating(self.segmenter):
            seen = self.segmenter(grey_image(self.segmenter))
        values = [*self.segmenter.state_dict().values(), seen]
        if not all(bool(value.isfinite().all()) for value in values if value.is_floating_point()):
            raise DivergedError(
                f"after the last step, {self._step - 1}, the segmenter predicts values that are "
                "not finite: lower the learning rate"
            )

    def _one_step(self) -> HistoryRow:
        key: tuple[int, ...] = (self.seed, STEP_STREAM, self._step)
        if self.engine.ranks > 1:
            key = (*key, self.engine.rank)
        reason = ""
        try:
            with seeded_randomness(*key, device=self.device):
                return self._update()
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
        # Out of the handler, whose traceback keeps the tensors of the failed step alive.
        raise OutOfMemoryError(self._memory_advice(reason))

    def _memory_advice(self, reason: str) -> str:
        """One sentence that names the batch size that would fit."""
        size, accumulation = self.settings.batch_size, self.settings.accumulation
        began = f"{self.device} ran out of memory in step {self._step} with batch_size {size}"
        if self.engine.ranks > 1:
            # The other processes wait for gradients of this one, and would do so for ever.
            return f"{began} a process: halve it and double accumulation ({reason})"
        try:
            fitting = fitting_batch(
                self.probe, self._try, self._modules().values(), self._optimisers().values()
            )
        except torch.OutOfMemoryError:
            fitting = 0
        return advice(began, size, accumulation, fitting, reason)

    def _try(self, size: int) -> None:
        """Does all of a step but the step, with so many images."""
        settings, notes = self.settings, self._notes()
        self.settings, self._trial = replace(settings, batch_size=size, accumulation=1), True
        try:
            self._update()
        finally:
            self.settings, self._trial = settings, False
            self._measured.clear()
            self._restore_notes(notes)
            for optimiser in self._optimisers().values():
                optimiser.zero_grad(set_to_none=True)

    def state(self) -> TrainingState:
        """The state after the last step; later steps do not change it."""
        meta = {**self._identity, "step": self._step, "notes": self._notes()}
        return TrainingState(packed(self._modules(), self._optimisers()), meta)

    def restore(self, state: TrainingState) -> None:
        """Goes to a state that a training of the same settings, seed and segmenter returned.

        Raises:
            StateError: The state is of another training; nothing has changed.
        """
        check_identity(state.meta, self._identity)
        unpack(state.tensors, self._modules(), self._optimisers())
        self._step = int(state.meta["step"])
        self._restore_notes(state.meta["notes"])

    @abstractmethod
    def _update(self) -> HistoryRow:
        """Does the step `self.step` and returns its history row, without the step."""

    def _modules(self) -> dict[str, nn.Module]:
        return {"segmenter": self.segmenter}

    def _optimisers(self) -> dict[str, Optimizer]:
        return {}

    def _notes(self) -> dict[str, Any]:
        """What else the next steps depend on; JSON-able."""
        return {}

    def _restore_notes(self, notes: Mapping[str, Any]) -> None:  # noqa: B027 - most have none
        """Takes what `_notes` returned."""

    def _readings(self) -> Sequence[ReadingAhead]:
        """What reads the images."""
        return ()

    def _record(self, name: str, value: Tensor) -> None:
        """Notes a loss or accuracy of one batch; nothing waits for the device to compute it."""
        self._measured.setdefault(name, []).append(value.detach().float())

    def _fill_row(self, row: HistoryRow) -> None:
        """Fills the row with the means over the batches of a step, and checks the losses.

        The device is waited for once a step, here, before the segmenter moves.

        Raises:
            DivergedError: A loss is not finite.
        """
        names = list(self._measured)
        if not names:
            return
        means = [torch.stack(self._measured[name]).mean() for name in names]
        self._measured.clear()
        values = self.engine.mean(torch.stack(means)).tolist()
        for name, value in zip(names, values, strict=True):
            if name.endswith("_loss") and not math.isfinite(value):
                raise DivergedError(
                    f"the {name.replace('_', ' ')} of step {self._step} is {value}: lower the "
                    "learning rate, or look for broken images"
                )
            row[name] = value

    def _move(self, optimiser: Optimizer, module: nn.Module) -> None:
        """Averages a module's gradients over the processes and takes the optimiser's step."""
        average_gradients(self.engine, [module])
        if not self._trial:
            optimiser.step()

    def _zero(self, optimiser: Optimizer) -> None:
        optimiser.zero_grad(set_to_none=True)

    def _numbers(self) -> range:
        """Numbers of the batches that this process reads in this step."""
        count, ranks = self.settings.accumulation, self.engine.ranks
        first = self._step * count * ranks + self.engine.rank
        return range(first, first + count * ranks, ranks)


def set_learning_rate(optimiser: Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of all parameters of an optimiser."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def freeze_batch_norm(module: nn.Module) -> None:
    """Makes batch norm use and keep its statistics; scale and shift stay trainable."""
    for layer in batch_norms(module):
        layer.eval()


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """All batch-norm layers."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def check_source(source: LabelledImages) -> None:
    """Raises `ValueError` where there is nothing to train on."""
    if not len(source):
        raise ValueError("the source set is empty: there is no labelled image to train on")


__all__ = [
    "ALGORITHM_VERSION",
    "CollapsedError",
    "DivergedError",
    "HistoryRow",
    "OutOfMemoryError",
    "StateError",
    "Training",
    "TrainingState",
    "batch_norms",
    "check_source",
    "freeze_batch_norm",
    "set_learning_rate",
]
