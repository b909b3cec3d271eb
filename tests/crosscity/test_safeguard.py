"""The label-free safeguard: its signals against plain counting, and what it notices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosscity.evaluation import PROTOCOLS, ClassGroups, predicted_groups
from crosscity.matching import Matches
from crosscity.pair_signs import PairSigns, compare_pair, pair_signs
from crosscity.safeguard import (
    FEWEST_PAIRS,
    SafeguardLimits,
    agreement,
    class_agreement,
    compare,
    divergence,
    kappa,
    static_points,
    vanished_classes,
    vanished_sentence,
    verdict,
)
from crosscity.segmenters import build_segmenter, image_tensor

NAMES = ("road", "building", "sky", "person")
TABLES = arrays(np.int64, (4, 4), elements=st.integers(0, 50))
COUNTS = arrays(np.int64, (5,), elements=st.integers(0, 1000)).filter(lambda counts: counts.any())


def counted(first, second) -> np.ndarray:
    table = np.zeros((4, 4), dtype=np.int64)
    for a, b in zip(first, second, strict=True):
        table[a, b] += 1
    return table


def labels_of(table) -> tuple[list[int], list[int]]:
    """The points behind a table, one by one."""
    pairs = [(a, b) for a in range(4) for b in range(4) for _ in range(table[a, b])]
    return [a for a, _ in pairs], [b for _, b in pairs]


@given(TABLES)
def test_kappa_and_agreement_are_those_of_counting_the_points(table):
    first, second = labels_of(table)
    n = len(first)
    if not n:
        assert math.isnan(kappa(table))
        assert math.isnan(agreement(table))
        return
    equal = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(a == b for a in first for b in second) / n**2  # every first with every second
    assert agreement(table) == pytest.approx(equal)
    assert kappa(table) == pytest.approx(0 if chance == 1 else (equal - chance) / (1 - chance))


@given(TABLES)
def test_agreement_on_a_class_is_that_of_counting_the_points(table):
    points = list(zip(*labels_of(table), strict=True))
    for at, found in enumerate(class_agreement(table)):
        either = [both for both in points if at in both]
        if not either:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(sum(both == (at, at) for both in either) / len(either))


@given(TABLES)
def test_kappa_is_bounded_and_does_not_care_which_time_is_first(table):
    if table.any():
        assert -1 - 1e-9 <= kappa(table) <= 1 + 1e-9
        assert kappa(table) == pytest.approx(kappa(table.T))


@given(st.lists(st.integers(1, 50), min_size=2, max_size=4))
def test_kappa_of_full_agreement_is_one(diagonal):
    table = np.zeros((4, 4), dtype=np.int64)
    table[range(len(diagonal)), range(len(diagonal))] = diagonal
    assert kappa(table) == pytest.approx(1)


def test_kappa_of_one_class_everywhere_is_none_beyond_chance():
    assert kappa(np.diag([7, 0, 0, 0])) == 0


@given(COUNTS, COUNTS)
def test_divergence_is_that_of_the_definition(first, second):
    p, q = [c / first.sum() for c in first], [c / second.sum() for c in second]

    def surprise(these, others) -> float:
        return sum(a * math.log2(a / b) for a, b in zip(these, others, strict=True) if a > 0)

    mean = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    wanted = (surprise(p, mean) + surprise(q, mean)) / 2
    assert divergence(first, second) == pytest.approx(wanted, abs=1e-9)


@given(COUNTS, COUNTS, st.integers(2, 9))
def test_divergence_is_bounded_symmetric_and_nothing_for_the_same_shares(first, second, times):
    found = divergence(first, second)
    assert 0 <= found <= 1
    assert found == pytest.approx(divergence(second, first), abs=1e-12)
    assert divergence(first, first * times) == pytest.approx(0, abs=1e-12)


def test_divergence_of_disjoint_classes_is_one_bit():
    assert divergence(np.array([3, 0]), np.array([0, 9])) == pytest.approx(1)


@pytest.mark.parametrize(
    "second", [[1, 2, 3], [0, 0], [-1, 3], [np.nan, 1], [np.inf, 1], [np.nan] * 2]
)
def test_divergence_needs_two_distributions(second):
    with pytest.raises(ValueError, match="two distributions over the same classes"):
        divergence(np.array([1, 2]), np.array(second))


# Whole pictures: a street of four classes, seen at two times.


def street(pairs: int, noise: float, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels of both times of each pair; a share of the pixels is wrong, by chance."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(pairs):
        truth = np.repeat([[2], [1], [0]], 8, axis=0) * np.ones((1, 32), dtype=np.int64)
        truth[12:20, 10:13] = 3
        times = []
        for _ in range(2):
            wrong = random.random(truth.shape) < noise
            times.append(np.where(wrong, random.integers(0, 4, truth.shape), truth))
        found.append((times[0], times[1]))
    return found


def signs(labels) -> list[PairSigns]:
    return [
        PairSigns(
            counted(a.ravel(), b.ravel()),
            np.bincount(np.concatenate([a.ravel(), b.ravel()]), minlength=4),
            np.full(4, a.size / 2),
            float(a.size),
        )
        for a, b in labels
    ]


def changed(labels, change) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(change(a), change(b)) for a, b in labels]


def test_an_identical_segmenter_is_kept_whatever_the_limits():
    before = signs(street(12, 0.2))
    signals = compare(before, before, NAMES)
    assert signals.kappa_change == 0
    assert signals.interval == (0, 0)
    assert signals.drift == 0
    assert signals.pairs == 12
    assert signals.points == 12 * 24 * 32
    strictest = SafeguardLimits(tolerance=0, drift=0, present=0, missed=0, vanished=0)
    assert verdict(signals, strictest).keep == "after"
    assert verdict(signals).reasons == ()


def test_a_better_segmenter_is_taken():
    signals = compare(signs(street(12, 0.3)), signs(street(12, 0.1, seed=1)), NAMES)
    assert signals.interval[0] > 0
    assert signals.agreement.after > signals.agreement.before
    assert verdict(signals).keep == "after"


def test_a_segmenter_whose_two_times_agree_less_is_rejected():
    signals = compare(signs(street(12, 0.1)), signs(street(12, 0.2, seed=1)), NAMES)
    assert signals.interval[0] <= signals.kappa_change <= signals.interval[1] < -0.01
    found = verdict(signals)
    assert found.keep == "before"
    (reason,) = found.reasons
    assert reason.startswith("The two times of a pair agree less than before")
    assert verdict(signals, SafeguardLimits(tolerance=0.9)).keep == "after"


@pytest.mark.parametrize("label", range(4))
def test_a_collapsed_segmenter_is_rejected_though_its_two_times_agree(label):
    labels = street(12, 0.1)
    collapsed = changed(labels, lambda seen: np.full_like(seen, label))
    signals = compare(signs(labels), signs(collapsed), NAMES)
    assert signals.agreement.after == 1
    assert signals.kappa.after == 0
    found = verdict(signals)
    assert found.keep == "before"
    said = " ".join(found.reasons)
    assert "agree less than before" in said
    assert "drifted" in said
    assert sum("vanished" in reason for reason in found.reasons) == 3


def test_a_permuted_classifier_is_rejected_though_its_two_times_agree_as_before():
    labels = street(12, 0.1)
    permuted = changed(labels, lambda seen: np.array([3, 0, 1, 2])[seen])
    signals = compare(signs(labels), signs(permuted), NAMES)
    assert signals.kappa_change == pytest.approx(0, abs=1e-12)
    found = verdict(signals)
    assert found.keep == "before"
    assert [reason.split(" by ")[0] for reason in found.reasons] == [
        "The predicted classes drifted"
    ]


def test_a_class_that_vanishes_is_named_and_counts_when_it_was_not_rare():
    labels = street(12, 0.0)
    share = 24 / (24 * 32)
    without = changed(labels, lambda seen: np.where(seen == 3, 1, seen))
    signals = compare(signs(labels), signs(without), NAMES)
    assert signals.shares["person"].before == pytest.approx(share)
    assert vanished_classes(signals, SafeguardLimits()) == ["person"]
    assert verdict(signals).reasons == (
        "The class person vanished: from 3.12 % of the pixels to 0.00 %.",
    )
    rare = SafeguardLimits(missed=0.05)
    assert vanished_classes(signals, rare) == ["person"]
    assert verdict(signals, rare).keep == "after"
    assert vanished_sentence(signals, rare) == (
        " Look at what has all but vanished: person (3.12 % of the pixels before, 0.00 % after)."
    )
    same = compare(signs(labels), signs(labels), NAMES)
    assert vanished_sentence(same, rare) == ""


ROADS = ("road", "car", "truck", "person")


def moved_to(other: str, sureness: float) -> np.ndarray:
    """A twentieth of 10 000 pixels were trucks, with some probability, and are another class."""
    moved = np.zeros((4, 4))
    moved[0, 0] = 9500
    moved[2, ROADS.index(other)] = 500 * sureness
    return moved


def truck_gone_to(other: str, sureness: float) -> str:
    before = np.array([9500, 0, 500, 0])
    after = np.array([9500, 0, 0, 0])
    after[ROADS.index(other)] += 500
    no_points = np.zeros((4, 4), dtype=np.int64)
    signs_of = [PairSigns(no_points, each, each / 1e4, 1.0) for each in (before, after)]
    signals = compare([signs_of[0]], [signs_of[1]], ROADS, moved=moved_to(other, sureness))
    assert vanished_classes(signals, SafeguardLimits()) == ["truck"]
    return verdict(signals, SafeguardLimits(drift=1)).keep


def test_a_class_vanishes_where_its_sure_pixels_become_another_category():
    assert truck_gone_to("road", 0.9) == "before"
    assert truck_gone_to("person", 0.9) == "before"
    assert truck_gone_to("car", 0.9) == "after"  # still seen as a vehicle
    assert truck_gone_to("road", 0.09) == "after"  # the start did not believe it itself


def test_one_class_may_vanish_where_the_two_times_agree_better_for_it():
    """An error that is seen at one of the two times only, and then no more; two classes may not."""
    random = np.random.default_rng(0)
    labels = street(12, 0.0)
    wrong = [(np.where(random.random(a.shape) < 0.04, 3, a), b) for a, b in labels]
    corrected = changed(wrong, lambda seen: np.where(seen == 3, 1, seen))
    signals = compare(signs(wrong), signs(corrected), NAMES)
    assert vanished_classes(signals, SafeguardLimits()) == ["person"]
    assert signals.interval[0] > 0
    assert verdict(signals).keep == "after"
    poorer = changed(wrong, lambda seen: np.where(seen >= 2, 1, seen))
    signals = compare(signs(wrong), signs(poorer), NAMES)
    assert signals.interval[0] > 0
    found = verdict(signals, SafeguardLimits(drift=1))
    assert [reason.split()[2] for reason in found.reasons] == ["sky", "person"]


def test_predictions_that_tell_less_of_the_classes_are_rejected():
    before = signs(street(12, 0.1))
    unsure = [replace(each, entropy=each.entropy + 0.6 * each.classes.sum()) for each in before]
    signals = compare(before, unsure, NAMES)
    assert signals.information.before - signals.information.after == pytest.approx(0.6)
    (reason,) = verdict(signals).reasons
    assert reason.startswith("The predictions tell less")
    assert verdict(signals, SafeguardLimits(information=0.7)).keep == "after"
    with pytest.raises(ValueError, match="information must be 0 bits or more"):
        SafeguardLimits(information=-0.1)


def test_the_interval_is_that_of_drawing_pairs_anew_the_same_for_both():
    before, after = signs(street(9, 0.1)), signs(street(9, 0.15, seed=1))
    found = compare(before, after, NAMES, seed=3)
    random = np.random.default_rng(99)
    changes = []
    for _ in range(1500):
        drawn = random.integers(0, 9, 9)
        tables = [sum(which[i].table for i in drawn) for which in (before, after)]
        changes.append(kappa(tables[1]) - kappa(tables[0]))
    width = found.interval[1] - found.interval[0]
    wanted = np.quantile(changes, [0.025, 0.975])
    np.testing.assert_allclose(found.interval, wanted, atol=0.15 * width)
    assert compare(before, after, NAMES, seed=3) == found
    assert compare(before, after, NAMES, seed=4).interval != found.interval


def test_of_few_pairs_only_a_large_fall_of_agreement_counts():
    few = FEWEST_PAIRS - 1
    labels = street(few, 0.0)
    for noise, keep in ((0.02, "after"), (0.4, "before")):
        signals = compare(signs(labels), signs(street(few, noise, seed=1)), NAMES)
        assert all(math.isnan(end) for end in signals.interval)
        assert signals.kappa_change < -0.01
        assert verdict(signals, SafeguardLimits(drift=1)).keep == keep
    (reason,) = verdict(signals, SafeguardLimits(drift=1)).reasons
    assert "4 pairs are too few for an interval, tolerated is -0.100" in reason


def test_without_points_the_other_signs_decide():
    labels = street(9, 0.1)
    without = [replace(each, table=np.zeros((4, 4), dtype=np.int64)) for each in signs(labels)]
    signals = compare(without, without, NAMES)
    assert signals.points == 0
    assert math.isnan(signals.kappa.before)
    assert verdict(signals).keep == "after"
    collapsed = signs(changed(labels, lambda seen: np.full_like(seen, 0)))
    blind = [replace(each, table=np.zeros((4, 4), dtype=np.int64)) for each in collapsed]
    found = verdict(compare(without, blind, NAMES))
    assert found.keep == "before"
    assert found.reasons[0].startswith("The predicted classes drifted")


def test_predictions_that_are_not_numbers_are_rejected():
    before = signs(street(9, 0.1))
    after = [replace(each, entropy=math.nan) for each in before]
    found = verdict(compare(before, after, NAMES))
    assert found.reasons == ("The adapted segmenter predicts values that are not finite.",)


def test_what_cannot_be_compared_is_reported():
    some = signs(street(2, 0.1))
    with pytest.raises(ValueError, match="at least one; it got 0 and 0"):
        compare([], [], NAMES)
    with pytest.raises(ValueError, match="it got 2 and 1"):
        compare(some, some[:1], NAMES)
    with pytest.raises(ValueError, match="one label space"):
        compare(some, some, NAMES[:3])


@pytest.mark.parametrize("name", ["tolerance", "drift", "present", "missed", "vanished"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_limits_lie_in_their_ranges(name, value):
    with pytest.raises(ValueError, match=f"the safeguard's {name} must lie from 0 to 1"):
        SafeguardLimits(**{name: value})


@given(st.data())
def test_static_points_are_matches_with_both_ends_in_the_priors(data):
    ends = st.floats(-2, 9, width=32)
    points = data.draw(st.lists(st.tuples(ends, ends, ends, ends), max_size=20))
    masks = tuple(data.draw(arrays(np.bool_, (6, 8))) for _ in range(2))
    columns = [np.array([p[i] for p in points], dtype=np.float32) for i in range(4)]
    n = len(points)
    matches = Matches(*columns, np.ones(n, np.float32), np.zeros(n, np.int32))
    wanted = []
    for x_a, y_a, x_b, y_b in zip(*(column.tolist() for column in columns), strict=True):
        cells = [(math.floor(y + 0.5), math.floor(x + 0.5)) for x, y in ((x_a, y_a), (x_b, y_b))]
        inside = [0 <= y < 6 and 0 <= x < 8 for y, x in cells]
        if all(inside) and all(bool(m[c]) for m, c in zip(masks, cells, strict=True)):
            wanted.append(cells)
    first, second = static_points(matches, masks)
    assert [tuple(at) for at in first.tolist()] == [a for a, _ in wanted]
    assert [tuple(at) for at in second.tolist()] == [b for _, b in wanted]


def test_signs_of_a_network_are_those_of_its_probabilities():
    network = build_segmenter("compact", {"width": 8}, seed=2)
    network.train()
    random = np.random.default_rng(5)
    images = tuple(random.integers(0, 256, (24, 40, 3), dtype=np.uint8) for _ in range(2))
    at = tuple(np.stack([random.integers(0, 24, 30), random.integers(0, 40, 30)], 1) for _ in "ab")
    found = pair_signs(network, images, at)
    assert network.training
    network.eval()
    with torch.no_grad():
        soft = network(image_tensor(np.stack(images))).softmax(1).double().numpy()
    labels = soft.argmax(1)
    table = np.zeros((19, 19), dtype=np.int64)
    for (row_a, column_a), (row_b, column_b) in zip(*(a.tolist() for a in at), strict=True):
        table[labels[0, row_a, column_a], labels[1, row_b, column_b]] += 1
    np.testing.assert_array_equal(found.table, table)
    np.testing.assert_array_equal(found.classes, np.bincount(labels.ravel(), minlength=19))
    np.testing.assert_allclose(found.probability, soft.sum(axis=(0, 2, 3)), rtol=1e-5)
    assert found.entropy == pytest.approx(-(soft * np.log2(soft)).sum(), rel=1e-5)
    smaller = tuple(image[::2, ::2] for image in images)
    assert pair_signs(network, images, at, network_images=smaller).classes.sum() == 2 * 24 * 40


def test_classes_that_count_as_one_are_one_before_anything_is_counted():
    """Against the probabilities of the network, added up by hand."""
    network = build_segmenter("compact", {"width": 8}, seed=2)
    random = np.random.default_rng(6)
    images = tuple(random.integers(0, 256, (16, 24, 3), dtype=np.uint8) for _ in range(2))
    at = tuple(np.stack([random.integers(0, 16, 20), random.integers(0, 24, 20)], 1) for _ in "ab")
    groups = predicted_groups(PROTOCOLS["camvid11"], network.class_names)
    assert groups.names[groups.places[network.class_names.index("truck")]] == "car"
    found = pair_signs(network, images, at, groups=groups)
    with torch.no_grad():
        network.eval()
        soft = network(image_tensor(np.stack(images))).softmax(1).double().numpy()
    merged = np.zeros((2, len(groups.names), 16, 24))
    for index, place in enumerate(groups.places.tolist()):
        merged[:, place] += soft[:, index]
    labels = groups.places[soft.argmax(1)]
    np.testing.assert_array_equal(found.classes, np.bincount(labels.ravel(), minlength=12))
    np.testing.assert_allclose(found.probability, merged.sum(axis=(0, 2, 3)), rtol=1e-5)
    assert found.entropy == pytest.approx(
        -(merged * np.log2(np.where(merged > 0, merged, 1))).sum(), rel=1e-5
    )
    table = np.zeros((12, 12), dtype=np.int64)
    for (row_a, column_a), (row_b, column_b) in zip(*(a.tolist() for a in at), strict=True):
        table[labels[0, row_a, column_a], labels[1, row_b, column_b]] += 1
    np.testing.assert_array_equal(found.table, table)


def test_what_scores_nothing_is_one_group_and_the_scored_classes_stay():
    groups = predicted_groups(PROTOCOLS["score13"], ("truck", "wall", "car", "own class"))
    assert groups.names[-1] == "not scored"
    assert [groups.names[place] for place in groups.places] == [
        *("not scored", "not scored", "car", "not scored")
    ]


def test_pixels_are_followed_from_the_earlier_to_the_later_class_by_how_sure_the_earlier_was():
    networks = tuple(build_segmenter("compact", {"width": 8}, seed=seed) for seed in (2, 3))
    random = np.random.default_rng(7)
    images = tuple(random.integers(0, 256, (12, 20, 3), dtype=np.uint8) for _ in range(2))
    none = np.zeros((0, 2), dtype=np.int64)
    ignored = np.zeros((12, 20), dtype=np.bool_)
    ignored[:3] = True
    groups = ClassGroups(("even", "odd"), np.arange(19) % 2)
    found = compare_pair(networks, images, (none, none), ignored=ignored, groups=groups)
    moved = np.zeros((2, 2))
    for image in images:
        seen = []
        for network in networks:
            network.eval()
            with torch.no_grad():
                seen.append(network(image_tensor(image[None])).softmax(1)[0].double().numpy())
        for row in range(3, 12):
            for column in range(20):
                earlier, later = (int(soft[:, row, column].argmax()) % 2 for soft in seen)
                moved[earlier, later] += seen[0][earlier::2, row, column].sum()
    np.testing.assert_allclose(found.moved, moved, rtol=1e-5)
    alone = pair_signs(networks[1], images, (none, none), ignored=ignored, groups=groups)
    np.testing.assert_array_equal(found.after.classes, alone.classes)
    assert found.after.entropy == pytest.approx(alone.entropy)
