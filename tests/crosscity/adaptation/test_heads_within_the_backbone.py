"""A published network, wrapped by hand: its head is also a part of the module before it.

The tensors of the head have two names then. Everything must be as with one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
    TargetArrays,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.training import Training
from crosscity.segmenters import ComposedSegmenter, image_tensor, load_weights, separate_tensors
from tasks.training.segmenters import write_weights

RANDOM = np.random.default_rng(5)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (4, 32, 48, 3), dtype=np.uint8),
    RANDOM.integers(0, 3, (4, 32, 48), dtype=np.uint8),
)
TARGET = TargetArrays(RANDOM.integers(60, 256, (4, 32, 48, 3), dtype=np.uint8))
DELIVERED = ("student", "teacher", "averaged")


class Published(nn.Module):
    """A network in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features alone."""
        features: torch.Tensor = self.body(images)
        return features


def segmenter(*, within: bool) -> ComposedSegmenter:
    """The published network, or the same taken apart as it should be."""
    torch.manual_seed(2)
    whole = Published()
    made = ComposedSegmenter(
        whole if within else whole.body,
        whole.head,
        n_features=6,
        stride=4,
        class_names=("road", "sky", "car"),
    )
    made.train()
    for _ in range(10):
        made(image_tensor(SOURCE.all_images))
    return made.eval()


def seen(network: ComposedSegmenter) -> torch.Tensor:
    """What a network says of the target."""
    with torch.no_grad():
        logits: torch.Tensor = network(image_tensor(TARGET.all_images))
    return logits


def pretrained(network: ComposedSegmenter) -> Training:
    settings = PretrainingSettings(steps=4, batch_size=2, learning_rate=1e-2, average=0.6)
    return Pretraining(network, SOURCE, settings, seed=1)


def adapted(network: ComposedSegmenter) -> Training:
    settings = AdaptationSettings(
        steps=4, batch_size=2, learning_rate=1e-2, discriminator_hidden=(4,), on_collapse="warn"
    )
    return Adaptation(network, SOURCE, TARGET, settings, seed=1)


def source_free(deliver: str) -> object:
    settings = SourceFreeSettings(
        steps=4, batch_size=2, learning_rate=1e-2, teacher_momentum=0.5, deliver=deliver
    )
    return lambda network: SourceFree(network, TARGET, settings, seed=1)


TRAININGS = {"pretraining": pretrained, "adaptation": adapted} | {
    f"source_free {deliver}": source_free(deliver) for deliver in DELIVERED
}


@pytest.mark.parametrize("name", TRAININGS)
def test_trained_it_is_what_the_same_network_taken_apart_is(name) -> None:
    results = []
    for within in (True, False):
        network = segmenter(within=within)
        before = seen(network)
        training = TRAININGS[name](network)
        training.advance(2)
        training.restore(training.state())
        training.advance(2)
        assert not torch.equal(seen(network), before)
        results.append(seen(network))
    assert torch.equal(*results)


def test_it_is_written_and_read_again(tmp_path) -> None:
    network, twin = segmenter(within=True), segmenter(within=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    write_weights(network, tmp_path / "weights.safetensors")
    assert not torch.equal(seen(network), seen(twin))
    load_weights(twin, load((tmp_path / "weights.safetensors").read_bytes()))
    assert torch.equal(seen(network), seen(twin))


def test_what_shares_no_memory_is_not_copied() -> None:
    network = segmenter(within=False)
    for name, tensor in separate_tensors(network).items():
        assert tensor.data_ptr() == network.state_dict()[name].data_ptr(), name


def test_views_of_one_tensor_and_other_layouts_can_be_written() -> None:
    module = nn.Module()
    whole = torch.arange(24.0).reshape(4, 6)
    module.register_buffer("whole", whole)
    module.register_buffer("rows", whole[1:3])
    module.register_buffer("turned", whole.T)
    found = load(save(separate_tensors(module)))
    assert {name: torch.equal(found[name], value) for name, value in module.named_buffers()} == {
        "whole": True,
        "rows": True,
        "turned": True,
    }
