"""The stages of matching on a device in tensor operations: what kernels are compared with.

What the compiled loops of the processor do patch by patch is done here for many patches at once.
Slower than kernels, as whole response maps are written and read again, and wherever torch is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from crosscity.matching.device_operands import Operands
from crosscity.matching.device_stages import OFFSET, Level, Reached, fetched, places_of, sent
from crosscity.matching.pyramid import BORDER_POWER, SPACING, UPPER_STEP
from crosscity.matching.reciprocal import AtomicMatches
from crosscity.matching.responses import NOTHING, STEPS, TABLE_STEPS
from crosscity.matching.windows import Windows

ALIGNMENT: Final = 16
"""Terms of a product of half floats are filled up with zeros to a multiple of this many: tensor
cores take no other number, 129 least of all."""


@dataclass(frozen=True)
class TensorStages:
    """`Stages` in tensor operations.

    Attributes:
        at_a_time: Responses that are worked on together, which decides how much memory it takes.
        precision: Of the operands of the correlation; by default half floats on CUDA, whose tensor
            cores multiply them and add up in full, and float32 elsewhere.
    """

    at_a_time: int
    precision: torch.dtype | None = None

    def correlate(self, operands: Operands, windows: Windows, table: Tensor) -> Tensor:
        """As in `Stages`, by one or several rows of the patch grid at a time."""
        device = operands.vectors.device
        usual = torch.float16 if device.type == "cuda" else torch.float32
        return _correlate(operands, windows, table, self.at_a_time, self.precision or usual)

    def pooled_level(self, level: Level, shares: Tensor, table: Tensor) -> Tensor:
        """As in `Stages`."""
        return _pooled_level(level, shares, table, self.at_a_time)

    def descend(self, level: Level, reached: Reached) -> Reached:
        """As in `Stages`."""
        return best_cells(level, *_step_down(level, reached))

    def reciprocal(self, level: Level, reached: Reached) -> AtomicMatches:
        """As in `Stages`."""
        return _reciprocal(level, reached)


def _correlate(
    operands: Operands, windows: Windows, table: Tensor, at_a_time: int, precision: torch.dtype
) -> Tensor:
    """Some rows of the patch grid at a time: their windows begin at one row, or are whole."""
    device = operands.vectors.device
    vectors, columns = _factors_of_products(operands, precision)
    factors = operands.row_factors, operands.column_factors
    whole_height, whole_width = operands.whole
    shape = (len(windows), (windows.height + 1) // 2, (windows.width + 1) // 2)
    cells = torch.empty(shape, dtype=torch.int16, device=device)
    left = sent(windows.left.astype(np.int64), device)
    for begin, end in _runs(windows, at_a_time):
        top = int(windows.top[begin])
        view = columns[:, top : top + windows.height].reshape(columns.shape[0], -1)
        tile = (vectors[begin:end] @ view).float().view(end - begin, windows.height, whole_width)
        for side in range(4):
            row = (side if side < 2 else whole_height - 4 + side) - top
            if 0 <= row < windows.height:
                tile[:, row] *= factors[0][begin:end, side, None]
            column = side if side < 2 else whole_width - 4 + side
            tile[:, :, column] *= factors[1][begin:end, side, None]
        if windows.width < whole_width:
            across = left[begin:end, None] + torch.arange(windows.width, device=device)
            index = across[:, None].expand(-1, windows.height, -1)
            tile = torch.gather(tile, 2, index)
        cells[begin:end] = pool(tile, windows.top[begin:end], windows.left[begin:end], table)
    return cells


def _factors_of_products(operands: Operands, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Vectors and windows in a precision, their terms filled up where that is a half one."""
    vectors, columns = operands.vectors.to(precision), operands.windows.to(precision)
    if precision.itemsize == 4:
        return vectors, columns
    more = -vectors.shape[1] % ALIGNMENT
    return functional.pad(vectors, (0, more)), functional.pad(columns, (0, 0, 0, 0, 0, more))


def _runs(windows: Windows, at_a_time: int) -> list[tuple[int, int]]:
    """Ranges of patches whose windows begin at the same row, not too many at a time."""
    most = max(1, at_a_time // (windows.height * windows.whole_width))
    runs: list[tuple[int, int]] = []
    ends = [n for n in range(1, len(windows)) if windows.top[n] != windows.top[n - 1]]
    for begin, end in zip([0, *ends], [*ends, len(windows)], strict=True):
        runs += [(start, min(start + most, end)) for start in range(begin, end, most)]
    return runs


def pool(
    responses: Tensor,
    top: npt.NDArray[np.int32],
    left: npt.NDArray[np.int32],
    table: Tensor,
) -> Tensor:
    """3×3 max-pooling with stride 2 and rectification: `pool_rows` of many maps.

    Args:
        responses: (n, h, w) float32, zero or more.
        top: (n,) first row of each map in the whole map; only whether it is odd matters here.
        left: (n,) first column.
        table: `rectification_table`, int32.

    Returns:
        (n, ⌈h/2⌉, ⌈w/2⌉) int16 stored cells, less 32768.
    """
    count, height, width = responses.shape
    out = torch.empty(
        (count, (height + 1) // 2, (width + 1) // 2), dtype=torch.int16, device=responses.device
    )
    for odd_row in (0, 1):
        for odd_column in (0, 1):
            chosen = np.flatnonzero((top % 2 == odd_row) & (left % 2 == odd_column))
            if len(chosen) == count:
                return _pool_alike(responses, odd_row, odd_column, table)
            if len(chosen):
                index = torch.from_numpy(chosen).to(responses.device)
                out[index] = _pool_alike(responses[index], odd_row, odd_column, table)
    return out


def _pool_alike(responses: Tensor, odd_row: int, odd_column: int, table: Tensor) -> Tensor:
    height, width = responses.shape[1:]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    keys = responses.contiguous().view(torch.int32) & -16
    below = 2 * rows + 1 - (1 + odd_row + height)
    right = 2 * columns + 1 - (1 + odd_column + width)
    keys = functional.pad(keys, (1 + odd_column, right, 1 + odd_row, below), value=NOTHING)
    lines = torch.maximum(keys[:, 0 : 2 * rows : 2] + 6, keys[:, 1 : 2 * rows : 2] + 3)
    lines = torch.maximum(lines, keys[:, 2 : 2 * rows + 1 : 2])
    best = torch.maximum(lines[..., 0 : 2 * columns : 2] + 2, lines[..., 1 : 2 * columns : 2] + 1)
    best = torch.maximum(best, lines[..., 2 : 2 * columns + 1 : 2]).contiguous()
    step = (best.view(torch.float32).clamp(max=1) * TABLE_STEPS + 0.5).to(torch.int32)
    return ((table[step] | (best & 15)) - OFFSET).to(torch.int16)


def aggregate(level: Level, shares: Tensor, begin: int, end: int) -> Tensor:
    """Responses of the patches `begin` … `end` above a level: `aggregate_patch` of many."""
    height, width = level.above.height, level.above.width
    device = level.cells.device
    count = end - begin
    full = torch.zeros((count, height, width), device=device)
    present = torch.zeros((count, height, width), device=device)
    y = torch.arange(height, device=device)
    x = torch.arange(width, device=device)
    for k in range(4):
        child = level.children[begin:end, k]
        i = y + level.shifts[begin:end, k, 0, None]
        j = x + level.shifts[begin:end, k, 1, None]
        inside = ((i >= 0) & (i < level.cells.shape[1]))[:, :, None] & (
            (j >= 0) & (j < level.cells.shape[2])
        )[:, None, :]
        inside &= (child >= 0)[:, None, None]
        i, j = i.clamp(0, level.cells.shape[1] - 1), j.clamp(0, level.cells.shape[2] - 1)
        stored = level.cells[child.clamp(min=0)[:, None, None], i[:, :, None], j[:, None, :]]
        value = ((stored.to(torch.int32) + OFFSET) & 0xFFF0).float()
        share = shares[begin:end, k, None, None]
        full += torch.where(inside, share * float(UPPER_STEP) * value, 0.0)
        present += torch.where(inside, share, 0.0)
    rim = (present > 0) & (present < 0.99999)
    return torch.where(rim, full / present.clamp(min=1e-6) ** float(BORDER_POWER), full)


def _pooled_level(level: Level, shares: Tensor, table: Tensor, at_a_time: int) -> Tensor:
    windows = level.above
    shape = (len(windows), (windows.height + 1) // 2, (windows.width + 1) // 2)
    cells = torch.empty(shape, dtype=torch.int16, device=level.cells.device)
    # Several tensors of this size are alive while the children are added up.
    step = max(1, at_a_time // (4 * windows.height * windows.width))
    for begin in range(0, len(windows), step):
        end = min(begin + step, len(windows))
        full = aggregate(level, shares, begin, end)
        cells[begin:end] = pool(full, windows.top[begin:end], windows.left[begin:end], table)
    return cells


def _step_down(level: Level, reached: Reached) -> tuple[Tensor, Tensor, Tensor]:
    """All ways one level down: key (patch · area + cell), score, entry; a cell may occur often."""
    device = level.cells.device
    top, left = (
        sent(side.astype(np.int64), device) for side in (level.windows.top, level.windows.left)
    )
    area = level.windows.height * level.windows.width
    keys, scores, entries = [], [], []
    for k in range(4):
        child = level.children[reached.patch, k]
        shift = level.shifts[reached.patch, k]
        i = reached.cell // level.above.width + shift[:, 0]
        j = reached.cell % level.above.width + shift[:, 1]
        valid = (child >= 0) & (i >= 0) & (i < level.cells.shape[1])
        valid &= (j >= 0) & (j < level.cells.shape[2])
        child, i, j = child[valid], i[valid], j[valid]
        stored = level.cells[child, i, j].to(torch.int64) + OFFSET
        value = stored >> 4
        rank = 8 - (stored & 15)
        y = 2 * i + torch.div(rank, 3, rounding_mode="floor") - 1 - (top[child] & 1)
        x = 2 * j + rank % 3 - 1 - (left[child] & 1)
        score = reached.score[valid] + value.float() / STEPS
        some = value > 0
        keys.append((child * area + y * level.windows.width + x)[some])
        scores.append(score[some])
        entries.append(reached.entry[valid][some])
    return torch.cat(keys), torch.cat(scores), torch.cat(entries)


def _best_of_each(keys: Tensor, scores: Tensor, entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each key once, ascending, with its best score; of equal ones the smaller entry."""
    unique, inverse = torch.unique(keys, return_inverse=True)
    # Scores are positive, so their bits order like integers.
    packed = (scores.contiguous().view(torch.int32).long() << 32) | (2**31 - 1 - entries)
    best = torch.zeros(len(unique), dtype=torch.int64, device=keys.device)
    best.scatter_reduce_(0, inverse, packed, "amax", include_self=True)
    score = (best >> 32).to(torch.int32).view(torch.float32)
    return unique, score, 2**31 - 1 - (best & (2**32 - 1))


def best_cells(level: Level, keys: Tensor, scores: Tensor, entries: Tensor) -> Reached:
    """Each reached cell of a level once, from keys (patch · area + cell) that may repeat."""
    key, score, entry = _best_of_each(keys, scores, entries)
    area = level.windows.height * level.windows.width
    return Reached(torch.div(key, area, rounding_mode="floor"), key % area, score, entry)


def _reciprocal(level: Level, reached: Reached) -> AtomicMatches:
    """`reciprocal_matches`: the best of each patch that is the best of its bin as well."""
    windows, device = level.windows, level.cells.device
    best = best_cells(level, *_step_down(level, reached))
    patch, score = best.patch, best.score
    y, x = places_of(windows, patch, best.cell)
    across = (windows.whole_width - 1) // SPACING + 1
    bins = ((windows.whole_height - 1) // SPACING + 1) * across
    place = torch.div(y, SPACING, rounding_mode="floor") * across
    place = place + torch.div(x, SPACING, rounding_mode="floor")
    # Keys ascend, so of equal scores the smaller number is the smaller (patch, y, x).
    number = torch.arange(len(patch), device=device)
    packed = (score.contiguous().view(torch.int32).long() << 32) | (2**32 - 1 - number)
    winners = []
    for index, count in ((patch, len(windows)), (place, bins)):
        most = torch.full((count,), -1, dtype=torch.int64, device=device)
        most.scatter_reduce_(0, index, packed, "amax", include_self=True)
        winners.append(most[index] == packed)
    kept = torch.nonzero(winners[0] & winners[1])[:, 0]
    return fetched(patch[kept], y[kept], x[kept], score[kept], best.entry[kept])
