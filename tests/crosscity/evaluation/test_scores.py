"""Protocols against a pixel-by-pixel writing of their rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.evaluation import PROTOCOLS, confusion_matrix, score
from crosscity.labels import CLASSES, CROSS_CITY_CLASSES, TRAIN_ID

THIRTEEN = [c.name for c in CROSS_CITY_CLASSES]
SIX = {"wall", "fence", "pole", "terrain", "truck", "train"}
MERGE = {
    "wall": "building",
    "fence": "building",
    "pole": "building",
    "terrain": "vegetation",
    "truck": "bus",
    "train": "bus",
}

pixels = st.lists(
    st.tuples(st.sampled_from([*range(19), 255]), st.integers(0, 18)), min_size=1, max_size=80
)


def by_pixels(pairs: list[tuple[int, int]], protocol: str) -> dict[str, float]:
    """IoU by class, from the words of the protocol, one pixel after the other."""
    hits, union = dict.fromkeys(THIRTEEN, 0), dict.fromkeys(THIRTEEN, 0)
    for truth_id, predicted_id in pairs:
        if truth_id == 255:
            continue
        truth, predicted = CLASSES[truth_id].name, CLASSES[predicted_id].name
        if protocol == "merge":
            truth, predicted = MERGE.get(truth, truth), MERGE.get(predicted, predicted)
        if truth in SIX or (protocol == "drop" and predicted in SIX):
            continue
        union[truth] += 1
        if predicted == truth:
            hits[truth] += 1
        elif predicted not in SIX:
            union[predicted] += 1
    return {name: hits[name] / union[name] if union[name] else math.nan for name in THIRTEEN}


@pytest.mark.parametrize("protocol", ["drop", "merge", "score13"])
@given(pairs=pixels)
def test_agrees_with_the_rules_pixel_by_pixel(protocol: str, pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, dtype=np.uint8).T
    found = score(confusion_matrix(truth, predicted, 19), protocol)
    expected = by_pixels(pairs, protocol)
    assert list(found.per_class) == THIRTEEN
    np.testing.assert_allclose(list(found.per_class.values()), list(expected.values()))
    finite = [value for value in expected.values() if not math.isnan(value)]
    assert found.miou == pytest.approx(np.mean(finite) if finite else math.nan, nan_ok=True)
    assert found.protocol == protocol


@given(hnp.arrays(np.int64, (19, 19), elements=st.integers(0, 1000)))
def test_dropping_is_never_stricter_than_missing(confusion: np.ndarray) -> None:
    dropped, missed = score(confusion, "drop"), score(confusion, "score13")
    for name, value in missed.per_class.items():
        assert math.isnan(dropped.per_class[name]) or dropped.per_class[name] >= value - 1e-12


def test_without_the_six_all_protocols_agree() -> None:
    confusion = np.random.default_rng(0).integers(0, 99, (19, 19))
    for name in SIX:
        confusion[TRAIN_ID[name]] = confusion[:, TRAIN_ID[name]] = 0
    scores = [score(confusion, name) for name in ("drop", "merge", "score13")]
    for other in scores[1:]:
        np.testing.assert_allclose(
            list(other.per_class.values()), list(scores[0].per_class.values())
        )


SIXTEEN = [c.name for c in CLASSES if c.name not in ("terrain", "truck", "train")]


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ("score19", [c.name for c in CLASSES]),
        ("synthia16", SIXTEEN),
        ("synthia13", [name for name in SIXTEEN if name not in ("wall", "fence", "pole")]),
    ],
)
@given(pairs=pixels)
def test_classes_left_out_are_void_as_truth_and_missed_as_prediction(
    protocol: str, names: list[str], pairs: list[tuple[int, int]]
) -> None:
    truth, predicted = np.array(pairs, dtype=np.uint8).T
    found = score(confusion_matrix(truth, predicted, 19), protocol)  # type: ignore[arg-type]
    assert list(found.per_class) == names
    scored = [TRAIN_ID[name] for name in names]
    for name, iou in found.per_class.items():
        here, there = truth == TRAIN_ID[name], predicted == TRAIN_ID[name]
        counted = np.isin(truth, scored)
        union = ((here | there) & counted).sum()
        hits = (here & there).sum()
        assert iou == pytest.approx(hits / union if union else math.nan, nan_ok=True)


@given(pairs=pixels)
def test_camvid_scores_groups_of_classes(pairs: list[tuple[int, int]]) -> None:
    """The 11 classes as the data's own README and SegNet group them."""
    groups = {
        "sky": "sky",
        "building": "building wall",
        "pole": "pole",
        "road": "road",
        "sidewalk": "sidewalk",
        "vegetation": "vegetation terrain",
        "fence": "fence",
        "car": "car truck bus train",
        "person": "person",
        "bicyclist": "rider bicycle motorcycle",
    }
    ids = {name: [TRAIN_ID[part] for part in parts.split()] for name, parts in groups.items()}
    ids["traffic sign"] = [TRAIN_ID["traffic sign"], TRAIN_ID["traffic light"]]
    truth, predicted = np.array(pairs, dtype=np.uint8).T
    found = score(confusion_matrix(truth, predicted, 19), "camvid11")
    assert set(found.per_class) == set(ids)
    known = truth != 255
    for name, members in ids.items():
        here, there = np.isin(truth, members), np.isin(predicted, members)
        union = ((here | there) & known).sum()
        hits = (here & there & known).sum()
        iou = found.per_class[name]
        assert iou == pytest.approx(hits / union if union else math.nan, nan_ok=True)


def test_a_perfect_prediction() -> None:
    for protocol in PROTOCOLS:
        found = score(np.eye(19, dtype=np.int64) * 7, protocol)
        assert found.miou == 1
        assert set(found.per_class.values()) == {1.0}


def test_a_class_in_neither_is_nan_and_one_only_predicted_is_zero() -> None:
    confusion = np.zeros((19, 19), dtype=np.int64)
    confusion[TRAIN_ID["road"], TRAIN_ID["road"]] = 3
    confusion[TRAIN_ID["road"], TRAIN_ID["car"]] = 1
    found = score(confusion, "score13")
    assert found.per_class["road"] == 0.75
    assert found.per_class["car"] == 0
    assert math.isnan(found.per_class["bus"])
    assert found.miou == 0.375
    assert math.isnan(score(np.zeros((19, 19), dtype=np.int64), "drop").miou)


def test_other_label_spaces() -> None:
    confusion = np.array([[5, 1], [0, 4]])
    found = score(confusion, "score13", class_names=["sky", "road"])
    assert found.per_class["sky"] == pytest.approx(5 / 6)
    assert found.per_class["road"] == pytest.approx(4 / 5)


def test_every_protocol_rules_every_class() -> None:
    names = {c.name for c in CLASSES}
    for protocol in PROTOCOLS.values():
        assert set(protocol.truth) == set(protocol.prediction) == names


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no scoring protocol 'all'; there are: drop, merge"):
        score(np.zeros((19, 19), dtype=np.int64), "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(13, 13\), its label space asks for \(19, 19\)"):
        score(np.zeros((13, 13), dtype=np.int64), "drop")
