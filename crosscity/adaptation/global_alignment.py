"""Global domain alignment: eq. 2 to 5."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def global_discriminator_loss(
    source_logits: Tensor, target_logits: Tensor, source_weights: Tensor | None = None
) -> Tensor:
    """What the global discriminator minimises (eq. 4), as means over cells.

    L_G^D = -mean_n w_n log p_n(I_S) - mean_n log(1 - p_n(I_T)), p_n = sigmoid of the logit.

    Means instead of the paper's sums, so that λ does not depend on the image size.

    Args:
        source_logits: B×1×h×w, the logit that a cell is of the source domain.
        target_logits: The same of target images; another number of images or cells is allowed.
        source_weights: w, B×1×h×w with a mean of 1 (`label_shift`); all 1 in the paper.
    """
    # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x): no overflow, no log 0.
    source = _mean(functional.softplus(-source_logits), source_weights)
    return source + functional.softplus(target_logits).mean()


def global_inverse_loss(
    source_logits: Tensor, target_logits: Tensor, source_weights: Tensor | None = None
) -> Tensor:
    """What the features minimise (eq. 5): the same with the labels inverted, as means over cells.

    L_G^Dinv = -mean_n w_n log(1 - p_n(I_S)) - mean_n log p_n(I_T)

    Its gradient does not vanish where the discriminator is sure, unlike that of -L_G^D (eq. 2),
    which a gradient reversal layer would follow.

    Args:
        source_logits: B×1×h×w.
        target_logits: B×1×h×w.
        source_weights: w, as in `global_discriminator_loss`.
    """
    source = _mean(functional.softplus(source_logits), source_weights)
    return source + functional.softplus(-target_logits).mean()


def global_accuracy(
    source_logits: Tensor, target_logits: Tensor, source_weights: Tensor | None = None
) -> Tensor:
    """Share of cells whose domain the discriminator tells, mean of both domains, in [0, 1]."""
    source = _mean((source_logits > 0).float(), source_weights)
    target = (target_logits <= 0).float().mean()
    return (source + target) / 2


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).mean()
