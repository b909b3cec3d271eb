"""Both images of a pair on an accelerator, ready to be correlated.

The pictures are sent, a byte a pixel, and not their descriptors, of which a pixel has nine floats:
what `crosscity.matching.descriptors` and `crosscity.matching.correlation` do is done again here in
tensor operations. Whole numbers stay whole, so that a device's way to divide changes nothing; the
rest differs by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from crosscity.matching.correlation import PATCH
from crosscity.matching.descriptors import CONSTANT, ORIENTATIONS, SIGMOID_SLOPE, TAPS

_REACH: Final = len(TAPS) // 2
_ANGLES: Final = -2 * np.pi * (np.arange(ORIENTATIONS) - 2) / ORIENTATIONS
_DIRECTIONS: Final = tuple(
    part.astype(np.float32)[:, None, None] for part in (np.cos(_ANGLES), np.sin(_ANGLES))
)
"""Of the vertical and the horizontal difference, (8, 1, 1) each."""
_INSIDE: Final = (slice(2, 4), slice(1, 4), slice(0, 3), slice(0, 2))
"""Of a patch whose window leaves the image: first, second, last but one and last row or column."""


@dataclass(frozen=True)
class Operands:
    """What is multiplied, all of it on the device.

    Attributes:
        vectors: (n, 129) float32, `AtomicPatches.vectors` of the first image.
        windows: (129, h + 1, w + 1) float32, the second image's normalised windows, in the order of
            the vectors.
        row_factors: (n, 4) float32 of `border_factors`.
        column_factors: (n, 4) float32.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
    """

    vectors: Tensor
    windows: Tensor
    row_factors: Tensor
    column_factors: Tensor
    rows: int
    columns: int

    @property
    def whole(self) -> tuple[int, int]:
        """(height, width) of a whole response map."""
        return self.windows.shape[1], self.windows.shape[2]


def operands_of(
    grey_a: npt.NDArray[np.uint8],
    grey_b: npt.NDArray[np.uint8],
    halvings: int,
    device: torch.device,
) -> Operands:
    """Sends two grey images, and makes patches of the first and windows of the second.

    Args:
        grey_a: (H, W) in [0, 255], sides that are multiples of 4 · 2^halvings.
        grey_b: (H', W') in [0, 255].
        halvings: How often the descriptors are averaged 2×2.
        device: Where to.
    """
    orientations_a, orientations_b = (
        pixel_orientations(_sent(grey, device), halvings) for grey in (grey_a, grey_b)
    )
    rows, columns = (side // PATCH for side in orientations_a.shape[1:])
    vectors = patch_vectors(orientations_a)
    return Operands(
        vectors, window_columns(orientations_b), *_border_factors(vectors), rows, columns
    )


def _sent(grey: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """A byte a pixel; from pinned memory, so that this thread need not wait for the copy."""
    held = torch.from_numpy(grey.astype(np.uint8))
    if device.type == "cuda":
        held = held.pin_memory()
    return held.to(device, non_blocking=True).to(torch.int32)


def pixel_orientations(grey: Tensor, halvings: int) -> Tensor:
    """The eight orientations of `pixel_descriptors`, all at once.

    Args:
        grey: (H, W) in [0, 255].
        halvings: How often to average 2×2.

    Returns:
        (8, h, w) float32 in [0, 1).
    """
    rims = {along: _with_rim(grey, along) for along in (0, 1)}
    smoothed = grey.to(torch.int32)  # sums of bytes are none
    for along in (1, 0):
        added = _convolved(smoothed, TAPS, rims[along], along)
        smoothed = torch.div(added, sum(TAPS), rounding_mode="floor")
    vertical, horizontal = (_difference(smoothed, rims[along], along) for along in (0, 1))
    across, down = (torch.from_numpy(part).to(grey.device) for part in _DIRECTIONS)
    channels = _smooth((vertical * across + horizontal * down).clamp_(min=0), rims)
    channels = _smooth(2 / (torch.exp(-SIGMOID_SLOPE * channels) + 1) - 1, rims)
    return functional.avg_pool2d(channels, 2**halvings) if halvings else channels


def _with_rim(grey: Tensor, along: int) -> Tensor:
    """Places along an axis, and the first and the last a few times more before and after."""
    size = grey.shape[along]
    return torch.arange(-_REACH, size + _REACH, device=grey.device).clamp_(0, size - 1)


def _smooth(values: Tensor, rims: Mapping[int, Tensor]) -> Tensor:
    taps = tuple(tap / sum(TAPS) for tap in TAPS)
    return _convolved(_convolved(values, taps, rims[1], -1), taps, rims[0], -2)


def _convolved(values: Tensor, taps: Sequence[float], rim: Tensor, along: int) -> Tensor:
    """Convolution with symmetric taps along one axis; edges replicated."""
    size = values.shape[along]
    padded = values.index_select(along, rim)
    total = padded.narrow(along, _REACH, size) * taps[_REACH]
    for reach in range(1, _REACH + 1):
        total.add_(padded.narrow(along, _REACH - reach, size), alpha=taps[_REACH - reach])
        total.add_(padded.narrow(along, _REACH + reach, size), alpha=taps[_REACH - reach])
    return total


def _difference(values: Tensor, rim: Tensor, along: int) -> Tensor:
    """[-1, 0, 1] along an axis, one-sided at the borders; float32."""
    size = values.shape[along]
    padded = values.index_select(along, rim)
    after = padded.narrow(along, _REACH + 1, size)
    return (after - padded.narrow(along, _REACH - 1, size)).float()


def patch_vectors(orientations: Tensor) -> Tensor:
    """`atomic_patches` of (8, 4 r, 4 c) orientations: (r · c, 129) float32 of unit length."""
    rows, columns = (side // PATCH for side in orientations.shape[1:])
    cut = orientations[:, : rows * PATCH, : columns * PATCH]
    grid = cut.reshape(ORIENTATIONS, rows, PATCH, columns, PATCH).permute(1, 3, 0, 2, 4)
    vectors = grid.reshape(rows * columns, -1)
    squares = (vectors * vectors).sum(dim=1) + float(PATCH * PATCH * CONSTANT * CONSTANT)
    last = torch.full_like(vectors[:, :1], float(CONSTANT))
    return torch.cat([vectors, last], dim=1) / squares.sqrt()[:, None]


def window_columns(orientations: Tensor) -> Tensor:
    """(129, h + 1, w + 1) normalised windows of (8, h, w) orientations, see `SecondImage`."""
    height, width = (side + 1 for side in orientations.shape[1:])
    padded = functional.pad(orientations, (2, 2, 2, 2))
    inside = functional.pad(torch.ones_like(orientations[:1]), (2, 2, 2, 2))
    squares = (padded * padded).sum(dim=0, keepdim=True) + float(CONSTANT * CONSTANT) * inside
    inverse = 1 / _window_sums(squares).sqrt()
    constant = float(CONSTANT) * _window_sums(inside)
    cut = functional.unfold(padded[None], PATCH)[0].view(-1, height, width)
    return torch.cat([cut, constant]) * inverse


def _window_sums(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, PATCH, stride=1) * math.prod((PATCH, PATCH))


def _border_factors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """`border_factors` of rows and of columns, (n, 4) each."""
    squares = vectors * vectors
    grid = squares[:, :-1].reshape(-1, ORIENTATIONS, PATCH, PATCH).sum(dim=1)
    grid = grid + squares[:, -1, None, None]
    rows = torch.stack([grid[:, part].sum(dim=(1, 2)) for part in _INSIDE], dim=1)
    columns = torch.stack([grid[:, :, part].sum(dim=(1, 2)) for part in _INSIDE], dim=1)
    return rows.rsqrt(), columns.rsqrt()
