"""The demo's network: small enough to be trained on two CPU cores within minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from crosscity.checks import check_list, whole_number
from crosscity.segmenters.base import ROAD_CLASS_NAMES, Segmenter

_WIDEST: Final = 512
"""Cells that a convolution may look away: further than any grid in use reaches."""


class CompactSegmenter(Segmenter):
    """A stride-8 network of 0.4 million parameters with dilated context.

    Three strided convolutions bring the image to 1/8; residual 3×3 convolutions with growing
    dilation widen the view to 33 cells without losing the grid, as in the front-end of Yu & Koltun
    (ICLR 2016). Batch norm, so that it trains from nothing in a few hundred steps.

    Args:
        class_names: The label space.
        width: D, channels at 1/8; the earlier stages have a half and a quarter.
        dilations: Dilation of each residual convolution at 1/8.
        dropout: Probability that a feature is dropped before the classifier while training.
    """

    architecture = "compact"

    def __init__(
        self,
        *,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        width: int = 96,
        dilations: Sequence[int] = (1, 2, 4, 8),
        dropout: float = 0.1,
    ) -> None:
        if width < 4 or width % 4:
            raise ValueError(f"width must be a positive multiple of 4, not {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        check_list(dilations, "dilations")
        super().__init__(class_names=class_names, n_features=width, stride=8)
        self.width = width
        self.dilations = tuple(
            whole_number(one, "each of the dilations", 1, _WIDEST) for one in dilations
        )
        self.dropout = nn.Dropout(dropout)
        quarter, half = width // 4, width // 2
        self.layers = nn.Sequential(
            _convolution(3, quarter, stride=2),
            _convolution(quarter, half, stride=2),
            _Residual(half, dilation=1),
            _convolution(half, width, stride=2),
            *(_Residual(width, dilation=dilation) for dilation in self.dilations),
        )
        self.classifier = nn.Conv2d(width, self.n_classes, kernel_size=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(_bias(self.classifier))

    def extract(self, normalised: Tensor) -> Tensor:
        """Features after the last residual convolution; they are ≥ 0."""
        features: Tensor = self.layers(normalised)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """One 1×1 convolution, after dropout while training."""
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "class_names": list(self.class_names),
            "width": self.width,
            "dilations": list(self.dilations),
            "dropout": self.dropout.p,
        }


class _Residual(nn.Module):
    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        self.normalisation = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.normalisation(self.convolution(x)))


def _convolution(channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None  # noqa: S101 - tells mypy what the line above says
    return convolution.bias
