"""The paper's network: VGG16 made dense by dilation, the front-end of Yu & Koltun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from crosscity.segmenters.base import ROAD_CLASS_NAMES, Segmenter, WeightsError

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""RGB statistics that ImageNet weights in the common layout were trained with."""

_STAGES: Final = ((1, 2, 1), (2, 2, 1), (4, 3, 1), (8, 3, 1), (8, 3, 2))
"""Of each stage: its width as a multiple of the first, its convolutions, their dilation."""
_POOLED_STAGES: Final = 3
"""Stages that a 2×2 pooling follows. VGG16 has one after each; the last two are left out."""
_IMAGENET_CONVOLUTIONS: Final = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Numbers of the convolutions in the `features` of the common `state_dict` layout."""
_FC6_SIDE: Final = 7
MOST_AT_ONCE: Final = 2048
"""Outputs of fc6 that a processor computes at once while it learns: oneDNN takes 48 seconds for the
gradient of 4096 outputs' weights on two cores, and half a second for that of 2048."""


class DilatedVgg16(Segmenter):
    """The front-end module of Yu & Koltun (ICLR 2016, Sec. 4), which the paper adapts (Sec. 4).

    VGG16 without pool4 and pool5; what stands behind a missing pooling is dilated by 2 for each,
    so that every filter sees what it saw in VGG16: conv5 by 2, fc6 (a 7×7 convolution) by 4. fc7
    is a 1×1 convolution; the features M_F are its outputs after ReLU. Dropout follows fc6 and fc7
    while training. Output stride 8.

    Convolutions are padded, so that the grid is that of the image; Yu & Koltun pad the image by
    reflection instead and run without padding, which gives the same away from the border.

    Args:
        class_names: The label space.
        width: Channels of the first stage; 64 is VGG16.
        fc_width: D, channels of fc6 and fc7; 4096 is VGG16.
        dropout: Probability that an output of fc6 or fc7 is dropped while training.
        input_mean: RGB mean to subtract, for images in [0, 1]; default: ImageNet's.
        input_std: RGB standard deviation to divide by; default: ImageNet's.
    """

    architecture = "dilated_vgg16"

    def __init__(
        self,
        *,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        width: int = 64,
        fc_width: int = 4096,
        dropout: float = 0.5,
        input_mean: Sequence[float] = IMAGENET_MEAN,
        input_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        if width < 1 or fc_width < 1:
            raise ValueError(f"width and fc_width must be at least 1, not {width} and {fc_width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        super().__init__(
            class_names=class_names,
            n_features=fc_width,
            stride=2**_POOLED_STAGES,
            input_mean=input_mean,
            input_std=input_std,
        )
        self.width = width
        self.dropout = dropout
        self.convolutions = nn.Sequential(*_stages(width))
        self.fc6 = nn.Conv2d(_STAGES[-1][0] * width, fc_width, _FC6_SIDE, padding=12, dilation=4)
        self.fc7 = nn.Conv2d(fc_width, fc_width, 1)
        self.classifier = nn.Conv2d(fc_width, self.n_classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                _initialise(layer)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def extract(self, normalised: Tensor) -> Tensor:
        """fc7 after ReLU; dropout after fc6 while training. The features are ≥ 0."""
        fc6 = torch.relu(self._fc6(self.convolutions(normalised)))
        return torch.relu(self.fc7(nn.functional.dropout(fc6, self.dropout, self.training)))

    def _fc6(self, seen: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and self.fc6.weight.requires_grad
        if not learns or seen.device.type != "cpu" or self.fc6.out_channels <= MOST_AT_ONCE:
            outputs: Tensor = self.fc6(seen)
            return outputs
        weights = torch.split(self.fc6.weight, MOST_AT_ONCE)
        biases = torch.split(_bias(self.fc6), MOST_AT_ONCE)
        parts = [
            nn.functional.conv2d(
                seen, weight, bias, padding=self.fc6.padding, dilation=self.fc6.dilation
            )
            for weight, bias in zip(weights, biases, strict=True)
        ]
        return torch.cat(parts, 1)

    def classify(self, features: Tensor) -> Tensor:
        """One 1×1 convolution, after the dropout of fc7 while training."""
        logits: Tensor = self.classifier(
            nn.functional.dropout(features, self.dropout, self.training)
        )
        return logits

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor; the normalisation is in the weights."""
        return {
            "class_names": list(self.class_names),
            "width": self.width,
            "fc_width": self.n_features,
            "dropout": self.dropout,
        }

    def load_backbone(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes ImageNet VGG16 weights in the common `state_dict` layout.

        `features.<n>.*` become the convolutions; `classifier.0` (4096×25088) becomes fc6, whose
        25088 inputs are 512 channels of 7×7; `classifier.3` becomes fc7. The ImageNet classifier
        `classifier.6` is not used: ours keeps its random weights.

        Raises:
            WeightsError: A tensor is missing or of another shape; nothing has changed.
        """
        wanted: list[tuple[str, nn.Conv2d]] = [
            (f"features.{number}", layer)
            for number, layer in zip(
                _IMAGENET_CONVOLUTIONS,
                (layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)),
                strict=True,
            )
        ]
        wanted += [("classifier.0", self.fc6), ("classifier.3", self.fc7)]
        found = [(layer, *_parameters(tensors, name, layer)) for name, layer in wanted]
        with torch.no_grad():
            for layer, weight, bias in found:
                layer.weight.copy_(weight)
                _bias(layer).copy_(bias)


def _stages(width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for stage, (factor, convolutions, dilation) in enumerate(_STAGES):
        for _ in range(convolutions):
            layers.append(
                nn.Conv2d(channels, factor * width, 3, padding=dilation, dilation=dilation)
            )
            layers.append(nn.ReLU(inplace=True))
            channels = factor * width
        if stage < _POOLED_STAGES:
            # Rounding up keeps the border of images whose sides are not multiples of 8.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return layers


def _initialise(layer: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(_bias(layer))


def _parameters(
    tensors: Mapping[str, Tensor], name: str, layer: nn.Conv2d
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer in its own shape."""
    shapes = {"weight": layer.weight.shape, "bias": _bias(layer).shape}
    if name.startswith("classifier."):
        shapes["weight"] = torch.Size((layer.out_channels, layer.weight[0].numel()))
    for kind, shape in shapes.items():
        full = f"{name}.{kind}"
        if full not in tensors:
            raise WeightsError(
                f"the weights lack {full}, so they are not a VGG16's (without batch norm) in the "
                "common layout of `features.*` and `classifier.*`"
            )
        if tensors[full].shape != shape:
            raise WeightsError(
                f"{full} has shape {tuple(tensors[full].shape)} instead of {tuple(shape)}: "
                "ImageNet weights fit width 64 and fc_width 4096"
            )
    return tensors[f"{name}.weight"].reshape(layer.weight.shape), tensors[f"{name}.bias"]


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None  # noqa: S101 - tells mypy that every layer here has one
    return layer.bias
