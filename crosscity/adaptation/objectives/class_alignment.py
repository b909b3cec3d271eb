"""Class-wise domain alignment: eq. 9 to 11."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.discriminators import ClassDiscriminators
from crosscity.adaptation.grid_labels import normalise_over_cells, target_grid_labels
from crosscity.adaptation.objectives.base import Need, Surroundings, View
from crosscity.adaptation.objectives.domain_alignment import DomainAlignment, Pair
from crosscity.adaptation.settings import ClassReduction

Weights = Pair
"""Φ̃ of the source's and of the target's cells, B×C×h×w each (eq. 8)."""


class ClassAlignment(DomainAlignment):
    """L_class^Dinv (eq. 10) against discriminators of the classes that minimise eq. 9."""

    name = "class_alignment"
    needs: ClassVar[frozenset[Need]] = frozenset({"source", "target", "grid_labels", "predictions"})
    rows = ("class_discriminator_loss", "class_inverse_loss", "class_accuracy")
    of_features = True

    def __init__(self, surroundings: Surroundings) -> None:
        segmenter, settings = surroundings.segmenter, surroundings.settings
        network = ClassDiscriminators(
            segmenter.n_features,
            segmenter.n_classes,
            settings.discriminator_hidden,
            settings.discriminator_dropout,
        )
        rate = settings.class_discriminator_rate
        super().__init__(surroundings, "class_discriminators", network, rate)
        self._in_source = surroundings.in_source

    def prepare(self, view: View) -> Weights:
        """Φ̃ of both domains."""
        assert view.grid_labels is not None  # noqa: S101 - it is among the needs
        assert view.predictions is not None  # noqa: S101 - it is among the needs
        height, width = view.target_features.shape[-2:]
        target = target_grid_labels(view.predictions, (height, width), self.settings.phi_floor)
        # A class that the source never shows has nothing to be aligned with.
        target = target * self._in_source
        return normalise_over_cells(view.grid_labels), normalise_over_cells(target)

    def _logits(self, features: Pair, weights: Weights) -> Pair:
        """Logits of both domains; only those that a loss gives weight to count."""
        source, target = (
            self._network(domain, weight > 0).float()
            for domain, weight in zip(features, weights, strict=True)
        )
        return source, target

    def _feature_loss(self, logits: Pair, weights: Weights) -> Tensor:
        """L_class^Dinv (eq. 10), or what the settings put in its place."""
        loss = class_inverse_loss(*logits, *weights, self.settings.class_reduction)
        self.record("class_inverse_loss", loss)
        if self.settings.class_feature_loss == "confusion":
            loss = (loss + self._discriminator_loss(logits, weights)) / 2
        return loss

    def _discriminator_loss(self, logits: Pair, weights: Weights) -> Tensor:
        """L_class^D (eq. 9)."""
        return class_discriminator_loss(*logits, *weights, self.settings.class_reduction)

    def _accuracy(self, logits: Pair, weights: Weights) -> Tensor:
        return class_accuracy(*logits, *weights)


def class_discriminator_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor,
    target_weights: Tensor,
    reduction: ClassReduction = "mean",
) -> Tensor:
    """What the class-wise discriminators minimise (eq. 9), as a mean over images.

    L_class^D = - mean_{I_S} Σ_c Σ_n Φ̃^c_n(I_S) log p^c_n(I_S)
                - mean_{I_T} Σ_c Σ_n Φ̃^c_n(I_T) log(1 - p^c_n(I_T))

    As Φ̃ adds up to 1 over the cells of an image (eq. 8), the sum over n is already a mean over
    cells and does not depend on the image size.

    Args:
        source_logits: B×C×h×w, the logit of class c's discriminator that a cell is of the source.
        target_logits: The same of target images.
        source_weights: Φ̃(I_S), B×C×h×w; no gradient is passed on to it.
        target_weights: Φ̃(I_T), B×C×h×w; no gradient is passed on to it.
        reduction: "sum" over the classes as in eq. 9, or their "mean": the sum divided by C. A
            class without mass adds 0 either way.
    """
    source = _weighted(functional.softplus(-source_logits), source_weights, reduction)
    return source + _weighted(functional.softplus(target_logits), target_weights, reduction)


def class_inverse_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor,
    target_weights: Tensor,
    reduction: ClassReduction = "mean",
) -> Tensor:
    """What the features minimise (eq. 10): the same with the domain labels inverted.

    L_class^Dinv = - mean_{I_S} Σ_c Σ_n Φ̃^c_n(I_S) log(1 - p^c_n(I_S))
                   - mean_{I_T} Σ_c Σ_n Φ̃^c_n(I_T) log p^c_n(I_T)

    The second sum runs over the target images; "I_T ∈ S" in the paper is a slip.

    Args:
        source_logits: B×C×h×w.
        target_logits: B×C×h×w.
        source_weights: Φ̃(I_S), B×C×h×w.
        target_weights: Φ̃(I_T), B×C×h×w.
        reduction: Over the classes, as in `class_discriminator_loss`.
    """
    source = _weighted(functional.softplus(source_logits), source_weights, reduction)
    return source + _weighted(functional.softplus(-target_logits), target_weights, reduction)


def class_accuracy(
    source_logits: Tensor, target_logits: Tensor, source_weights: Tensor, target_weights: Tensor
) -> Tensor:
    """Share of class mass whose domain is recognised, mean of both domains, in [0, 1]."""
    source = ((source_logits > 0) * source_weights).sum() / source_weights.sum().clamp_min(1e-12)
    target = ((target_logits <= 0) * target_weights).sum() / target_weights.sum().clamp_min(1e-12)
    return (source + target) / 2


def _weighted(losses: Tensor, weights: Tensor, reduction: ClassReduction) -> Tensor:
    if losses.shape != weights.shape:
        raise ValueError(
            f"logits {tuple(losses.shape)} and grid labels {tuple(weights.shape)} differ in shape"
        )
    by_class = (losses * weights.detach()).sum((2, 3)).mean(0)
    return by_class.sum() if reduction == "sum" else by_class.mean()
