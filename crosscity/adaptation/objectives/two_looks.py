"""All looks at a place, fused by how sure each is, as labels.

    φ̂_i = (k_i φ_i + Σ_j k^j_i φ^j_i) / (k_i + Σ_j k^j_i),   k = 1 - H(φ) / log C
    L_two = Σ_i w_i CE(z_i, ŷ_i) / Σ_i w_i,   ŷ_i = argmax_c φ̂^c_i,  w_i = max_c φ̂^c_i

φ^j is what the teacher sees in another image of the place, carried along trusted matches; where
there is no match it does not count. A place has two looks, or as many as it was captured at. Where
the recipe uses the static prior, each look is refined by its own. Where a look is easier it is
surer, and counts more (Bruggemann et al., *Refign*, WACV 2023, warp a daylight look in this way).
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
    """Cross-entropy of target images against labels of all looks at their places."""

    name = "two_looks"
    needs: ClassVar[frozenset[Need]] = frozenset({"target", "predictions", "partner"})
    rows = ("two_looks_loss", "two_looks_matched")

    def prepare(self, view: View) -> tuple[Tensor, Tensor]:
        """ŷ and w, B×H×W."""
        assert view.predictions is not None  # noqa: S101 - it is among the needs
        assert view.partner is not None  # noqa: S101 - it is among the needs
        partner = view.partner
        carried, known = carry(partner.predictions, partner.field)
        self.record("two_looks_matched", known.float().mean())
        sureness, labels = fused(view.predictions, carried, known, partner.of).max(1)
        return labels, sureness

    def loss(self, view: View) -> Tensor:
        """L_two."""
        labels, weights = view.prepared[self.name]
        logits = upsampled_logits(self.segmenter, view.target_features, labels)
        loss = weighted_cross_entropy(logits, labels, weights)
        self.record("two_looks_loss", loss)
        return loss


def fused(phi: Tensor, carried: Tensor, known: Tensor, of: Tensor | None = None) -> Tensor:
    """φ̂.

    Args:
        phi: B×C×H×W distributions of the first looks.
        carried: M×C×H×W distributions of other looks, at the first ones' pixels; 0 for every class
            where theirs are to be ignored.
        known: M×H×W bool, where there is such a look.
        of: (M,) which first look each is another of; by default one of each.

    Raises:
        ValueError: There is another number of looks than of first ones, and nothing says which
            they are of.
    """
    if of is None and len(carried) != len(phi):
        raise ValueError(f"{len(carried)} other looks of {len(phi)} images: say of which")
    known = known & (carried.sum(1) > 0.5)  # a look of pixels to be ignored says nothing
    sure = confidence(phi)
    total, weight = sure * phi, sure.clone()
    looked = known.new_zeros((len(phi), *known.shape[1:]))
    for look, place in enumerate(range(len(phi)) if of is None else of.tolist()):
        other = confidence(carried[look : look + 1])[0] * known[look]
        total[place] += other * carried[look]
        weight[place] += other
        looked[place] |= known[look]
    # Where φ is 0 for every class, a pixel is to be ignored.
    seen = looked.unsqueeze(1) & (weight > 1e-6) & (phi.sum(1, keepdim=True) > 0)
    return torch.where(seen, total / weight.clamp_min(1e-6), phi)


def confidence(phi: Tensor) -> Tensor:
    """1 - H(φ) / log C, B×1×H×W in [0, 1]."""
    entropy = -(phi * phi.clamp_min(1e-12).log()).sum(1, keepdim=True)
    return (1 - entropy / math.log(phi.shape[1])).clamp(0, 1)
