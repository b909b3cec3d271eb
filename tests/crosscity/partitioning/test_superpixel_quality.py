"""The quality measures on maps that can be counted by hand, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from crosscity.partitioning import quality, superpixel_quality


def test_the_truth_itself_is_perfect() -> None:
    truth = np.kron(np.arange(6).reshape(2, 3), np.ones((8, 8), int))
    quality = superpixel_quality(truth, truth)
    assert quality.boundary_recall == 1
    assert quality.undersegmentation_error == 0
    assert quality.achievable_accuracy == 1


def test_one_superpixel_over_two_halves() -> None:
    truth = np.repeat([[0, 0, 0, 0, 0, 0, 1, 1]], 10, axis=0)
    quality = superpixel_quality(np.zeros((10, 8), int), truth)
    assert quality.boundary_recall == 0
    # The smaller part, 20 of 80 pixels, counts for both regions.
    assert quality.undersegmentation_error == pytest.approx(0.5)
    assert quality.achievable_accuracy == pytest.approx(0.75)


@pytest.mark.parametrize(("shift", "recall"), [(1, 1.0), (2, 1.0), (3, 0.0)])
def test_boundaries_may_be_off_by_the_tolerance(shift: int, recall: float) -> None:
    truth = np.repeat([np.arange(20) >= 10], 6, axis=0).astype(int)
    labels = np.repeat([np.arange(20) >= 10 + shift], 6, axis=0).astype(int)
    assert superpixel_quality(labels, truth).boundary_recall == recall


def test_a_tolerance_beyond_the_image_is_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = quality.cv2.dilate

    def dilate(image: np.ndarray, around: np.ndarray) -> np.ndarray:
        sizes.append(around.size)
        return original(image, around)

    monkeypatch.setattr(quality.cv2, "dilate", dilate)
    truth, labels = np.zeros((6, 8), np.int64), np.zeros((6, 8), np.int64)
    truth[:, 4:], labels[:, 1:] = 1, 1
    found = [superpixel_quality(labels, truth, tolerance=one) for one in (8, 30_000)]
    assert found[0] == found[1]
    assert found[1].boundary_recall == 1.0
    assert max(sizes) <= 17 * 17, "a window of the tolerance would take gigabytes"


def test_pixels_without_a_label_do_not_count() -> None:
    truth = np.array([[0, 0, 9, 1, 1]] * 4)
    labels = np.array([[0, 0, 0, 1, 1]] * 4)
    quality = superpixel_quality(labels, truth, ignore=9)
    assert (quality.undersegmentation_error, quality.achievable_accuracy) == (0, 1)
    assert quality.boundary_recall == 1
    assert superpixel_quality(labels, truth).undersegmentation_error > 0


def test_plain_loops_agree() -> None:
    rng = np.random.default_rng(2)
    labels, truth = rng.integers(0, 5, (9, 11)), rng.integers(0, 3, (9, 11))
    error, right = 0, 0
    for superpixel in range(5):
        inside = [int(((labels == superpixel) & (truth == region)).sum()) for region in range(3)]
        error += sum(min(part, sum(inside) - part) for part in inside)
        right += max(inside)
    quality = superpixel_quality(labels, truth)
    assert quality.undersegmentation_error == pytest.approx(error / 99)
    assert quality.achievable_accuracy == pytest.approx(right / 99)


@pytest.mark.parametrize(
    ("labels", "truth", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 4), int), "whole numbers"),
        (np.zeros((3, 4), int), np.zeros((4, 3), int), "one shape"),
        (np.zeros((3, 4), int), np.full((3, 4), 7), "nothing can be compared"),
    ],
)
def test_bad_maps_are_one_sentence(labels: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        superpixel_quality(labels, truth, ignore=7)
    assert "\n" not in str(caught.value)
