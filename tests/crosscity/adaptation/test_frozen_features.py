"""Features on disk: computed once an image, and never the reason for a full disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from crosscity.adaptation.frozen_features import SPARE_BYTES, FrozenFeatures
from crosscity.segmenters import build_segmenter


@pytest.fixture
def network():
    return build_segmenter("compact", {"width": 8}, seed=0)


@pytest.fixture
def computed(network, monkeypatch):
    """How often features were computed, by a list that grows."""
    times: list[int] = []
    features = network.features

    def counted(images):
        times.append(len(images))
        return features(images)

    monkeypatch.setattr(network, "features", counted)
    return times


def test_an_image_is_computed_once(network, computed, tmp_path):
    images = torch.rand(2, 3, 32, 64)
    kept = FrozenFeatures(network, tmp_path)
    first = kept.of("source", ["a", "b"], images)
    assert torch.equal(kept.of("source", ["a", "b"], images), first)
    assert computed == [1, 1]
    assert len(list(tmp_path.iterdir())) == 2


OPEN = Path("/proc/self/fd")


@pytest.mark.skipif(not OPEN.is_dir(), reason="only Linux lists open files so")
def test_no_file_stays_open(network, tmp_path):
    kept = FrozenFeatures(network, tmp_path)
    few = len(list(OPEN.iterdir())) + 10
    keys = [str(number) for number in range(40)]
    for _ in range(2):
        kept.of("source", keys, torch.rand(40, 3, 16, 16))
        assert len(list(OPEN.iterdir())) < few


def test_a_disk_without_room_costs_time_and_nothing_else(network, computed, tmp_path, monkeypatch):
    images = torch.rand(2, 3, 32, 64)
    roomy = FrozenFeatures(network, tmp_path / "roomy")
    (tmp_path / "roomy").mkdir()
    wanted = roomy.of("source", ["a", "b"], images)
    room = wanted[0].numel() * 4
    free = iter([SPARE_BYTES + room, *4 * [SPARE_BYTES + room - 1]])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    full = FrozenFeatures(network, tmp_path / "full")
    (tmp_path / "full").mkdir()
    computed.clear()
    for _ in range(2):
        assert torch.equal(full.of("source", ["a", "b"], images), wanted)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["source-a.npy"]
    assert len(computed) == 3
