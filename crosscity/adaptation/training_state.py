"""The state of a training: all that it needs to go on exactly where it was, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


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


def packed(
    modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """Copies of all weights (`<module>.<key>`) and moments (`optimiser.<name>.<number>.<slot>`)."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        for key, tensor in module.state_dict().items():
            tensors[f"{name}.{key}"] = _copy(tensor)
    for name, optimiser in optimisers.items():
        for number, slots in optimiser.state_dict()["state"].items():
            for slot, value in slots.items():
                if value is not None:
                    tensors[f"optimiser.{name}.{number}.{slot}"] = _copy(value)
    return tensors


def unpack(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
) -> None:
    """Gives modules and optimisers what `packed` took of them.

    Raises:
        StateError: A tensor is missing; nothing has changed.
    """
    names = {f"{n}.{key}" for n, module in modules.items() for key in module.state_dict()}
    absent = sorted(names - set(tensors))
    if absent:
        raise StateError(f"the state lacks {absent[0]}, so it is of another training or cut short")
    for name, module in modules.items():
        module.load_state_dict(_under(tensors, name))
    for name, optimiser in optimisers.items():
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under(tensors, f"optimiser.{name}").items():
            number, slot = key.split(".", 1)
            slots.setdefault(int(number), {})[slot] = tensor.clone()
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": slots, "param_groups": groups})


def check_identity(meta: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raises `StateError` where the meta of a state is of another training."""
    for key, expected in identity.items():
        if meta.get(key) != expected:
            raise StateError(
                f"the state is of another training: its {key} is "
                f"{_difference(meta.get(key), expected)}; start afresh, or go on with what it was "
                "made with"
            )


def _copy(value: Tensor | float) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    begin = f"{prefix}."
    return {key[len(begin) :]: t for key, t in tensors.items() if key.startswith(begin)}


def jsonable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A value as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def _difference(found: Any, expected: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in expected:
            if found.get(key) != expected[key]:
                return f"{key} {found.get(key)!r} instead of {expected[key]!r}"
    return f"{found!r} instead of {expected!r}"
