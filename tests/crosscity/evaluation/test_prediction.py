from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscity.adaptation import LabelledArrays
from crosscity.evaluation import confusion_matrix, evaluate, predict
from crosscity.segmenters import build_segmenter, image_tensor

RANDOM = np.random.default_rng(8)
LABELS = RANDOM.integers(0, 19, (5, 18, 30), dtype=np.uint8)
LABELS[:, :3] = 255
IMAGES = LabelledArrays(RANDOM.integers(0, 256, (5, 18, 30, 3), dtype=np.uint8), LABELS)
SEGMENTER = build_segmenter("compact", {"width": 16, "dropout": 0.5}, seed=1)


def test_predicts_the_likeliest_class_without_dropout() -> None:
    SEGMENTER.train()
    predicted = predict(SEGMENTER, IMAGES.all_images)
    assert predicted.dtype == np.uint8
    SEGMENTER.eval()
    expected = SEGMENTER(image_tensor(IMAGES.all_images)).argmax(1).numpy()
    np.testing.assert_array_equal(predicted, expected)


def test_evaluates_every_image_once() -> None:
    expected = np.zeros((19, 19), dtype=np.int64)
    for i in range(5):
        one = predict(SEGMENTER, IMAGES.images([i]))
        expected += confusion_matrix(IMAGES.labels([i]), one, 19)
    seen: list[int] = []
    for batch_size in (1, 2, 5, 9):
        found = evaluate(SEGMENTER, IMAGES, batch_size, on_batch=seen.append)
        assert found.sum() == (LABELS != 255).sum()
        # Rounding in a larger batch may turn a tie.
        assert np.abs(found - expected).sum() <= 4
    assert seen == [1, 1, 1, 1, 1, 2, 2, 1, 5, 5]


def test_modes_and_weights_are_left_as_they_were() -> None:
    SEGMENTER.train()
    SEGMENTER.layers[0].eval()
    modes = [module.training for module in SEGMENTER.modules()]
    before = {name: tensor.clone() for name, tensor in SEGMENTER.state_dict().items()}
    evaluate(SEGMENTER, IMAGES)
    assert [module.training for module in SEGMENTER.modules()] == modes
    for name, tensor in SEGMENTER.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_bad_sets_are_named() -> None:
    with pytest.raises(ValueError, match="no image to evaluate on"):
        evaluate(SEGMENTER, LabelledArrays(IMAGES.all_images[:0], LABELS[:0]))
    wrong = LABELS.copy()
    wrong[3, 5, 5] = 77
    with pytest.raises(ValueError, match="labels of image 3 have the value 77"):
        evaluate(SEGMENTER, LabelledArrays(IMAGES.all_images, wrong))
