"""The paper's network: VGG16's own filters, looking at what they looked at in VGG16."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.segmenters import (
    DilatedVgg16,
    WeightsError,
    build_segmenter,
    dilated_vgg16,
    load_weights,
)

STAGES = (2, 2, 3, 3, 3)


def imagenet_layout(width: int, fc_width: int, *, batch_norm: bool = False) -> dict[str, Tensor]:
    """Random weights under the names and shapes that VGG16 is published in."""
    random = torch.Generator().manual_seed(5)
    tensors: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        fan_in = torch.Size(shape[1:]).numel()
        tensors[f"{name}.weight"] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.1

    number, channels = 0, 3
    for stage, convolutions in enumerate(STAGES):
        for _ in range(convolutions):
            out = width * min(2**stage, 8)
            put(f"features.{number}", out, channels, 3, 3)
            channels, number = out, number + (3 if batch_norm else 2)
        number += 1
    put("classifier.0", fc_width, channels * 49)
    put("classifier.3", fc_width, fc_width)
    put("classifier.6", 1000, fc_width)
    return tensors


def test_imagenet_weights_compute_what_vgg16_computes() -> None:
    """On an image that is the same everywhere, no filter can tell dilation from pooling.

    Padding makes a border, so the dilated network is looked at in the middle of a large image, and
    VGG16 itself is run without padding.
    """
    tensors = imagenet_layout(4, 32)
    segmenter = DilatedVgg16(width=4, fc_width=32)
    segmenter.load_backbone(tensors)
    segmenter.eval()
    colour = torch.tensor([0.3, -0.8, 0.5]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        wide = segmenter.extract(colour.expand(1, 3, 640, 640))
        middle = wide[:, :, 40, 40]
        expected = _vgg16_without_border(tensors, colour)
    torch.testing.assert_close(middle, expected, rtol=1e-4, atol=1e-5)


def _vgg16_without_border(tensors: dict[str, Tensor], colour: Tensor) -> Tensor:
    x, number = colour.expand(1, 3, 480, 480), 0
    for convolutions in STAGES:
        for _ in range(convolutions):
            name = f"features.{number}"
            x = functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
            x, number = functional.relu(x), number + 2
        x, number = functional.max_pool2d(x, 2), number + 1
    x = x[:, :, :1, :1].expand(-1, -1, 7, 7).flatten(1)
    for name in ("classifier.0", "classifier.3"):
        x = functional.relu(
            functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        )
    return x


def test_dilation_samples_what_pooling_left() -> None:
    """fc6 looks at every fourth value, as after two poolings, in VGG16's own order of inputs.

    Random values: a wrong dilation, or a reshape that mixes channel, row and column, would show.
    """
    tensors = imagenet_layout(4, 16)
    segmenter = DilatedVgg16(width=4, fc_width=16)
    segmenter.load_backbone(tensors)
    stage5 = torch.randn((1, 32, 25, 25), generator=torch.Generator().manual_seed(1))
    dilated = functional.conv2d(
        stage5, segmenter.fc6.weight, segmenter.fc6.bias, dilation=segmenter.fc6.dilation
    )
    sampled = stage5[:, :, ::4, ::4].flatten(1)
    expected = functional.linear(
        sampled, tensors["classifier.0.weight"], tensors["classifier.0.bias"]
    )
    torch.testing.assert_close(dilated.flatten(1), expected, rtol=1e-4, atol=1e-5)
    fifth = [layer for layer in segmenter.convolutions if isinstance(layer, nn.Conv2d)][-3:]
    assert {layer.dilation for layer in fifth} == {(2, 2)}


def test_it_is_the_papers_size() -> None:
    """VGG16's convolutions, fc6 and fc7, and 19 classes: layer by layer, as published."""
    with torch.device("meta"):
        segmenter = DilatedVgg16()
    shapes = [tuple(p.shape) for n, p in segmenter.named_parameters() if n.endswith("weight")]
    channels = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    assert shapes[:13] == [(after, before, 3, 3) for before, after in pairwise(channels)]
    assert shapes[13:] == [(4096, 512, 7, 7), (4096, 4096, 1, 1), (19, 4096, 1, 1)]
    # VGG16 has 138 357 544 parameters, its ImageNet classifier 4 097 000 of them.
    expected = 138_357_544 - 4_097_000 + 19 * 4097
    assert sum(p.numel() for p in segmenter.parameters()) == expected
    assert segmenter.stride == 8
    assert segmenter.n_features == 4096
    poolings = [layer for layer in segmenter.modules() if isinstance(layer, nn.MaxPool2d)]
    assert len(poolings) == 3


def test_fc6_in_parts_learns_what_it_learns_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor the gradient of all outputs at once takes a hundred times as long."""
    network = DilatedVgg16(width=4, fc_width=20, dropout=0.0)
    images = torch.rand(2, 3, 32, 48)
    parts: list[int] = []
    conv2d = functional.conv2d

    def counted(seen: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        if weight.shape[-1] == 7:
            parts.append(weight.shape[0])
        return conv2d(seen, weight, *rest, **options)

    def learned(most: int) -> tuple[Tensor, list[Tensor]]:
        monkeypatch.setattr(dilated_vgg16, "MOST_AT_ONCE", most)
        outputs = network.extract(images)
        return outputs, list(
            torch.autograd.grad(outputs.square().sum(), [*network.fc6.parameters()])
        )

    monkeypatch.setattr(functional, "conv2d", counted)
    whole, of_whole = learned(20)
    assert parts == [20]
    parts.clear()
    split, of_split = learned(8)
    assert parts == [8, 8, 4]
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(of_split, of_whole)
    parts.clear()
    with torch.no_grad():
        network.extract(images)
    assert parts == [20], "what does not learn is computed, and exported, as one convolution"


def test_dropout_follows_fc6_and_fc7_while_training_only() -> None:
    segmenter = DilatedVgg16(width=2, fc_width=64, dropout=0.5)
    image = torch.rand((1, 3, 32, 32))
    segmenter.train()
    assert not torch.equal(segmenter.features(image), segmenter.features(image))
    features = torch.rand((1, 64, 4, 4))
    assert not torch.equal(segmenter.classify(features), segmenter.classify(features))
    segmenter.eval()
    assert torch.equal(segmenter.features(image), segmenter.features(image))
    assert torch.equal(segmenter.classify(features), segmenter.classify(features))


def test_the_classifier_keeps_its_weights_and_all_else_is_taken() -> None:
    segmenter = build_segmenter("dilated_vgg16", {"width": 4, "fc_width": 32}, seed=1)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    segmenter.load_backbone(imagenet_layout(4, 32))
    for name, tensor in segmenter.state_dict().items():
        kept = name.startswith(("classifier", "input"))
        assert torch.equal(tensor, before[name]) == kept, name


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (imagenet_layout(4, 32, batch_norm=True), r"lack features\.2\.weight"),
        (imagenet_layout(8, 32), r"features\.0\.weight has shape \(8, .* instead of \(4,"),
        ({"conv1.weight": torch.zeros(1)}, r"lack features\.0\.weight.*not a VGG16"),
    ],
)
def test_other_layouts_are_named_and_change_nothing(tensors: dict[str, Tensor], said: str) -> None:
    segmenter = build_segmenter("dilated_vgg16", {"width": 4, "fc_width": 32}, seed=1)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    with pytest.raises(WeightsError, match=said):
        segmenter.load_backbone(tensors)
    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_weights_of_our_own_load_as_a_whole() -> None:
    options = {"width": 4, "fc_width": 32}
    trained = build_segmenter("dilated_vgg16", options, seed=1)
    other = build_segmenter("dilated_vgg16", options, seed=2)
    load_weights(other, trained.state_dict())
    image = torch.rand((1, 3, 40, 56))
    trained.eval()
    other.eval()
    assert torch.equal(trained(image), other(image))


def test_networks_without_a_published_backbone_say_so() -> None:
    with pytest.raises(WeightsError, match="'compact' knows no published layout"):
        build_segmenter("compact").load_backbone(imagenet_layout(4, 32))


@pytest.mark.parametrize("options", [{"width": 0}, {"fc_width": 0}, {"dropout": 1.0}])
def test_options_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        build_segmenter("dilated_vgg16", options)
