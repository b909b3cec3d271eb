"""Discriminators of the domains: one for all cells, and one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class GlobalDiscriminator(nn.Module):
    """M_G: per-cell logit that a cell is of the source domain.

    Linear layers with ReLU and dropout over single cells (that is, 1×1 convolutions): every cell
    is an instance of its own (Sec. 4.1).

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
            layers += [nn.Linear(channels, width), nn.ReLU(), nn.Dropout(dropout)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Linear(channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """B×D×h×w to B×1×h×w."""
        logits: Tensor = self.layers(features.permute(0, 2, 3, 1))
        return logits.permute(0, 3, 1, 2)


class ClassDiscriminators(nn.Module):
    """M_class^c: one discriminator per class, computed together (Sec. 4.2).

    All read the same features, so the first layer of all classes is one matrix product; the
    following ones are batched over the classes. Where most (class, cell) pairs have no weight in
    the losses, they need not be computed at all (`wanted`).

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
            _uniform((n_classes, next_size, size), size) for size, next_size in pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            _uniform((n_classes, next_size), size) for size, next_size in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Logits of all classes.

        Args:
            features: B×D×h×w.
            wanted: B×C×h×w bool: logits elsewhere may be anything (they are 0), and save their
                computation on a processor. A GPU computes them all the same: it is fast at large
                products, and would have to be waited for to know which are wanted.

        Returns:
            B×C×h×w; channel c holds the logits of class c's discriminator.
        """
        images, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels)
        if wanted is None or features.device.type != "cpu":
            logits = self._of_all(cells)
        else:
            logits = self._of_some(cells, wanted.transpose(0, 1).reshape(self.n_classes, -1))
        return logits.reshape(self.n_classes, images, height, width).transpose(0, 1)

    def _of_all(self, cells: Tensor) -> Tensor:
        """(N, D) to (C, N)."""
        weights, biases = list(self.weights), list(self.biases)
        x = functional.linear(cells, weights[0].flatten(0, 1), biases[0].flatten())
        x = x.reshape(len(cells), self.n_classes, -1).transpose(0, 1)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = self.dropout(torch.relu(x))
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        return x.squeeze(2)

    def _of_some(self, cells: Tensor, wanted: Tensor) -> Tensor:
        """(N, D) to (C, N), 0 where (C, N) `wanted` is false."""
        # Slices of the weights one by one would each add a whole tensor's gradient.
        layers = [
            (weight.to(cells.dtype).unbind(), bias.to(cells.dtype).unbind())
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        found = []
        for index in range(self.n_classes):
            (places,) = wanted[index].nonzero(as_tuple=True)
            x = cells.index_select(0, places)
            for number, (weights, biases) in enumerate(layers):
                if number:
                    x = self.dropout(torch.relu(x))
                x = functional.linear(x, weights[index], biases[index])
            # Under autocast the logits have another type than the features.
            logits = x.new_zeros(len(cells))
            found.append(logits.index_copy(0, places, x.squeeze(1)))
        return torch.stack(found)


def _uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """The initialisation of `nn.Linear`."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
