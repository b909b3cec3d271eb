"""The stages of matching on a device, and what they hand on: `tensor_stages`, `triton_stages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.matching.device_operands import Operands
from crosscity.matching.reciprocal import AtomicMatches
from crosscity.matching.windows import Windows

OFFSET: Final = 32768
"""Stored cells are unsigned, for which there are few tensor operations; so they are kept signed."""


@dataclass(frozen=True)
class Level:
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
class Reached:
    """Cells that were reached, (r,) each.

    Attributes:
        patch: int64.
        cell: int64 flat index in the patch's window.
        score: float32, positive.
        entry: int64.
    """

    patch: Tensor
    cell: Tensor
    score: Tensor
    entry: Tensor


class Stages(Protocol):
    """What is done for many patches at once; all that one gives, another takes."""

    def correlate(self, operands: Operands, windows: Windows, table: Tensor) -> Tensor:
        """Pooled response maps of all atomic patches.

        Args:
            operands: Of both images.
            windows: Of the atomic patches.
            table: `rectification_table`, int32.

        Returns:
            (n, ⌈height/2⌉, ⌈width/2⌉) int16 stored cells, less 32768.
        """

    def pooled_level(self, level: Level, shares: Tensor, table: Tensor) -> Tensor:
        """Pooled response maps of the patches above a level, whose children have (m, 4) shares."""

    def descend(self, level: Level, reached: Reached) -> Reached:
        """Each cell below that is reached, once, with its best score; ascending."""

    def reciprocal(self, level: Level, reached: Reached) -> AtomicMatches:
        """`crosscity.matching.reciprocal.reciprocal_matches`."""


def sent(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on the device."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def places_of(windows: Windows, patch: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """(y, x) in the whole map of cells of patches' windows, int64."""
    top, left = (sent(side.astype(np.int64), cell.device) for side in (windows.top, windows.left))
    y = torch.div(cell, windows.width, rounding_mode="floor") + top[patch]
    return y, cell % windows.width + left[patch]


def fetched(patch: Tensor, y: Tensor, x: Tensor, score: Tensor, entry: Tensor) -> AtomicMatches:
    """Matches from the device, in one copy."""
    bits = score.contiguous().view(torch.int32).long()
    held = torch.stack([patch, y, x, bits, entry]).cpu().numpy()
    return AtomicMatches(
        patch=held[0],
        y=held[1],
        x=held[2],
        score=held[3].astype(np.int32).view(np.float32),
        entry=held[4].astype(np.int32),
    )
