"""How the work of the kernels is cut into blocks: arithmetic on sizes, which needs no Triton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosscity.matching.windows import Windows

Tile = tuple[int, int]


def block_shape(windows: Windows) -> tuple[int, Tile]:
    """Patches in a block of the correlation, and (rows, columns) of pooled cells in its tiles.

    More patches where their windows are one; where not, each widens what all look at.
    """
    return (128, (4, 16)) if windows.everywhere else (32, (8, 16))


def level_tile(windows: Windows) -> Tile:
    """(rows, columns) of pooled cells in a tile of a level above the atomic patches.

    Wide tiles, as rows lie together, but not wider than small maps are.
    """
    return (8, 32) if (windows.width + 1) // 2 > 16 else (16, 16)


@dataclass(frozen=True)
class Blocks:
    """Patches that are correlated together, and the part of the pooled map that they look at.

    Attributes:
        first: (b,) int32 the first patch of each block.
        count: (b,) int32 how many.
        row: (b,) int32 first row of the pooled whole map that any of them needs.
        column: (b,) int32 first column.
        rows: (b,) int32 how many rows.
        columns: (b,) int32 how many columns.
    """

    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]

    @property
    def extent(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(rows, columns) of every block's part."""
        return self.rows, self.columns

    def stacked(self) -> npt.NDArray[np.int32]:
        """(6, b): all of it, in the order of the attributes."""
        parts = (self.first, self.count, self.row, self.column, self.rows, self.columns)
        return np.stack(parts).astype(np.int32)


def blocks_of(windows: Windows, patches_across: int, size: int) -> Blocks:
    """Cuts the patches into blocks.

    Where all search everywhere any patches go together; else neighbours of one row of the grid,
    whose windows overlap most.

    Args:
        windows: Of the atomic patches.
        patches_across: Patches in a row of the grid.
        size: The most patches in a block.
    """
    run = len(windows) if windows.everywhere else patches_across
    starts = [
        start
        for begin in range(0, len(windows), run)
        for start in range(begin, min(begin + run, len(windows)), size)
    ]
    first = np.array(starts, dtype=np.int32)
    ends = np.minimum(np.minimum(first + size, (first // run + 1) * run), len(windows))
    height, width = (windows.height + 1) // 2, (windows.width + 1) // 2
    tops, lefts = windows.top // 2, windows.left // 2
    row = np.minimum.reduceat(tops, first)
    column = np.minimum.reduceat(lefts, first)
    return Blocks(
        first,
        (ends - first).astype(np.int32),
        row,
        column,
        np.maximum.reduceat(tops, first) - row + height,
        np.maximum.reduceat(lefts, first) - column + width,
    )
