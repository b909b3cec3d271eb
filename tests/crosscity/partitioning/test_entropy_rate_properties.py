"""What holds for every picture: exactly n connected regions, shrinking gains, one answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.partitioning import (
    entropy_rate_superpixels,
    greedy_partition,
    partition_objective,
)

sides = st.integers(1, 12)
pictures = st.one_of(
    hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3))),
    hnp.arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 12)),
    hnp.arrays(np.uint16, st.tuples(sides, sides)),
    hnp.arrays(np.uint16, st.tuples(sides, sides, st.just(3)), elements=st.integers(0, 9000)),
)


def pieces(labels: npt.NDArray, connectivity: int) -> list[int]:
    """The number of connected components of each region, by OpenCV."""
    return [
        cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=connectivity)[0]
        - 1
        for label in range(labels.max() + 1)
    ]


@settings(max_examples=150, deadline=None)
@given(pictures, st.data())
def test_exactly_n_connected_regions_and_shrinking_gains(
    image: npt.NDArray, data: st.DataObject
) -> None:
    n_pixels = image.shape[0] * image.shape[1]
    n = data.draw(st.integers(1, n_pixels))
    connectivity = data.draw(st.sampled_from([4, 8]))
    balance = data.draw(st.sampled_from([0.0, 0.5, 20.0]))
    steps = greedy_partition(image, n, balance=balance, connectivity=connectivity)
    labels = entropy_rate_superpixels(image, n, balance=balance, connectivity=connectivity)

    assert labels.dtype == np.int32
    assert labels.shape == image.shape[:2]
    np.testing.assert_array_equal(labels, steps.labels)
    assert pieces(labels, connectivity) == [1] * n
    assert np.unique(labels, return_index=True)[1].tolist() == sorted(
        np.unique(labels, return_index=True)[1]
    )
    assert steps.gains.size == n_pixels - n
    slack = 1e-12 * (1 + np.abs(steps.gains).max(initial=0))
    assert (np.diff(steps.gains) <= slack).all()
    assert (steps.gains >= -slack).all()


def test_labels_are_numbered_in_raster_order() -> None:
    image = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    firsts = np.unique(entropy_rate_superpixels(image, 40), return_index=True)[1]
    assert (np.diff(firsts) > 0).all()


def test_flat_regions_are_found() -> None:
    truth = np.kron(np.arange(6).reshape(2, 3), np.ones((10, 10), int))
    image = np.array([10, 200, 90, 150, 40, 250], dtype=np.uint8)[truth]
    np.testing.assert_array_equal(entropy_rate_superpixels(image, 6), truth)


def test_one_region_and_one_per_pixel() -> None:
    image = np.random.default_rng(2).integers(0, 255, (7, 5), dtype=np.uint8)
    assert (entropy_rate_superpixels(image, 1) == 0).all()
    np.testing.assert_array_equal(entropy_rate_superpixels(image, 35), np.arange(35).reshape(7, 5))


def test_balance_evens_the_sizes() -> None:
    image = np.zeros((40, 40), np.uint8)
    image[5:12, 5:12] = np.random.default_rng(3).integers(0, 255, (7, 7))
    spread = [
        np.bincount(entropy_rate_superpixels(image, 16, balance=balance).ravel()).std()
        for balance in (0.0, 5.0)
    ]
    assert spread[1] < spread[0] / 2


def test_grey_its_colour_copy_and_its_16_bit_copy_agree() -> None:
    grey = np.random.default_rng(4).integers(0, 90, (24, 31), dtype=np.uint8)
    labels = entropy_rate_superpixels(grey, 20)
    np.testing.assert_array_equal(
        entropy_rate_superpixels(np.repeat(grey[:, :, None], 3, axis=2), 20), labels
    )
    np.testing.assert_array_equal(
        entropy_rate_superpixels(grey.astype(np.uint16) * 257, 20), labels
    )


def test_memory_layout_does_not_matter() -> None:
    image = np.random.default_rng(5).integers(0, 90, (24, 31, 3), dtype=np.uint8)
    labels = entropy_rate_superpixels(image, 20)
    padded = np.zeros((48, 62, 3), np.uint8)
    padded[::2, ::-2] = image
    frozen = image.copy()
    frozen.setflags(write=False)
    for same in (padded[::2, ::-2], np.asfortranarray(image), frozen):
        before = same.copy()
        np.testing.assert_array_equal(entropy_rate_superpixels(same, 20), labels)
        np.testing.assert_array_equal(same, before)


def test_threads_get_the_same_labels() -> None:
    rng = np.random.default_rng(6)
    images = [rng.integers(0, 90, (60, 80, 3), dtype=np.uint8) for _ in range(8)]
    alone = [entropy_rate_superpixels(image, 30) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: entropy_rate_superpixels(image, 30), images))
    np.testing.assert_array_equal(np.stack(alone), np.stack(together))


def test_partition_objective_of_our_own_labels_is_the_greedy_s() -> None:
    image = np.random.default_rng(7).integers(0, 90, (20, 30, 3), dtype=np.uint8)
    ours = greedy_partition(image, 12)
    again = partition_objective(image, ours.labels, 12)
    assert again.n_clusters == 12
    assert again.value == pytest.approx(ours.objective.value, rel=1e-9)


def test_other_partitions_are_worth_less() -> None:
    rng = np.random.default_rng(8)
    truth = np.kron(rng.permutation(12).reshape(3, 4), np.ones((8, 8), int))
    image = np.clip(truth * 20 + rng.normal(0, 4, truth.shape), 0, 255).astype(np.uint8)
    stripes = np.repeat(np.arange(12), 64).reshape(24, 32).astype(np.int32)
    ours = greedy_partition(image, 12).objective
    theirs = partition_objective(image, stripes, 12)
    assert theirs.n_clusters == 12
    assert theirs.value < ours.value


def picture() -> npt.NDArray:
    return np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "n", "options", "message"),
    [
        (picture(), 0, {}, "whole number from 1 to 48"),
        (picture(), -3, {}, "whole number from 1 to 48"),
        (picture(), 49, {}, "whole number from 1 to 48"),
        (picture(), 2.0, {}, "whole number"),
        (picture(), True, {}, "whole number"),
        (picture()[:0], 1, {}, "empty"),
        (picture()[:, :0], 1, {}, "empty"),
        (np.full((4, 4), np.nan), 2, {}, "NaN"),
        (np.zeros((4, 4)), 2, {}, "uint8 or uint16, not float64"),
        (np.zeros((4, 4), np.int32), 2, {}, "uint8 or uint16, not int32"),
        (np.zeros((4, 4), bool), 2, {}, "uint8 or uint16, not bool"),
        (np.zeros((4, 4, 4), np.uint8), 2, {}, "shape"),
        (np.zeros(16, np.uint8), 2, {}, "shape"),
        ([[1, 2], [3, 4]], 2, {}, "numpy array, not list"),
        (picture(), 2, {"connectivity": 6}, "connectivity must be 4 or 8, not 6"),
        (picture(), 2, {"balance": float("nan")}, "balance"),
        (picture(), 2, {"balance": -0.1}, "balance"),
        (picture(), 2, {"sigma": 0.0}, "sigma"),
        (picture(), 2, {"sigma": float("inf")}, "sigma"),
        (picture(), 2, {"sigma": float("nan")}, "sigma"),
    ],
)
def test_bad_input_is_one_sentence(image: object, n: object, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        entropy_rate_superpixels(image, n, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_more_pixels_than_edge_numbers_allow_are_refused() -> None:
    # A broadcast view has the size without the memory.
    huge = np.broadcast_to(np.uint8(0), (2**15, 2**14))
    with pytest.raises(ValueError, match="cut it into parts"):
        entropy_rate_superpixels(huge, 2)


@pytest.mark.parametrize(
    "labels", [np.zeros((6, 8), np.int64), np.zeros((8, 6), np.int32)], ids=["type", "shape"]
)
def test_objective_wants_labels_of_the_image_s_size(labels: npt.NDArray) -> None:
    with pytest.raises(ValueError, match="int32 of shape"):
        partition_objective(picture(), labels, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_edge_numbers_do_not_overflow_at_8192_by_4096() -> None:
    ramp = (np.arange(8192) >> 6).astype(np.uint8)
    image = np.broadcast_to(ramp, (4096, 8192))
    labels = entropy_rate_superpixels(image, 8)
    # An overflow would leave pieces behind, or join what does not touch.
    sizes = np.bincount(labels.ravel())
    assert sizes.size == 8
    assert sizes.min() > labels.size // 80
    assert pieces(labels, 8) == [1] * 8
