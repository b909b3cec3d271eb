from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.evaluation import ConfusionMatrix, confusion_matrix

shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)


@given(st.data())
def test_counts_like_loops(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    labels = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 3, 255])))
    predictions = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    expected = np.zeros((4, 4), dtype=np.int64)
    for truth, predicted in zip(labels.flat, predictions.flat, strict=True):
        if truth != 255:
            expected[truth, predicted] += 1
    found = confusion_matrix(labels, predictions, 4)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_predictions_on_void_are_not_looked_at() -> None:
    labels = np.array([[255, 1]], dtype=np.uint8)
    predictions = np.array([[200, 1]], dtype=np.uint8)
    assert confusion_matrix(labels, predictions, 2).tolist() == [[0, 0], [0, 1]]


def test_bad_values_and_shapes_are_named() -> None:
    zeros = np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="label value 19 is neither void"):
        confusion_matrix(zeros + 19, zeros, 19)
    with pytest.raises(ValueError, match="prediction value 20 is neither void"):
        confusion_matrix(zeros, zeros + 20, 19)
    with pytest.raises(ValueError, match="differ in shape: predict at the size of the labels"):
        confusion_matrix(zeros, zeros[:1], 19)


def test_adds_up_over_images_on_the_device() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 5, (4, 6, 7), dtype=np.uint8)
    labels[labels == 4] = 255
    predictions = random.integers(0, 4, (4, 6, 7), dtype=np.uint8)
    matrix = ConfusionMatrix(4)
    for truth, predicted in zip(labels, predictions, strict=True):
        matrix.add(torch.from_numpy(truth), torch.from_numpy(predicted))
    np.testing.assert_array_equal(matrix.counts(), confusion_matrix(labels, predictions, 4))


@pytest.mark.parametrize(("truth", "predicted", "name"), [(9, 0, "label"), (0, 9, "prediction")])
def test_what_is_not_a_class_is_reported_at_the_end(truth: int, predicted: int, name: str) -> None:
    matrix = ConfusionMatrix(4)
    matrix.add(torch.tensor([truth, 1, 255]), torch.tensor([predicted, 1, 9]))
    with pytest.raises(ValueError, match=rf"1 {name}s are neither void .* classes 0 to 3"):
        matrix.counts()
    with pytest.raises(ValueError, match="differ in shape"):
        matrix.add(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize(
    ("truth", "predicted", "name"), [(2, -2, "prediction"), (-1, 1, "label"), (-3, 2, "label")]
)
def test_what_is_below_the_classes_is_none_of_them(
    kind: type[np.signedinteger], truth: int, predicted: int, name: str
) -> None:
    labels, predictions = np.array([[truth, 1]], kind), np.array([[predicted, 1]], kind)
    with pytest.raises(ValueError, match=f"the {name} value .* is neither void"):
        confusion_matrix(labels, predictions, 19)
    matrix = ConfusionMatrix(19)
    matrix.add(torch.from_numpy(labels), torch.from_numpy(predictions))
    with pytest.raises(ValueError, match=f"1 {name}s are neither void"):
        matrix.counts()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64])
def test_classes_are_whole_numbers(kind: type[np.inexact]) -> None:
    zeros, halves = np.zeros((2, 3), np.uint8), np.full((2, 3), 0.5, kind)
    for labels, predictions in ((halves, zeros), (zeros, halves)):
        with pytest.raises(ValueError, match="are whole numbers, not"):
            confusion_matrix(labels, predictions, 19)
        with pytest.raises(ValueError, match="are whole numbers, not"):
            ConfusionMatrix(19).add(torch.from_numpy(labels), torch.from_numpy(predictions))
