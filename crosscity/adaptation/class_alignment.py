"""Class-wise domain alignment: eq. 9 to 11."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.settings import ClassReduction


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
    """Share of class mass whose domain is told, mean of both domains, in [0, 1]."""
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
