from __future__ import annotations

import numpy as np
import pytest

from crosscity.adaptation import LabelledArrays, TargetArrays
from crosscity.adaptation.image_sets import check_labels, check_priors

IMAGES = np.zeros((3, 4, 6, 3), dtype=np.uint8)
INDICES = [7, 8, 9]


def test_labels_outside_the_map_are_named() -> None:
    labels = np.zeros((3, 4, 6), dtype=np.uint8)
    labels[0] = 255
    check_labels(IMAGES, labels, INDICES, 19)
    labels[1, 2, 3] = 33
    with pytest.raises(ValueError, match=r"labels of image 8 have the value 33, .* 0 to 18"):
        check_labels(IMAGES, labels, INDICES, 19)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"labels of the images 7, 8, 9 have size \(5, 6\)"):
        check_labels(IMAGES, np.zeros((3, 5, 6), dtype=np.uint8), INDICES, 19)
    with pytest.raises(ValueError, match=r"static priors of the images 7, 8, 9 have size \(4, 5\)"):
        check_priors(IMAGES, np.zeros((3, 4, 5), dtype=np.bool_), INDICES)
    with pytest.raises(ValueError, match="do not cover"):
        LabelledArrays(IMAGES, np.zeros((2, 4, 6), dtype=np.uint8))
    with pytest.raises(ValueError, match="static priors"):
        TargetArrays(IMAGES, np.zeros((3, 4, 5), dtype=np.bool_))


def test_arrays_give_what_was_asked_for() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    labels = random.integers(0, 19, (5, 4, 6), dtype=np.uint8)
    labelled = LabelledArrays(images, labels)
    assert len(labelled) == 5
    np.testing.assert_array_equal(labelled.images([3, 1]), images[[3, 1]])
    np.testing.assert_array_equal(labelled.labels([3, 1]), labels[[3, 1]])
    target = TargetArrays(images)
    assert not target.priors([0, 4]).any()
    assert target.priors([0, 4]).shape == (2, 4, 6)
    np.testing.assert_array_equal(TargetArrays(images, labels > 9).priors([2]), labels[[2]] > 9)
