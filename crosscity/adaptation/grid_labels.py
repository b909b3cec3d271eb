"""Soft labels of the cells of the feature grid: eq. 6, 7 and 8."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def source_grid_labels(labels: Tensor, n_classes: int, grid: tuple[int, int]) -> Tensor:
    """Proportion of each class among the pixels of a cell, from source labels (eq. 6).

    Φ^c_n(I_S) = Σ_{i ∈ R(n)} [y_i == c] / |R(n)|

    Void pixels belong to no class: a cell that is half void has a mass of one half.

    Args:
        labels: B×H×W int64 class indices, 255 where void.
        n_classes: C.
        grid: (h, w) of the features. Where H/h is not an integer, R(n) are the pixels that the cell
            touches, as in adaptive average pooling.

    Returns:
        B×C×h×w, ≥ 0, at most 1 when summed over the classes.
    """
    height, width = labels.shape[-2:]
    is_whole = height % grid[0] == 0 and width % grid[1] == 0
    if is_whole and labels.device.type == "cpu" and tuple(grid) != (1, 1):  # pooled otherwise
        return _counted(labels, n_classes, grid)
    # Void equals no class, so it has no mass.
    classes = torch.arange(n_classes, device=labels.device).reshape(1, -1, 1, 1)
    return functional.adaptive_avg_pool2d((labels.unsqueeze(1) == classes).float(), grid)


def _counted(labels: Tensor, n_classes: int, grid: tuple[int, int]) -> Tensor:
    """The same bits where cells do not share pixels, without C planes of the image's size.

    A GPU would have to be waited for, as `bincount` looks for the largest number.
    """
    (images, height, width), (rows, columns) = labels.shape, grid
    tall, wide = height // rows, width // columns
    is_class = (labels >= 0) & (labels < n_classes)
    classes = torch.where(is_class, labels, n_classes).reshape(images, rows, tall, columns, wide)
    cells = torch.arange(images * rows * columns).reshape(images, rows, 1, columns, 1)
    numbers = (cells * (n_classes + 1) + classes).flatten()
    pixels = torch.bincount(numbers, minlength=cells.numel() * (n_classes + 1))
    by_cell = pixels.reshape(images, rows, columns, n_classes + 1)[..., :n_classes]
    # One division after the other, as pooling rounds.
    return by_cell.permute(0, 3, 1, 2).contiguous().float() / tall / wide


def target_grid_labels(phi: Tensor, grid: tuple[int, int], phi_floor: float = 0.0) -> Tensor:
    """Mean of the predicted distributions over the pixels of a cell (eq. 7).

    Φ^c_n(I_T) = Σ_{i ∈ R(n)} φ^c_i(I_T) / |R(n)|

    Args:
        phi: B×C×H×W, softmax predictions on target images; no gradient is passed on to them.
        grid: (h, w) of the features.
        phi_floor: Probabilities below it count as 0. The paper has none (0); see
            `AdaptationSettings.phi_floor` for why one is needed.

    Returns:
        B×C×h×w, ≥ 0, at most 1 when summed over the classes.
    """
    phi = phi.detach()
    if phi_floor > 0:
        below = float(np.nextafter(np.float32(phi_floor), np.float32(0)))
        phi = functional.threshold(phi, below, 0.0)
    return functional.adaptive_avg_pool2d(phi, grid)


def normalise_over_cells(grid_labels: Tensor) -> Tensor:
    """Balances the classes: the weights of a class add up to 1 in every image (eq. 8).

    Φ̃^c_n = Φ^c_n / Σ_{n ∈ N} Φ^c_n, for each image and class; all 0 where the class has no mass.

    Args:
        grid_labels: B×C×h×w, ≥ 0.

    Returns:
        B×C×h×w.
    """
    mass = grid_labels.sum((2, 3), keepdim=True)
    # A mass so small that dividing by it overflows does not count as a mass either.
    has_mass = mass > torch.finfo(mass.dtype).tiny
    return torch.where(has_mass, grid_labels / torch.where(has_mass, mass, 1.0), 0.0)
