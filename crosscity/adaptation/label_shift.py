"""Weighing source cells by how often their classes occur in the target city.

Two cities differ in how much of each class their images show: wide roads here, house fronts there.
A segmenter whose features have the same distribution in both must then predict the same share of
each class in both, and so errs by at least the difference (Zhao et al., On learning invariant
representations for domain adaptation, ICML 2019). Weighing the source as if it had the target's
shares removes that part of the difference before the features are aligned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

_SMALLEST_SHARE: Final = 1e-4
_LARGEST_RATIO: Final = 10.0


def class_shares(predictions: Iterable[Tensor], n_classes: int) -> Tensor:
    """The share of each class among predicted pixels.

    Args:
        predictions: B×C×H×W distributions; the most probable class of a pixel counts, and a pixel
            without any probability does not.
        n_classes: C.

    Returns:
        C float32, adding up to 1.

    Raises:
        ValueError: There is no pixel.
    """
    counted = torch.zeros(n_classes, dtype=torch.int64)
    for phi in predictions:
        seen = phi.sum(1) > 0
        counted += torch.bincount(phi.argmax(1)[seen], minlength=n_classes).cpu()
    if not counted.any():
        raise ValueError("there is no prediction to count classes of")
    return (counted.double() / counted.sum()).float()


def class_ratios(target_shares: Tensor, source_shares: Tensor) -> Tensor:
    """How many times as often a class occurs in the target, held between 1/10 and 10.

    Args:
        target_shares: C, adding up to 1.
        source_shares: C, adding up to 1.

    Returns:
        C float32. A class that neither shows has the ratio 1.
    """
    ratios = (target_shares + _SMALLEST_SHARE) / (source_shares + _SMALLEST_SHARE)
    return ratios.clamp(1 / _LARGEST_RATIO, _LARGEST_RATIO)


def source_cell_weights(grid_labels: Tensor, ratios: Tensor) -> Tensor:
    """Weights of source cells: w_n = Σ_c Φ^c_n(I_S) r_c, scaled to a mean of 1 over the batch.

    Args:
        grid_labels: B×C×h×w, Φ of eq. 6; a cell of void pixels has no mass and weighs nothing.
        ratios: C, from `class_ratios`.

    Returns:
        B×1×h×w; all 1 if no cell has a label.
    """
    weights = (grid_labels * ratios.reshape(1, -1, 1, 1)).sum(1, keepdim=True)
    mean = weights.mean()
    return torch.where(mean > 0, weights / mean.clamp_min(1e-12), 1.0)
