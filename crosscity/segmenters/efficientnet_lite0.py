"""A light network that starts from ImageNet: EfficientNet-Lite0 with its grids joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.segmenters.base import ROAD_CLASS_NAMES, Segmenter, WeightsError

INPUT_MEAN: Final = (127 / 255, 127 / 255, 127 / 255)
INPUT_STD: Final = (128 / 255, 128 / 255, 128 / 255)
"""RGB statistics that the published ImageNet weights were trained with: (value - 127) / 128."""

_STAGES: Final = (
    # blocks, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Tan & Le, *EfficientNet* (ICML 2019), Table 1. "Lite": no squeeze-and-excitation, ReLU6."""
_STEM: Final = 32
_STRIDE: Final = 8
_FEWEST_STAGES: Final = 3
"""So many it takes to that stride."""
_PUBLISHED: Final = {
    "stem.convolution": "_conv_stem",
    "stem.normalisation": "_bn0",
    "expand.convolution": "_expand_conv",
    "expand.normalisation": "_bn0",
    "depthwise.convolution": "_depthwise_conv",
    "depthwise.normalisation": "_bn1",
    "project.convolution": "_project_conv",
    "project.normalisation": "_bn2",
}
"""What the published `state_dict` calls each layer, at the top or in `_blocks.<n>`."""


class EfficientNetLite0(Segmenter):
    """EfficientNet-Lite0 whose grids of 1/8 and less are joined at stride 8, and a classifier.

    The backbone is the published network, grid by grid. Where it leaves a grid of 1/8, 1/16 or
    1/32, a 1×1 convolution takes what is there to D channels; the coarser ones are upsampled, all
    are summed, and batch norm and ReLU make the features M_F: detail from the finest, context from
    the coarsest. Dilating the later stages instead costs twice the arithmetic of the whole at 1/8.

    Padding is TensorFlow's "same", as the weights were trained with.

    Args:
        class_names: The label space.
        stages: Stages of the published network that are kept, 3 to 7; 5 end at 1/16, 7 at 1/32.
        width: D, channels of the features.
        dropout: Probability that a feature is dropped before the classifier while training.
    """

    architecture = "efficientnet_lite0"

    def __init__(
        self,
        *,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        stages: int = 5,
        width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        if not _FEWEST_STAGES <= stages <= len(_STAGES):
            raise ValueError(f"stages must be {_FEWEST_STAGES} to {len(_STAGES)}, not {stages}")
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        super().__init__(
            class_names=class_names,
            n_features=width,
            stride=_STRIDE,
            input_mean=INPUT_MEAN,
            input_std=INPUT_STD,
        )
        self.stages = stages
        self.dropout = nn.Dropout(dropout)
        self.stem = _Convolution(3, _STEM, kernel=3, stride=2)
        self.blocks = nn.ModuleList(_blocks(stages))
        self.joined = _last_of_grids(stages)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, width, 1, bias=False) for channels in self.joined.values()
        )
        self.normalisation = nn.BatchNorm2d(width)
        self.classifier = nn.Conv2d(width, self.n_classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    def extract(self, normalised: Tensor) -> Tensor:
        """The grids of 1/8 and less, joined at 1/8; the features are ≥ 0."""
        x: Tensor = self.stem(normalised)
        levels: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.joined:
                levels.append(self.laterals[len(levels)](x))
        finest = levels[0]
        for level in levels[1:]:
            finest = finest + functional.interpolate(
                level, size=finest.shape[-2:], mode="bilinear", align_corners=False
            )
        return torch.relu(self.normalisation(finest))

    def classify(self, features: Tensor) -> Tensor:
        """One 1×1 convolution, after dropout while training."""
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "class_names": list(self.class_names),
            "stages": self.stages,
            "width": self.n_features,
            "dropout": self.dropout.p,
        }

    def load_backbone(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes ImageNet weights in the layout that EfficientNets in PyTorch are published in.

        `_conv_stem`, `_bn0` and `_blocks.<n>.*` are taken, batch-norm statistics included. Blocks
        of stages that are left out, `_conv_head`, `_bn1` and `_fc` have no place here; what joins
        the grids, and the classifier, keep their random weights.

        Raises:
            WeightsError: A tensor is missing, of another shape, or of no EfficientNet-Lite0;
                nothing has changed.
        """
        ours = {
            _published(name): tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(("stem.", "blocks."))
        }
        left_out = ("_conv_head.", "_bn1.", "_fc.", *self._blocks_left_out())
        for name, tensor in ours.items():
            if name not in tensors:
                raise WeightsError(f"the weights lack {name}, so they are not EfficientNet-Lite0's")
            if tensors[name].shape != tensor.shape:
                raise WeightsError(
                    f"{name} has shape {tuple(tensors[name].shape)} instead of "
                    f"{tuple(tensor.shape)}: these are weights of another EfficientNet"
                )
        for name in tensors:
            if name not in ours and not name.startswith(left_out):
                raise WeightsError(
                    f"{name} has no place in an EfficientNet-Lite0: these are weights of another "
                    "network"
                )
        with torch.no_grad():
            for name, tensor in ours.items():
                tensor.copy_(tensors[name])

    def _blocks_left_out(self) -> tuple[str, ...]:
        every = sum(stage[0] for stage in _STAGES)
        return tuple(f"_blocks.{number}." for number in range(len(self.blocks), every))


class _Convolution(nn.Module):
    """Convolution with "same" padding, batch norm and, where asked for, ReLU6."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            channels,
            out_channels,
            kernel,
            stride=stride,
            # A stride needs unequal borders, which follow from the size of the image.
            padding=kernel // 2 if stride == 1 else 0,
            groups=groups,
            bias=False,
        )
        self.normalisation = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.kernel = kernel
        self.stride = stride
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            height, width = x.shape[-2:]
            x = functional.pad(x, (*self._border(width), *self._border(height)))
        x = self.normalisation(self.convolution(x))
        return functional.relu6(x, inplace=True) if self.active else x

    def _border(self, length: int) -> tuple[int, int]:
        """Zeros before and after a row, so that ceil(length / stride) values come out."""
        # No division of a negative number: ONNX rounds it to the other side.
        outputs = (length + self.stride - 1) // self.stride
        missing = max((outputs - 1) * self.stride + self.kernel - length, 0)
        return missing // 2, missing - missing // 2


class _Block(nn.Module):
    """An inverted bottleneck: expand, look around by channel, project; what came in is added."""

    def __init__(
        self, channels: int, out_channels: int, *, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inner = expansion * channels
        self.expand = _Convolution(channels, inner) if expansion > 1 else nn.Identity()
        self.depthwise = _Convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = _Convolution(inner, out_channels, active=False)
        self.adds_input = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds_input else y


def _blocks(stages: int) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    channels = _STEM
    for count, kernel, stride, expansion, out_channels in _STAGES[:stages]:
        for number in range(count):
            step = stride if number == 0 else 1
            blocks.append(
                _Block(channels, out_channels, expansion=expansion, kernel=kernel, stride=step)
            )
            channels = out_channels
    return blocks


def _last_of_grids(stages: int) -> dict[int, int]:
    """The last block on each grid of 1/8 and less, and its channels."""
    last: dict[int, tuple[int, int]] = {}
    grid, blocks = 2, 0
    for count, _, stride, _, channels in _STAGES[:stages]:
        grid *= stride
        blocks += count
        last[grid] = (blocks - 1, channels)
    return dict(place for grid, place in last.items() if grid >= _STRIDE)


def _published(name: str) -> str:
    """The published name of one of our tensors."""
    place, _, kind = name.rpartition(".")
    if place.startswith("stem."):
        return f"{_PUBLISHED[place]}.{kind}"
    _, number, layer = place.split(".", 2)
    return f"_blocks.{number}.{_PUBLISHED[layer]}.{kind}"
