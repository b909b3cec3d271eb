"""How sure and how varied predictions are: a sign of how well images suit a network.

    H = mean of -Σ_c p_c log p_c,  p the probabilities of a pixel
    D = -Σ_c q_c log q_c,          q the mean of p over all pixels
    J = D - 1.5 H

Where a network sees what it was trained to see, it is sure of each pixel and finds many classes
over all of them. D - H is the mutual information of pixels and classes (Krause, Perona, Gomes:
*Discriminative clustering by regularized information maximization*, NIPS 2010). Alone it prefers
predictions that scatter; H alone, which *Tent* (Wang et al., ICLR 2021) minimises over weights,
prefers those from which thin things are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from crosscity.segmenters import Segmenter, evaluating

WEIGHT: Final = 1.5
"""What entropy weighs against diversity; `benchmarks/shown_size.py` is how it was chosen."""


@dataclass(frozen=True)
class Sureness:
    """What a network predicts of some images.

    Attributes:
        entropy: H, in nats a pixel.
        diversity: D, in nats.
        shares: (C,) mean probabilities, q; empty where nobody asks for them.
    """

    entropy: float
    diversity: float
    shares: tuple[float, ...] = ()

    @property
    def information(self) -> float:
        """J, in nats."""
        return self.diversity - WEIGHT * self.entropy


def sureness(
    segmenter: Segmenter,
    shown: Iterable[Tensor],
    sizes: Sequence[tuple[int, ...]],
    kept: Sequence[Tensor | None],
) -> Sureness:
    """How sure and how varied a segmenter's predictions of images are.

    Args:
        segmenter: Is left as it is.
        shown: 1×3×h×w floats in [0, 1] each, on its device.
        sizes: (height, width) at which each is predicted.
        kept: (height, width) bool each, true where a pixel counts; ``None``: everywhere.
    """
    entropies, shares = [], []
    with evaluating(segmenter), torch.inference_mode():
        for image, (height, width), counts in zip(shown, sizes, kept, strict=True):
            logits = segmenter.predicted_logits(image, (height, width))[0].float()
            logits = logits.flatten(1) if counts is None else logits[:, counts.to(image.device)]
            log = torch.log_softmax(logits, 0)
            entropies.append(-(log.exp() * log).sum(0).mean())
            shares.append(log.exp().mean(1))
    mean = torch.stack(shares).mean(0)
    diversity = -(mean * mean.clamp_min(1e-12).log()).sum()
    return Sureness(
        float(torch.stack(entropies).mean()), float(diversity), tuple(mean.double().tolist())
    )


__all__ = ["WEIGHT", "Sureness", "sureness"]
