"""Whatever public functions are given, they answer or say in one sentence why not.

What is wrong here once ended the process, or asked for more memory than there is: so a test that
fails may show as a crash.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crosscity.alignment import relative_turn
from crosscity.checks import MAX_SIDE
from crosscity.evaluation import predict, predict_each
from crosscity.illustrations import (
    before_after_panel,
    class_legend,
    draw_matches,
    draw_prior,
    draw_superpixels,
)
from crosscity.image_quality import image_quality
from crosscity.matching import Matches, deep_matching, reliable_matches
from crosscity.matching.masking import matches_outside, without_pixels
from crosscity.matching.same_place import same_place
from crosscity.panorama import (
    Equirectangular,
    Perspective,
    View,
    needed_width,
    render_view,
    tiles_of_view,
    view_coordinates,
)
from crosscity.partitioning import (
    SuperpixelHierarchy,
    balance_weight_for,
    entropy_rate_superpixels,
    greedy_partition,
    partition_objective,
    superpixel_hierarchy,
    superpixel_quality,
)
from crosscity.prior_parts import MatcherSettings, build_matcher, superpixel_method
from crosscity.resizing import resized_image, resized_map
from crosscity.safeguard import static_points
from crosscity.second_looks import mirrored, smaller
from crosscity.segmenters import build_segmenter, image_tensor
from crosscity.several_times import evidence_of_times, least_evidence
from crosscity.static_probability import static_probability
from crosscity.static_regions import (
    counts_by_time,
    covered_shares,
    matched_counts,
    matched_pixels,
    static_prior,
    static_prior_of_times,
    superpixels_in_order,
)

few = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

RANDOM = np.random.default_rng(1)
GOOD = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
LABELS = (np.arange(32 * 48) // 96).reshape(32, 48).astype(np.int32)
SEGMENTER = build_segmenter("compact", {"width": 8, "dilations": [1]})
VIEW = View(0.0, 0.0, 90.0, 8, 8)


def answers(work: Callable[[], Any]) -> bool:
    """Whether it answered; anything but an answer or a ValueError of one sentence is a fault."""
    try:
        work()
    except ValueError as error:
        reported = str(error)
        assert reported
        assert "\n" not in reported
        assert len(reported) < 400
        return False
    return True


shapes = st.one_of(
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0, 1, 3, 4])),
    st.tuples(st.integers(0, 40)),
    st.just(()),
)
types = st.sampled_from(
    ["uint8", "uint16", "int8", "int32", "int64", "bool", "f4", "f8", "O", "U3"]
)


@st.composite
def anything_for_an_image(draw: st.DrawFn) -> Any:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from([None, "a.jpg", 3, [[1, 2], [3, 4]], b"", (1, 2), {}]))
    if kind == 1:
        return np.broadcast_to(np.uint8(0), draw(st.sampled_from([(2**20, 2**20), (2**17, 4, 3)])))
    shape = draw(shapes)
    dtype = np.dtype(draw(types))
    values = np.zeros(shape, dtype=dtype)
    if dtype.kind in "iuf" and values.size:
        rng = np.random.default_rng(draw(st.integers(0, 9)))
        values[...] = rng.integers(0, 120, shape)
        if dtype.kind == "f" and draw(st.booleans()):
            values.flat[0] = np.nan
    if draw(st.booleans()) and values.ndim:
        values = values[::-1]
    return values


OF_AN_IMAGE: dict[str, Callable[[Any], Any]] = {
    "deep_matching": lambda image: deep_matching(image, image, downscale=1, threads=1),
    "deep_matching, first": lambda image: deep_matching(image, GOOD, downscale=1, threads=1),
    "deep_matching, second": lambda image: deep_matching(GOOD, image, downscale=1, threads=1),
    "deep_matching, refined": lambda image: deep_matching(
        image, image, downscale=1, refine=True, threads=1
    ),
    "predict": lambda image: predict(SEGMENTER, image),
    "predict_each": lambda image: list(predict_each(SEGMENTER, [image])),
    "image_tensor": image_tensor,
    "image_quality": image_quality,
    "mirrored": mirrored,
    "smaller": smaller,
    "entropy_rate_superpixels": lambda image: entropy_rate_superpixels(image, 3),
    "superpixel_hierarchy": lambda image: superpixel_hierarchy(image, 1.0),
    "balance_weight_for": lambda image: balance_weight_for(image, 3),
    "greedy_partition": lambda image: greedy_partition(image, 3, within=LABELS),
    "partition_objective": lambda image: partition_objective(GOOD, image, 3),
    "superpixel_quality": lambda image: superpixel_quality(image, LABELS),
    "static_prior": lambda image: static_prior(matches([(1.0, 2.0)]), image),
    "static_points": lambda image: static_points(matches([(1.0, 2.0)]), (image, image)),
    "relative_turn": lambda image: relative_turn(image, 60.0, GOOD, 80.0),
    "relative_turn, other": lambda image: relative_turn(GOOD, 60.0, image, 80.0),
    "render_view": lambda image: render_view(image, Perspective(80.0), VIEW),
    "render_view, sphere": lambda image: render_view(image, Equirectangular(40, 80), VIEW),
    "resized_image": lambda image: resized_image(image, (5, 7)),
    "resized_map": lambda image: resized_map(image, (5, 7)),
    "draw_matches": lambda image: draw_matches(image, GOOD, matches([(1.0, 2.0)]), width=64),
    "draw_superpixels": lambda image: draw_superpixels(image, LABELS, width=64),
    "draw_superpixels, labels": lambda image: draw_superpixels(GOOD, image, width=64),
    "draw_prior": lambda image: draw_prior(GOOD, image, width=64),
    "before_after_panel": lambda image: before_after_panel(image, None, image, image, width=64),
}


def matches(at: list[tuple[float, float]]) -> Matches:
    points = np.array(at, dtype=np.float32).reshape(-1, 2)
    n = len(points)
    return Matches(
        points[:, 0],
        points[:, 1],
        points[::-1, 0],
        points[::-1, 1],
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
    )


SOME = matches([(float(x), float(y)) for x, y in RANDOM.uniform(0, 31, (40, 2))])


@pytest.mark.parametrize("name", OF_AN_IMAGE)
@few
@example(image=None)
@example(image=np.zeros((16, 16), np.uint8))
@example(image=np.zeros((1, 1, 3), np.uint8))
@given(image=anything_for_an_image())
def test_any_image_is_taken_or_refused_in_a_sentence(name: str, image: Any) -> None:
    answered = answers(lambda: OF_AN_IMAGE[name](image))
    if not isinstance(image, np.ndarray):
        assert not answered


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 9),
    st.floats(),
    st.sampled_from([1e300, -1e300, 1e-320, 5e-324, 2.0, "2", "cuda", [1], (2, 2), 2**31, 2**63]),
)

SETTINGS: dict[str, Callable[[Any], Any]] = {
    "downscale": lambda v: deep_matching(GOOD, GOOD, downscale=v, threads=1),
    "search_radius": lambda v: deep_matching(GOOD, GOOD, downscale=1, search_radius=v, threads=1),
    "rectification": lambda v: deep_matching(GOOD, GOOD, downscale=1, rectification=v, threads=1),
    "size of a prediction": lambda v: predict(SEGMENTER, GOOD, size=v),
    "size at which it is predicted": lambda v: predict(SEGMENTER, GOOD, image_size=v),
    "n_superpixels": lambda v: entropy_rate_superpixels(GOOD, v),
    "balance": lambda v: entropy_rate_superpixels(GOOD, 5, balance=v),
    "sigma": lambda v: entropy_rate_superpixels(GOOD, 5, sigma=v),
    "connectivity": lambda v: entropy_rate_superpixels(GOOD, 5, connectivity=v),
    "balance_weight": lambda v: superpixel_hierarchy(GOOD, v),
    "cut": lambda v: superpixel_hierarchy(GOOD, 1.0).cut(v),
    "tolerance of boundaries": lambda v: superpixel_quality(LABELS, LABELS, tolerance=v),
    "k": lambda v: static_prior(matches([(1, 1)]), LABELS, k=v),
    "coverage": lambda v: static_prior(matches([(1, 1)]), LABELS, coverage=v),
    "spacing": lambda v: static_prior(matches([(1, 1)]), LABELS, coverage=0.5, spacing=v),
    "spacing of neighbours": lambda v: reliable_matches(matches([(1, 1)]), v, neighbours=2),
    "weakest": lambda v: reliable_matches(matches([(1, 1)]), 4, weakest=v),
    "neighbours": lambda v: reliable_matches(matches([(1, 1)]), 4, neighbours=v),
    "tolerance": lambda v: reliable_matches(matches([(1, 1)]), 4, tolerance=v),
    "coverage of times": lambda v: least_evidence(v, 2),
    "number of other times": lambda v: least_evidence(0.2, v),
    "spacing of times": lambda v: evidence_of_times([SOME], [LABELS], spacing=v),
    "sides of times": lambda v: evidence_of_times([SOME], [LABELS], sides=v),
    "partitions": lambda v: evidence_of_times([SOME], v),
    "shape of a picture": lambda v: matched_pixels(SOME, v, "a"),
    "height of a picture": lambda v: matched_pixels(SOME, (v, 7), "a"),
    "area of a picture": lambda v: matched_pixels(SOME, (v, MAX_SIDE), "a"),
    "side": lambda v: matched_pixels(SOME, (9, 7), v),
    "fov": lambda v: relative_turn(GOOD, v, GOOD, 100.0),
    "heading": lambda v: View(v, 0.0, 90.0, 8, 8),
    "view fov": lambda v: render_view(GOOD, Equirectangular(40, 80), View(0.0, 0.0, v, 8, 8)),
    "tile": lambda v: tiles_of_view(Equirectangular(40, 80), VIEW, (v, 8)),
    "photograph fov": lambda v: render_view(GOOD, Perspective(v), VIEW),
    "k1": lambda v: render_view(GOOD, Perspective(80.0, k1=v), VIEW),
    "left": lambda v: render_view(GOOD, Equirectangular(40, 80, left=v), VIEW),
    "size": lambda v: Equirectangular(v, 80),
}
SIZES: dict[str, Callable[[Any], Any]] = {
    "resized_image": lambda size: resized_image(GOOD, size),
    "resized_map": lambda size: resized_map(LABELS, size),
}


@pytest.mark.parametrize("name", SETTINGS)
@few
@given(value=anything)
def test_any_setting_is_taken_or_refused_in_a_sentence(name: str, value: Any) -> None:
    answers(lambda: SETTINGS[name](value))


@pytest.mark.parametrize("value", [-1, 0, 1.0, True, "2", 10**9])
def test_threads_are_a_whole_number(value: Any) -> None:
    assert not answers(lambda: deep_matching(GOOD, GOOD, downscale=1, threads=value))


@pytest.mark.parametrize("value", [2.0, True, 3, 0, "2", None])
def test_a_downscale_is_1_2_or_4_and_no_other_kind_of_number(value: Any) -> None:
    assert not answers(lambda: deep_matching(GOOD, GOOD, downscale=value))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    "size", [(0, 5), (5, -1), (2.0, 5), (True, 5), (10**9, 10**9), 5, "ab", (1, 2, 3), (65535,) * 2]
)
def test_sizes_are_two_whole_numbers(name: str, size: Any) -> None:
    assert not answers(lambda: SIZES[name](size))


def odd_layouts(values: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """The same values, stored in every way that numpy has."""
    doubled = np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)
    frozen = values.copy()
    frozen.flags.writeable = False
    held = bytearray(b"x") + values.tobytes()
    return {
        "turned": np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1],
        "every other": doubled[::2, ::2],
        "column by column": np.asfortranarray(values),
        "read-only": frozen,
        "at odd addresses": np.ndarray(values.shape, values.dtype, bytes(held), offset=1),
    }


def no_plain_arrays(values: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """What numpy offers beside plain arrays of this machine's numbers."""
    made = {
        "masked": np.ma.masked_array(values, mask=values > 3),
        "object": values.astype(object),
        "records": np.zeros(values.shape[:2], dtype=[("a", "u1"), ("b", "f4")]),
        "infinite": np.full(values.shape, np.inf),
        "complex": values.astype(np.complex64),
        "times": values.astype("m8[s]"),
        "no rows": values[:0],
        "a number": np.array(values.flat[0]),
    }
    if values.dtype.itemsize > 1:
        made["big-endian"] = values.astype(values.dtype.newbyteorder(">"))
    if values.ndim == 2:
        made["matrix"] = values.view(np.matrix)
    return made


OF_LABELS: dict[str, Callable[[Any], Any]] = {
    "static_prior": lambda v: static_prior(SOME, v),
    "static_prior_of_times": lambda v: static_prior_of_times([SOME, SOME], v, coverage=0.1),
    "covered_shares": lambda v: covered_shares([SOME], v, spacing=4),
    "superpixels_in_order": superpixels_in_order,
    "matched_counts": lambda v: matched_counts(SOME, v, "b"),
    "counts_by_time": lambda v: counts_by_time([SOME, SOME], v, ["a", "b"]),
    "evidence_of_times": lambda v: evidence_of_times([SOME, SOME], [v, v], spacing=4),
    "static_probability": lambda v: static_probability([SOME], v, spacing=4),
    "greedy_partition": lambda v: greedy_partition(GOOD, 3, within=v).labels,
    "partition_objective": lambda v: partition_objective(GOOD, v, 3),
    "superpixel_quality": lambda v: superpixel_quality(LABELS, v),
}
OF_A_MASK: dict[str, Callable[[Any], Any]] = {
    "without_pixels": lambda v: without_pixels(GOOD, v, 1),
    "matches_outside": lambda v: matches_outside(SOME, v, 3.0),
    "static_points": lambda v: static_points(SOME, (v, v)),
}
OF_A_PICTURE: dict[str, Callable[[Any], Any]] = {
    "deep_matching": lambda v: deep_matching(v, GOOD, downscale=1, threads=1),
    "deep_matching on a device": lambda v: deep_matching(GOOD, v, downscale=1, device="cpu:0"),
    "deep_matching_refined": lambda v: build_matcher("deep_matching_refined", MatcherSettings(1))(
        v, GOOD
    ),
    "dis": lambda v: build_matcher("dis", MatcherSettings(1))(v, GOOD),
    "ers": lambda v: superpixel_method("ers")(v, 6),
    "slic": lambda v: superpixel_method("slic")(v, 6),
    "none": lambda v: superpixel_method("none")(v, 6),
    "superpixel_hierarchy": lambda v: superpixel_hierarchy(v, 1.0).cut(4),
    "without_pixels": lambda v: without_pixels(v, LABELS > 3, 0),
}
TABLES = (
    *((name, work, GOOD) for name, work in OF_A_PICTURE.items()),
    *((name, work, LABELS) for name, work in OF_LABELS.items()),
    *((name, work, LABELS > 4) for name, work in OF_A_MASK.items()),
    ("same_place", same_place, np.arange(9, dtype=np.int64).reshape(3, 3)),
)


def as_text(found: Any) -> str:
    with np.printoptions(threshold=10**6):
        return repr(found)


@pytest.mark.parametrize(("name", "work", "given"), TABLES, ids=[each[0] for each in TABLES])
def test_how_an_array_is_stored_changes_nothing(
    name: str, work: Callable[[Any], Any], given: npt.NDArray[Any]
) -> None:
    expected = as_text(work(given))
    for layout, values in odd_layouts(given).items():
        assert np.array_equal(values, given)
        assert as_text(work(values)) == expected, (name, layout)


FAR_APART = np.where(LABELS.max() == LABELS, np.int32(2**31 - 1), LABELS)
"""The same regions, one of which has a large number."""


@pytest.mark.parametrize("name", sorted(OF_LABELS))
def test_large_numbers_of_regions_ask_for_no_more_memory(name: str) -> None:
    tracemalloc.start()
    try:
        told = as_text(OF_LABELS[name](FAR_APART))
    except ValueError as refused:
        told = str(refused)
        assert re.search(r"number(ed)?\b", told), told
    else:
        assert told == as_text(OF_LABELS[name](LABELS))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**25, told


def test_regions_that_are_as_many_as_pixels_can_be_compared() -> None:
    each = np.arange(600 * 800).reshape(600, 800)
    assert superpixel_quality(each, each).achievable_accuracy == 1.0
    assert superpixel_quality(each, each // 2).undersegmentation_error == 0.0
    assert superpixel_quality(each // 2, each).achievable_accuracy == 0.5


@pytest.mark.parametrize(("name", "work", "given"), TABLES, ids=[each[0] for each in TABLES])
def test_what_is_no_plain_array_is_refused_in_a_sentence(
    name: str, work: Callable[[Any], Any], given: npt.NDArray[Any]
) -> None:
    for kind, values in no_plain_arrays(given).items():
        assert not answers(lambda values=values: work(values)), (name, kind)


@pytest.mark.parametrize("column", ["x_a", "y_a", "x_b", "y_b", "score", "entry"])
def test_columns_of_matches_are_plain_arrays(column: str) -> None:
    good = getattr(SOME, column)
    wrong = [
        good.astype(good.dtype.newbyteorder(">")),
        np.ma.masked_array(good, mask=good > 0),
        good.astype(object),
        np.full(len(good), np.inf),
    ]
    for values in wrong:
        with pytest.raises(ValueError, match=column):
            replace(SOME, **{column: values})
    every_other = np.repeat(good, 2)[::2]
    found = replace(SOME, **{column: every_other})
    assert as_text(reliable_matches(found, 4)) == as_text(reliable_matches(SOME, 4))


@pytest.mark.parametrize(
    ("work", "value"),
    [
        (lambda v: deep_matching(GOOD, GOOD, downscale=1, threads=v), 3),
        (lambda v: deep_matching(GOOD, GOOD, downscale=v, threads=1), 2),
        (lambda v: entropy_rate_superpixels(GOOD, v), 100),
        (lambda v: superpixel_method("slic")(GOOD, v), 100),
        (lambda v: superpixel_method("none")(GOOD, v), 100),
        (lambda v: static_prior(SOME, LABELS, k=v), 127),
        (lambda v: static_prior_of_times([SOME] * 3, LABELS, k=v), 127),
        (lambda v: static_prior(SOME, LABELS, k=0, coverage=0.2, spacing=v), 16),
        (lambda v: covered_shares([SOME], LABELS, spacing=v), 16),
        (lambda v: reliable_matches(SOME, v), 64),
        (lambda v: superpixel_quality(LABELS, LABELS, tolerance=v), 100),
    ],
)
def test_numbers_of_eight_bits_count_as_others_do(work: Callable[[Any], Any], value: int) -> None:
    assert as_text(work(np.int8(value))) == as_text(work(value))


NO_MATCHES: tuple[Any, ...] = (None, True, 1.0, "x", [1], {}, np.zeros(3))


@pytest.mark.parametrize("value", NO_MATCHES, ids=repr)
def test_what_is_no_matches_is_refused_in_a_sentence(value: Any) -> None:
    for work in (
        lambda: static_prior(value, LABELS),
        lambda: static_prior_of_times([value], LABELS),
        lambda: static_prior_of_times(value, LABELS),
        lambda: evidence_of_times([value], [LABELS]),
        lambda: evidence_of_times(value, [LABELS]),
        lambda: evidence_of_times([SOME], value or [3]),
        lambda: counts_by_time([value], LABELS),
        lambda: matched_pixels(value, (9, 9), "a"),
        lambda: static_prior_of_times([SOME], LABELS, sides=value or 3),
        lambda: reliable_matches(value, 4),
        lambda: matches_outside(value, LABELS > 3, 1.0),
        lambda: build_matcher(value, MatcherSettings()),
        lambda: superpixel_method(value),
    ):
        assert not answers(work)


coordinates = st.lists(
    st.tuples(*[st.floats(width=32)] * 4)
    | st.tuples(*[st.floats(-MAX_SIDE, MAX_SIDE, width=32)] * 4)
    | st.tuples(*[st.sampled_from([-1e9, -5.0, -0.6, 0.0, 7.0, 47.5, 48.0, 1e4])] * 4),
    max_size=12,
)


@few
@example(at=[(-5.0, -5.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0)])
@example(at=[(1e9, 1e9, 1.0, 1.0)])
@given(at=coordinates)
def test_matches_anywhere_are_refused_or_safe(at: list[tuple[float, ...]]) -> None:
    points = np.array(at, dtype=np.float32).reshape(-1, 4)
    n = len(points)
    ones, entries = np.ones(n, np.float32), np.zeros(n, np.int32)
    expected = bool(np.isfinite(points).all() and (np.abs(points) <= MAX_SIDE).all())
    made: list[Matches] = []
    assert answers(lambda: made.append(Matches(*points.T, ones, entries))) == expected
    for found in made:
        assert len(reliable_matches(found, 1, weakest=0.0, neighbours=0)) == n
        reliable_matches(found, 1, weakest=0.2, neighbours=1)
        for side in ("a", "b"):
            static_prior(found, LABELS, k=0, side=side)  # type: ignore[arg-type]
        static_points(found, (LABELS > 2, LABELS > 2))
        draw_matches(GOOD, GOOD, found, width=200)


@pytest.mark.parametrize("name", ["x_a", "y_b", "score", "entry"])
@pytest.mark.parametrize(
    "wrong", [None, [1.0], np.zeros(2), np.zeros((2, 1), np.float32), np.zeros(3, np.float32)]
)
def test_columns_of_matches_are_rows_of_one_length(name: str, wrong: Any) -> None:
    good = matches([(1, 2), (3, 4)])
    with pytest.raises(ValueError, match=name):
        replace(good, **{name: wrong})


@pytest.mark.parametrize(
    ("line", "joins"),
    [
        ([0, 1, 2, 9], [0, 1, 2]),
        ([0, 1, 2, -1], [0, 1, 2]),
        ([0, 1, 2, 2], [0, 1, 2]),
        ([0, 1, 2, 3], [2, 2, 2]),
        ([0, 1, 2, 3], [0, 1]),
    ],
)
def test_a_hierarchy_of_one_s_own_is_looked_at(line: list[int], joins: list[int]) -> None:
    row: Callable[[list[int]], npt.NDArray[np.int32]] = lambda v: np.array(v, np.int32)  # noqa: E731
    with pytest.raises(ValueError, match="each number from 0"):
        SuperpixelHierarchy((2, 2), 1.0, row(line), row(joins))


@pytest.mark.parametrize(
    "shape", [(-2, -2), (2.0, 2), (4,), (2, 2, 1), [2, 2], None, 4, (0, 4), (2**20, 2**20), "22"]
)
def test_the_shape_of_a_hierarchy_is_a_picture_s(shape: Any) -> None:
    line, joins = np.arange(4, dtype=np.int32), np.arange(3, dtype=np.int32)
    assert not answers(lambda: SuperpixelHierarchy(shape, 1.0, line, joins))


def test_what_is_written_to_a_row_later_reaches_no_hierarchy() -> None:
    line, joins = np.arange(4, dtype=np.int32), np.arange(3, dtype=np.int32)
    found = SuperpixelHierarchy((2, 2), 1.0, line, joins)
    line[0] = joins[1] = 10**9
    assert found.cut(4).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        found.line[0] = 10**9


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_the_smallest_pictures_are_matched_and_smaller_ones_are_not(
    downscale: int, refine: bool
) -> None:
    patch = (8 if refine else 4) * downscale

    def match(height: int, width: int) -> None:
        image = np.resize(GOOD, (height, width, 3))
        deep_matching(image, image, downscale=downscale, refine=refine, threads=1)

    assert answers(lambda: match(2 * patch, 3 * patch))
    assert answers(lambda: match(3 * patch, 2 * patch))
    for size in ((2 * patch, 2 * patch), (2 * patch, 3 * patch - 1), (2 * patch - 1, 3 * patch)):
        with pytest.raises(ValueError, match=f"at least {2 * patch}, one of them {3 * patch}$"):
            match(*size)


NARROW = np.uint8(200)
"""Twice of which does not fit into its own type."""
OF_A_NUMBER: dict[str, Callable[[Any], Any]] = {
    "resized_image": lambda v: resized_image(GOOD, (v, v)),
    "resized_map": lambda v: resized_map(LABELS, (v, v)),
    "draw_prior": lambda v: draw_prior(GOOD, LABELS > 3, width=v),
    "draw_superpixels": lambda v: draw_superpixels(GOOD, LABELS, width=v),
    "draw_matches": lambda v: draw_matches(GOOD, GOOD, SOME, width=v),
    "before_after_panel": lambda v: before_after_panel(
        GOOD, *(LABELS.astype(np.uint8),) * 3, width=v
    ),
    "class_legend": lambda v: class_legend(width=v),
    "render_view, panorama": lambda v: render_view(
        GOOD, Equirectangular(v, v, top=0, left=v), View(0.0, 0.0, 90.0, v, v)
    ),
    "render_view, photograph": lambda v: render_view(
        GOOD, Perspective(80.0), View(0.0, 0.0, 90.0, v, v)
    ),
    "view_coordinates": lambda v: view_coordinates(
        Equirectangular(v, v), (0, 0), View(0.0, 0.0, 90.0, v, v)
    ),
    "tiles_of_view": lambda v: tiles_of_view(
        Equirectangular(v, v), View(0.0, 0.0, 90.0, v, v), (v, v)
    ),
    "needed_width": lambda v: needed_width(View(0.0, 0.0, 90.0, v, v)),
    "entropy_rate_superpixels": lambda v: entropy_rate_superpixels(GOOD, v),
    "cut": lambda v: superpixel_hierarchy(GOOD, 1.0).cut(v),
    "greedy_partition": lambda v: greedy_partition(GOOD, v).labels,
    "balance_weight_for": lambda v: balance_weight_for(GOOD, v),
    "superpixel_quality": lambda v: superpixel_quality(LABELS, LABELS.T.copy().T, tolerance=v),
    "static_prior": lambda v: static_prior(SOME, LABELS, k=v, coverage=0.5, spacing=v),
    "covered_shares": lambda v: covered_shares([SOME], LABELS, spacing=v),
    "evidence_of_times": lambda v: evidence_of_times([SOME], [LABELS], spacing=v),
    "least_evidence": lambda v: least_evidence(0.2, v),
    "reliable_matches": lambda v: reliable_matches(SOME, v, neighbours=0, tolerance=v).x_a,
    "matched_pixels": lambda v: matched_pixels(SOME, (v, v), "a"),
    "without_pixels": lambda v: without_pixels(GOOD, LABELS > 3, v),
    "matches_outside": lambda v: matches_outside(SOME, LABELS > 13, v).x_a,
    "deep_matching": lambda v: deep_matching(GOOD, GOOD, downscale=1, search_radius=v).x_b,
    "slic": lambda v: superpixel_method("slic")(GOOD, v),
    "none": lambda v: superpixel_method("none")(GOOD, v),
    "predict": lambda v: predict(SEGMENTER, GOOD, size=(v, v), image_size=(v, v)),
}


@pytest.mark.parametrize("name", OF_A_NUMBER)
def test_numbers_of_narrow_types_mean_what_pythons_do(name: str) -> None:
    wanted, found = (OF_A_NUMBER[name](value) for value in (int(NARROW), NARROW))
    for one, other in zip(
        *(each if isinstance(each, tuple) else (each,) for each in (wanted, found)), strict=True
    ):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
