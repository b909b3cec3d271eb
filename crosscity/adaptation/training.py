"""What every training offers: steps, a state that can be stored, and a faithful resumption."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from crosscity.adaptation.image_sets import LabelledImages
from crosscity.adaptation.sampling import STEP_STREAM
from crosscity.adaptation.settings import AdaptationSettings, SupervisedSettings
from crosscity.segmenters import Segmenter, seeded_randomness

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same settings and seed would give other weights."""

Row = dict[str, Any]
"""A row of the history: the same keys in every row of a training, values JSON-able."""


class DivergedError(ValueError):
    """A loss that is not a finite number."""


class StateError(ValueError):
    """A state of another training."""


@dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on exactly where it was.

    Attributes:
        tensors: Weights and optimiser states by name; contiguous, sharing no memory.
        meta: The rest; JSON-able.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class Training(ABC):
    """A training that can be stopped after any step and resumed with bit-identical results.

    What a step does depends on the weights, the optimisers' states, the seed and the step's number,
    and on nothing else: the sampling order is a seeded permutation, and random numbers (dropout,
    augmentation) are drawn afresh from (seed, step) in every step.

    Args:
        segmenter: Is trained in place, on the device it is on.
        settings: Of the training.
        seed: Non-negative.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        segmenter: Segmenter,
        settings: SupervisedSettings | AdaptationSettings,
        seed: int,
    ) -> None:
        if seed < 0:
            raise ValueError(f"a seed must be at least 0, not {seed}")
        self.segmenter = segmenter
        self.seed = seed
        self.device = segmenter.input_mean.device
        self.total_steps = settings.steps
        self._step = 0
        # As the state's meta is compared with this, it must be what JSON makes of it.
        self._identity = _jsonable(
            {
                "kind": self.kind,
                "version": ALGORITHM_VERSION,
                "seed": seed,
                "settings": asdict(settings),
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

    def advance(self, n_steps: int) -> list[Row]:
        """Does up to so many steps, fewer if the training ends.

        Returns:
            One history row a step.

        Raises:
            DivergedError: A loss was not finite; the segmenter has not taken that step.
            ValueError: A batch has labels that are no classes, or a prior of another size.
        """
        rows = []
        for _ in range(min(n_steps, self.total_steps - self._step)):
            with seeded_randomness(self.seed, STEP_STREAM, self._step, device=self.device):
                row = self._update()
            rows.append({"step": self._step, **row})
            self._step += 1
        return rows

    def state(self) -> TrainingState:
        """The state after the last step; later steps do not change it."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            for key, tensor in module.state_dict().items():
                tensors[f"{name}.{key}"] = _copy(tensor)
        for name, optimiser in self._optimisers().items():
            for number, slots in optimiser.state_dict()["state"].items():
                for slot, value in slots.items():
                    if value is not None:
                        tensors[f"optimiser.{name}.{number}.{slot}"] = _copy(value)
        meta = {**self._identity, "step": self._step, "notes": self._notes()}
        return TrainingState(tensors, meta)

    def restore(self, state: TrainingState) -> None:
        """Goes to a state that a training of the same settings, seed and segmenter returned.

        Raises:
            StateError: The state is of another training; nothing has changed.
        """
        for key, expected in self._identity.items():
            if state.meta.get(key) != expected:
                raise StateError(
                    f"the state is of another training: its {key} is "
                    f"{_difference(state.meta.get(key), expected)}; start afresh, or go on with "
                    "what it was made with"
                )
        names = {
            f"{n}.{key}" for n, module in self._modules().items() for key in module.state_dict()
        }
        absent = sorted(names - set(state.tensors))
        if absent:
            raise StateError(
                f"the state lacks {absent[0]}, so it is of another training or cut short"
            )
        for name, module in self._modules().items():
            module.load_state_dict(_under(state.tensors, name))
        for name, optimiser in self._optimisers().items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _under(state.tensors, f"optimiser.{name}").items():
                number, slot = key.split(".", 1)
                slots.setdefault(int(number), {})[slot] = tensor.clone()
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": slots, "param_groups": groups})
        self._step = int(state.meta["step"])
        self._restore_notes(state.meta["notes"])

    @abstractmethod
    def _update(self) -> Row:
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

    def _finite(self, name: str, loss: Tensor) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the {name} of step {self._step} is {value}: lower the learning rate, or look for "
                "broken images"
            )
        return value


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


def _copy(value: Tensor | float) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    begin = f"{prefix}."
    return {key[len(begin) :]: t for key, t in tensors.items() if key.startswith(begin)}


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def _difference(found: Any, expected: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in expected:
            if found.get(key) != expected[key]:
                return f"{key} {found.get(key)!r} instead of {expected[key]!r}"
    return f"{found!r} instead of {expected!r}"
