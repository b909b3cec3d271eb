"""Bilinear upsampling as two matrix products: what a processor does fast, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_GRID = 64
"""Rows of the coarse grid up to which products are the faster way: each output costs one
multiplication a row, where interpolation costs four."""


def upsample_by_products(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of planes, as `interpolate` with `align_corners=False` up to rounding.

    An output is a weighted mean of rows and of columns, so that Y = R X Cᵀ. In training this takes
    a third of the time of PyTorch's kernel on a processor, whose backward pass is not vectorised.

    Args:
        values: B×C×h×w; computed in fp32, inside autocast too, as `interpolate` is.
        size: (height, width) of the result.

    Returns:
        B×C×height×width, fp32 (fp64 where the values are).
    """
    (rows, columns), (height, width) = values.shape[-2:], size
    with torch.autocast(values.device.type, enabled=False):
        if values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        wide = torch.matmul(values, _weights(columns, width, values).T)
        return torch.matmul(_weights(rows, height, values), wide)


def _weights(n: int, size: int, like: Tensor) -> Tensor:
    """size×n: how much of each of n values is in each of the outputs along one axis."""
    units = torch.eye(n, dtype=like.dtype, device=like.device).unsqueeze(0)
    return functional.interpolate(units, size=size, mode="linear", align_corners=False)[0].T
