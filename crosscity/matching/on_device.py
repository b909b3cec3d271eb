"""DeepMatching on an accelerator: the same stages as on the processor, for many patches at once.

By tensor operations everywhere; on CUDA, where Triton is, by kernels that do a stage in one go,
once they have found what the tensor operations find (`kernel_trial`). Maps are stored as on the
processor (`crosscity.matching.responses`), so the results differ by the rounding of descriptors and
products alone. Several pairs are matched at a time by calling from several threads: each has a
stream of its own, and what else they do (decoding, superpixels) goes on meanwhile.
"""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crosscity.matching.device_operands import Operands, operands_of
from crosscity.matching.device_stages import Level, Reached, Stages, sent
from crosscity.matching.kernel_trial import kernels_are_trusted
from crosscity.matching.pyramid import child_shares, children_of, level_count, shifts_of
from crosscity.matching.reciprocal import AtomicMatches
from crosscity.matching.responses import rectification_table
from crosscity.matching.tensor_stages import TensorStages, aggregate
from crosscity.matching.windows import windows_of_level

log = logging.getLogger(__name__)

VALUES_AT_A_TIME: Final = 2**27
"""Responses that tensor operations work on at a time, 512 MiB; a quarter of it after running out of
memory."""

_streams = threading.local()


@torch.inference_mode()
def match_on_device(
    grey_a: npt.NDArray[np.uint8],
    grey_b: npt.NDArray[np.uint8],
    *,
    halvings: int,
    power: float,
    radius: int | None,
    device: torch.device,
) -> AtomicMatches:
    """Descriptors, correlation, aggregation, backtracking and reciprocal filter on a device.

    Args:
        grey_a: (H, W) in [0, 255], sides that are multiples of 4 · 2^halvings.
        grey_b: (H', W') in [0, 255].
        halvings: How often the descriptors are averaged 2×2.
        power: Exponent of the rectification.
        radius: In cells of the averaged descriptors; ``None`` searches everywhere.
        device: Where to compute.

    Raises:
        torch.OutOfMemoryError: Also a quarter of the usual amount at a time does not fit.
    """
    with own_stream(device):
        for at_a_time in (VALUES_AT_A_TIME, VALUES_AT_A_TIME // 4):
            try:
                stages = stages_for(device, at_a_time)
                return matched(operands_of(grey_a, grey_b, halvings, device), stages, power, radius)
            except torch.OutOfMemoryError:
                if at_a_time < VALUES_AT_A_TIME:
                    raise
                log.warning("%s is out of memory: trying again with a quarter at a time", device)
            # Out of the handler, whose traceback keeps all that was made of the pair alive.
            if device.type == "cuda":
                torch.cuda.empty_cache()
    raise AssertionError("the last attempt returns or raises")


def stages_for(device: torch.device, at_a_time: int) -> Stages:
    """The fastest stages that the device can be trusted with."""
    plain = TensorStages(at_a_time)
    if device.type != "cuda" or not kernels_are_trusted(device, matched, plain):
        return plain
    from crosscity.matching.triton_stages import TritonStages  # noqa: PLC0415 - where Triton is

    return TritonStages()


def own_stream(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, what this thread starts on a CUDA device waits for nobody else's work.

    A thread has one stream a device for all its pairs, as memory is kept by stream.
    """
    if device.type != "cuda":
        return nullcontext()
    of_devices: dict[torch.device, torch.cuda.Stream] = _streams.__dict__.setdefault("made", {})
    if device not in of_devices:
        of_devices[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return torch.cuda.stream(of_devices[device])


def matched(
    operands: Operands, stages: Stages, power: float, radius: int | None, levels: int | None = None
) -> AtomicMatches:
    """All stages.

    Args:
        operands: Of both images.
        stages: How each is done.
        power: Exponent of the rectification.
        radius: In cells; ``None`` searches everywhere.
        levels: Above the atomic patches, at least 1; by default as many as the image has.
    """
    device = operands.vectors.device
    table = sent(rectification_table(power).astype(np.int32), device)
    rows, columns = operands.rows, operands.columns
    levels = level_count(4 * rows, 4 * columns) if levels is None else levels
    windows = windows_of_level(0, rows, columns, operands.whole, radius)
    cells = stages.correlate(operands, windows, table)
    weights = np.ones(rows * columns, dtype=np.float32)
    made: list[Level] = []
    for number in range(1, levels + 1):
        children = children_of(number, rows, columns)
        above = windows_of_level(number, rows, columns, operands.whole, radius)
        shifts = shifts_of(children, above, windows).astype(np.int64)
        level = Level(cells, windows, sent(children, device), sent(shifts, device), above)
        made.append(level)
        shares, weights = child_shares(weights, children)
        if number < levels:
            cells = stages.pooled_level(level, sent(shares, device), table)
            windows = above
    top = aggregate(level, sent(shares, device), 0, len(children)).clamp_(max=1) ** power
    reached = _top_entries(top)
    for level in reversed(made[1:]):
        reached = stages.descend(level, reached)
    return stages.reciprocal(made[0], reached)


def _top_entries(top: torch.Tensor) -> Reached:
    flat = top.reshape(len(top), -1)
    patch, cell = torch.nonzero(flat > 0, as_tuple=True)
    score = flat[patch, cell]
    entry = torch.empty_like(patch)
    entry[torch.argsort(-score, stable=True)] = torch.arange(len(patch), device=top.device)
    return Reached(patch, cell, score, entry)
