"""Networks of the user's own that hold at one size, one image or one mode, and not at others.

Each is a habit of public networks: patches of whole numbers, strides without padding, skips that
are joined, positions learned for one size, checks of their own, a batch of one written out, other
outputs while training (torchvision's auxiliary heads).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.adaptation import (
    RECIPES,
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    TargetArrays,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.training import Training
from crosscity.labels import CLASSES
from crosscity.segmenters import ComposedSegmenter, build_segmenter

N = len(CLASSES)


class Pooled(nn.Module):
    """8 features at a quarter of the size, rounded up: what a segmenter should give."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.first(x), 4, ceil_mode=True)


class Patches(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_unshuffle(x[:, :2], 4)[:, :8]


class Floors(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.first(x), 4)


class Skips(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        down = functional.max_pool2d(fine, 2)
        up = functional.interpolate(down, scale_factor=2.0)
        return functional.avg_pool2d(up + fine, 4, ceil_mode=True)


class Positions(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 8, 16, 24))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.places


class Says(Pooled):
    error: type[Exception] = ValueError

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 32:
            raise self.error("width must be a multiple of 32\nand more")
        return super().forward(x)


class SaysZero(Says):
    error = ZeroDivisionError


class SaysKey(Says):
    error = KeyError


class OfOne(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        made = super().forward(x)
        return made.flatten()[: made[:1].numel()].reshape(1, 8, *made.shape[-2:])


class Views(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(1, 8, -(-x.shape[-2] // 4), -(-x.shape[-1] // 4))


class Auxiliary(Pooled):
    def forward(self, x: Tensor) -> Any:
        made = super().forward(x)
        return (made, made.mean((2, 3))) if self.training else made


class Mapped(Pooled):
    def forward(self, x: Tensor) -> Any:
        return {"out": super().forward(x)}


class Standardises(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True))


class Drops(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(super().forward(x), 0.1)


class Counts(Pooled):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + self.calls


class TrainsItself(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else self.train()(x)


class WithoutGradient(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class InInferenceMode(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return super().forward(x)


class ByNumpy(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(super().forward(x).detach().numpy())


class OverwritesWhatItNeeds(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        made = super().forward(x).exp()
        made += made.exp()
        return made.mul_(2)


class Exits(Pooled):
    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002 - of a network
        raise SystemExit(1)


class Keeps(Pooled):
    """What it made last, for its loss: PyTorch copies no tensor that has a history."""

    def forward(self, x: Tensor) -> Tensor:
        made = super().forward(x)
        if torch.is_grad_enabled():
            self.last = made
        return made


class Padded(Patches):
    """What the sentence advises."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return super().forward(functional.pad(x, (0, -width % 4, 0, -height % 4)))


@pytest.fixture
def package() -> Iterator[Any]:
    made = types.ModuleType("an_odd_package")
    sys.modules["an_odd_package"] = made

    def built(extractor: nn.Module, classifier: nn.Module | None = None) -> ComposedSegmenter:
        made.build = lambda: ComposedSegmenter(  # type: ignore[attr-defined]
            extractor, classifier or nn.Conv2d(8, N, 1), n_features=8, stride=4
        )
        segmenter = build_segmenter("python:an_odd_package:build", {})
        assert isinstance(segmenter, ComposedSegmenter)
        return segmenter

    yield built
    del sys.modules["an_odd_package"]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Patches, "takes no image of 97×131 pixels .*pad them in the extractor"),
        (Floors, r"an image of 97×131 pixels are \(1, 8, 24, 32\) instead of \(1, 8, 25, 33\)"),
        (Skips, "takes no image of 97×131 pixels"),
        (Positions, "takes no image of 97×131 pixels"),
        (Says, r"no image of 97×131 pixels \(width must be a multiple of 32\): images may have"),
        (SaysZero, r"no image of 97×131 pixels \(width must be"),
        (SaysKey, "no image of 97×131 pixels"),
        (OfOne, r"2 images of 64×96 pixels are \(1, 8, 16, 24\) instead of \(2, 8, 16, 24\)"),
        (Views, "takes no batch of 2 images of 64×96 pixels"),
        (Auxiliary, "2 images of 64×96 pixels in training mode are tuple instead of"),
        (Mapped, "2 images of 64×96 pixels are dict instead of"),
        (Standardises, "2 images of 64×96 pixels are not finite"),
        (Drops, "predicts one image twice otherwise: .*training=self.training"),
        (Counts, "predicts one image twice otherwise"),
        (TrainsItself, "puts extractor into training mode while it predicts"),
        (WithoutGradient, "no gradient reaches extractor.first of it: its features are made"),
        (InInferenceMode, "no gradient reaches extractor.first of it"),
        (ByNumpy, "no gradient reaches extractor.first of it"),
        (OverwritesWhatItNeeds, r"no gradient can be computed through it \(one of the variables"),
        (Exits, "takes no batch of 2 images of 64×96 pixels .1.: images may have any size"),
    ],
)
def test_what_does_not_hold_for_every_image_is_reported_when_it_is_built(
    package: Any, network: type[nn.Module], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        package(network())
    assert "\n" not in str(caught.value)


def test_a_head_is_tried_too(package: Any) -> None:
    with pytest.raises(
        ValueError, match=r"logits of 2 images of 64×96 pixels are \(2, 3, 16, 24\)"
    ):
        package(Pooled(), nn.Conv2d(8, 3, 1))


def test_probabilities_are_not_taken_for_logits(package: Any) -> None:
    with pytest.raises(ValueError, match="its logits are probabilities, they add up to 1"):
        package(Pooled(), nn.Sequential(nn.Conv2d(8, N, 1), nn.Softmax(1)))


def test_half_precision_is_told_before_anything_is_trained(package: Any) -> None:
    with pytest.raises(ValueError, match=r"weight classifier.weight is float16: .*\.float\(\)"):
        package(Pooled(), nn.Conv2d(8, N, 1).half())


def test_frozen_weights_are_told_by_who_would_train_them(package: Any) -> None:
    # A backbone that is kept as it is, on purpose.
    package(Pooled().requires_grad_(False))

    def frozen() -> ComposedSegmenter:
        return package(Pooled().requires_grad_(False), nn.Conv2d(8, N, 1).requires_grad_(False))

    random = np.random.default_rng(1)
    images = random.integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    source = LabelledArrays(images, random.integers(0, N, (4, 32, 48), dtype=np.uint8))
    assert frozen()(torch.zeros(1, 3, 32, 48)).shape == (1, N, 32, 48)  # it predicts
    target = TargetArrays(images)
    settings = AdaptationSettings(steps=1, batch_size=2)
    few = FineTuningSettings(steps=1, batch_size=2)
    trainings: list[Training] = [
        SourceFree(frozen(), target, SourceFreeSettings(steps=1, batch_size=2), 0),
        FineTuning(frozen(), source, few, 0),
        Adaptation(frozen(), source, target, settings, 0, recipe=RECIPES["control"]),
    ]
    for training in trainings:
        with pytest.raises(ValueError, match=r"all weights of the segmenter .* are frozen, so a"):
            training.advance(1)
    head = replace(RECIPES["control"], trainable="head")
    Adaptation(frozen(), source, target, settings, 0, recipe=head).advance(1)


def test_a_network_that_cannot_be_copied_is_told(package: Any) -> None:
    network = Keeps()
    network(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="cannot be copied, which trainings with a slow teacher"):
        package(network)


@pytest.mark.parametrize("code", ["def build(:", "build = 1 / 0", "raise SystemExit(3)"])
def test_a_module_that_cannot_be_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    (tmp_path / "a_broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"^importing a_broken_package raised [A-Z][A-Za-z]+: ."):
        build_segmenter("python:a_broken_package:build", {})


class Whole(nn.Module):
    """Its last layer enlarges the grid twofold, as those of ENet and ERFNet do."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pooled()
        self.head = nn.ConvTranspose2d(8, N, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made = self.head(self.backbone(x))
        return made[..., : -(-x.shape[-2] // 2), : -(-x.shape[-1] // 2)]


def test_a_network_whose_head_enlarges_the_grid_is_told_how_it_is_given(package: Any) -> None:
    network = Whole()
    with pytest.raises(ValueError, match=r"where the head enlarges .* make the whole network the"):
        package(network.backbone, network.head)
    module = types.ModuleType("a_whole_package")
    sys.modules["a_whole_package"] = module
    module.build = lambda: ComposedSegmenter(  # type: ignore[attr-defined]
        network, nn.Identity(), n_features=N, stride=2
    )
    segmenter = build_segmenter("python:a_whole_package:build", {})
    assert segmenter(torch.rand(1, 3, 97, 131)).shape == (1, N, 97, 131)
    del sys.modules["a_whole_package"]


def test_what_pads_is_taken_and_left_as_it_was(package: Any) -> None:
    network = nn.Sequential(Padded(), nn.BatchNorm2d(8), nn.Dropout(0.5))
    torch.manual_seed(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = torch.random.get_rng_state()
    segmenter = package(network)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert segmenter(torch.rand(3, 3, 50, 71)).shape == (3, N, 50, 71)
