"""What global and class-wise alignment share: discriminators, and features that make them err."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from crosscity.adaptation.objectives.base import Adversary, Objective, Surroundings, View
from crosscity.adaptation.trainable import adam_of

Pair = tuple[Tensor, Tensor]
"""Of the source and of the target."""


class DomainAlignment(Objective):
    """Features against a network that learns to tell the domains apart, each by a loss of its own.

    `rows` has three names: of the network's loss, of the features' and of the network's accuracy.

    Args:
        surroundings: See `Objective`.
        name: Of the network's weights in a stored state.
        network: Gives a logit for each cell of features that it is of the source.
        rate: The network's learning rate, as a multiple of the features'.
    """

    def __init__(
        self, surroundings: Surroundings, name: str, network: nn.Module, rate: float
    ) -> None:
        super().__init__(surroundings)
        settings = self.settings
        self._network = network.to(self.device)
        optimiser = adam_of(
            list(self._network.parameters()), settings.learning_rate * rate, settings.betas
        )
        self._adversary = Adversary(name, self._network, optimiser, self._adversary_loss)

    def adversary(self) -> Adversary:
        """The network that the features are moved against."""
        return self._adversary

    def loss(self, view: View) -> Tensor:
        """What the features minimise; the network stays as it is."""
        weights = view.prepared[self.name]
        with _fixed(self._network):
            logits = self._logits((view.source_features, view.target_features), weights)
        return self._feature_loss(logits, weights)

    def _adversary_loss(self, view: View) -> Tensor:
        """What the network minimises; the features stay as they are."""
        weights = view.prepared[self.name]
        logits = self._logits(
            (view.source_features.detach(), view.target_features.detach()), weights
        )
        loss = self._discriminator_loss(logits, weights)
        discriminator_row, _, accuracy_row = self.rows
        self.record(discriminator_row, loss)
        self.record(accuracy_row, self._accuracy(logits, weights))
        return loss

    @abstractmethod
    def _logits(self, features: Pair, weights: Any) -> Pair:  # noqa: ANN401 - as `prepare` made them
        """fp32 logits of both domains."""

    @abstractmethod
    def _feature_loss(self, logits: Pair, weights: Any) -> Tensor:  # noqa: ANN401 - likewise
        """The features' loss; records its row."""

    @abstractmethod
    def _discriminator_loss(self, logits: Pair, weights: Any) -> Tensor:  # noqa: ANN401 - likewise
        """The network's loss."""

    @abstractmethod
    def _accuracy(self, logits: Pair, weights: Any) -> Tensor:  # noqa: ANN401 - likewise
        """Share of what counts whose domain the network recognises, in [0, 1]."""


@contextmanager
def _fixed(module: nn.Module) -> Iterator[None]:
    """Inside, a module's parameters get no gradient, but pass on that of their input."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
