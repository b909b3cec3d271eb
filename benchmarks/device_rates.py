"""What a device can do, here and now: large products and copies, the two sides of a roofline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch

SIDE: Final = {"cuda": 8192, "other": 1024}
"""Of the matrices whose product is timed."""
COPIED: Final = {"cuda": 2**27, "other": 2**22}
"""Floats of the block that is copied."""


def product_rate(device: str, kind: torch.dtype) -> float:
    """Operations a second of a large matrix product: what the device can do, here and now.

    Of random numbers: products of equal ones need less power, so that clocks stay higher.
    """
    side = _of(SIDE, device)
    one, other = (torch.randn((side, side), device=device, dtype=kind) for _ in range(2))
    return 2.0 * side**3 / _best_seconds(lambda: one @ other, device)


def copy_rate(device: str) -> float:
    """Bytes a second that are read and written where a large block is copied."""
    block = torch.randn(_of(COPIED, device), device=device)
    return 8.0 * block.numel() / _best_seconds(block.clone, device)


def _of(sizes: dict[str, int], device: str) -> int:
    return sizes.get(torch.device(device).type, sizes["other"])


def _best_seconds(work: Callable[[], object], device: str) -> float:
    for _ in range(3):
        work()
    best = float("inf")
    for _ in range(40):  # the best of many, as others may use the device in between
        began = _busy(device)
        work()
        best = min(best, _busy(device) - began)
    return best


def _busy(device: str) -> float:
    """Seconds on a GPU; of a processor only those that it worked for us, a thread's share."""
    if torch.device(device).type != "cuda":
        return time.process_time() / torch.get_num_threads()
    torch.cuda.synchronize(device)
    return time.perf_counter()
