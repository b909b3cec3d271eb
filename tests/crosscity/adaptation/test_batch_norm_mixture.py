from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.training import batch_norms
from crosscity.segmenters import ComposedSegmenter, build_segmenter

RANDOM = np.random.default_rng(1)


def test_the_mixture_has_the_moments_of_both_samples_together() -> None:
    one, two = RANDOM.normal(2, 1, 40_000), RANDOM.normal(-1, 3, 10_000)
    both = np.concatenate([one, two])
    source = [(torch.tensor([one.mean()]), torch.tensor([one.var()]))]
    target = [(torch.tensor([two.mean()]), torch.tensor([two.var()]))]
    ((mean, variance),) = mix_statistics(source, target, len(two) / len(both))
    assert mean.item() == pytest.approx(both.mean())
    assert variance.item() == pytest.approx(both.var())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_are_the_two(share) -> None:
    one, two = ([(torch.rand(4), torch.rand(4))] for _ in range(2))
    (mixed,) = mix_statistics(one, two, share)
    for found, expected in zip(mixed, (two if share else one)[0], strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_other_shares_are_refused(share) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        mix_statistics([], [], share)


def test_measuring_changes_nothing_and_finds_what_training_mode_would() -> None:
    network = build_segmenter("compact", {"width": 8, "dropout": 0.5}, seed=0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    batches = [torch.rand(2, 3, 32, 48) for _ in range(3)]
    found = measure_statistics(network, batches)
    assert [module.training for module in network.modules()] == modes
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    network.eval()
    for layer in batch_norms(network):
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for (mean, variance), (own_mean, own_variance) in zip(
        found, statistics_of(network), strict=True
    ):
        torch.testing.assert_close(mean, own_mean)
        torch.testing.assert_close(variance, own_variance)


def test_statistics_can_be_put_back() -> None:
    network = build_segmenter("compact", {"width": 8}, seed=0)
    kept = statistics_of(network)
    set_statistics(network, measure_statistics(network, [torch.rand(2, 3, 32, 48)]))
    assert not torch.equal(statistics_of(network)[0][0], kept[0][0])
    set_statistics(network, kept)
    assert torch.equal(statistics_of(network)[0][0], kept[0][0])


def test_nothing_to_measure_is_said() -> None:
    network = build_segmenter("compact", {"width": 8}, seed=0)
    with pytest.raises(ValueError, match="no image to measure"):
        measure_statistics(network, [])
    plain = ComposedSegmenter(
        torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 19, 1), n_features=4, stride=1
    )
    with pytest.raises(ValueError, match="has no batch norm to measure"):
        measure_statistics(plain, [])


class WholeImage(nn.Module):
    """Adds what is seen of the whole image, as the pooling branch of DeepLab does."""

    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8, padding=1), nn.BatchNorm2d(4))
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.local(images)
        added: torch.Tensor = features + self.whole(features)
        return added


def test_one_image_has_no_variance_of_its_whole_and_is_measured_elsewhere() -> None:
    torch.manual_seed(0)
    network = ComposedSegmenter(WholeImage(), nn.Conv2d(4, 19, 1), n_features=4, stride=8)
    own = statistics_of(network)
    pairs, single = [torch.rand(2, 3, 32, 48) for _ in range(2)], torch.rand(1, 3, 32, 48)
    _, with_pairs = measure_statistics(network, pairs)
    local, both = measure_statistics(network, [*pairs, single])
    for found, expected in zip(both, with_pairs, strict=True):
        torch.testing.assert_close(found, expected)
    alone, whole = measure_statistics(network, [single])
    assert not torch.equal(alone[0], own[0][0])
    assert all(map(torch.equal, whole, own[1]))
    some, _ = measure_statistics(network, pairs)
    torch.testing.assert_close(local[0], (2 * some[0] + alone[0]) / 3)
