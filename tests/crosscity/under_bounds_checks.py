"""What public functions make of odd input while every index of the compiled loops is looked at.

Run by `test_compiled_loops_are_guarded.py`, in a process whose numba checks bounds
(`NUMBA_BOUNDSCHECK=1`): there an index beyond an array is an IndexError, and no longer a number
from elsewhere. By itself it says little, so it is not collected otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crosscity.matching import Matches, deep_matching
from crosscity.matching.backtracking import step_down
from crosscity.partitioning import (
    entropy_rate_superpixels,
    greedy_partition,
    partition_objective,
    superpixel_hierarchy,
)
from crosscity.partitioning.scores import find
from crosscity.prior_parts import (
    MATCHERS,
    SUPERPIXEL_METHODS,
    MatcherSettings,
    build_matcher,
    superpixel_method,
)
from simcity import STYLES, CityStyle, Pose, Rendering, capture_pose, render, render_from
from simcity.camera import FARTHEST
from simcity.compiled import vote
from simcity.panorama import render_panorama
from simcity.style import SIGN_DESIGNS

Array = npt.NDArray[Any]

many = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
few = settings(many, max_examples=20)


def test_an_index_beyond_an_array_is_an_error_here() -> None:
    """Without this nothing below could fail."""
    with pytest.raises(IndexError):
        find(np.full(3, -1, np.int32), 3)
    with pytest.raises(IndexError):
        step_down(0, 1, np.zeros(1, np.int32), np.zeros((1, 1), np.uint16), 0, 0, 1)
    one, none = np.zeros((1, 1)), np.zeros((1, 1), np.bool_)
    with pytest.raises(IndexError):
        vote(
            one.astype(np.int32), one.astype(np.float32), np.array([300]), np.array([False]), 10,
            one.astype(np.uint8), none,
        )  # fmt: skip


sides = st.one_of(
    st.integers(1, 4), st.integers(1, 48), st.sampled_from([62, 63, 64, 125, 126, 127, 128, 130])
)
LEVELS: dict[str, Callable[[Array, int], Array]] = {
    "one colour": lambda at, top: np.full(at.shape, top // 2),
    "black": lambda at, _: np.zeros(at.shape),
    "steps": lambda at, top: (at // 7) % 2 * top,
    "checkers": lambda at, top: np.indices(at.shape).sum(axis=0) % 2 * top,
    "slope": lambda at, top: at % (top + 1),
    "noise": lambda at, top: np.random.default_rng(at.size).integers(0, top + 1, at.shape),
    "few colours": lambda at, _: np.random.default_rng(at.size).integers(0, 3, at.shape),
}


@st.composite
def pictures(draw: st.DrawFn, least: int = 1, most: int = 130, sixteen: bool = True) -> Array:
    """Of one pixel to more than one window; flat, of the largest contrast, and between."""
    height, width = (min(max(draw(sides), least), most) for _ in range(2))
    # As long as it is for this, of a line or two.
    if draw(st.booleans()):
        height, width = (least, width) if draw(st.booleans()) else (height, least)
    type_ = draw(st.sampled_from([np.uint8, np.uint16] if sixteen else [np.uint8]))
    at = np.arange(height * width * 3).reshape(height, width, 3)
    made = LEVELS[draw(st.sampled_from(sorted(LEVELS)))](at, int(np.iinfo(type_).max))
    picture: Array = made.astype(type_)
    if draw(st.booleans()):
        picture = picture[..., 0]
    return picture


@many
@example(picture=np.zeros((1, 1), np.uint8), share=1.0, weight=0.5, sigma=5.0, connectivity=8)
@example(picture=np.zeros((1, 2), np.uint8), share=0.0, weight=1e6, sigma=5.0, connectivity=4)
@given(
    picture=pictures(),
    share=st.floats(0, 1),
    weight=st.sampled_from([0.0, 1e-9, 0.5, 3.0, 1e6]),
    sigma=st.sampled_from([1e-6, 0.3, 5.0, 1e6]),
    connectivity=st.sampled_from([4, 8]),
)
def test_entropy_rate_superpixels(
    picture: Array, share: float, weight: float, sigma: float, connectivity: int
) -> None:
    number = 1 + int(share * (picture.shape[0] * picture.shape[1] - 1))
    labels = entropy_rate_superpixels(
        picture, number, balance=weight, sigma=sigma, connectivity=connectivity
    )
    assert labels.shape == picture.shape[:2]
    assert np.array_equal(np.unique(labels), np.arange(number))


@many
@given(
    picture=pictures(),
    weight=st.sampled_from([0.0, 1e-300, 0.5, 1e12]),
    sigma=st.sampled_from([1e-6, 5.0, 1e6]),
    connectivity=st.sampled_from([4, 8]),
    share=st.floats(0, 1),
)
def test_hierarchies(
    picture: Array, weight: float, sigma: float, connectivity: int, share: float
) -> None:
    hierarchy = superpixel_hierarchy(picture, weight, sigma=sigma, connectivity=connectivity)
    pixels = picture.shape[0] * picture.shape[1]
    for number in {1, 1 + int(share * (pixels - 1)), pixels}:
        assert np.array_equal(np.unique(hierarchy.cut(number)), np.arange(number))


@many
@given(
    picture=pictures(most=48),
    labels=st.sampled_from([(0, 1), (-3, 4), (-(2**31), 2**31 - 1)]),
    seed=st.integers(0, 9),
    connectivity=st.sampled_from([4, 8]),
)
def test_partitions_within_any_labels(
    picture: Array, labels: tuple[int, int], seed: int, connectivity: int
) -> None:
    shape = picture.shape[:2]
    rng = np.random.default_rng(seed)
    within = rng.integers(*labels, shape, endpoint=True).astype(np.int32)
    number = int(rng.integers(1, within.size, endpoint=True))
    found = greedy_partition(picture, number, within=within, connectivity=connectivity)
    assert found.labels.max() + 1 == found.objective.n_clusters
    value = partition_objective(picture, within, number, connectivity=connectivity)
    assert value == found.objective


@many
@given(
    picture=pictures(sixteen=False),
    share=st.floats(0, 1),
    name=st.sampled_from(sorted(SUPERPIXEL_METHODS)),
)
def test_each_superpixel_method(picture: Array, share: float, name: str) -> None:
    number = 1 + int(share * (picture.shape[0] * picture.shape[1] - 1))
    labels = superpixel_method(name)(picture, number)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def check_inside(found: Matches, picture: Array) -> None:
    height, width = picture.shape[:2]
    for at, side in ((found.x_a, width), (found.x_b, width), (found.y_a, height)):
        assert ((at >= 0) & (at <= side - 1)).all()
    assert ((found.y_b >= 0) & (found.y_b <= height - 1)).all()


@many
@given(
    pair=st.tuples(pictures(8, 130, False), pictures(8, 130, False)),
    radius=st.sampled_from([None, 5e-324, 0.5, 1.0, 3.0, 8.0, 40.0, 127.5, 1e300]),
    downscale=st.sampled_from([1, 2, 4]),
    power=st.sampled_from([1e-300, 0.3, 1.4, 64.0]),
    refine=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_deep_matching(
    pair: tuple[Array, Array],
    radius: float | None,
    downscale: int,
    power: float,
    refine: bool,
    threads: int,
) -> None:
    first, second = pair
    patch = (2 if refine else 1) * 4 * downscale
    height, width = (max(side, 2 * patch) for side in first.shape[:2])
    if max(height, width) < 3 * patch:
        width = 3 * patch
    first, second = (np.resize(each, (height, width, 3)) for each in (first, second))
    found = deep_matching(
        first, second, downscale=downscale, search_radius=radius, rectification=power,
        refine=refine, threads=threads,
    )  # fmt: skip
    check_inside(found, first)


@few
@given(pair=pictures(32, 130, False), name=st.sampled_from(sorted(MATCHERS)))
def test_each_matcher(pair: Array, name: str) -> None:
    check_inside(build_matcher(name, MatcherSettings(1))(pair, pair[::-1]), pair)


@st.composite
def styles(draw: st.DrawFn) -> CityStyle:
    """Cities at the ends of what a style may say."""
    style = STYLES[draw(st.sampled_from(sorted(STYLES)))]
    changed: dict[str, Any] = {}
    for each in fields(CityStyle):
        limits = each.metadata
        if each.name == "name" or not draw(st.booleans()):
            continue
        if limits["kind"] == "number":
            changed[each.name] = draw(st.sampled_from([limits["low"], limits["high"]]))
        elif limits["kind"] == "range":
            ends = draw(
                st.lists(st.sampled_from([limits["low"], limits["high"]]), min_size=2, max_size=2)
            )
            changed[each.name] = tuple(sorted(ends))
        elif limits["kind"] == "weights":
            heavy = draw(st.integers(0, limits["length"] - 1))
            changed[each.name] = tuple(float(k == heavy) for k in range(limits["length"]))
        elif limits["kind"] == "palette":
            changed[each.name] = ((0, 0, 0), (255, 255, 255))
        elif limits["kind"] == "designs":
            changed[each.name] = SIGN_DESIGNS
    return replace(style, **changed)


def check_sizes(made: Rendering, height: int, width: int) -> None:
    for picture in (made.image, made.train_ids, made.static):
        assert picture.shape[:2] == (height, width)


numbers = st.sampled_from([0, 1, 7, 255, 2**31, 2**63])


@few
@given(style=styles(), numbers=st.tuples(numbers, numbers, numbers), size=st.tuples(sides, sides))
def test_renderings(style: CityStyle, numbers: tuple[int, int, int], size: tuple[int, int]) -> None:
    seed, place, time = numbers
    height, width = size
    made = render(style, seed=seed, place=place, time=time, height=height, width=width)
    check_sizes(made, height, width)


SMALL = st.sampled_from([np.uint8(100), np.uint8(200), np.int8(100), np.uint16(90), 90])


@few
@given(height=SMALL, width=SMALL)
def test_sides_of_eight_bits(height: Any, width: Any) -> None:
    made = render(STYLES["rome"], seed=0, place=1, time=2, height=height, width=width)
    check_sizes(made, int(height), int(width))


@few
@given(
    changed=st.dictionaries(
        st.sampled_from([each.name for each in fields(Pose)]),
        st.one_of(
            st.floats(-FARTHEST, FARTHEST), st.sampled_from([-FARTHEST, 0.0, 5e-324, FARTHEST])
        ),
    ),
    heading=st.sampled_from([0.0, 90.0, -1e300]),
)
def test_cameras_anywhere(changed: dict[str, float], heading: float) -> None:
    key = {"seed": 0, "place": 1, "time": 2}
    pose = replace(capture_pose(STYLES["tokyo"], **key), **changed)
    made = render_from(pose, STYLES["tokyo"], **key, height=24, width=40, heading=heading)
    check_sizes(made, 24, 40)
    panorama = render_panorama(pose, STYLES["tokyo"], **key, height=16, width=32)
    assert panorama.shape == (16, 32, 3)
