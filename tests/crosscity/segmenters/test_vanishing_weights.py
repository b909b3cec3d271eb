"""Weights that weight decay has brought next to 0, as in public networks (ESPNet, p=2, q=8)."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from crosscity.segmenters import Segmenter, build_segmenter, evaluating, load_weights
from crosscity.segmenters.plug_in import build_plug_in


def decayed() -> Segmenter:
    """A network half of whose first channels have decayed, each with weights of another size."""
    segmenter = build_segmenter("compact", {"width": 16}, seed=3)
    with torch.no_grad():
        for weight in segmenter.parameters():
            if weight.ndim == 4 and weight.shape[0] == 16:
                weight[:8] *= 1e-33
    return segmenter


def small(segmenter: Segmenter) -> int:
    tensors = (each for each in segmenter.state_dict().values() if each.is_floating_point())
    return sum(int(((each != 0) & (each.abs() < 1e-30)).sum()) for each in tensors)


@pytest.mark.parametrize("way", ["of a file", "of a function"])
def test_weights_next_to_nothing_become_nothing(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    theirs = decayed()
    assert small(theirs) > 100
    images = torch.rand((1, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    with evaluating(theirs), torch.no_grad():
        before = theirs(images)
    if way == "of a file":
        made: Segmenter = build_segmenter("compact", {"width": 16}, seed=0)
        load_weights(made, theirs.state_dict())
    else:
        module = types.ModuleType("decayed_net")
        module.build = lambda: theirs  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "decayed_net", module)
        made = build_plug_in("python:decayed_net:build", {})
    assert small(made) == 0
    with evaluating(made), torch.no_grad():
        assert torch.equal(made(images), before)
