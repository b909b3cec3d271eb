"""A head may have batch norm and dropout, as published networks do; every arm must live with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from crosscity.adaptation import ARMS, Adaptation, AdaptationSettings, LabelledArrays, TargetArrays
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.target_predictions import TargetPredictions, drops_features
from crosscity.adaptation.training import batch_norms
from crosscity.segmenters import ComposedSegmenter, build_segmenter, image_tensor

RANDOM = np.random.default_rng(4)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (4, 16, 24, 3), dtype=np.uint8),
    RANDOM.integers(0, 3, (4, 16, 24), dtype=np.uint8),
)
TARGET = TargetArrays(RANDOM.integers(90, 256, (4, 16, 24, 3), dtype=np.uint8))
SETTINGS = AdaptationSettings(
    steps=3, batch_size=2, learning_rate=1e-3, discriminator_hidden=(4,), on_collapse="warn"
)


class Fewer(nn.Module):
    """Drops by a function, as `dilated_vgg16` does; no module of it tells."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.share = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, self.share, self.training)


def segmenter(dropout: float = 0.5, kind: type[nn.Module] = nn.Dropout2d) -> ComposedSegmenter:
    torch.manual_seed(3)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.BatchNorm2d(6), nn.ReLU(), kind(dropout))
    head = nn.Sequential(
        nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), kind(dropout), nn.Conv2d(8, 3, 1)
    )
    made = ComposedSegmenter(
        backbone, head, n_features=6, stride=4, class_names=("road", "sky", "car")
    )
    made.train()
    for _ in range(30):
        made(image_tensor(SOURCE.all_images))
    return made.eval()


def test_statistics_of_the_head_are_estimated_anew_too() -> None:
    network = segmenter()
    training = Adaptation(network, SOURCE, TARGET, replace(SETTINGS, arm="bn"), seed=0)
    training.advance(3)
    # The same by hand: the mean over the batches, each normalised by itself, without dropout.
    reference = segmenter()
    again = Adaptation(segmenter(), SOURCE, TARGET, replace(SETTINGS, arm="bn"), seed=0)
    layers = batch_norms(reference)
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for step in range(3):
            again._step = step
            (batch,) = again._batches()
            reference(torch.cat([batch.source, batch.target]))
    for mine, its in zip(batch_norms(network), layers, strict=True):
        torch.testing.assert_close(mine.running_mean, its.running_mean)
        torch.testing.assert_close(mine.running_var, its.running_var)
        assert int(mine.num_batches_tracked) == 3


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_goes_through_and_leaves_statistics_that_were_seen(arm) -> None:
    network = segmenter()
    before = [layer.running_mean.clone() for layer in batch_norms(network)]
    Adaptation(network, SOURCE, TARGET, replace(SETTINGS, arm=arm), seed=0).advance(3)
    for layer, mean in zip(batch_norms(network), before, strict=True):
        assert (layer.running_var > 0).all()
        assert torch.equal(layer.running_mean, mean) == (arm != "bn")


@pytest.mark.parametrize("kind", [nn.Dropout2d, Fewer])
@pytest.mark.parametrize("arm", ["ga_ca", "full"])
def test_predicted_labels_are_made_without_any_dropout(arm, kind, monkeypatch) -> None:
    network = segmenter(dropout=0.9, kind=kind)
    training = Adaptation(network, SOURCE, TARGET, replace(SETTINGS, arm=arm), seed=0)
    seen: list[torch.Tensor] = []
    pseudo_labels = TargetPredictions.of

    def noted(self, images, *others):
        phi = pseudo_labels(self, images, *others)
        plain = segmenter(dropout=0.9, kind=kind)
        plain.load_state_dict(network.state_dict())
        with torch.no_grad():
            expected = plain.eval()(images).softmax(1)
        seen.append((phi - expected).abs().max())
        return phi

    monkeypatch.setattr(TargetPredictions, "of", noted)
    training.advance(1)
    if arm == "full":
        # Without a prior that says static, eq. 12 changes nothing.
        assert not TARGET.priors([0]).any()
    assert seen
    assert max(seen) < 1e-5


@pytest.mark.parametrize(("dropout", "drops"), [(0.5, True), (0.0, False)])
def test_the_network_of_the_paper_is_known_to_drop_features(dropout, drops) -> None:
    options = {"width": 4, "fc_width": 16, "dropout": dropout}
    network = build_segmenter("dilated_vgg16", options, seed=0).train()
    before = torch.random.get_rng_state()
    assert drops_features(network) is drops
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("in_features", "passes"), [(True, 3), (False, 2)])
def test_features_are_made_anew_for_labels_only_where_they_come_by_dropout(
    in_features, passes
) -> None:
    network = segmenter()
    if not in_features:
        network.extractor[3] = nn.Identity()
    assert drops_features(network) is in_features
    seen: list[int] = []
    training = Adaptation(network, SOURCE, TARGET, replace(SETTINGS, arm="ga_ca"), seed=0)
    training.advance(1)  # in which it finds out
    network.extractor.register_forward_hook(lambda *_: seen.append(1))
    training.advance(1)
    assert len(seen) == passes  # source, target, and target without dropout


def test_source_free_learns_with_such_a_head() -> None:
    network = segmenter()
    SourceFree(network, TARGET, SourceFreeSettings(steps=3, batch_size=2), seed=0).advance(3)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
