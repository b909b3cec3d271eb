"""Where a training runs: its device, its precision, and the processes that share the work.

Lightning Fabric does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["fp32", "bf16"]
"""Of products and sums in the networks. Weights, optimisers and losses are fp32 either way."""

Result = TypeVar("Result")
_FABRIC_PRECISION: Final = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Engine:
    """What a training asks of the machine: Lightning Fabric, on one device or several.

    Modules are not wrapped: gradients are averaged once an update (`average_gradients`), so that
    accumulation costs no extra traffic, and the networks' methods stay their own.

    Args:
        fabric: Launched.
        precision: What `fabric` was made with.
    """

    def __init__(self, fabric: Fabric, precision: Precision) -> None:
        self._fabric = fabric
        self.precision = _checked(precision)
        self.device: torch.device = fabric.device
        self.rank: int = fabric.global_rank
        self.ranks: int = fabric.world_size

    def autocast(self) -> AbstractContextManager[object]:
        """Inside, networks compute in the engine's precision."""
        context: AbstractContextManager[object] = self._fabric.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Adds the loss's gradients to those of the parameters."""
        self._fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes; every process must ask."""
        if self.ranks == 1:
            return values
        averaged = self._fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(averaged, Tensor)  # noqa: S101 - a tensor in, a tensor out
        return averaged


def open_engine(device: torch.device | str = "cpu", precision: Precision = "fp32") -> Engine:
    """An engine of one process.

    Args:
        device: Where the training runs; Fabric knows "cpu", "cuda" and "mps", with or without a
            number.
        precision: Of the networks.

    Raises:
        ValueError: There is no such precision, or Fabric does not know the device.
    """
    where = torch.device(device)
    numbered = where.index is not None and where.type != "cpu"
    fabric = _fabric(where.type, [where.index] if numbered else 1, "auto", precision)
    return Engine(fabric, precision)


def on_all_devices(
    function: Callable[..., Result],
    *arguments: Any,  # noqa: ANN401 - whatever the function takes
    device: str,
    devices: int,
    precision: Precision = "fp32",
) -> Result:
    """Runs a function on every device at once, each in a process of its own, as one training.

    Args:
        function: Is called with an `Engine` and the arguments; importable by name.
        arguments: Picklable.
        device: "cuda" or "cpu".
        devices: How many processes.
        precision: Of the networks.

    Returns:
        What the first process's call returned.

    Raises:
        ValueError: There is no such precision.
    """
    fabric = _fabric(torch.device(device).type, devices, "ddp_spawn", precision)
    started: Callable[..., Any] = _in_a_process  # Fabric's annotation forgets the arguments
    # Packed, as Fabric looks into the arguments for modules and refuses frozen dataclasses.
    result: Result = fabric.launch(
        started, precision, partial(_call_with_engine, function, arguments)
    )
    return result


def average_gradients(engine: Engine, modules: Iterable[nn.Module]) -> None:
    """Makes the gradients of all processes their mean, with one exchange."""
    if engine.ranks == 1:
        return
    gradients = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
    flat = engine.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(part.reshape(gradient.shape))


class MemoryProbe:
    """How much memory of a CUDA device something takes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def capacity(self) -> int:
        """Bytes that this process could have: what is free, and what it holds."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return int(free + torch.cuda.memory_reserved(self._device))

    def peak_of(self, action: Callable[[], object]) -> int:
        """The most bytes in use at once while something is done."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        action()
        return int(torch.cuda.max_memory_allocated(self._device))


class Stopwatch:
    """Seconds spent inside `with`, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began


def _in_a_process(
    fabric: Fabric,
    precision: Precision,
    function: Callable[[Engine], Result],
) -> Result:
    result = function(Engine(fabric, precision))
    _end_exchange()
    return result


def _end_exchange() -> None:
    """Ends the exchange between the processes: one that exits within it may abort.

    Only after success. After a fault the others may wait in an exchange that never comes; they are
    ended from outside.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _call_with_engine(
    function: Callable[..., Result],
    arguments: tuple[Any, ...],
    engine: Engine,
) -> Result:
    return function(engine, *arguments)


def _fabric(
    accelerator: str, devices: list[int] | int, strategy: str, precision: Precision
) -> Fabric:
    from lightning_fabric import Fabric as _Fabric  # noqa: PLC0415 - slow to import

    return _Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        precision=_FABRIC_PRECISION[_checked(precision)],  # type: ignore[arg-type]
    )


def _checked(precision: Precision) -> Precision:
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ValueError(f"precision must be one of {known}, not {precision!r}")
    return precision
