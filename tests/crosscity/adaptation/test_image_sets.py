from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from crosscity.adaptation import LabelledArrays, TargetArrays
from crosscity.adaptation.batches import TargetBatches
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


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("name", ["all_priors", "all_ignored"])
def test_masks_are_bool_as_255_would_say_nothing(name: str, kind: type[np.generic]) -> None:
    mask = np.full((3, 4, 6), 255 if kind is np.uint8 else 1).astype(kind)
    with pytest.raises(ValueError, match=r"must be bool, not .*: give them as `masks > 0`"):
        TargetArrays(IMAGES, **{name: mask})


def test_probabilities_are_of_255() -> None:
    halves = np.full((3, 4, 6), 0.5, dtype=np.float32)
    with pytest.raises(ValueError, match=r"255 times .* must be uint8, not float32"):
        TargetArrays(IMAGES, all_probabilities=halves)


class Own:
    """A target set of somebody's own, which no constructor has examined."""

    def __init__(self, **maps: npt.NDArray[Any]) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return len(IMAGES)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        return IMAGES[list(indices)]

    def priors(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        return self._maps["priors"][list(indices)]

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        return self._maps["ignored"][list(indices)]

    def probabilities(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        return self._maps["probabilities"][list(indices)]


@pytest.mark.parametrize(
    ("wrong", "probabilities"), [("priors", False), ("ignored", False), ("probabilities", True)]
)
def test_maps_of_a_set_of_ones_own_are_examined_too(wrong: str, probabilities: bool) -> None:
    nothing = np.zeros((3, 4, 6), dtype=np.bool_)
    maps: dict[str, npt.NDArray[Any]] = {
        "priors": nothing,
        "ignored": nothing,
        "probabilities": nothing.astype(np.uint8),
    }
    maps[wrong] = np.full((3, 4, 6), 255, dtype=np.uint8 if wrong != "probabilities" else np.int64)
    batches = TargetBatches(
        Own(**maps), seed=0, flip=False, device=torch.device("cpu"), probabilities=probabilities
    )
    with pytest.raises(ValueError, match=r"must be (bool|uint8), not"):
        batches.batch(0, 2)


@pytest.mark.parametrize("kind", [np.int8, np.int64])
def test_labels_below_the_classes_are_named(kind: type[np.signedinteger]) -> None:
    labels = np.zeros((3, 4, 6), dtype=kind)
    labels[2, 1, 1] = -1
    with pytest.raises(ValueError, match="labels of image 9 have the value -1"):
        check_labels(IMAGES, labels, INDICES, 19)  # type: ignore[arg-type]


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(ValueError, match="images 7, 8, 9 must be whole numbers, not float64"):
        check_labels(IMAGES, np.zeros((3, 4, 6)), INDICES, 19)  # type: ignore[arg-type]
