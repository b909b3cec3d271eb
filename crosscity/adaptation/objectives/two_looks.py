"""Two looks at a place, fused by how sure each is, as labels.

    φ̂_i = (k_i φ_i + k'_i φ'_i) / (k_i + k'_i),   k = 1 - H(φ) / log C
    L_two = Σ_i w_i CE(z_i, ŷ_i) / Σ_i w_i,   ŷ_i = argmax_c φ̂^c_i,  w_i = max_c φ̂^c_i

φ' is what the teacher sees in the partner's image, carried along trusted matches; where there is no
match φ̂ = φ. Where the recipe uses the static prior, each look is refined by its own. Averaging two
equally hard looks gives little; where one is easier it is surer, and counts more (Bruggemann et
al., *Refign*, WACV 2023, warp a daylight look in the same way).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from crosscity.adaptation.correspondence import carry
from crosscity.adaptation.objectives.base import (
    Need,
    Objective,
    View,
    upsampled_logits,
    weighted_cross_entropy,
)


class TwoLooks(Objective):
    """Cross-entropy of target images against labels of both looks."""

    name = "two_looks"
    needs: ClassVar[frozenset[Need]] = frozenset({"target", "predictions", "partner"})
    rows = ("two_looks_loss", "two_looks_matched")

    def prepare(self, view: View) -> tuple[Tensor, Tensor]:
        """ŷ and w, B×H×W."""
        assert view.predictions is not None  # noqa: S101 - it is among the needs
        assert view.partner is not None  # noqa: S101 - it is among the needs
        carried, known = carry(view.partner.predictions, view.partner.field)
        self.record("two_looks_matched", known.float().mean())
        sureness, labels = fused(view.predictions, carried, known).max(1)
        return labels, sureness

    def loss(self, view: View) -> Tensor:
        """L_two."""
        labels, weights = view.prepared[self.name]
        logits = upsampled_logits(self.segmenter, view.target_features, labels)
        loss = weighted_cross_entropy(logits, labels, weights)
        self.record("two_looks_loss", loss)
        return loss


def fused(phi: Tensor, carried: Tensor, known: Tensor) -> Tensor:
    """φ̂.

    Args:
        phi: B×C×H×W distributions of the first look.
        carried: B×C×H×W distributions of the second, at the first's pixels.
        known: B×H×W bool, where there is a second.
    """
    one = confidence(phi)
    other = confidence(carried) * known.unsqueeze(1)
    both = (one * phi + other * carried) / (one + other).clamp_min(1e-6)
    # Where φ is 0 for every class, a pixel is to be ignored.
    seen = known.unsqueeze(1) & (one + other > 1e-6) & (phi.sum(1, keepdim=True) > 0)
    return torch.where(seen, both, phi)


def confidence(phi: Tensor) -> Tensor:
    """1 - H(φ) / log C, B×1×H×W in [0, 1]."""
    entropy = -(phi * phi.clamp_min(1e-12).log()).sum(1, keepdim=True)
    return (1 - entropy / math.log(phi.shape[1])).clamp(0, 1)
