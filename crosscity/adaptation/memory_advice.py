"""Which batch would fit into a device's memory, and one sentence that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from torch import nn
from torch.optim import Optimizer

from crosscity.adaptation.engine import MemoryProbe


def fitting_batch(
    probe: MemoryProbe,
    attempt: Callable[[int], object],
    modules: Iterable[nn.Module],
    optimisers: Iterable[Optimizer],
) -> int:
    """The largest batch size that fits, from the memory that one image and two take.

    Args:
        probe: Measures.
        attempt: Does all of a step but the step, with so many images.
        modules: Whose parameters have moments, which the first step will ask memory for.
        optimisers: Whether they have them already.

    Returns:
        0 where not even one image fits.
    """
    one, two = (probe.peak_of(partial(attempt, size)) for size in (1, 2))
    an_image = max(1, two - one)
    have_moments = any(optimiser.state for optimiser in optimisers)
    moments = (
        0
        if have_moments
        else sum(
            2 * parameter.numel() * parameter.element_size()
            for module in modules
            for parameter in module.parameters()
        )
    )
    left = 0.95 * probe.capacity() - moments - one  # 5 % are lost between the tensors
    return 1 + int(left // an_image) if left >= 0 else 0


def advice(began: str, size: int, accumulation: int, fitting: int, reason: str) -> str:
    """What to do, after how it began."""
    if fitting < 1:
        return f"{began}: not even one image fits; use smaller images or fewer channels ({reason})"
    if fitting >= size:
        return f"{began}, of which it needs little: end what else runs on it ({reason})"
    batches = -(-size * accumulation // fitting)
    return (
        f"{began}: batch_size {fitting} would fit; with accumulation {batches} as many images make "
        f"a step ({reason})"
    )
