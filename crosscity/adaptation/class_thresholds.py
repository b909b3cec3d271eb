"""Which predicted labels are kept: as large a share of each class, whatever its confidence.

One threshold for all classes keeps road and sky and loses what is thin and rare, of which a network
is never sure; a self-trained network then forgets it. A threshold for each class keeps its surest
share (Zou et al., *Class-balanced self-training*, ECCV 2018, eq. 8), here as a running quantile.
"""

from __future__ import annotations

import torch
from torch import Tensor


class ClassThresholds:
    """A running threshold for each class.

    Args:
        n_classes: C.
        kept: Share of the pixels predicted as a class that is kept, in (0, 1].
        momentum: Of the running thresholds, in [0, 1).
        surest: A probability from which a pixel is kept in any case, in (0, 1].
        device: Of the thresholds.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        kept: float,
        momentum: float = 0.9,
        surest: float = 0.95,
        device: torch.device | None = None,
    ) -> None:
        self._kept, self._momentum, self._surest = kept, momentum, surest
        self.values = torch.full((n_classes,), float("nan"), device=device)

    @torch.no_grad()
    def keep(self, labels: Tensor, probabilities: Tensor, ignored: Tensor | None = None) -> Tensor:
        """Moves the thresholds by a batch, and tells which of its pixels are kept.

        Args:
            labels: (N, H, W) int64 predicted classes.
            probabilities: (N, H, W) floats, of these classes.
            ignored: (N, H, W) bool, pixels that are not kept and move nothing.

        Returns:
            (N, H, W) bool.
        """
        if ignored is not None:
            kept = torch.zeros_like(ignored)
            if not ignored.all():
                kept[~ignored] = self.keep(labels[~ignored], probabilities[~ignored])
            return kept
        for class_index in torch.unique(labels).tolist():
            found = torch.quantile(
                _sample_of(probabilities[labels == class_index]).float(), 1 - self._kept
            )
            before = self.values[class_index]
            moved = self._momentum * before + (1 - self._momentum) * found
            self.values[class_index] = found if before.isnan() else moved
        return probabilities >= self.values[labels].clamp(max=self._surest)


def _sample_of(values: Tensor) -> Tensor:
    """At most 10 000 values, evenly spread: `torch.quantile` sorts, and refuses 16 million."""
    return values[:: max(1, len(values) // 10_000)]
