"""What every segmenter offers: features on a coarse grid, and a classifier on top of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.checks import number
from crosscity.labels import CLASSES, VOID
from crosscity.segmenters.bilinear import LARGEST_GRID, upsample_by_products
from crosscity.segmenters.prediction_rule import check_offsets

ROAD_CLASS_NAMES: tuple[str, ...] = tuple(road_class.name for road_class in CLASSES)
"""The label space of the 19 Cityscapes classes, at the index of their trainId."""
_SMALL_SIZE = (64, 64)


class WeightsError(ValueError):
    """Weights of another architecture, layout or label space."""


class Segmenter(nn.Module, ABC):
    """A feature extractor M_F and a label predictor M_Y (paper, Sec. 4).

    A new segmenter implements `extract`, `classify` and `options` and names its architecture; the
    rest of the project asks for nothing else.

    Args:
        class_names: The label space; index i of the logits is `class_names[i]`.
        n_features: D, the channels of the features.
        stride: Pixels of the image a cell of the feature grid has in each direction.
        input_mean: RGB mean to subtract, for images in [0, 1].
        input_std: RGB standard deviation to divide by, for images in [0, 1].

    Raises:
        ValueError: The names are no label space, or mean and deviation no three numbers each, the
            latter above 0.
    """

    architecture: str
    input_mean: Tensor
    input_std: Tensor
    prediction_offsets: Tensor
    """(C,) what is added to the logits when it predicts; see `prediction_rule`."""
    trained_size: tuple[int, int] | None = None
    """(height, width) of the images that it was trained on, where that is known."""
    fixed_size: tuple[int, int] | None = None
    """(height, width) where it takes images of one size only."""

    def __init__(
        self,
        *,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        n_features: int,
        stride: int,
        input_mean: Sequence[float] = (0.5, 0.5, 0.5),
        input_std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
            raise ValueError(
                f"class_names is a list of the names of classes, not {class_names!r}: in YAML, "
                "[road, car, sky]"
            )
        if len(class_names) < 2 or len(set(class_names)) != len(class_names):
            raise ValueError(
                f"a segmenter needs at least two classes with different names, not {class_names}"
            )
        together = len({*class_names, *ROAD_CLASS_NAMES})
        if together > VOID:
            raise ValueError(
                f"a segmenter's classes and the {len(CLASSES)} road classes may be {VOID} "
                f"together, as labels have 8 bits, not {together}"
            )
        self.class_names = tuple(class_names)
        self.n_classes = len(self.class_names)
        self.n_features = n_features
        self.stride = stride
        self.register_buffer("input_mean", _channels(channel_values(input_mean, "mean")))
        self.register_buffer("input_std", _channels(channel_values(input_std, "deviation")))
        # Not among the weights: files of others have none, and no training moves it.
        offsets = torch.zeros(self.n_classes)
        self.register_buffer("prediction_offsets", offsets, persistent=False)
        self._predicts_otherwise = False

    @abstractmethod
    def extract(self, normalised: Tensor) -> Tensor:
        """Features of normalised images: B×3×H×W to B×D×h×w."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Class logits of every cell: B×D×h×w to B×C×h×w."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What `build_segmenter` needs to build this network again; JSON-able."""

    def load_backbone(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: ARG002 - see below
        """Takes weights of a pre-trained feature extractor in the layout they are published in.

        Raises:
            WeightsError: The architecture knows no such layout, or the weights do not fit.
        """
        raise WeightsError(
            f"the segmenter {self.architecture!r} knows no published layout of backbone weights: "
            "give all its weights under `weights` instead"
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Subtracts the input mean and divides by the input standard deviation."""
        return (images - self.input_mean) / self.input_std

    def features(self, images: Tensor) -> Tensor:
        """M_F: the features that adaptation aligns.

        Args:
            images: B×3×H×W floats, RGB in [0, 1] (see `image_tensor`).

        Returns:
            B×D×h×w, h = ceil(H / stride), w = ceil(W / stride).
        """
        return self.extract(self.normalise(images))

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Bilinear logits at (height, width): a cell's centre is the centre of its pixels."""
        # Softmax wants one plane a class; turning the coarse logits costs nothing, the fine much.
        logits = logits.contiguous()
        if self._trains_on_processor(logits):
            return upsample_by_products(logits, size)
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    def _trains_on_processor(self, logits: Tensor) -> bool:
        """Whether products are worth it; predictions stay PyTorch's own, to the bit."""
        small = logits.device.type == "cpu" and logits.shape[-2] <= LARGEST_GRID
        return self.training and small and not torch.compiler.is_compiling()

    def forward(self, images: Tensor) -> Tensor:
        """Class logits of every pixel: B×3×H×W in [0, 1] to B×C×H×W."""
        height, width = images.shape[-2:]
        return self.upsample(self.classify(self.features(images)), (height, width))

    def set_prediction_offsets(self, offsets: Sequence[float]) -> None:
        """From now on it predicts with these offsets of its logits (`prediction_rule`).

        Raises:
            ValueError: Another number of them than of classes, or one that is not finite.
        """
        check_offsets(offsets, self.n_classes)
        self.prediction_offsets.copy_(torch.tensor(offsets, dtype=torch.float32))
        self._predicts_otherwise = any(offsets)

    def predicted_logits(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits to predict with: B×3×H×W in [0, 1] to B×C×height×width, by the rule of its own.

        Losses are of `forward`, which knows no rule.
        """
        logits = self.upsample(self.classify(self.features(images)), size)
        if self._predicts_otherwise:
            logits = logits + self.prediction_offsets.reshape(1, -1, 1, 1)
        return logits

    def config(self) -> dict[str, Any]:
        """Architecture, label space and input normalisation; JSON-able."""
        return {
            "architecture": self.architecture,
            "options": self.options(),
            "class_names": list(self.class_names),
            "n_features": self.n_features,
            "stride": self.stride,
            "input_mean": self.input_mean.flatten().tolist(),
            "input_std": self.input_std.flatten().tolist(),
        }


def image_tensor(images: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turns (N, H, W, 3) uint8 RGB images into the N×3×H×W floats in [0, 1] a segmenter takes.

    Raises:
        ValueError: It is no array, of another type or shape, or empty.
    """
    if not isinstance(images, np.ndarray):
        raise ValueError(  # noqa: TRY004 - as of an array of another kind
            f"images must be a numpy array of shape (N, H, W, 3), not {type(images).__name__}"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            f"images must be uint8 of shape (N, H, W, 3), not {images.dtype} of {images.shape}"
        )
    # A copy of what may not be written, as Pillow's images may not: PyTorch warns of it.
    tensor = torch.from_numpy(np.require(images, requirements=("C", "W"))).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(255.0)


def grey_image(segmenter: Segmenter) -> Tensor:
    """A grey image, 1×3×H×W, of a small size that a segmenter takes, to try it on."""
    size = segmenter.fixed_size or _SMALL_SIZE
    return torch.full((1, 3, *size), 0.5, device=segmenter.input_mean.device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, a module predicts (no dropout, batch norm as estimated); then it is as it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def channel_values(values: Sequence[float], what: str) -> list[float]:
    """A "mean" or "deviation" of three channels; what is no such is a ValueError."""
    if len(values) != 3:
        raise ValueError(f"input mean and deviation have three values (RGB), not {len(values)}")
    plain = [value.item() if isinstance(value, Tensor) else value for value in values]
    name = f"the {what} of a channel"
    if what == "deviation":
        return [number(value, name, 0, above=True) for value in plain]
    return [number(value, name) for value in plain]


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
