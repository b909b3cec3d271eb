"""What every superpixel method promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.prior_parts import SUPERPIXEL_METHODS, superpixel_method


def scene(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip(128 + 60 * image / max(image.std(), 1e-6), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 1))
def test_labels_are_all_there_from_zero(name: str, height: int, width: int, share: float) -> None:
    count = max(1, round(share * height * width))
    labels = superpixel_method(name)(scene(1, height, width), count)
    assert labels.shape == (height, width)
    assert labels.dtype == np.int32
    present = np.unique(labels)
    np.testing.assert_array_equal(present, np.arange(len(present)))


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
@pytest.mark.parametrize("count", [20, 60, 200])
def test_there_are_about_as_many_as_asked(name: str, count: int) -> None:
    labels = superpixel_method(name)(scene(2), count)
    assert 0.6 * count <= labels.max() + 1 <= 1.5 * count


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_each_is_one_piece(name: str) -> None:
    labels = superpixel_method(name)(scene(3), 40)
    for label in range(int(labels.max()) + 1):
        pieces, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        assert pieces == 2  # and the rest


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_the_same_input_gives_the_same_labels_from_any_thread(name: str) -> None:
    image = scene(4)
    cut = superpixel_method(name)
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda view: cut(view, 50), [image.copy() for _ in range(6)])
    for other in others:
        np.testing.assert_array_equal(first, other)
    np.testing.assert_array_equal(cut(image[:, ::-1], 50), cut(image[:, ::-1].copy(), 50))


@pytest.mark.parametrize("name", ["ers", "slic"])
def test_borders_of_the_picture_are_kept(name: str) -> None:
    image = np.full((96, 160, 3), 40, np.uint8)
    image[:, 70:] = 200
    labels = superpixel_method(name)(image, 40)
    left, right = set(np.unique(labels[:, :69])), set(np.unique(labels[:, 71:]))
    assert not left & right


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
@pytest.mark.parametrize(
    ("image", "count", "words"),
    [
        (None, 4, "image is None"),
        ([[1, 2]], 4, "numpy array"),
        (scene(5).astype(float), 4, "uint8"),
        (scene(5)[..., :2], 4, "shape"),
        (scene(5)[:0], 4, "empty"),
        (scene(5), 0, "n_superpixels"),
        (scene(5), 96 * 160 + 1, "n_superpixels"),
        (scene(5), 4.0, "n_superpixels"),
        (scene(5), True, "n_superpixels"),
    ],
)
def test_bad_input_is_one_sentence(name: str, image: Any, count: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        superpixel_method(name)(image, count)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="ers, none, slic"):
        superpixel_method("watershed")
