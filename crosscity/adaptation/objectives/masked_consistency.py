"""Masked consistency: what is hidden must be predicted from what is around it.

    L_mask = Σ_i w_i CE(z_i(M ⊙ I), ŷ_i) / Σ_i w_i,   ŷ_i = argmax_c φ^c_i,  w_i = max_c φ^c_i

M hides squares of a side, each with a chance; φ is the teacher's of the whole image (Hoyer et al.,
*MIC*, CVPR 2023, eq. 4 to 6; there one weight an image, the share of sure pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.objectives.base import Need, Objective, View, weighted_cross_entropy


class MaskedConsistency(Objective):
    """Cross-entropy of masked target images against what is predicted of the whole ones."""

    name = "masked_consistency"
    needs: ClassVar[frozenset[Need]] = frozenset({"predictions"})
    rows = ("masked_consistency_loss",)

    @dataclass(frozen=True)
    class Options:
        """Options of the objective.

        Attributes:
            side: Of the hidden squares, in pixels.
            hidden: Chance of each, in (0, 1).
        """

        side: int = 32
        hidden: float = 0.7

        def __post_init__(self) -> None:
            if self.side < 1:
                raise ValueError(f"side must be at least 1, not {self.side}")
            if not 0 < self.hidden < 1:
                raise ValueError(f"hidden must be in (0, 1), not {self.hidden}")

    options: Options

    def loss(self, view: View) -> Tensor:
        """L_mask; the hidden squares follow from the step's random numbers."""
        assert view.predictions is not None  # noqa: S101 - it is among the needs
        images = view.batch.target
        sureness, labels = view.predictions.max(1)
        shown = shown_squares(images, self.options.side, self.options.hidden)
        # What is hidden is of the network's mean colour, which says nothing.
        masked = torch.where(shown, images, self.segmenter.input_mean)
        loss = weighted_cross_entropy(self.segmenter(masked), labels, sureness)
        self.record("masked_consistency_loss", loss)
        return loss


def shown_squares(images: Tensor, side: int, hidden: float) -> Tensor:
    """B×1×H×W bool: false in squares of that side, each hidden with that chance."""
    height, width = images.shape[-2:]
    squares = (len(images), 1, -(-height // side), -(-width // side))
    drawn = torch.rand(squares, device=images.device) >= hidden
    shown = functional.interpolate(drawn.float(), scale_factor=side, mode="nearest")
    return shown[..., :height, :width] > 0.5
