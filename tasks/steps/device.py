"""Who may use a device: trainings, matching and judging take turns, other work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from adapters.store.scratch import host_token
from tasks.steps.plan import Plan


def most_at_once(plan: Plan) -> int | None:
    """How many steps may use the device of the compute profile at once; ``None``: any number."""
    if plan.compute.at_once is not None:
        return plan.compute.at_once
    return None if torch.device(plan.compute.device).type == "cpu" else 1


@contextmanager
def device_turn(plan: Plan, owner: str) -> Iterator[None]:
    """Waits until the device is free, and has it for the block.

    Of those who wait, the city with the highest `priority` is next, then who came first. Whoever
    dies gives the device back.

    Args:
        plan: The run's plan.
        owner: The city, transfer or segmenter that the device is used for.
    """
    limit = most_at_once(plan)
    if limit is None:
        yield
        return
    kind = torch.device(plan.compute.device).type
    where = "all" if plan.compute.at_once_in == "store" else host_token()
    priority = plan.cities[owner].priority if owner in plan.cities else 0
    turns = plan.open_store().turns(f"{kind}-{where}", f"the {kind} for {owner}", limit)
    with turns.turn(priority=priority):
        yield
