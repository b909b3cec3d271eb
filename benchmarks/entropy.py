"""Entropy minimisation, tempting and dangerous: the benchmarks do harm with it on purpose."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.training import batch_norms
from crosscity.segmenters import Segmenter, evaluating


def minimise_entropy(network: Segmenter, batches: Iterable[Tensor], rate: float) -> None:
    """Moves the scale and shift of every batch norm; one step of Adam a batch.

    Wang et al., *Tent* (ICLR 2021), with the statistics left as they are.

    Args:
        network: Is changed.
        batches: B×3×H×W floats in [0, 1].
        rate: Learning rate.
    """
    moved = [p for layer in batch_norms(network) for p in (layer.weight, layer.bias)]
    optimiser = torch.optim.Adam(moved, lr=rate)
    for images in batches:
        with evaluating(network):
            logits = network(images)
        entropy = -(functional.softmax(logits, 1) * functional.log_softmax(logits, 1))
        optimiser.zero_grad()
        entropy.sum(1).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
