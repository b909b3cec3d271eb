from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscity.adaptation import (
    DivergedError,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
)
from crosscity.evaluation import evaluate
from crosscity.segmenters import build_segmenter

OPTIONS = {"class_names": ["road", "sky", "car"], "width": 16, "dilations": [1], "dropout": 0.1}


def coloured_scenes(number: int, seed: int) -> LabelledArrays:
    """Sky above road, a car somewhere; each class a colour under noise."""
    random = np.random.default_rng(seed)
    labels = np.zeros((number, 32, 48), dtype=np.uint8)
    labels[:, :16] = 1
    for label in labels:
        top, left = random.integers(8, 24), random.integers(0, 32)
        label[top : top + 8, left : left + 16] = 2
    colours = np.array([[90, 90, 90], [120, 160, 220], [200, 40, 40]])
    images = colours[labels] + random.normal(0, 25, (*labels.shape, 3))
    return LabelledArrays(images.clip(0, 255).astype(np.uint8), labels)


def test_pretraining_learns_scenes_it_has_not_seen() -> None:
    segmenter = build_segmenter("compact", OPTIONS, seed=0)
    settings = PretrainingSettings(steps=60, batch_size=4, learning_rate=1e-2)
    rows = Pretraining(segmenter, coloured_scenes(24, 1), settings, seed=0).advance(60)
    assert rows[-1]["task_loss"] < rows[0]["task_loss"] / 2
    confusion = evaluate(segmenter, coloured_scenes(8, 2))
    assert np.diag(confusion).sum() / confusion.sum() > 0.85


def test_history_says_what_was_done() -> None:
    settings = PretrainingSettings(steps=10, batch_size=2, learning_rate=0.01, warm_up=0.2)
    segmenter = build_segmenter("compact", OPTIONS, seed=0)
    rows = Pretraining(segmenter, coloured_scenes(3, 1), settings, seed=0).advance(100)
    assert len(rows) == 10
    rates = [row["learning_rate"] for row in rows]
    assert max(rates) == rates[2] == 0.01
    assert rates[0] < rates[1] < rates[2]
    assert all(0 <= row["task_accuracy"] <= 1 for row in rows)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    for frozen in (True, False):
        segmenter = build_segmenter("compact", OPTIONS, seed=0)
        before = {n: b.clone() for n, b in segmenter.named_buffers()}
        settings = FineTuningSettings(steps=3, batch_size=2, freeze_batch_norm=frozen)
        FineTuning(segmenter, coloured_scenes(4, 1), settings, seed=0).advance(3)
        same = all(torch.equal(b, before[n]) for n, b in segmenter.named_buffers())
        assert same == frozen


def test_a_class_without_a_pixel_is_told_of_the_set_that_lacks_it() -> None:
    scenes = coloured_scenes(2, 1)
    lacking = LabelledArrays(scenes.all_images, np.minimum(scenes.all_labels, 1))
    for kind, settings, which in (
        (Pretraining, PretrainingSettings(), "source"),
        (FineTuning, FineTuningSettings(), "target"),
    ):
        segmenter = build_segmenter("compact", OPTIONS, seed=0)
        (said,) = kind(segmenter, lacking, settings, seed=0).remarks
        assert said.startswith(f"the {which} set has no pixel of {segmenter.class_names[2]}:")


def test_bad_sets_are_refused() -> None:
    segmenter = build_segmenter("compact", OPTIONS, seed=0)
    scenes = coloured_scenes(2, 1)
    empty = LabelledArrays(scenes.all_images[:0], scenes.all_labels[:0])
    with pytest.raises(ValueError, match="source set is empty"):
        Pretraining(segmenter, empty, PretrainingSettings(), seed=0)
    outside = LabelledArrays(scenes.all_images, scenes.all_labels + 1)
    with pytest.raises(ValueError, match=r"value 3, .* 0 to 2"):
        FineTuning(segmenter, outside, FineTuningSettings(), seed=0).advance(1)


def test_divergence_names_the_step() -> None:
    segmenter = build_segmenter("compact", OPTIONS, seed=0)
    settings = PretrainingSettings(steps=9, batch_size=2)
    training = Pretraining(segmenter, coloured_scenes(3, 1), settings, seed=0)
    training.advance(4)
    with torch.no_grad():
        segmenter.classifier.weight.fill_(float("inf"))
    with pytest.raises(DivergedError, match="task loss of step 4 is nan"):
        training.advance(1)


def test_a_last_step_that_ruins_the_segmenter_is_noticed() -> None:
    """Its loss was still finite; the weights may be so too, and yet no prediction is."""
    segmenter = build_segmenter("compact", OPTIONS, seed=0)
    settings = PretrainingSettings(steps=1, batch_size=2, learning_rate=1e36, warm_up=0)
    training = Pretraining(segmenter, coloured_scenes(3, 1), settings, seed=0)
    with pytest.raises(DivergedError, match="after the last step, 0, the segmenter predicts"):
        training.advance(1)


def test_the_look_at_the_outcome_changes_nothing() -> None:
    found = []
    for steps in (3, 4):  # the look comes after the third step, and then only after the fourth
        settings = PretrainingSettings(steps=steps, batch_size=2, schedule="constant")
        training = Pretraining(
            build_segmenter("compact", OPTIONS, seed=0), coloured_scenes(3, 1), settings, seed=0
        )
        training.advance(3)
        modes = [module.training for module in training.segmenter.modules()]
        found.append((training.state().tensors, modes))
    assert found[0][1] == found[1][1]
    for name, tensor in found[0][0].items():
        assert torch.equal(tensor, found[1][0][name]), name
