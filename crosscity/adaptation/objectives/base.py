"""What an objective is: a loss, what it needs of a step, and what it brings along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from crosscity.adaptation.settings import AdaptationSettings
from crosscity.segmenters import Segmenter

Need = Literal["target", "grid_labels", "predictions"]
"""What an objective looks at beside the source:

- `target`: features of the target images.
- `grid_labels`: soft labels of the source's cells (eq. 6).
- `predictions`: φ of the target images, by the teacher where there is one, refined by the static
  prior where the recipe says so (eq. 12); 0 for every class where a pixel is to be ignored.
"""


@dataclass(frozen=True)
class Batch:
    """Source images with labels, target images with static priors; images B×3×H×W in [0, 1].

    `ignored`, B×H×W bool, are target pixels that teach nothing (watermarks, bonnets); ``None``
    where there are none.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    prior: Tensor
    ignored: Tensor | None = None


@dataclass(frozen=True)
class View:
    """What the network makes of a batch.

    Attributes:
        batch: What it looks at.
        source_features: B×D×h×w.
        target_features: B×D×h×w; empty where no objective needs "target".
        grid_labels: Φ(I_S), B×C×h×w, where an objective needs "grid_labels".
        predictions: φ, B×C×H×W without gradient, where an objective needs "predictions".
        prepared: What each objective made of the view in `prepare`, by its name.
    """

    batch: Batch
    source_features: Tensor
    target_features: Tensor
    grid_labels: Tensor | None = None
    predictions: Tensor | None = None
    prepared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What an objective is made with.

    Attributes:
        segmenter: Is adapted.
        settings: Of the adaptation.
        class_weights: (C,) of the loss on labels, or ``None`` for equal ones.
        in_source: 1×C×1×1 bool, the classes that the source shows.
        class_ratios: Gives (C,), how much more often each class occurs in the target as the first
            segmenter sees it; costs a look at the target.
        record: Notes a loss or an accuracy of a batch for the step's row.
    """

    segmenter: Segmenter
    settings: AdaptationSettings
    class_weights: Tensor | None
    in_source: Tensor
    class_ratios: Callable[[], Tensor]
    record: Callable[[str, Tensor], None]


class Objective(ABC):
    """A loss that the features minimise, and what belongs to it.

    An objective of one's own implements `loss` and names what it needs; see docs/extending.md.

    Args:
        surroundings: What it is made with.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    rows: ClassVar[tuple[str, ...]] = ()
    """Columns of the history that it records, in their order."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.segmenter = surroundings.segmenter
        self.settings = surroundings.settings
        self.record = surroundings.record
        self.device = surroundings.in_source.device

    def needed(self) -> frozenset[Need]:
        """What it looks at, with the settings that it has."""
        return self.needs

    @abstractmethod
    def loss(self, view: View) -> Tensor:
        """The loss of a batch, a scalar whose gradient moves the segmenter."""

    def prepare(self, view: View) -> Any:  # noqa: ANN401, ARG002 - whatever an objective reuses
        """What is computed once a view, for the adversary's step and the features'."""
        return None

    def adversary(self) -> Adversary | None:
        """A network that is trained against the features in the same step."""
        return None


@dataclass(frozen=True)
class Adversary:
    """A network that learns to tell the domains apart.

    Attributes:
        name: Of its weights in a stored state.
        network: Moves in its own step, in which the features stay.
        optimiser: Of the network.
        loss: What it minimises, of views without gradient to the features.
    """

    name: str
    network: nn.Module
    optimiser: Optimizer
    loss: Callable[[View], Tensor]


@contextmanager
def fixed(module: nn.Module) -> Iterator[None]:
    """Inside, a module's parameters get no gradient, but pass on that of their input."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def adam(module: nn.Module, learning_rate: float, settings: AdaptationSettings) -> Adam:
    """Adam with the settings' betas, over all parameters of a module."""
    parameters = list(module.parameters())
    # One kernel for all parameters where there are kernels to launch.
    fused = True if parameters[0].device.type == "cuda" else None
    return Adam(parameters, lr=learning_rate, betas=settings.betas, fused=fused)


def upsampled_logits(segmenter: Segmenter, features: Tensor, like: Tensor) -> Tensor:
    """B×C×H×W logits of features, at the height and width of a map or image."""
    height, width = like.shape[-2:]
    return segmenter.upsample(segmenter.classify(features), (height, width))


def checked_loss(objective: Objective, loss: object) -> Tensor:
    """A loss as an objective gave it.

    Raises:
        ValueError: It is no scalar tensor.
    """
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"the objective {objective.name!r} gave {found} as its loss: it must give one number, "
            "a tensor without dimensions"
        )
    return loss


def detached(view: View) -> tuple[Tensor, Tensor]:
    """Features of both domains, which an adversary's step does not move."""
    return view.source_features.detach(), view.target_features.detach()


__all__ = [
    "Adversary",
    "Batch",
    "Need",
    "Objective",
    "Surroundings",
    "View",
    "adam",
    "checked_loss",
    "detached",
    "fixed",
    "upsampled_logits",
]
