"""ONNX models of networks with habits that an exporter stumbles over."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Any

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


class Decides(Unpools):
    def forward(self, x: Tensor) -> Tensor:
        made = self.first(x).repeat(1, N, 1, 1)[:, :N]
        return made if made.mean().item() > 100 else made + 1


def test_why_a_network_cannot_be_traced_is_said_in_plain_words() -> None:
    """It was PyTorch's headline, in colours of a terminal, which is the same for all of them."""
    with pytest.raises(ValueError, match="cannot trace this network") as caught:
        onnx_bytes(segmenter(Decides()), (64, 96))
    said = str(caught.value)
    assert "data-dependent" in said
    assert "test_onnx_of_odd_networks.py" in said
    assert said.isprintable()


@pytest.mark.parametrize("size", [(64,), (0, 96), 64, (64.0, 96), (10**6, 10**6)])
def test_a_size_that_is_none_is_no_fault_of_the_network(size: Any) -> None:
    with pytest.raises(ValueError, match=r"\b(size|height|width)\b.* must be|too large"):
        onnx_bytes(segmenter(Unpools()), size)
