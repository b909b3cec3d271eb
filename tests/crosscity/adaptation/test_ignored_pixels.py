"""Pixels of a watermark or bonnet teach nothing: whatever they show, the same weights come out.

The network looks at one pixel at a time, so nothing but a loss, or a number measured on the target,
can carry what an ignored pixel shows into the weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    LabelledArrays,
    SourceFree,
    SourceFreeSettings,
    TargetArrays,
)
from crosscity.adaptation.batches import TargetBatches
from crosscity.adaptation.class_thresholds import ClassThresholds
from crosscity.adaptation.label_shift import class_shares
from crosscity.adaptation.objectives.global_alignment import seen_cell_weights
from crosscity.pair_signs import pair_signs
from crosscity.segmenters import Segmenter

H, W, CLASSES = 12, 18, 19
RANDOM = np.random.default_rng(4)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (4, H, W, 3), dtype=np.uint8),
    RANDOM.integers(0, CLASSES, (4, H, W), dtype=np.uint8),
)
IMAGES = RANDOM.integers(0, 256, (5, H, W, 3), dtype=np.uint8)
IGNORED = np.zeros((5, H, W), dtype=np.bool_)
IGNORED[:, :4, :7] = True
IGNORED[:, 10:] = True
PRIORS = RANDOM.random((5, H, W)) < 0.5
ADVERSARIAL = AdaptationSettings(
    steps=4,
    batch_size=2,
    learning_rate=1e-2,
    phi_floor=0.02,
    label_shift=True,
    domain_means=True,
    flip=True,
    teacher_momentum=0.5,
    discriminator_hidden=(6,),
    discriminator_dropout=0.0,
    on_collapse="warn",
)
SOURCE_FREE = SourceFreeSettings(
    steps=4, batch_size=3, learning_rate=1e-2, smallest_crop=1.0, jitter=0.0, deliver="student"
)


class OnePixel(Segmenter):
    """Sees of every pixel its colour alone."""

    architecture = "one_pixel"

    def __init__(self) -> None:
        super().__init__(n_features=8, stride=1)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Conv2d(3, 8, 1)
            self.second = nn.Conv2d(8, CLASSES, 1)

    def extract(self, normalised: Tensor) -> Tensor:
        return torch.relu(self.first(normalised))

    def classify(self, features: Tensor) -> Tensor:
        return self.second(features)

    def options(self) -> dict[str, Any]:
        return {}


def shown(under: int, *, ignored: bool = True) -> TargetArrays:
    """The images with that grey where they are to be ignored."""
    images = IMAGES.copy()
    images[IGNORED] = under
    return TargetArrays(images, PRIORS & ~IGNORED, IGNORED if ignored else None)


def adapted(arm: str, target: TargetArrays) -> dict[str, Tensor]:
    training: Adaptation | SourceFree
    if arm == "source_free":
        training = SourceFree(OnePixel(), target, SOURCE_FREE, seed=5)
    else:
        settings = replace(ADVERSARIAL, arm=arm)  # type: ignore[arg-type]
        training = Adaptation(OnePixel(), SOURCE, target, settings, seed=5)
    for _ in range(4):
        training.advance(1)
    return dict(training.segmenter.state_dict())


@pytest.mark.parametrize("arm", ["ga", "ga_ca", "full", "self_training", "source_free"])
def test_what_ignored_pixels_show_changes_no_weight(arm: str) -> None:
    first, second = adapted(arm, shown(0)), adapted(arm, shown(255))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-7)
    dark, bright = (adapted(arm, shown(grey, ignored=False)) for grey in (0, 255))
    assert any(not torch.allclose(dark[name], bright[name], rtol=1e-3) for name in dark)


def test_flips_move_images_and_ignored_pixels_together() -> None:
    marked = np.where(IGNORED[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=3)
    target = TargetArrays(marked, PRIORS, IGNORED)
    batches = TargetBatches(target, seed=1, flip=True, device=torch.device("cpu"))
    turned = 0
    for number in range(6):
        images, priors, ignored = batches.batch(number, 2)
        assert ignored is not None
        assert torch.equal(images[:, 0] == 1, ignored)
        assert not (priors & ignored).any()
        turned += int(ignored[0, 0, -1])
    assert 0 < turned < 6
    plain = TargetBatches(
        TargetArrays(marked, PRIORS), seed=1, flip=True, device=torch.device("cpu")
    )
    images, priors, ignored = plain.batch(0, 2)
    assert ignored is None
    assert priors.dtype == torch.bool


def test_a_batch_of_ignored_pixels_alone_moves_nothing_away() -> None:
    everything = TargetArrays(IMAGES, PRIORS, np.ones_like(IGNORED))
    for arm in ("ga", "ga_ca", "self_training", "source_free"):
        if arm != "source_free":
            settings = replace(ADVERSARIAL, arm=arm, label_shift=False)  # type: ignore[arg-type]
            training: Any = Adaptation(OnePixel(), SOURCE, everything, settings, seed=5)
        else:
            training = SourceFree(OnePixel(), everything, SOURCE_FREE, seed=5)
        training.advance(1)
        assert all(torch.isfinite(t).all() for t in training.segmenter.state_dict().values())


def test_weights_of_cells_thresholds_and_shares_leave_them_out() -> None:
    ignored = torch.zeros(1, 4, 4, dtype=torch.bool)
    ignored[0, :2, :2] = True
    ignored[0, 0, 2] = True
    weights = seen_cell_weights(ignored, (2, 2))
    expected = torch.tensor([0.0, 0.75, 1.0, 1.0])
    torch.testing.assert_close(weights.flatten(), expected / expected.mean())

    labels, sure = torch.zeros(1, 4, 4, dtype=torch.long), torch.full((1, 4, 4), 0.5)
    sure[ignored] = 0.99
    kept = ClassThresholds(2, kept=0.5).keep(labels, sure, ignored)
    assert torch.equal(kept, ~ignored)
    thresholds = ClassThresholds(2, kept=0.5)
    assert not thresholds.keep(labels, sure, torch.ones_like(ignored)).any()
    assert thresholds.values.isnan().all()

    phi = torch.zeros(1, 3, 4, 4)
    phi[:, 1] = 1.0
    phi = phi.masked_fill(ignored.unsqueeze(1), 0.0)
    assert class_shares([phi], 3).tolist() == [0.0, 1.0, 0.0]


def test_signs_of_the_safeguard_leave_them_out() -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    found = [
        pair_signs(
            OnePixel(),
            (shown(grey).all_images[0], shown(grey).all_images[1]),
            (none, none),
            ignored=IGNORED[0],
        )
        for grey in (0, 255)
    ]
    assert found[0].classes.sum() == 2 * (~IGNORED[0]).sum()
    np.testing.assert_array_equal(found[0].classes, found[1].classes)
    np.testing.assert_allclose(found[0].probability, found[1].probability, rtol=1e-6)
    assert found[0].entropy == pytest.approx(found[1].entropy, rel=1e-6)
