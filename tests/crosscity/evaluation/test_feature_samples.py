from __future__ import annotations

import numpy as np
import pytest

from crosscity.adaptation import LabelledArrays
from crosscity.evaluation.feature_samples import sampled_features
from crosscity.segmenters import build_segmenter, image_tensor

RANDOM = np.random.default_rng(1)
IMAGES = LabelledArrays(
    RANDOM.integers(0, 256, (5, 16, 24, 3), dtype=np.uint8), np.zeros((5, 16, 24), dtype=np.uint8)
)
SEGMENTER = build_segmenter("compact", {"width": 16, "dropout": 0.5}, seed=1)


def test_every_sample_is_the_feature_of_a_cell() -> None:
    SEGMENTER.train()
    found = sampled_features(SEGMENTER, IMAGES, 20, seed=0)
    assert SEGMENTER.training
    assert found.shape == (20, 16)
    SEGMENTER.eval()
    features = SEGMENTER.features(image_tensor(IMAGES.all_images)).detach()
    cells = features.permute(0, 2, 3, 1).reshape(-1, 16).numpy()
    for sample in found:
        assert np.abs(cells - sample).max(1).min() < 1e-4


def test_a_seed_takes_the_same_cells_of_two_segmenters() -> None:
    one = sampled_features(SEGMENTER, IMAGES, 12, seed=4)
    np.testing.assert_array_equal(one, sampled_features(SEGMENTER, IMAGES, 12, seed=4))
    assert not np.array_equal(one, sampled_features(SEGMENTER, IMAGES, 12, seed=5))
    assert sampled_features(SEGMENTER, IMAGES, 12, seed=4, image_size=(32, 32)).shape == (12, 16)


def test_an_empty_set_is_reported() -> None:
    empty = LabelledArrays(IMAGES.all_images[:0], IMAGES.all_labels[:0])
    with pytest.raises(ValueError, match="no image to take features of"):
        sampled_features(SEGMENTER, empty, 5, seed=0)
