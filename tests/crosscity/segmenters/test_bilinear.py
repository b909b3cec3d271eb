"""Upsampling by matrix products is bilinear interpolation, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from crosscity.segmenters import build_segmenter
from crosscity.segmenters.base import LARGEST_GRID
from crosscity.segmenters.bilinear import upsample_by_products

SIDES = st.integers(1, 12)


@settings(deadline=None)
@given(grid=st.tuples(SIDES, SIDES), size=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_values_and_gradients_are_those_of_interpolation(grid, size) -> None:
    values = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(1))
    incoming = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    exact = values.double().requires_grad_(True)
    expected = functional.interpolate(exact, size=size, mode="bilinear", align_corners=False)
    expected.backward(incoming.double())
    # Where an output lies is rounded in fp32, and a gradient adds up to 5000 such outputs.
    for kind, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-3)):
        leaf = values.to(kind).requires_grad_(True)
        made = upsample_by_products(leaf, size)
        made.backward(incoming.to(kind))
        assert made.dtype == kind
        assert leaf.grad is not None
        assert exact.grad is not None
        assert torch.allclose(made.double(), expected, rtol=0, atol=tolerance)
        assert torch.allclose(leaf.grad.double(), exact.grad, rtol=0, atol=tolerance)


def test_autocast_does_not_round_the_result() -> None:
    values = torch.randn(1, 2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = upsample_by_products(values, (16, 20))
        from_half = upsample_by_products(values.bfloat16(), (16, 20))
    assert made.dtype == from_half.dtype == torch.float32
    assert torch.equal(made, upsample_by_products(values, (16, 20)))
    assert torch.equal(from_half, upsample_by_products(values.bfloat16().float(), (16, 20)))


@pytest.mark.parametrize("rows", [8, LARGEST_GRID + 1])
def test_a_segmenter_upsamples_alike_in_training_and_prediction(rows: int) -> None:
    segmenter = build_segmenter("compact", {"width": 8}, seed=0)
    logits = torch.randn(1, 19, rows, 6)
    size = (8 * rows, 48)
    exact = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    assert torch.equal(segmenter.eval().upsample(logits, size), exact)
    assert torch.allclose(segmenter.train().upsample(logits, size), exact, atol=1e-5)
    assert torch.equal(segmenter.upsample(logits, size), exact) == (rows > LARGEST_GRID)
