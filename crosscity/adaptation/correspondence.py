"""Carrying what is known of one look at a place to the other, along trusted matches.

A field has, for each pixel (x, y) of the first image, where the same point lies in the second: (x',
y') in pixels, the centre of the first pixel at 0, NaN where no trusted match says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Field = npt.NDArray[np.float32]


def field_of_matches(
    here: npt.NDArray[np.floating],
    there: npt.NDArray[np.floating],
    size: tuple[int, int],
    *,
    spacing: float,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Field:
    """The field of matches, each of which holds for the square around it.

    Args:
        here: (K, 2), x and y of the matches in the first image.
        there: (K, 2), in the second.
        size: (height, width) of the field.
        spacing: Side of the squares, in pixels of the images that were matched.
        scale: What x and y of the matched images are multiplied by to be pixels of the field.

    Returns:
        (H, W, 2) float32; where squares overlap, the later match counts.
    """
    height, width = size
    field = np.full((height, width, 2), np.nan, dtype=np.float32)
    factors = np.asarray(scale, dtype=np.float64)
    # Centres of pixels lie at whole numbers, so sizes scale about -1/2.
    one, other = ((np.asarray(xy) + 0.5) * factors - 0.5 for xy in (here, there))
    half = spacing * factors / 2
    for (x, y), (x_other, y_other) in zip(one, other, strict=True):
        left, right = max(0, int(np.ceil(x - half[0]))), int(np.ceil(x + half[0]))
        top, bottom = max(0, int(np.ceil(y - half[1]))), int(np.ceil(y + half[1]))
        square = field[top:bottom, left:right]
        rows, columns = np.mgrid[top : top + square.shape[0], left : left + square.shape[1]]
        square[..., 0] = columns + (x_other - x)
        square[..., 1] = rows + (y_other - y)
    return field


def mirrored_field(field: Tensor) -> Tensor:
    """The field (…, H, W, 2) of both images mirrored left and right."""
    turned = field.flip(-2)
    x = field.shape[-2] - 1 - turned[..., 0]
    return torch.stack([x, turned[..., 1]], dim=-1)


def carry(maps: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the second images at the points that the first images' pixels are matched with.

    Args:
        maps: B×C×h×w of the second images, at any resolution.
        field: B×H×W×2, in pixels of images whose size is that of the field.

    Returns:
        B×C×H×W, interpolated in fp32 (half a precision cannot tell the places of a wide map apart),
        0 where nothing is known; and B×H×W bool, where something is: a match whose point lies
        inside the second image.
    """
    height, width = field.shape[1:3]
    size = field.new_tensor([width, height])
    known = field.isfinite().all(-1)
    inside = ((field > -0.5) & (field < size - 0.5)).all(-1)
    known = known & inside
    places = torch.where(known[..., None], field, 0.0)
    grid = (2 * places + 1) / size - 1
    kind = torch.promote_types(maps.dtype, torch.float32)
    carried = functional.grid_sample(
        maps.to(kind), grid.to(kind), mode="bilinear", padding_mode="border", align_corners=False
    )
    return carried * known.unsqueeze(1), known
