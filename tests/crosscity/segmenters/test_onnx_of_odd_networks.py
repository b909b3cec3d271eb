"""ONNX models of networks with habits that an exporter stumbles over."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.labels import CLASSES
from crosscity.segmenters import ComposedSegmenter, onnx_bytes

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra [onnx] and onnxruntime are not installed",
)
N = len(CLASSES)


class Unpools(nn.Module):
    """As ENet and SegNet do: what was the largest of a square is put back to its place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.ConvTranspose2d(4, N, 3, stride=2, padding=1)

    def sizes(self, x: Tensor) -> tuple[int, ...]:
        return (x.shape[-2], x.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        small = functional.max_pool2d(self.first(x), 2)
        smaller, places = functional.max_pool2d(small, 2, return_indices=True)
        again = functional.max_unpool2d(smaller, places, 2, output_size=small.shape)
        made: Tensor = self.last(again, output_size=self.sizes(x))
        return made


class CountsImages(Unpools):
    def sizes(self, x: Tensor) -> tuple[int, ...]:
        return (len(x), N, x.shape[-2], x.shape[-1])


def segmenter(network: nn.Module) -> ComposedSegmenter:
    return ComposedSegmenter(network, nn.Identity(), n_features=N, stride=1).eval()


def test_what_unpools_is_exported_for_one_size_without_a_word(
    caplog: pytest.LogCaptureFixture,
    logged_here: Callable[[], list[logging.LogRecord]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    import onnxruntime

    made = segmenter(Unpools())
    with caplog.at_level(logging.WARNING):
        exported = onnx_bytes(made, (64, 96))
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    images = torch.rand(1, 3, 64, 96)
    (theirs,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(theirs), made(images).detach(), atol=1e-4, rtol=0)
    assert not logged_here()
    assert not "".join(capfd.readouterr())


def test_what_takes_the_number_of_images_for_a_constant_is_told() -> None:
    """Runtimes said that the input has invalid dimensions, and not which."""
    with pytest.raises(ValueError, match=r"batch of two images alone: .* write x\.shape\[0\]"):
        onnx_bytes(segmenter(CountsImages()), (64, 96))
