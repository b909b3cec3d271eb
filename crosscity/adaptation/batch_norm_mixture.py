"""Batch-norm statistics of another city, mixed into a network's own.

A network's batch norms carry the mean and variance of the features that it was trained on. Those of
the target are measured in one pass over its images, through the whole network (a head may have
batch norm too), and mixed in by a share α:

    μ = (1 - α) μ_S + α μ_T
    σ² = (1 - α) σ²_S + α σ²_T + α (1 - α) (μ_S - μ_T)²

which are mean and variance of the mixture of both distributions. Schneider et al., *Improving
robustness against common corruptions by covariate shift adaptation* (NeurIPS 2020), mix the
variances alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from crosscity.adaptation.training import batch_norms
from crosscity.segmenters import Segmenter, evaluating

Statistics = list[tuple[Tensor, Tensor]]
"""Running mean and variance of each batch norm, in the order of `batch_norms`."""


def statistics_of(module: nn.Module) -> Statistics:
    """A copy of the statistics that a network carries.

    Raises:
        ValueError: A batch norm has none (`track_running_stats=False`).
    """
    found = []
    for layer in batch_norms(module):
        if layer.running_mean is None or layer.running_var is None:
            raise ValueError(
                "a batch norm without running statistics has nothing to mix: set statistics: 0 in "
                "source_free"
            )
        found.append((layer.running_mean.clone(), layer.running_var.clone()))
    return found


@torch.no_grad()
def measure_statistics(segmenter: Segmenter, batches: Iterable[Tensor]) -> Statistics:
    """Mean statistics over batches of images, measured with each batch's own; nothing is changed.

    A layer behind a mean over the whole image has one value a channel of a batch of one image, and
    so no variance: such a batch does not count there. A layer of which none counts keeps its own.

    Args:
        segmenter: A network with batch norm.
        batches: B×3×H×W floats in [0, 1]; dropout is off, and no weight moves.

    Raises:
        ValueError: There is no batch, or no batch norm.
    """
    layers = batch_norms(segmenter)
    if not layers:
        raise ValueError(f"the segmenter {segmenter.architecture!r} has no batch norm to measure")
    before, seen = statistics_of(segmenter), 0
    with evaluating(segmenter), _counting(layers):
        for images in batches:
            segmenter(images)
            seen += 1
    measured = statistics_of(segmenter)
    set_statistics(segmenter, before)
    if not seen:
        raise ValueError("there is no image to measure batch-norm statistics on")
    return measured


def mix_statistics(source: Statistics, target: Statistics, share: float) -> Statistics:
    """Statistics of the mixture that has `share` of the target.

    Args:
        source: The network's own.
        target: `measure_statistics` of the target's images.
        share: α in [0, 1]; 0 gives the source's, 1 the target's.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the target's share of the statistics lies in [0, 1], not {share}")
    return [
        (
            (1 - share) * mean + share * other_mean,
            (1 - share) * variance
            + share * other_variance
            + share * (1 - share) * (mean - other_mean) ** 2,
        )
        for (mean, variance), (other_mean, other_variance) in zip(source, target, strict=True)
    ]


@torch.no_grad()
def set_statistics(module: nn.Module, statistics: Statistics) -> None:
    """Gives a network's batch norms these statistics."""
    for layer, (mean, variance) in zip(batch_norms(module), statistics, strict=True):
        assert layer.running_mean is not None  # noqa: S101 - `statistics_of` has refused it
        assert layer.running_var is not None  # noqa: S101
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


@contextmanager
def _counting(layers: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """Inside, batch norms take the mean over all batches; afterwards they are as before."""
    kept = [(layer.momentum, layer.training, layer.num_batches_tracked) for layer in layers]
    counts = [None if count is None else count.clone() for _, _, count in kept]
    hooks = [layer.register_forward_pre_hook(_count_if_it_varies) for layer in layers]
    try:
        for layer in layers:
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.zero_()  # the first batch then replaces what is there
            layer.momentum = None
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (momentum, training, _), count in zip(layers, kept, counts, strict=True):
            layer.momentum = momentum
            layer.train(training)
            if layer.num_batches_tracked is not None and count is not None:
                layer.num_batches_tracked.copy_(count)


def _count_if_it_varies(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
    values = given[0]
    layer.train(values.numel() > values.shape[1])
