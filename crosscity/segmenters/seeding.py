"""PyTorch randomness that depends on nothing but a key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# PyTorch's dropout and initialisation draw from one generator per process. Two trainings in two
# threads would take each other's numbers, so only one of them draws at a time.
_GENERATOR = threading.RLock()


@contextmanager
def seeded_randomness(*key: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, PyTorch's random numbers depend on the key only; outside, nothing has changed.

    A training that enters this once a step, with the step in the key, has no random state to save.

    Args:
        key: Non-negative integers.
        device: The CUDA device that draws too, if any.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    cuda = [device] if device is not None and device.type == "cuda" else []
    with _GENERATOR, torch.random.fork_rng(cuda):
        torch.default_generator.manual_seed(seed)
        for drawing in cuda:
            with torch.cuda.device(drawing):
                torch.cuda.manual_seed(seed)
        yield
