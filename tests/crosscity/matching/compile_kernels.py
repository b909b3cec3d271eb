"""Compiles every kernel of matching for devices that need not be there; prints a line for each.

Run by `test_kernels.py` in a process of its own, as the kernels of that one are interpreted. Types
and constants are those that the stages themselves start the kernels with.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from crosscity.matching import triton_stages
from crosscity.matching.device_operands import operands_of
from crosscity.matching.device_stages import Level, Reached
from crosscity.matching.pyramid import children_of, shifts_of
from crosscity.matching.responses import rectification_table
from crosscity.matching.windows import windows_of_level

TYPES = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
OPTIONS = ("num_warps", "maxnreg")


class Started(Exception):  # noqa: N818 - it is no error
    """In place of what a kernel would have written."""


def compile_for(capability: int) -> None:
    """Compiles what the stages start, with a radius and without."""

    def compiled(kernel: Any, programs: int, *arguments: object, **constants: object) -> None:
        assert programs > 0
        options = {name: constants.pop(name) for name in OPTIONS if name in constants}
        names = [parameter.name for parameter in kernel.params]
        kinds = {
            name: TYPES[given.dtype] if isinstance(given, torch.Tensor) else "i32"
            for name, given in zip(names, arguments, strict=False)
        }
        assert len(names) == len(arguments) + len(constants)
        made = triton.compile(
            ASTSource(kernel, kinds | dict.fromkeys(constants, "constexpr"), constants),
            target=GPUTarget("cuda", capability, 32),
            options=options,
        )
        products = sum(made.asm["ptx"].count(word) for word in ("mma.sync", "wgmma.mma_async"))
        name = kernel.fn.__name__
        print(capability, name, len(made.asm["cubin"]), products, made.metadata.shared)
        if name == "step_down_kernel":
            raise Started

    triton_stages.start = compiled
    stages = triton_stages.TritonStages()
    table = torch.from_numpy(rectification_table(1.4).astype(np.int32))
    scene = np.random.default_rng(0).integers(0, 256, (26, 34)).astype(np.int32)
    operands = operands_of(scene[:24, :32], scene[2:, 2:], 0, torch.device("cpu"))
    rows, columns = operands.rows, operands.columns
    for radius in (None, 5):
        below, above = (
            windows_of_level(level, rows, columns, operands.whole, radius) for level in (0, 1)
        )
        children = children_of(1, rows, columns)
        cells = stages.correlate(operands, below, table)
        shifts = shifts_of(children, above, below).astype(np.int64)
        level = Level(cells, below, torch.from_numpy(children), torch.from_numpy(shifts), above)
        stages.pooled_level(level, torch.full((len(children), 4), 0.25), table)
        one = torch.zeros(1, dtype=torch.int64)
        reached = Reached(one, one, torch.ones(1), one)
        with contextlib.suppress(Started):
            stages.descend(level, reached)
        stages.reciprocal(level, reached)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        compile_for(int(given))
