"""Who may use a device, how networks come to it, and what is said when it fails or is not there.

PyTorch is large: who matches on the processor need not load it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapters.store.scratch import host_token
from crosscity.device_failures import (
    PROCESSOR,
    first_line,
    has_failed,
    is_lack_of_memory,
    why_unusable,
)
from crosscity.freed_memory import keep_freed_memory
from tasks.steps.errors import DeviceFailedError, InputError
from tasks.steps.plan import Plan

if TYPE_CHECKING:
    import torch

    from crosscity.segmenters import Segmenter


def most_at_once(plan: Plan) -> int | None:
    """How many steps may use the device of the compute profile at once; ``None``: any number."""
    if plan.compute.at_once is not None:
        return plan.compute.at_once
    return None if _kind(plan.compute.device) == PROCESSOR else 1


@contextmanager
def device_turn(plan: Plan, owner: str) -> Iterator[None]:
    """Waits until the device is free, and has it for the block.

    Trainings, matching and judging take turns; other work goes on. Of those who wait, the city with
    the highest `priority` is next, then who came first. Whoever dies gives the device back.

    Args:
        plan: The run's plan.
        owner: The city, transfer or segmenter that the device is used for.

    Raises:
        InputError: As `using_device`.
        DeviceFailedError: As `using_device`.
    """
    limit = most_at_once(plan)
    if limit is None:
        with using_device(plan.compute.device, owner):
            yield
        return
    kind = _kind(plan.compute.device)
    where = "all" if plan.compute.at_once_in == "store" else host_token()
    priority = plan.cities[owner].priority if owner in plan.cities else 0
    turns = plan.open_store().turns(f"{kind}-{where}", f"the {kind} for {owner}", limit)
    with turns.turn(priority=priority), using_device(plan.compute.device, owner):
        yield


@contextmanager
def using_device(device: str, owner: str) -> Iterator[None]:
    """Looks at a device before the block, and says in a sentence how the block lost it.

    Args:
        device: As torch names it.
        owner: The city, transfer or segmenter that the device is used for.

    Raises:
        InputError: The machine has no such device, or the block asked for more memory than it has.
        DeviceFailedError: It failed amid the block; the same work may succeed later.
    """
    check_device(device)
    try:
        yield
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise InputError(
                f"{device} ran out of memory in the work for {owner} ({first_line(error)}): end "
                "what else runs on it, or use smaller images"
            ) from None
        if not has_failed(error):
            raise
        raise DeviceFailedError(
            f"{device} failed in the work for {owner} ({first_line(error)}): see that it answers "
            "again (nvidia-smi, the system's log) and run the same command, or choose another "
            "profile with --compute; what is finished is found, not made again"
        ) from error


def moved_to(segmenter: Segmenter, device: str | torch.device) -> Segmenter:
    """The segmenter itself, on a device that `check_device` has looked at.

    A process in which one works on a processor keeps the memory that it frees: each step or image
    takes what the one before has freed. Each process of a training moves its own.
    """
    import torch  # noqa: PLC0415

    place = torch.device(device)
    if place.type == PROCESSOR:
        keep_freed_memory()
    return segmenter.to(place)


def check_device(device: str, *, asked_for: bool = False) -> None:
    """Fails with one sentence where the machine has no such device.

    Args:
        device: As torch names it.
        asked_for: Whether the command names it, and not the compute profile.
    """
    why = why_unusable(device)
    if why is None:
        return
    if asked_for:
        raise InputError(f"--device {device} cannot be used ({why}): name another, as cpu")
    raise InputError(
        f"the device {device!r} of the compute profile cannot be used ({why}): choose another "
        "profile with --compute or CROSSCITY_COMPUTE"
    )


def _kind(device: str) -> str:
    """The type of a device, such as `cuda`; of a name that means nothing to torch, `cpu`."""
    if device == PROCESSOR:
        return PROCESSOR
    import torch  # noqa: PLC0415

    try:
        return torch.device(device).type
    except RuntimeError:
        return PROCESSOR  # nobody waits for it: `using_device` refuses it at once
