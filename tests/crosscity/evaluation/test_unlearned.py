"""Classes that a segmenter does not recognise at home."""

from __future__ import annotations

import numpy as np
import pytest

from crosscity.evaluation import unlearned_classes

NAMES = ("road", "pole", "sign", "train")


def confusion(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def test_frequent_classes_that_are_never_predicted_are_reported_most_frequent_first() -> None:
    counts = confusion([9000, 0, 0, 0], [300, 2, 0, 0], [598, 0, 0, 0], [100, 0, 0, 0])
    found = unlearned_classes(counts, NAMES)
    assert [name for name, _ in found] == ["sign", "pole", "train"]
    assert dict(found)["sign"] == pytest.approx(598 / 10_000)


def test_a_hundredth_of_the_pixels_is_enough() -> None:
    counts = confusion([900, 0, 0, 0], [99, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0])
    assert unlearned_classes(counts, NAMES) == ()


def test_rare_and_absent_classes_are_of_no_concern() -> None:
    counts = confusion([99_910, 0, 0, 0], [0, 0, 0, 0], [90, 0, 0, 0], [0, 0, 0, 0])
    assert unlearned_classes(counts, NAMES) == ()
    assert unlearned_classes(np.zeros((4, 4), dtype=np.int64), NAMES) == ()


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="3 class names for 4 classes"):
        unlearned_classes(np.zeros((4, 4), dtype=np.int64), NAMES[:3])
