"""Networks of transformers: the backbone stays, or moves in its last layers, or by low rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Recipe,
    SourceFree,
    SourceFreeSettings,
    TargetArrays,
    Term,
)
from crosscity.segmenters import Segmenter, build_segmenter

NAMES = ["road", "sky", "car"]
RANDOM = np.random.default_rng(3)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8),
    RANDOM.integers(0, 3, (3, 64, 64), dtype=np.uint8),
)
TARGET = TargetArrays(RANDOM.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8))
SETTINGS = AdaptationSettings(steps=3, batch_size=2, learning_rate=1e-3, teacher_momentum=0.9)


def config(kind: str, side: int = 64) -> dict[str, Any]:
    """A tiny configuration: SegFormer's, or a dense head on DINOv2 (DPT), of one size alone."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    if kind == "segformer":
        made = transformers.SegformerConfig(
            num_labels=3,
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
        )
    else:
        backbone = transformers.Dinov2Config(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=side,
            patch_size=16,
            mlp_ratio=2,
            out_features=["stage1", "stage2", "stage3", "stage4"],
            reshape_hidden_states=False,
        )
        made = transformers.DPTConfig(
            backbone_config=backbone,
            num_labels=3,
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
            hidden_size=16,
            num_attention_heads=2,
            image_size=side,
            use_auxiliary_head=False,
            reassemble_factors=[4, 2, 1, 0.5],
        )
    found: dict[str, Any] = made.to_dict()
    return found


def network(kind: str) -> Segmenter:
    return build_segmenter("hf", {"config": config(kind), "class_names": NAMES}, seed=0)


def adaptation(kind: str, trainable: str, **changes: Any) -> Adaptation:
    recipe = Recipe((Term("source_task"), Term("self_training", weight=0.5)), trainable=trainable)
    settings = replace(SETTINGS, **changes)
    return Adaptation(network(kind), SOURCE, TARGET, settings, 1, recipe=recipe)


KINDS = ("segformer", "dinov2")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trainable", ["head", "last: 3", "lora: 2"])
def test_what_is_trainable_moves_and_comes_out_as_the_network_that_it_was(
    kind: str, trainable: str
) -> None:
    if trainable.startswith("lora"):
        pytest.importorskip("peft", reason="the extra [lora] is not installed")
    before = {name: value.clone() for name, value in network(kind).state_dict().items()}
    training = adaptation(kind, trainable)
    training.advance(3)
    after = training.segmenter.state_dict()
    assert after.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("classifier") for name in moved)
    behind = {name for name in moved if not name.startswith("classifier")}
    assert bool(behind) is (trainable != "head")
    if trainable.startswith("lora"):
        assert all(name.endswith(".weight") for name in behind)
        for name in behind:
            change = (after[name] - before[name]).double()
            assert torch.linalg.matrix_rank(change, tol=1e-5) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_low_rank_changes_begin_at_nothing_and_resume_with_the_same_bytes(kind: str) -> None:
    pytest.importorskip("peft", reason="the extra [lora] is not installed")
    images = torch.rand(1, 3, 64, 64)
    plain, changed = network(kind).eval(), adaptation(kind, "lora").segmenter.eval()
    with torch.no_grad():
        assert torch.allclose(plain(images), changed(images), atol=1e-5)
    whole, first, second = (adaptation(kind, "lora") for _ in range(3))
    rows = whole.advance(3)
    before = first.advance(1)
    second.restore(first.state())
    assert before + second.advance(2) == rows
    ours, theirs = second.state().tensors, whole.state().tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    finished = adaptation(kind, "lora")
    finished.restore(whole.state())
    assert finished.finished


def test_a_network_of_one_size_is_trained_to_the_end_at_that_size() -> None:
    side = 96  # what a network is tried on when a training ends is smaller
    options = {"config": config("dinov2", side), "class_names": NAMES}
    segmenter = build_segmenter("hf", options, seed=0)
    assert segmenter.fixed_size == (side, side)
    images = RANDOM.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    settings = SourceFreeSettings(steps=1, batch_size=2)
    SourceFree(segmenter, TargetArrays(images), settings, 0).advance(1)
    labels = RANDOM.integers(0, 3, (2, side, side), dtype=np.uint8)
    tuning = FineTuningSettings(steps=1, batch_size=2)
    assert FineTuning(segmenter, LabelledArrays(images, labels), tuning, 0).advance(1)


def test_a_network_without_linear_layers_is_reported() -> None:
    pytest.importorskip("peft", reason="the extra [lora] is not installed")
    compact = build_segmenter("compact", {"width": 8, "class_names": NAMES})
    recipe = Recipe((Term("source_task"),), trainable="lora")
    with pytest.raises(ValueError, match="have no linear layer, and lora is for networks with"):
        Adaptation(compact, SOURCE, TARGET, SETTINGS, 0, recipe=recipe)
