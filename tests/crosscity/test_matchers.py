"""What every matcher promises, and what is said of those that break it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from crosscity.matching import Matches
from crosscity.prior_parts import MATCHERS, MatcherSettings, build_matcher

OWN = "python:a_package_of_mine:match"


def scene(seed: int, height: int = 128, width: int = 192) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 1.5) + 2 * cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)


def shifted(image: np.ndarray, right: int, down: int) -> np.ndarray:
    move = np.array([[1, 0, right], [0, 1, down]], dtype=np.float32)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, move, size, borderMode=cv2.BORDER_REFLECT))


def by_the_middle(image_a: np.ndarray, _image_b: np.ndarray) -> Matches:
    """A matcher of one's own: it knows nothing and says that nothing moved."""
    rows, columns = np.mgrid[2 : image_a.shape[0] : 8, 2 : image_a.shape[1] : 8]
    y, x = rows.ravel().astype(np.float32), columns.ravel().astype(np.float32)
    return Matches(x, y, x, y, np.ones_like(x), np.zeros(len(x), np.int32))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("a_package_of_mine")
    module.match = by_the_middle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_package_of_mine", module)
    return module


@pytest.fixture(params=[*MATCHERS, OWN])
def name(request: pytest.FixtureRequest, own: ModuleType) -> str:  # noqa: ARG001 - for OWN
    return str(request.param)


def columns(found: Matches) -> list[np.ndarray]:
    return [getattr(found, field.name) for field in fields(found)]


def test_matches_lie_in_both_images_and_one_in_a_cell(name: str) -> None:
    a = scene(1)
    found = build_matcher(name, MatcherSettings(downscale=2))(a, shifted(a, 6, 4))
    assert len(found) > 20
    for x, y in ((found.x_a, found.y_a), (found.x_b, found.y_b)):
        assert x.min() >= 0
        assert x.max() <= 191
        assert y.min() >= 0
        assert y.max() <= 127
    cells = found.y_a // 8 * 100 + found.x_a // 8
    assert len(np.unique(cells)) == len(found)


@pytest.mark.parametrize("name", list(MATCHERS))
@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_a_shift_is_found(name: str, downscale: int) -> None:
    a = scene(2)
    found = build_matcher(name, MatcherSettings(downscale, search_radius=24))(a, shifted(a, 8, 4))
    error = np.hypot(found.x_b - found.x_a - 8, found.y_b - found.y_a - 4)
    inner = (found.x_a > 16) & (found.x_a < 168) & (found.y_a > 16) & (found.y_a < 112)
    assert inner.sum() > 0.5 * (128 / (4 * downscale)) * (192 / (4 * downscale)) * 0.6
    assert (error[inner] <= 2 * downscale).mean() > 0.9


@pytest.mark.parametrize("name", list(MATCHERS))
def test_nothing_moves_further_than_the_radius_in_the_middle(name: str) -> None:
    a = scene(3)
    found = build_matcher(name, MatcherSettings(1, search_radius=6))(a, shifted(a, 20, 0))
    inner = (found.x_a > 12) & (found.x_a < 180) & (found.y_a > 12) & (found.y_a < 116)
    assert np.abs(found.x_b - found.x_a)[inner].max(initial=0) <= 6
    assert np.abs(found.y_b - found.y_a)[inner].max(initial=0) <= 6


def test_the_same_input_gives_the_same_matches_from_any_thread(name: str) -> None:
    a = scene(4)
    b = shifted(a, 3, -2)
    match = build_matcher(name, MatcherSettings(2))
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: match(a, b), range(6))
    for other in others:
        for mine, theirs in zip(columns(first), columns(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_view_matches_as_its_copy_does(name: str) -> None:
    a, b = scene(5), shifted(scene(5), 2, 2)
    match = build_matcher(name, MatcherSettings(2))
    of_views, of_copies = match(a[:, ::-1], b[:, ::-1]), match(a[:, ::-1].copy(), b[:, ::-1].copy())
    for mine, theirs in zip(columns(of_views), columns(of_copies), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (None, scene(6), "first image is None"),
        (scene(6), scene(6)[:64], "differ in size"),
        (scene(6).astype(float), scene(6), "uint8"),
        (scene(6), scene(6)[..., :2], "shape"),
    ],
)
def test_bad_pairs_are_one_sentence(name: str, a: Any, b: Any, words: str) -> None:
    match = build_matcher(name, MatcherSettings(2))
    with pytest.raises(ValueError, match=words) as caught:
        match(a, b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(MATCHERS))
def test_too_small_is_one_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="too small"):
        build_matcher(name, MatcherSettings(4))(scene(7, 12, 40), scene(7, 12, 40))


def test_dis_matches_more_points_than_a_row_of_opencv_has() -> None:
    a = np.tile(scene(2), (6, 6, 1))
    found = build_matcher("dis", MatcherSettings(1))(a, a)
    assert len(found) > 32_767
    assert np.abs(found.x_b - found.x_a).max() < 1


def test_what_is_too_large_for_dis_is_one_sentence() -> None:
    long = np.tile(scene(7, 32, 128), (1, 256, 1))
    with pytest.raises(ValueError, match="too large for DIS: no side may have more than 32766"):
        build_matcher("dis", MatcherSettings(4))(long, long)


@pytest.mark.parametrize("name", ["sift", "", "python:", "python:nothing", "DIS"])
def test_unknown_names_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(ValueError, match="deep_matching, deep_matching_refined, dis"):
        build_matcher(name, MatcherSettings())


def test_a_function_that_is_not_there_is_reported() -> None:
    with pytest.raises(ValueError, match="cannot be imported"):
        build_matcher("python:no_such_package:match", MatcherSettings())


def test_what_one_s_own_matcher_raises_is_a_reason_why_a_pair_failed(own: ModuleType) -> None:
    def match(*_: object) -> None:
        raise RuntimeError("no model")

    own.match = match  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=f"the matcher '{OWN}' raised RuntimeError: no model"):
        build_matcher(OWN, MatcherSettings())(scene(8), scene(8))


@pytest.mark.parametrize(
    ("returned", "words"), [(None, "returned NoneType"), ([1, 2], "returned list")]
)
def test_what_one_s_own_matcher_returns_is_looked_at(
    own: ModuleType, returned: object, words: str
) -> None:
    own.match = lambda *_: returned  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=words):
        build_matcher(OWN, MatcherSettings())(scene(8), scene(8))


def test_matches_of_one_s_own_outside_the_image_are_refused(own: ModuleType) -> None:
    inside = by_the_middle(scene(8), scene(8))
    own.match = lambda *_: inside  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="x_a outside the image"):
        build_matcher(OWN, MatcherSettings())(scene(8, 128, 96), scene(8, 128, 96))
