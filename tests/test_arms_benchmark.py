"""The benchmark of all arms: what its arm with true labels learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import arms
from crosscity.adaptation import PRESETS
from crosscity.segmenters import build_segmenter


def test_true_labels_reach_the_arm_that_is_to_see_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    labels = random.integers(0, 19, (4, 32, 48), dtype=np.uint8)
    np.savez(tmp_path / "source.npz", images=images, labels=labels)
    priors = np.zeros((4, 32, 48), dtype=np.bool_)
    np.savez(tmp_path / "rome-train.npz", images=images, labels=labels, priors=priors)
    short = replace(PRESETS["demo"], steps=1, batch_size=2, flip=False, ca_start=0.0)
    monkeypatch.setitem(PRESETS, "demo", short)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        arms,
        "_truth",
        lambda *given, _was=arms._truth, **named: seen.append(_was(*given, **named)) or seen[-1],
    )

    segmenter = build_segmenter("compact", {"width": 8, "dilations": [1]})
    arms._train(tmp_path, "rome", 0, arms.WITH_TRUTH, segmenter)

    learned = torch.cat(seen[-1:])
    assert torch.equal(learned.sum(1), torch.ones(2, 32, 48))
    for phi in learned:
        assert any(np.array_equal(phi.argmax(0).numpy(), truth) for truth in labels)
