"""Whether a device's compiled kernels find what the tensor operations find.

Kernels are compiled where they run, for that device, by that machine's Triton. A version that
cannot compile them, or that compiles something else, costs speed and not the matches.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from crosscity.matching.device_operands import Operands, operands_of
from crosscity.matching.device_stages import Stages
from crosscity.matching.reciprocal import AtomicMatches

log = logging.getLogger(__name__)

SWITCH: Final = "CROSSCITY_KERNELS"
"""Of the environment: `off` leaves the kernels alone."""
SIZE: Final = (96, 128)
"""Pixels of the made-up pair that kernels are tried on."""
ALIKE: Final = 0.9
"""Share of that pair's matches that kernels must find as tensor operations do: half floats move a
few, a kernel that is wrong moves nearly all."""
RADIUS: Final = 24

Match = Callable[[Operands, Stages, float, int | None], AtomicMatches]
"""`crosscity.matching.on_device.matched`."""

_found: dict[torch.device, bool] = {}
_lock = threading.Lock()


def kernels_are_trusted(device: torch.device, match: Match, plain: Stages) -> bool:
    """Whether a made-up pair was matched by kernels as without; tried once a device and process.

    What speaks against is logged, in one sentence.

    Args:
        device: A CUDA device.
        match: What does all stages.
        plain: Stages in tensor operations.

    Raises:
        torch.OutOfMemoryError: There is no room even for that pair.
    """
    with _lock:
        if device not in _found:
            _found[device] = _tried(device, match, plain)
        return _found[device]


def _tried(device: torch.device, match: Match, plain: Stages) -> bool:
    if os.environ.get(SWITCH) == "off":
        log.warning("matching on %s goes without kernels, as %s says", device, SWITCH)
        return False
    try:
        from crosscity.matching.triton_stages import TritonStages  # noqa: PLC0415 - where Triton is
    except ImportError:
        log.warning("matching on %s is slower than it could be: Triton is not installed", device)
        return False
    try:
        share = trial(TritonStages(), plain, match, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver may raise
        reason = " ".join(str(error).split())[:200]
        log.warning("matching on %s goes without kernels, which failed: %s", device, reason)
        return False
    if share < ALIKE:
        log.warning(
            "matching on %s goes without kernels: only %.0f %% of a trial's matches were found",
            device,
            100 * share,
        )
    return share >= ALIKE


def trial(
    tried: Stages,
    plain: Stages,
    match: Match,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> float:
    """Share of a made-up pair's matches that both stages find, with a radius or without.

    Args:
        tried: Are looked at.
        plain: Are believed.
        match: What does all stages.
        device: Where to compute.
        size: (height, width) of the pair, multiples of 4; default: `SIZE`.

    Returns:
        The smaller of the two shares; 0 where there are no matches at all.
    """
    random = np.random.default_rng(0)
    height, width = size or SIZE
    coarse = random.integers(0, 256, (height // 2 + 2, width // 2 + 2))
    blocks = np.kron(coarse, np.ones((2, 2), dtype=np.int64))
    scene = np.clip(blocks + random.integers(-9, 10, blocks.shape), 0, 255).astype(np.uint8)
    greys = scene[2 : 2 + height, 2 : 2 + width], scene[:height, 3 : 3 + width]
    operands = operands_of(*greys, 0, device)
    shares = []
    for radius in (None, RADIUS):
        found = [match(operands, stages, 1.4, radius) for stages in (plain, tried)]
        places = [set(zip(m.patch, m.y, m.x, strict=True)) for m in found]
        shares.append(len(places[0] & places[1]) / max(1, *map(len, places)))
    return min(shares)
