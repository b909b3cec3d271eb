"""What an objective is: a loss, what it needs of a step, and what it brings along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from crosscity.adaptation.settings import AdaptationSettings
from crosscity.named_function import somebody_elses
from crosscity.segmenters import Segmenter

Need = Literal["source", "target", "grid_labels", "predictions", "partner", "labels"]
"""What an objective looks at:

- `source`: features and labels of the source. A recipe none of whose objectives names it is adapted
  without a source.
- `target`: features of the target images.
- `grid_labels`: soft labels of the source's cells (eq. 6).
- `predictions`: φ of the target images, by the teacher where there is one, refined by the static
  prior where the recipe says so (eq. 12); 0 for every class where a pixel is to be ignored.
- `partner`: the other images of each target image's place, with matches.
- `labels`: labelled images of the target.
"""


@dataclass(frozen=True)
class Partner:
    """The other images of the places of a batch: M ≥ B, each image's own one after another.

    Attributes:
        images: M×3×H×W in [0, 1].
        field: M×H×W×2, where each pixel of their image of the batch lies in them
            (`correspondence`).
        prior: M×H×W, theirs; as `Batch.prior`.
        ignored: M×H×W bool, or ``None``; as `Batch.ignored`.
        of: (M,) int64, which image of the batch each is of the place of.
        taught: M×3×H'×W', the same images as a teacher is shown them; ``None``: as they are here.
    """

    images: Tensor
    field: Tensor
    prior: Tensor
    ignored: Tensor | None
    of: Tensor
    taught: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Source images with labels, target images with static priors; images B×3×H×W in [0, 1].

    `ignored`, B×H×W bool, are target pixels that teach nothing (watermarks, bonnets); ``None``
    where there are none; the priors are float32 probabilities where the recipe takes those.
    `partner` has other images of the same places, `labelled` images and labels of the target, where
    the recipe needs them. Without a source, `source` and `labels` are empty. `keys` tells the
    images of "source" and "target" apart: equal keys are equal pixels. `taught`, B×3×H'×W', are the
    target images as a teacher is shown them, where it was trained at another size.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    prior: Tensor
    ignored: Tensor | None = None
    partner: Partner | None = None
    labelled: tuple[Tensor, Tensor] | None = None
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taught: Tensor | None = None


@dataclass(frozen=True)
class PartnerView:
    """What the teacher makes of other images of the same places, without gradient.

    Attributes:
        of: (M,) int64, which target image each is of the place of: all occur, in order.
        field: M×H×W×2, where each pixel of that lies in them (`correspondence`).
        features: M×D×h×w.
        predictions: φ, M×C×H×W, refined by their own static prior as the target's are.
    """

    of: Tensor
    field: Tensor
    features: Tensor
    predictions: Tensor


@dataclass(frozen=True)
class View:
    """What the network makes of a batch.

    Attributes:
        batch: What it looks at.
        source_features: B×D×h×w.
        target_features: B×D×h×w; empty where no objective needs "target".
        grid_labels: Φ(I_S), B×C×h×w, where an objective needs "grid_labels".
        predictions: φ, B×C×H×W without gradient, where an objective needs "predictions".
        partner: Other images of the same places, where an objective needs "partner".
        prepared: What each objective made of the view in `prepare`, by its name.
    """

    batch: Batch
    source_features: Tensor
    target_features: Tensor
    grid_labels: Tensor | None = None
    predictions: Tensor | None = None
    partner: PartnerView | None = None
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
        options: Of the objective, by name.
    """

    segmenter: Segmenter
    settings: AdaptationSettings
    class_weights: Tensor | None
    in_source: Tensor
    class_ratios: Callable[[], Tensor]
    record: Callable[[str, Tensor], None]
    options: Mapping[str, Any] = field(default_factory=dict)


_KINDS: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
}
"""How the types of options are called."""


@dataclass(frozen=True)
class NoOptions:
    """Options of an objective that has none."""


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
    of_features: ClassVar[bool] = False
    """Whether it moves features alone, and so nothing where these are kept (`trainable: head`)."""
    Options: ClassVar[type] = NoOptions
    """A dataclass: the options that a recipe may give it, with their types and defaults."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.segmenter = surroundings.segmenter
        self.settings = surroundings.settings
        self.record = surroundings.record
        self.device = surroundings.in_source.device
        self.options: Any = checked_options(type(self), surroundings.options)

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


def upsampled_logits(segmenter: Segmenter, features: Tensor, like: Tensor) -> Tensor:
    """B×C×H×W logits of features, at the height and width of a map or image."""
    height, width = like.shape[-2:]
    return segmenter.upsample(segmenter.classify(features), (height, width))


def loss_of(objective: Objective, view: View) -> Tensor:
    """The loss that an objective gives of a view; a scalar.

    Raises:
        ValueError: It is not a scalar tensor, or an objective of the user's own raised something.
    """
    with its_errors(type(objective)):
        loss: object = objective.loss(view)
    if isinstance(loss, Tensor) and loss.ndim == 0:
        return loss
    found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise ValueError(
        f"the objective {objective.name!r} gave {found} as its loss: it must give one number, "
        "a tensor without dimensions"
    )


def is_foreign(objective: type[Objective]) -> bool:
    """Whether an objective is of the user's own package."""
    return objective.__module__.partition(".")[0] != __name__.partition(".")[0]


@contextmanager
def its_errors(objective: type[Objective]) -> Iterator[None]:
    """Inside, what an objective of the user's own raises becomes one sentence.

    Raises:
        ValueError: It raised something; what ours raise, and lack of memory, are as they were.
    """
    if not is_foreign(objective):
        yield  # a fault of ours: its trace says where
        return
    name = getattr(objective, "name", objective.__name__)
    with somebody_elses(f"the objective {name!r}", own=(torch.OutOfMemoryError,)):
        yield


def checked_options(objective: type[Objective], given: Mapping[str, Any]) -> object:
    """An objective's options.

    Raises:
        ValueError: There is no such option, or a value is refused.
    """
    known = [one.name for one in fields(objective.Options)]
    unknown = [name for name in given if name not in known]
    if unknown:
        options = ", ".join(known) or "none"
        raise ValueError(
            f"the objective {objective.name!r} has no option {unknown[0]!r}; its options: {options}"
        )
    for one in fields(objective.Options):
        kind = one.type if isinstance(one.type, str) else getattr(one.type, "__name__", "")
        if one.name in given and not _is_of(given[one.name], kind):
            raise ValueError(
                f"the option {one.name} of the objective {objective.name!r} must be "
                f"{_KINDS[kind]}, not {given[one.name]!r}"
            )
    whose = f"the options of the objective {objective.name!r}"
    with somebody_elses(whose, own=(TypeError, ValueError)):
        try:
            return objective.Options(**given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{whose}: {error}") from None


def _is_of(value: object, kind: str) -> bool:
    """Whether a value is of a plain type, by its name; a value of any other type may be it."""
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return kind not in _KINDS
    numbers: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str}
    return kind not in numbers or isinstance(value, numbers[kind])


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Σ_i w_i CE(z_i, y_i) / Σ_i w_i; 0, with gradient 0, where all weights are 0.

    Args:
        logits: B×C×H×W.
        labels: B×H×W int64 classes.
        weights: B×H×W, at least 0; no gradient is passed on to them.
    """
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    weights = weights.detach()
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)
