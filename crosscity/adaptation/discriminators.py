"""Discriminators of the domains: one for all cells, and one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class GlobalDiscriminator(nn.Module):
    """M_G: per-cell logit that a cell is of the source domain.

    1×1 convolutions with ReLU and dropout: every cell is an instance of its own (Sec. 4.1).

    Args:
        n_features: D.
        hidden: Channels of the hidden layers.
        dropout: After each hidden layer, while training.
    """

    def __init__(self, n_features: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = n_features
        for width in hidden:
            layers += [nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Dropout(dropout)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """B×D×h×w to B×1×h×w."""
        logits: Tensor = self.layers(features)
        return logits


class ClassDiscriminators(nn.Module):
    """M_class^c: one discriminator per class, computed together (Sec. 4.2).

    The first layer of all classes is one matrix product, since all read the same features; the
    following ones are batched over the classes.

    Args:
        n_features: D.
        n_classes: C.
        hidden: Channels of the hidden layers of each class's discriminator.
        dropout: After each hidden layer, while training.
    """

    def __init__(
        self, n_features: int, n_classes: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        sizes = [n_features, *hidden, 1]
        self.n_classes = n_classes
        self.weights = nn.ParameterList(
            _uniform((n_classes, size, next_size), size) for size, next_size in pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            _uniform((n_classes, 1, next_size), size) for size, next_size in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """B×D×h×w to B×C×h×w; channel c is the logit of class c's discriminator."""
        images, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels)
        layers = list(zip(self.weights, self.biases, strict=True))
        x = cells.unsqueeze(0).expand(self.n_classes, -1, -1)
        for number, (weight, bias) in enumerate(layers):
            if number:
                x = self.dropout(torch.relu(x))
            x = torch.baddbmm(bias, x, weight)
        return x.reshape(self.n_classes, images, height, width).transpose(0, 1)


def _uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """The initialisation of `nn.Linear`."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
