"""Networks that are given whole, as public repositories write them.

Their habits: BGR of OpenCV, means of pixels up to 255, a background among the outputs, labelIds,
several outputs in a tuple or dict (torchvision's "out" and "aux"), logits at an eighth of the
size, skips that hold for multiples of 8 alone, a pyramid that pools and so wants a least size.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.labels import CLASSES
from crosscity.segmenters import ComposedSegmenter, onnx_bytes, whole_network
from crosscity.segmenters.plug_in import build_plug_in

NAMES = [each.name for each in CLASSES]
MEAN, STD = (72.4, 82.9, 73.2), (45.3, 46.2, 44.9)
"""Of pixels up to 255, blue first."""


class Skips(nn.Module):
    """20 outputs at the size of the images, which have sides that are multiples of 8."""

    def __init__(self, outputs: int = 20) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, outputs, 3, padding=1)
        self.last = nn.ConvTranspose2d(outputs, outputs, 8, stride=8)

    def logits(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        made: Tensor = fine + self.last(functional.max_pool2d(fine, 8))
        return made

    def forward(self, x: Tensor) -> Any:
        return self.logits(x)


class Several(Skips):
    def forward(self, x: Tensor) -> Any:
        return self.logits(x), functional.avg_pool2d(x, 8)


class Keyed(Skips):
    def forward(self, x: Tensor) -> Any:
        return {"aux": functional.avg_pool2d(x, 8), "out": self.logits(x)}


class Eighth(Skips):
    def forward(self, x: Tensor) -> Any:
        return functional.max_pool2d(self.first(x), 8)


class Pyramid(Eighth):
    """Its coarse grid needs 12 cells a side."""

    def forward(self, x: Tensor) -> Any:
        coarse = functional.max_pool2d(self.first(x), 8)
        pooled = functional.avg_pool2d(coarse, 12, stride=1)
        return coarse + functional.interpolate(pooled, size=coarse.shape[-2:])


class Fixed(Skips):
    def forward(self, x: Tensor) -> Any:
        return functional.interpolate(self.logits(x), size=(512, 1024))


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Builds a segmenter as a catalog does, which tries it on images of several sizes."""

    def built(make: Callable[[], Any]) -> Any:
        module = types.ModuleType("of_a_user")
        module.build = make  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "of_a_user", module)
        return build_plug_in("python:of_a_user:build", {}).eval()

    return built


@pytest.mark.parametrize("network", [Skips, Several, Keyed])
def test_it_sees_what_the_network_saw_in_its_own_program(plug_in, network) -> None:
    given = network().eval()
    outputs = [*NAMES, None]
    made = plug_in(
        lambda: whole_network(
            given, outputs, mean=MEAN, std=STD, white=255, channels="BGR", multiple_of=8
        )
    )
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    bgr = (picture[..., ::-1].astype(np.float32) - np.array(MEAN)) / np.array(STD)
    theirs = given.logits(torch.from_numpy(bgr.transpose(2, 0, 1)[None]).float())
    rgb = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    assert (made.stride, made.class_names) == (1, tuple(NAMES))
    torch.testing.assert_close(made(rgb), theirs[:, :19], rtol=1e-4, atol=1e-4)
    uneven = made(rgb[..., :37, :51])
    assert uneven.shape == (1, 19, 37, 51)


def test_classes_are_picked_in_the_order_that_is_named(plug_in) -> None:
    names = {each.label_id: each.name for each in CLASSES}
    given = Eighth(34).eval()
    made = plug_in(lambda: whole_network(given, [names.get(number) for number in range(34)]))
    assert (made.stride, made.class_names[:2]) == (8, ("road", "sidewalk"))
    grey = torch.full((1, 3, 32, 48), 0.5)
    picked = made.classify(made.features(grey))
    theirs = given(made.normalise(grey))
    assert torch.equal(picked, theirs[:, [each.label_id for each in CLASSES]])


def test_small_images_are_continued(plug_in) -> None:
    made = plug_in(lambda: whole_network(Pyramid(19), smallest=96))
    assert made(torch.rand(1, 3, 16, 70)).shape == (1, 19, 16, 70)
    with pytest.raises(ValueError, match=r"64×128 pixels .* say with multiple_of and smallest"):
        plug_in(lambda: whole_network(Pyramid(19)))
    with pytest.raises(ValueError, match=r"97×131 pixels .*as multiple_of and smallest of"):
        plug_in(lambda: whole_network(Skips(19)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: whole_network(Skips()), "gives 20 outputs and 19 are named"),
        (lambda: whole_network(Fixed(19)), "64×128 pixels are 512×1024, no whole fraction"),
        (lambda: whole_network(Several(19), head=2), "no output 2: it gives 2"),
        (lambda: whole_network(Keyed(19), head="main"), r"no output 'main': .*'aux', 'out'"),
        (lambda: whole_network(nn.Flatten()), "instead of logits N×C×h×w"),
        (lambda: whole_network(Skips(19), channels="rgb"), "'RGB' or 'BGR', not 'rgb'"),
        (
            lambda: whole_network(Skips(19), multiple_of=0),
            "multiple_of must be a whole number from 1",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(make, said) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_it_is_exported_for_free_sizes() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    made = whole_network(Skips(), [*NAMES, None], channels="BGR", multiple_of=8).eval()
    session = runtime.InferenceSession(onnx_bytes(made))
    for size in ((96, 160), (75, 51)):
        images = torch.rand(1, 3, *size)
        logits = session.run(None, {"images": images.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(logits), made(images), rtol=1e-3, atol=1e-4)


class Logits(nn.Module):
    """What transformers' networks give: a dict without "out"."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.convolution(images)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "has no output 'out': it gives 'logits'; say with `head` which counts"),
        ({"head": "logits", "outputs": "road"}, "outputs are a list of the names of classes"),
        ({"head": "logits", "multiple_of": 2.5}, "multiple_of must be a whole number from 1"),
        ({"head": "logits", "multiple_of": 0}, "multiple_of must be a whole number from 1"),
        ({"head": "logits", "smallest": "3"}, "smallest must be a whole number from 1"),
        ({"head": "logits", "white": float("inf")}, r"white must be .* above 0"),
        ({"head": "logits", "white": 0}, r"white must be .* above 0"),
        ({"head": "logits", "std": (0.2, 0.0, 0.2)}, r"deviation .* above 0"),
        ({"head": "logits", "std": (0.2, float("nan"), 0.2)}, r"deviation .* above 0"),
        ({"head": "logits", "mean": (0.2, float("inf"), 0.2)}, r"mean .* finite"),
        ({"head": "logits", "mean": ("a", 0, 0)}, r"mean .* finite"),
    ],
)
def test_an_argument_that_cannot_be_is_named(wrong: dict[str, Any], said: str) -> None:
    given = {"outputs": ["road", "car", "sky", None], **wrong}
    with pytest.raises(ValueError, match=said):
        whole_network(Logits(), **given)


def test_no_network_divides_by_nothing() -> None:
    with pytest.raises(ValueError, match=r"deviation .* above 0"):
        ComposedSegmenter(
            nn.Identity(), nn.Identity(), n_features=3, stride=1, input_std=(0.0, 1.0, 1.0)
        )


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_mean_and_deviation_may_be_arrays(kind: Callable[[Any], Any]) -> None:
    made = whole_network(
        Logits(),
        ["road", "car", "sky", None],
        head="logits",
        mean=kind(MEAN),
        std=kind(STD),
        white=255,
    )
    torch.testing.assert_close(made.input_mean.flatten(), torch.tensor(MEAN) / 255)
    torch.testing.assert_close(made.input_std.flatten(), torch.tensor(STD) / 255)
