"""Estimating batch-norm statistics anew, half on the source and half on the target."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from crosscity.adaptation.engine import Engine
from crosscity.adaptation.objectives import Batch
from crosscity.adaptation.training import batch_norms
from crosscity.segmenters import Segmenter


def reset_statistics(segmenter: Segmenter) -> None:
    """Forgets the statistics of all batch norms.

    Raises:
        ValueError: There is none.
    """
    layers = batch_norms(segmenter)
    if not layers:
        raise ValueError(
            f"the segmenter {segmenter.architecture!r} has no batch norm, so the arm 'bn' has "
            "nothing to estimate"
        )
    for layer in layers:
        layer.reset_running_stats()


@torch.no_grad()
def estimate_statistics(segmenter: Segmenter, engine: Engine, batches: Iterable[Batch]) -> None:
    """Forward passes, half source, half target; nothing is trained."""
    segmenter.eval()
    layers = batch_norms(segmenter)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum = None  # the mean over all batches
    for batch in batches:
        target = batch.target
        if target.shape[-2:] != batch.source.shape[-2:]:
            target = functional.interpolate(
                target, size=batch.source.shape[-2:], mode="bilinear", align_corners=False
            )
        with engine.autocast():
            features = segmenter.features(torch.cat([batch.source, target]))
            segmenter.classify(features)  # a head may have batch norm too
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
