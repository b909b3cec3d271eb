"""One hierarchy for all numbers of superpixels: nested, connected, and the greedy's own."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.partitioning import (
    balance_weight_for,
    entropy_rate_superpixels,
    greedy_partition,
    superpixel_hierarchy,
)

sides = st.integers(1, 10)
pictures = st.one_of(
    hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3))),
    hnp.arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 3)),
    hnp.arrays(np.uint16, st.tuples(sides, sides), elements=st.integers(0, 9000)),
)


@settings(max_examples=60, deadline=None)
@given(pictures, st.sampled_from([4, 8]), st.sampled_from([0.0, 0.1, 30.0]))
def test_cuts_are_exact_connected_and_nested(
    image: npt.NDArray, connectivity: int, weight: float
) -> None:
    hierarchy = superpixel_hierarchy(image, weight, connectivity=connectivity)
    n_pixels = image.shape[0] * image.shape[1]
    coarser = hierarchy.cut(1)
    assert (coarser == 0).all()
    for n in sorted({1, 2, 3, n_pixels // 2, n_pixels - 1, n_pixels} & set(range(1, n_pixels + 1))):
        labels = hierarchy.cut(n)
        assert labels.dtype == np.int32
        assert labels.shape == image.shape[:2]
        values, firsts = np.unique(labels, return_index=True)
        assert values.tolist() == list(range(n))
        assert (np.diff(firsts) > 0).all()
        for label in range(n):
            inside = labels == label
            assert (
                cv2.connectedComponents(inside.astype(np.uint8), connectivity=connectivity)[0] == 2
            )
            assert np.unique(coarser[inside]).size == 1
        coarser = labels
    np.testing.assert_array_equal(hierarchy.cut(n_pixels).ravel(), np.arange(n_pixels))


def street() -> npt.NDArray:
    rng = np.random.default_rng(11)
    base = np.kron(rng.integers(0, 200, (9, 12, 3)), np.ones((16, 16, 1)))
    return np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("n", [3, 40, 300])
def test_a_cut_at_its_own_number_is_the_plain_result(n: int) -> None:
    image = street()
    weight = balance_weight_for(image, n)
    assert weight == pytest.approx(greedy_partition(image, n).objective.balance_weight, rel=1e-12)
    labels = superpixel_hierarchy(image, weight).cut(n)
    np.testing.assert_array_equal(labels, entropy_rate_superpixels(image, n))


def test_the_same_input_gives_the_same_hierarchy() -> None:
    first, second = (superpixel_hierarchy(street(), 1.0) for _ in range(2))
    np.testing.assert_array_equal(first.line, second.line)
    np.testing.assert_array_equal(first.joins, second.joins)


@pytest.mark.parametrize(
    ("weight", "message"), [(-1.0, "balance_weight"), (float("nan"), "balance_weight")]
)
def test_a_bad_weight_is_one_sentence(weight: float, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        superpixel_hierarchy(street(), weight)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [0, -1, 144 * 192 + 1, 2.0, True])
def test_a_bad_number_is_one_sentence(n: object) -> None:
    with pytest.raises(ValueError, match="n_superpixels must be") as caught:
        superpixel_hierarchy(street(), 1.0).cut(n)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
