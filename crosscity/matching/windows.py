"""Where in the second image a patch is searched for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int32]


class WindowFrames(NamedTuple):
    """`Windows` for compiled loops, which take no dataclass; its fields are the same."""

    top: Index
    left: Index
    height: int
    width: int
    whole_height: int
    whole_width: int


@dataclass(frozen=True)
class Windows:
    """The part of the whole response map that is computed for each patch of a level.

    All windows of a level are of one size. Near the border of the image a window is moved
    inwards rather than cut, as in the published program, so that a patch there is searched for up
    to twice as far.

    Attributes:
        top: (n,) int32 first row of each patch's window in the whole map.
        left: (n,) int32 first column.
        height: Rows of every window.
        width: Columns of every window.
        whole_height: Rows of the whole map.
        whole_width: Columns of the whole map.
    """

    top: Index
    left: Index
    height: int
    width: int
    whole_height: int
    whole_width: int

    def __len__(self) -> int:
        return len(self.top)

    def frames(self) -> WindowFrames:
        """What compiled loops take of it."""
        return WindowFrames(
            self.top, self.left, self.height, self.width, self.whole_height, self.whole_width
        )

    @property
    def everywhere(self) -> bool:
        """Whether every patch is searched for in the whole image."""
        return self.height == self.whole_height and self.width == self.whole_width


def patch_centres(level: int, rows: int, columns: int) -> tuple[Index, Index]:
    """(y, x) of the patches of a level, in cells, row by row.

    Atomic patches are centred at 2, 6, 10, …; all others at 0, 4, 8, … and one more.
    """
    first, more = (2, 0) if level == 0 else (0, 1)
    y, x = np.meshgrid(
        first + 4 * np.arange(rows + more), first + 4 * np.arange(columns + more), indexing="ij"
    )
    return y.ravel().astype(np.int32), x.ravel().astype(np.int32)


def windows_of_level(
    level: int, rows: int, columns: int, whole: tuple[int, int], radius: int | None
) -> Windows:
    """The windows of the patches of a level.

    Args:
        level: 0 for the atomic patches. A map of level l has a cell for every 2^l of level 0.
        rows: Atomic patches from top to bottom.
        columns: Atomic patches from left to right.
        whole: (height, width) of the whole maps of level 0.
        radius: Largest displacement along each axis in cells of level 0; ``None`` for any.
    """
    whole_height, whole_width = whole
    reach = max(whole) if radius is None else radius
    height, width = min(2 * reach + 1, whole_height), min(2 * reach + 1, whole_width)
    for _ in range(level):
        height, width = (height + 1) // 2, (width + 1) // 2
        whole_height, whole_width = (whole_height + 1) // 2, (whole_width + 1) // 2
    y, x = patch_centres(level, rows, columns)
    return Windows(
        top=np.clip((y - reach) >> level, 0, whole_height - height).astype(np.int32),
        left=np.clip((x - reach) >> level, 0, whole_width - width).astype(np.int32),
        height=height,
        width=width,
        whole_height=whole_height,
        whole_width=whole_width,
    )


@dataclass(frozen=True)
class Search:
    """Where the patches of all levels are searched for: around their own place, or another.

    Attributes:
        rows: Atomic patches from top to bottom.
        columns: Atomic patches from left to right.
        whole: (height, width) of the whole maps of level 0.
        radius: Largest displacement along each axis in cells of level 0; ``None`` for any.
    """

    rows: int
    columns: int
    whole: tuple[int, int]
    radius: int | None = None

    def windows(self, level: int) -> Windows:
        """The windows of the patches of a level."""
        return windows_of_level(level, self.rows, self.columns, self.whole, self.radius)


@dataclass(frozen=True)
class SearchNear(Search):
    """Only near where each patch is expected to be found.

    Attributes:
        moved: (rows, columns, 2) int32 (y, x): by how many cells each atomic patch is expected to
            have moved.
        reach: Cells of level 0 that it may lie off along each axis.
    """

    moved: Index = field(kw_only=True)
    reach: int = field(kw_only=True)

    def windows(self, level: int) -> Windows:
        """The windows of the patches of a level, none of which leaves the one without `moved`.

        Larger patches are centred between four atomic ones, and follow the lower right of them.
        """
        around = super().windows(level)
        small = windows_of_level(level, self.rows, self.columns, self.whole, self.reach)
        height, width = min(small.height, around.height), min(small.width, around.width)
        y, x = patch_centres(level, self.rows, self.columns)
        row, column = np.minimum(y // 4, self.rows - 1), np.minimum(x // 4, self.columns - 1)
        moved = self.moved[row, column]
        top, left = (y + moved[:, 0] - self.reach) >> level, (x + moved[:, 1] - self.reach) >> level
        return Windows(
            top=np.clip(top, around.top, around.top + around.height - height).astype(np.int32),
            left=np.clip(left, around.left, around.left + around.width - width).astype(np.int32),
            height=height,
            width=width,
            whole_height=around.whole_height,
            whole_width=around.whole_width,
        )
