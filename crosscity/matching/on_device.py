"""DeepMatching on an accelerator: the same stages as on the processor, in tensor operations.

What the compiled loops do patch by patch is done here for many patches at once; what they store is
stored alike (`crosscity.matching.responses`), so the results differ by the rounding of the matrix
products alone. Several pairs are matched at a time by calling from several threads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crosscity.matching.correlation import PATCH, AtomicPatches, SecondImage, border_factors
from crosscity.matching.pyramid import (
    BORDER_POWER,
    SPACING,
    UPPER_STEP,
    child_shares,
    children_of,
    shifts_of,
)
from crosscity.matching.reciprocal import AtomicMatches
from crosscity.matching.responses import NOTHING, STEPS, TABLE_STEPS, rectification_table
from crosscity.matching.windows import Windows, windows_of_level

log = logging.getLogger(__name__)

VALUES_AT_A_TIME: Final = 2**27
"""Responses that are worked on at a time, 512 MiB; a quarter of it after running out of memory."""
OFFSET: Final = 32768
"""Stored cells are unsigned, for which there are few tensor operations; so they are kept signed."""


@dataclass(frozen=True)
class _Level:
    """A level's maps, and how the level above hangs on them.

    Attributes:
        cells: (n, h, w) int16, `PooledMaps.cells` less 32768.
        windows: Of the maps before pooling.
        children: (m, 4) int64 of the level above.
        shifts: (m, 4, 2) int64 of the level above.
        above: Windows of the level above.
    """

    cells: Tensor
    windows: Windows
    children: Tensor
    shifts: Tensor
    above: Windows


@dataclass(frozen=True)
class _Reached:
    """Cells that were reached: patch and flat index in its window, both int64; score; entry."""

    patch: Tensor
    cell: Tensor
    score: Tensor
    entry: Tensor


@torch.inference_mode()
def match_on_device(
    patches: AtomicPatches,
    image: SecondImage,
    levels: int,
    power: float,
    radius: int | None,
    device: torch.device,
) -> AtomicMatches:
    """Correlation, aggregation, backtracking and reciprocal filter on a device.

    Args:
        patches: Of the first image.
        image: The second image.
        levels: Above the atomic patches, at least 1.
        power: Exponent of the rectification.
        radius: In cells; ``None`` searches everywhere.
        device: Where to compute.

    Raises:
        torch.OutOfMemoryError: Also a quarter of the usual amount at a time does not fit.
    """
    for at_a_time in (VALUES_AT_A_TIME, VALUES_AT_A_TIME // 4):
        try:
            return _match(patches, image, levels, power, radius, device, at_a_time)
        except torch.OutOfMemoryError:
            if device.type == "cuda":
                torch.cuda.empty_cache()
            if at_a_time < VALUES_AT_A_TIME:
                raise
            log.warning("%s is out of memory: trying again with a quarter at a time", device)
    raise AssertionError("the last attempt returns or raises")


def _match(
    patches: AtomicPatches,
    image: SecondImage,
    levels: int,
    power: float,
    radius: int | None,
    device: torch.device,
    at_a_time: int,
) -> AtomicMatches:
    table = torch.from_numpy(rectification_table(power).astype(np.int32)).to(device)
    rows, columns = patches.rows, patches.columns
    windows = windows_of_level(0, rows, columns, image.whole, radius)
    cells = correlate(patches, image, windows, table, device, at_a_time)
    weights = np.ones(rows * columns, dtype=np.float32)
    made: list[_Level] = []
    for number in range(1, levels + 1):
        children = children_of(number, rows, columns)
        above = windows_of_level(number, rows, columns, image.whole, radius)
        shifts = shifts_of(children, above, windows).astype(np.int64)
        level = _Level(
            cells,
            windows,
            torch.from_numpy(children).to(device),
            torch.from_numpy(shifts).to(device),
            above,
        )
        made.append(level)
        shares, weights = child_shares(weights, children)
        shares_there = torch.from_numpy(shares).to(device)
        if number == levels:
            top = aggregate(level, shares_there, 0, len(children)).clamp(max=1) ** power
            break
        cells = _pooled_level(level, shares_there, table, at_a_time)
        windows = above
    reached = _top_entries(top)
    for level in reversed(made[1:]):
        reached = _descend(level, reached)
    return _reciprocal(made[0], reached)


def correlate(
    patches: AtomicPatches,
    image: SecondImage,
    windows: Windows,
    table: Tensor,
    device: torch.device,
    at_a_time: int,
) -> Tensor:
    """Response maps of all atomic patches, pooled: `crosscity.matching.correlation.correlate`.

    One or several rows of the patch grid at a time: their windows begin at one row, or are whole.
    On CUDA the operands are half floats, which tensor cores multiply, added up in full.
    """
    precision = torch.float16 if device.type == "cuda" else torch.float32
    vectors = torch.from_numpy(patches.vectors).to(device, precision)
    columns = _window_columns(image, device).to(precision)
    factors = [torch.from_numpy(factor).to(device) for factor in border_factors(patches)]
    whole_height, whole_width = image.whole
    shape = (len(windows), (windows.height + 1) // 2, (windows.width + 1) // 2)
    cells = torch.empty(shape, dtype=torch.int16, device=device)
    left = torch.from_numpy(windows.left.astype(np.int64)).to(device)
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


def _runs(windows: Windows, at_a_time: int) -> list[tuple[int, int]]:
    """Ranges of patches whose windows begin at the same row, not too many at a time."""
    most = max(1, at_a_time // (windows.height * windows.whole_width))
    runs: list[tuple[int, int]] = []
    ends = [n for n in range(1, len(windows)) if windows.top[n] != windows.top[n - 1]]
    for begin, end in zip([0, *ends], [*ends, len(windows)], strict=True):
        runs += [(start, min(start + most, end)) for start in range(begin, end, most)]
    return runs


def _window_columns(image: SecondImage, device: torch.device) -> Tensor:
    """(129, h + 1, w + 1) normalised windows, in the order of `AtomicPatches.vectors`."""
    padded = torch.from_numpy(image.padded).to(device)
    inverse = torch.from_numpy(image.inverse).to(device)
    constant = torch.from_numpy(image.constant).to(device)
    cut = functional.unfold(padded[None], PATCH)[0]
    height, width = padded.shape[1] - 3, padded.shape[2] - 3
    whole = cut.view(-1, height, width)[:, : inverse.shape[0], : inverse.shape[1]]
    return torch.cat([whole, constant[None]]) * inverse


def pool(
    responses: Tensor,
    top: np.ndarray[tuple[int], np.dtype[np.int32]],
    left: np.ndarray[tuple[int], np.dtype[np.int32]],
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


def aggregate(level: _Level, shares: Tensor, begin: int, end: int) -> Tensor:
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


def _pooled_level(level: _Level, shares: Tensor, table: Tensor, at_a_time: int) -> Tensor:
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


def _top_entries(top: Tensor) -> _Reached:
    flat = top.reshape(len(top), -1)
    patch, cell = torch.nonzero(flat > 0, as_tuple=True)
    score = flat[patch, cell]
    entry = torch.empty_like(patch)
    entry[torch.argsort(-score, stable=True)] = torch.arange(len(patch), device=top.device)
    return _Reached(patch, cell, score, entry)


def _step_down(level: _Level, reached: _Reached) -> tuple[Tensor, Tensor, Tensor]:
    """All ways one level down: key (patch · area + cell), score, entry; a cell may occur often."""
    device = level.cells.device
    top = torch.from_numpy(level.windows.top.astype(np.int64)).to(device)
    left = torch.from_numpy(level.windows.left.astype(np.int64)).to(device)
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


def _descend(level: _Level, reached: _Reached) -> _Reached:
    key, score, entry = _best_of_each(*_step_down(level, reached))
    area = level.windows.height * level.windows.width
    return _Reached(torch.div(key, area, rounding_mode="floor"), key % area, score, entry)


def _reciprocal(level: _Level, reached: _Reached) -> AtomicMatches:
    """`reciprocal_matches`: the best of each patch that is the best of its bin as well."""
    windows, device = level.windows, level.cells.device
    key, score, entry = _best_of_each(*_step_down(level, reached))
    area = windows.height * windows.width
    patch = torch.div(key, area, rounding_mode="floor")
    cell = key % area
    y = torch.div(cell, windows.width, rounding_mode="floor")
    y = y + torch.from_numpy(windows.top.astype(np.int64)).to(device)[patch]
    x = cell % windows.width + torch.from_numpy(windows.left.astype(np.int64)).to(device)[patch]
    across = (windows.whole_width - 1) // SPACING + 1
    bins = ((windows.whole_height - 1) // SPACING + 1) * across
    place = torch.div(y, SPACING, rounding_mode="floor") * across
    place = place + torch.div(x, SPACING, rounding_mode="floor")
    # Keys ascend, so of equal scores the smaller number is the smaller (patch, y, x).
    number = torch.arange(len(key), device=device)
    packed = (score.contiguous().view(torch.int32).long() << 32) | (2**32 - 1 - number)
    winners = []
    for index, count in ((patch, len(windows)), (place, bins)):
        best = torch.full((count,), -1, dtype=torch.int64, device=device)
        best.scatter_reduce_(0, index, packed, "amax", include_self=True)
        winners.append(best[index] == packed)
    kept = torch.nonzero(winners[0] & winners[1])[:, 0]
    return AtomicMatches(
        patch=patch[kept].cpu().numpy(),
        y=y[kept].cpu().numpy(),
        x=x[kept].cpu().numpy(),
        score=score[kept].cpu().numpy(),
        entry=entry[kept].to(torch.int32).cpu().numpy(),
    )
