"""The images that a segmenter gets most wrong are found, and counted as the evaluation does."""

from __future__ import annotations

import numpy as np
import pytest

from crosscity.evaluation import PROTOCOLS, confusion_matrix, scored_counts
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from tasks.judging import evaluated
from tasks.judging.worst_images import (
    NOT_SCORED,
    find_worst_images,
    mistakes,
    read_worst,
    worst_first,
)
from tasks.pages.scores import read_confusion
from tasks.steps.plan import open_plan
from tasks.steps.schemas import WORST
from tasks.steps.tables import read_rows
from tasks.training.trained import TrainedSegmenters

pytestmark = pytest.mark.timeout(900)
SCORED = PROTOCOLS["score13"]
NAMES = ROAD_CLASS_NAMES


def _by_hand(labels: np.ndarray, predicted: np.ndarray) -> dict[str, object]:
    """Pixel by pixel."""
    pixels = right = 0
    wrong: dict[tuple[str, str], int] = {}
    for true, seen in zip(labels.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if true == 255 or NAMES[true] not in SCORED.classes:
            continue
        pixels += 1
        if seen == true:
            right += 1
            continue
        other = NAMES[seen] if NAMES[seen] in SCORED.classes else NOT_SCORED
        wrong[NAMES[true], other] = wrong.get((NAMES[true], other), 0) + 1
    return {"pixels": pixels, "right": right, "wrong": wrong}


@pytest.mark.parametrize("seed", range(5))
def test_mistakes_are_those_that_are_counted_pixel_by_pixel(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 4, 10, 255], (12, 14)).astype(np.uint8)
    predicted = random.choice([0, 1, 4, 10], (12, 14), p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
    found = mistakes(confusion_matrix(labels, predicted, 19), SCORED, NAMES)
    expected = _by_hand(labels, predicted)
    assert (found["pixels"], found["right"]) == (expected["pixels"], expected["right"])
    assert found["mistaken"] == max(expected["wrong"].values())
    assert expected["wrong"][found["truth"], found["taken_for"]] == found["mistaken"]


def test_an_image_without_a_mistake_or_without_a_scored_pixel() -> None:
    road = np.zeros((4, 4), np.uint8)
    found = mistakes(confusion_matrix(road, road, 19), SCORED, NAMES)
    assert found == {"pixels": 16, "right": 16, "truth": None, "taken_for": None, "mistaken": 0}
    void = np.full((4, 4), 255, np.uint8)
    assert mistakes(confusion_matrix(void, road, 19), SCORED, NAMES)["pixels"] == 0
    rows = [
        {"sample": name, "pixels": pixels, "right": right}
        for name, pixels, right in (("a", 10, 9), ("b", 0, 0), ("c", 10, 2), ("d", 5, 1))
    ]
    assert worst_first(rows) == [2, 3, 0]


def test_they_add_up_to_the_evaluation(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    store, trained = plan.open_store(), TrainedSegmenters("tokyo", 0, plan)
    tested = evaluated.tested_on(trained, "ga")
    arguments = (trained.start, trained.of_arm("ga"), tested, "ga", 0, "tokyo", plan)
    made = find_worst_images.fn(*arguments)
    ref = getattr(made, "data", made)
    rows = read_rows(store, getattr(ref, "ref", ref), "images.parquet", WORST)
    evaluation = evaluated.evaluation_of(trained, "ga")
    counts = np.zeros((19, 19), dtype=np.int64)
    for row in _confusion(store, evaluation):
        counts[NAMES.index(row["truth"]), NAMES.index(row["prediction"])] = row["pixels"]
    scored, missed = scored_counts(counts, SCORED)
    assert sum(row["right"] for row in rows) == np.trace(scored)
    assert sum(row["pixels"] for row in rows) == scored.sum() + missed.sum()
    assert read_confusion(store, evaluation).names
    shown = read_worst(store, getattr(ref, "ref", ref))
    assert [one.right for one in shown] == sorted(one.right for one in shown)
    assert {one.sample for one in shown} <= {row["sample"] for row in rows}
    for one in shown:
        assert store.path(getattr(ref, "ref", ref), one.file).read_bytes()[:2] == b"\xff\xd8"


def _confusion(store, evaluation):
    from tasks.judging.evaluation import CONFUSION

    return read_rows(store, evaluation, "confusion.parquet", CONFUSION)
