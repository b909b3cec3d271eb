from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscity.adaptation import LabelledArrays, OutOfMemoryError
from crosscity.evaluation import (
    confusion_matrix,
    evaluate,
    evaluate_each,
    predict,
    predict_each,
)
from crosscity.resizing import resized_image
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


def test_many_images_go_through_the_network_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = build_segmenter("compact", {"width": 16}, seed=1)
    together, logits = list[int](), segmenter.predicted_logits

    def noted(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        together.append(len(images))
        return logits(images, size)

    monkeypatch.setattr(segmenter, "predicted_logits", noted)
    many = RANDOM.integers(0, 256, (19, 18, 30, 3), dtype=np.uint8)
    predicted = predict(segmenter, many)
    assert sum(together) == 19
    assert max(together) <= 8
    np.testing.assert_array_equal(predicted, [predict(segmenter, image) for image in many])


def test_images_are_shown_at_the_size_that_the_segmenter_was_trained_at() -> None:
    segmenter = build_segmenter("compact", {"width": 16}, seed=1)
    with torch.no_grad():  # so that it sees more than one class
        noise = torch.Generator().manual_seed(3)
        for one in segmenter.parameters():
            one.add_(torch.randn(one.shape, generator=noise), alpha=0.5)
    as_they_are = predict(segmenter, IMAGES.all_images)
    segmenter.trained_size = (36, 60)
    found = predict(segmenter, IMAGES.all_images)
    assert found.shape == LABELS.shape
    shown = [
        each.labels for each in predict_each(segmenter, IMAGES.all_images, image_size=(36, 60))
    ]
    np.testing.assert_array_equal(found, np.stack(shown))
    asked = predict(segmenter, IMAGES.all_images, image_size=(18, 30))
    np.testing.assert_array_equal(as_they_are, asked)
    assert (found != as_they_are).mean() > 0.05


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


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_counts_each_image_in_its_order(batch_size: int) -> None:
    found = list(evaluate_each(SEGMENTER, IMAGES, batch_size))
    assert len(found) == 5
    for i, each in enumerate(found):
        one = predict(SEGMENTER, IMAGES.images([i]))
        expected = confusion_matrix(IMAGES.labels([i]), one, 19)
        assert np.abs(each.confusion - expected).sum() <= 4
        assert each.confusion.sum() == (LABELS[i] != 255).sum()
        assert each.pixels == LABELS[i].size


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


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, None])
def test_a_batch_is_a_whole_number_of_images(batch_size: Any) -> None:
    pictures = list(IMAGES.all_images)
    with pytest.raises(ValueError, match="number of images in a batch must be a whole number"):
        list(predict_each(SEGMENTER, pictures, batch_size))
    with pytest.raises(ValueError, match="number of images in a batch must be a whole number"):
        evaluate(SEGMENTER, IMAGES, batch_size)


@pytest.mark.parametrize(
    "image", [None, IMAGES.all_images[0, :, :, 0], IMAGES.all_images[0] / 255, "a.jpg"]
)
def test_what_is_no_image_is_said_where_many_are_predicted(image: Any) -> None:
    with pytest.raises(ValueError, match=r"the image (is None|must)"):
        list(predict_each(SEGMENTER, [IMAGES.all_images[0], image]))


class Mixed:
    """Images of two sizes, and labels of sizes of their own."""

    sizes = ((18, 30), (18, 30), (24, 40), (18, 30))

    def __len__(self) -> int:
        return len(self.sizes)

    def images(self, indices: list[int]) -> np.ndarray:
        random = np.random.default_rng(indices[0])
        return random.integers(0, 256, (1, *self.sizes[indices[0]], 3), dtype=np.uint8)

    def labels(self, indices: list[int]) -> np.ndarray:
        height, width = self.sizes[indices[0]]
        random = np.random.default_rng(100 + indices[0])
        return random.integers(0, 19, (1, 2 * height + 1, 2 * width), dtype=np.uint8)


def test_logits_are_upsampled_to_the_native_size_of_the_labels() -> None:
    images, expected = Mixed(), np.zeros((19, 19), dtype=np.int64)
    SEGMENTER.eval()
    for i in range(len(images)):
        truth = images.labels([i])
        tensor = image_tensor(images.images([i]))
        coarse = SEGMENTER.classify(SEGMENTER.features(tensor))
        logits = torch.nn.functional.interpolate(
            coarse, size=truth.shape[1:], mode="bilinear", align_corners=False
        )
        predicted = logits.argmax(1).numpy().astype(np.uint8)
        np.testing.assert_array_equal(
            predict(SEGMENTER, images.images([i]), size=truth.shape[1:]), predicted
        )
        expected += confusion_matrix(truth, predicted, 19)
    seen: list[int] = []
    found = evaluate(SEGMENTER, images, 8, on_batch=seen.append)
    assert seen == [2, 1, 1]
    assert found.sum() == expected.sum()
    assert np.abs(found - expected).sum() <= 4


def test_other_sizes_are_an_option() -> None:
    found = evaluate(SEGMENTER, Mixed(), image_size=(16, 32), label_size=(10, 20))
    assert found.sum() == 4 * 10 * 20
    expected = np.zeros((19, 19), dtype=np.int64)
    for i in range(4):
        picture, truth = Mixed().images([i])[0], Mixed().labels([i])[0]
        small = resized_image(picture, (16, 32))[None]
        rows = ((np.arange(10) + 0.5) * truth.shape[0] / 10).astype(int)
        columns = ((np.arange(20) + 0.5) * truth.shape[1] / 20).astype(int)
        expected += confusion_matrix(
            truth[None, rows[:, None], columns], predict(SEGMENTER, small, size=(10, 20)), 19
        )
    assert np.abs(found - expected).sum() <= 4


class SmallDevice:
    """In place of a segmenter's features: memory for so many images at once and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, images: int) -> None:
        self.images, self.sizes = images, list[int]()
        self._features = SEGMENTER.features
        monkeypatch.setattr(SEGMENTER, "features", self)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if len(images) > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")
        return self._features(images)


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_what_does_not_fit_is_predicted_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    expected = evaluate(SEGMENTER, IMAGES, 5)
    device = SmallDevice(monkeypatch, images)
    seen: list[int] = []
    found = evaluate(SEGMENTER, IMAGES, 5, on_batch=seen.append)
    assert np.abs(found - expected).sum() <= 4
    assert found.sum() == expected.sum()
    assert seen == [5]
    fitting = device.sizes[1:] if images >= 2 else device.sizes[2:]
    assert max(fitting) <= images
    assert sum(fitting) == 5


def test_a_device_too_small_for_an_image_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    SmallDevice(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError) as caught:
        evaluate(SEGMENTER, IMAGES, 5)
    text = str(caught.value)
    assert text.startswith("cpu ran out of memory with one image of 18×30 pixels, scored at 18×30")
    assert "\n" not in text


def test_each_prediction_is_what_the_evaluation_counts_whatever_the_sizes() -> None:
    sizes = [(18, 30), (18, 30), (20, 26), (18, 30)]
    images = [RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    for image_size in (None, (16, 24)):
        for batch_size in (1, 3):
            found = list(predict_each(SEGMENTER, images, batch_size, image_size=image_size))
            assert [each.labels.shape for each in found] == sizes
            for image, each in zip(images, found, strict=True):
                read = resized_image(image, image_size)[None]
                alone = predict(SEGMENTER, read, size=image.shape[:2])[0]
                # Rounding in a larger batch may turn a tie.
                assert (each.labels != alone).sum() <= 2


def test_the_confidence_is_the_softmax_of_the_predicted_class() -> None:
    SEGMENTER.train()
    each = next(predict_each(SEGMENTER, iter(IMAGES.all_images[:1])))
    assert SEGMENTER.training
    SEGMENTER.eval()
    with torch.inference_mode():
        probabilities = SEGMENTER(image_tensor(IMAGES.all_images[:1])).softmax(1)[0].numpy()
    np.testing.assert_allclose(each.confidence, probabilities.max(0), atol=1e-6)


def test_no_more_than_one_batch_is_held() -> None:
    taken: list[int] = []

    def images():
        for index in range(6):
            taken.append(index)
            yield IMAGES.all_images[0]

    found = predict_each(SEGMENTER, images(), 2)
    next(found)
    assert len(taken) <= 3  # a batch, and the one that showed that it is full


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    extract, seen = SEGMENTER.extract, []

    def small(normalised: torch.Tensor) -> torch.Tensor:
        seen.append(len(normalised))
        if len(normalised) > 1:
            raise torch.OutOfMemoryError("no more memory")
        return extract(normalised)

    monkeypatch.setattr(SEGMENTER, "extract", small)
    assert len(list(predict_each(SEGMENTER, IMAGES.all_images, 4))) == 5
    assert seen == [4, 2, 1, 1, 1, 1, 1]
