"""Global domain alignment: eq. 2 to 5."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.discriminators import GlobalDiscriminator
from crosscity.adaptation.label_shift import source_cell_weights
from crosscity.adaptation.objectives.base import Need, Surroundings, View
from crosscity.adaptation.objectives.domain_alignment import DomainAlignment, Pair

Weights = tuple[Tensor | None, Tensor | None]
"""Of the source's and of the target's cells, B×1×h×w with a mean of 1; ``None``: all 1."""


class GlobalAlignment(DomainAlignment):
    """L_G^Dinv (eq. 5) against a discriminator that minimises L_G^D (eq. 4)."""

    name = "global_alignment"
    needs: ClassVar[frozenset[Need]] = frozenset({"source", "target"})
    rows = ("global_discriminator_loss", "global_inverse_loss", "global_accuracy")
    of_features = True

    def __init__(self, surroundings: Surroundings) -> None:
        settings = surroundings.settings
        network = GlobalDiscriminator(
            surroundings.segmenter.n_features,
            settings.discriminator_hidden,
            settings.discriminator_dropout,
        )
        rate = settings.global_discriminator_rate
        super().__init__(surroundings, "global_discriminator", network, rate)
        self.class_ratios: Tensor | None = None
        """How much more often each class occurs in the target; see `label_shift`."""
        if settings.label_shift:
            self.class_ratios = surroundings.class_ratios()

    def needed(self) -> frozenset[Need]:
        """The source's grid labels too, where the label shift is made up for."""
        return self.needs if self.class_ratios is None else self.needs | {"grid_labels"}

    def prepare(self, view: View) -> Weights:
        """Weights of the source's cells by label shift, of the target's by what is not ignored."""
        source, target = None, None
        if self.class_ratios is not None and view.grid_labels is not None:
            source = source_cell_weights(view.grid_labels, self.class_ratios)
        if view.batch.ignored is not None:
            height, width = view.target_features.shape[-2:]
            target = seen_cell_weights(view.batch.ignored, (height, width))
        return source, target

    def _logits(self, features: Pair, weights: Weights) -> Pair:  # noqa: ARG002 - all cells count
        source, target = (self._network(domain) for domain in features)
        return source.float(), target.float()

    def _feature_loss(self, logits: Pair, weights: Weights) -> Tensor:
        """L_G^Dinv (eq. 5)."""
        loss = global_inverse_loss(*logits, *weights)
        self.record("global_inverse_loss", loss)
        return loss

    def _discriminator_loss(self, logits: Pair, weights: Weights) -> Tensor:
        """L_G^D (eq. 4)."""
        return global_discriminator_loss(*logits, *weights)

    def _accuracy(self, logits: Pair, weights: Weights) -> Tensor:
        return global_accuracy(*logits, *weights)


def seen_cell_weights(ignored: Tensor, grid: tuple[int, int]) -> Tensor:
    """Weights of target cells: the share of their pixels that counts, with a mean of 1.

    Args:
        ignored: B×H×W bool.
        grid: (h, w) of the features.

    Returns:
        B×1×h×w; all 0 where every pixel is ignored.
    """
    seen = functional.adaptive_avg_pool2d((~ignored).float().unsqueeze(1), grid)
    return seen / seen.mean().clamp_min(torch.finfo(seen.dtype).tiny)


def global_discriminator_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """What the global discriminator minimises (eq. 4), as means over cells.

    L_G^D = -mean_n w_n log p_n(I_S) - mean_n log(1 - p_n(I_T)), p_n = sigmoid of the logit.

    Means instead of the paper's sums, so that λ does not depend on the image size.

    Args:
        source_logits: B×1×h×w, the logit that a cell is of the source domain.
        target_logits: The same of target images; another number of images or cells is allowed.
        source_weights: w, B×1×h×w with a mean of 1 (`label_shift`); all 1 in the paper.
        target_weights: The same of target cells (`seen_cell_weights`).
    """
    # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x): no overflow, no log 0.
    source = _mean(functional.softplus(-source_logits), source_weights)
    return source + _mean(functional.softplus(target_logits), target_weights)


def global_inverse_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """What the features minimise (eq. 5): the same with the labels inverted, as means over cells.

    L_G^Dinv = -mean_n w_n log(1 - p_n(I_S)) - mean_n log p_n(I_T)

    Its gradient does not vanish where the discriminator is sure, unlike that of -L_G^D (eq. 2),
    which a gradient reversal layer would follow.

    Args:
        source_logits: B×1×h×w.
        target_logits: B×1×h×w.
        source_weights: w, as in `global_discriminator_loss`.
        target_weights: As there.
    """
    source = _mean(functional.softplus(source_logits), source_weights)
    return source + _mean(functional.softplus(-target_logits), target_weights)


def global_accuracy(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """Share of cells whose domain the discriminator recognises, mean of both domains, in [0, 1]."""
    source = _mean((source_logits > 0).float(), source_weights)
    target = _mean((target_logits <= 0).float(), target_weights)
    return (source + target) / 2


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).mean()
