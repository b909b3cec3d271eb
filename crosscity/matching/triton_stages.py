"""The stages of matching on a CUDA device, each by a kernel of `crosscity.matching.triton_code`.

Tensor operations write a whole response map before they pool it. In a kernel a response lives in
registers: the correlation of a block of patches and its pooling are one, so are aggregation and
pooling, and what backtracking reaches goes into the best of each patch and bin at once. What the
stages mean is said in `crosscity.matching.device_stages`. Importable only where Triton is.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import torch
import triton
from torch import Tensor
from torch.nn import functional

from crosscity.matching.device_operands import Operands
from crosscity.matching.device_stages import Level, Reached, fetched, places_of, sent
from crosscity.matching.pyramid import BORDER_POWER, SPACING, UPPER_STEP
from crosscity.matching.reciprocal import AtomicMatches
from crosscity.matching.responses import NOTHING, STEPS, TABLE_STEPS
from crosscity.matching.tensor_stages import best_cells
from crosscity.matching.triton_blocks import block_shape, blocks_of, level_tile
from crosscity.matching.triton_code import (
    aggregate_kernel,
    best_below_kernel,
    correlate_kernel,
    entries_of_best_kernel,
    step_down_kernel,
)
from crosscity.matching.windows import Windows

ORIENTED: Final = 128
"""Terms of a correlation that are of orientations."""
MORE: Final = 16
"""Further terms, as many as the smallest matrix product takes; they hold the constant channel."""
LANES: Final = 256
"""Cells in a block of the kernels without matrix products."""
LOW: Final = 2**32 - 1
"""The lower half of a packed score and place."""

_LAUNCH = threading.Lock()
"""One thread at a time compiles or starts a kernel: whether Triton allows more is not said."""


def start(kernel: Any, programs: int, *arguments: object, **constants: object) -> None:  # noqa: ANN401 - Triton has no types
    """Starts so many programs of a kernel, in the order of this thread's stream."""
    with _LAUNCH:
        kernel[(programs,)](*arguments, **constants)


class TritonStages:
    """`Stages` by kernels; what they find differs by the rounding of the products alone."""

    def correlate(self, operands: Operands, windows: Windows, table: Tensor) -> Tensor:
        """As in `Stages`: correlation, 3×3 max-pooling with stride 2, and rectification.

        Each pooled cell's nine responses are products of their own, 2.25 times the arithmetic of
        the maps themselves: tensor cores have it to spare, memory has not.
        """
        device = operands.vectors.device
        pooled = (windows.height + 1) // 2, (windows.width + 1) // 2
        cells = torch.empty((len(windows), *pooled), dtype=torch.int16, device=device)
        size, tile = block_shape(windows)
        blocks = blocks_of(windows, operands.columns, size)
        tiles = [triton.cdiv(int(n.max()), by) for n, by in zip(blocks.extent, tile, strict=True)]
        rimmed = functional.pad(operands.windows, (1, 1, 1, 1)).flatten(1)
        start(
            correlate_kernel,
            len(blocks.first) * tiles[0] * tiles[1],
            in_halves(operands.vectors, second=False),
            in_halves(rimmed.t(), second=True),
            operands.row_factors.contiguous(),
            operands.column_factors.contiguous(),
            table,
            sent(windows.top, device),
            sent(windows.left, device),
            sent(blocks.stacked(), device),
            cells,
            len(blocks.first),
            tiles[1],
            windows.whole_height,
            windows.whole_width,
            windows.height,
            windows.width,
            *pooled,
            everywhere=windows.everywhere,
            size=size,
            tile_height=tile[0],
            tile_width=tile[1],
            terms=ORIENTED,
            nothing=NOTHING,
            table_steps=TABLE_STEPS,
            num_warps=8,
            # Two blocks of threads share a multiprocessor: one multiplies while one pools.
            maxnreg=128,
        )
        return cells

    def pooled_level(self, level: Level, shares: Tensor, table: Tensor) -> Tensor:
        """As in `Stages`: aggregation of children, pooling and rectification."""
        below, windows, device = level.cells, level.above, level.cells.device
        pooled = (windows.height + 1) // 2, (windows.width + 1) // 2
        cells = torch.empty((len(windows), *pooled), dtype=torch.int16, device=device)
        tile = level_tile(windows)
        tiles = [triton.cdiv(side, by) for side, by in zip(pooled, tile, strict=True)]
        start(
            aggregate_kernel,
            len(windows) * tiles[0] * tiles[1],
            below,
            level.children,
            level.shifts,
            shares,
            table,
            sent(windows.top, device),
            sent(windows.left, device),
            cells,
            tiles[0] * tiles[1],
            tiles[1],
            below.shape[1],
            below.shape[2],
            windows.height,
            windows.width,
            *pooled,
            step=float(UPPER_STEP),
            power=float(BORDER_POWER),
            tile_height=tile[0],
            tile_width=tile[1],
            nothing=NOTHING,
            table_steps=TABLE_STEPS,
        )
        return cells

    def descend(self, level: Level, reached: Reached) -> Reached:
        """As in `Stages`."""
        count = 4 * len(reached.patch)
        device = reached.patch.device
        keys = torch.empty(count, dtype=torch.int64, device=device)
        scores = torch.empty(count, dtype=torch.float32, device=device)
        if count:
            start(
                step_down_kernel,
                triton.cdiv(count, LANES),
                *_way(level, reached),
                keys,
                scores,
                lanes=LANES,
                steps=STEPS,
            )
        kept = torch.nonzero(keys >= 0)[:, 0]
        entries = reached.entry[torch.div(kept, 4, rounding_mode="floor")]
        return best_cells(level, keys[kept], scores[kept], entries)

    def reciprocal(self, level: Level, reached: Reached) -> AtomicMatches:
        """As in `Stages`. Which cells were reached is never listed: to find doubles costs more."""
        windows, device = level.windows, level.cells.device
        across = (windows.whole_width - 1) // SPACING + 1
        bins = ((windows.whole_height - 1) // SPACING + 1) * across
        # A score's bits and a place are one whole number, so a maximum decides ties as well.
        of_patch = torch.full((len(windows),), -1, dtype=torch.int64, device=device)
        of_bin = torch.full((bins,), -1, dtype=torch.int64, device=device)
        entries = torch.full((len(windows),), 2**31 - 1, dtype=torch.int64, device=device)
        count = 4 * len(reached.patch)
        if count:
            programs, way = triton.cdiv(count, LANES), _way(level, reached)
            start(
                best_below_kernel, programs, *way, of_patch, of_bin, across,
                lanes=LANES, steps=STEPS, bin_side=SPACING,
            )  # fmt: skip
            start(
                entries_of_best_kernel, programs, *way, reached.entry, of_patch, entries,
                lanes=LANES, steps=STEPS,
            )  # fmt: skip
        patch = torch.nonzero(of_patch >= 0)[:, 0]
        packed = of_patch[patch]
        y, x = places_of(windows, patch, LOW - (packed & LOW))
        place = torch.div(y, SPACING, rounding_mode="floor") * across
        place = place + torch.div(x, SPACING, rounding_mode="floor")
        in_bin = SPACING * SPACING * patch + y % SPACING * SPACING + x % SPACING
        kept = of_bin[place] == (packed & ~LOW) | (LOW - in_bin)
        score = (packed >> 32).to(torch.int32).view(torch.float32)
        return fetched(patch[kept], y[kept], x[kept], score[kept], entries[patch[kept]])


def in_halves(terms: Tensor, *, second: bool) -> Tensor:
    """(n, 144) half floats of (n, 129) numbers, of which the last, the largest, is in two parts.

    a b = a₁ b₁ + a₁ b₂ + a₂ b₁ but for what half floats cannot tell: three of sixteen more terms.
    """
    last = terms[:, ORIENTED]
    rounded = last.half()
    rest = (last - rounded.float()).half()
    made = torch.zeros((len(terms), ORIENTED + MORE), dtype=torch.float16, device=terms.device)
    made[:, :ORIENTED] = terms[:, :ORIENTED]
    for place, part in enumerate((rounded, rest, rounded) if second else (rounded, rounded, rest)):
        made[:, ORIENTED + place] = part
    return made


def _way(level: Level, reached: Reached) -> tuple[Tensor | int, ...]:
    """What the kernels of backtracking take of a level and of what was reached above it."""
    device = reached.patch.device
    return (
        reached.patch,
        reached.cell,
        reached.score.contiguous(),
        len(reached.patch),
        level.children,
        level.shifts,
        level.above.width,
        level.cells,
        level.cells.shape[1],
        level.cells.shape[2],
        sent(level.windows.top, device),
        sent(level.windows.left, device),
        level.windows.height * level.windows.width,
        level.windows.width,
    )
