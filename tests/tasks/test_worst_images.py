"""The images that a segmenter gets most wrong are found, and counted as the evaluation does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscity.evaluation import PROTOCOLS, ImageCounts, confusion_matrix, score, scored_counts
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from tasks.judging import evaluated, evaluation
from tasks.judging.image_scores import (
    NOT_SCORED,
    image_row,
    mistakes,
    read_image_scores,
    worst_first,
)
from tasks.judging.worst_images import PICTURES, find_worst_images, read_worst
from tasks.steps.plan import open_plan
from tasks.steps.tables import read_rows
from tasks.training.trained import TrainedSegmenters

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
    assert [row["sample"] for row in worst_first(rows)] == ["c", "d", "a"]


def test_a_row_has_the_valid_share_and_the_iou_of_the_image() -> None:
    random = np.random.default_rng(3)
    labels = random.choice([0, 1, 4, 10, 255], (12, 14)).astype(np.uint8)
    predicted = random.choice([0, 1, 4, 10], (12, 14)).astype(np.uint8)
    counts = confusion_matrix(labels, predicted, 19)
    row = image_row("a", ImageCounts(counts, labels.size), SCORED, NAMES)
    assert row["valid"] == row["pixels"] / (12 * 14)
    assert row["miou"] == score(counts, SCORED).miou
    void = image_row("b", ImageCounts(np.zeros((19, 19), np.int64), 9), SCORED, NAMES)
    assert (void["valid"], void["miou"]) == (0, None)


def test_the_rows_of_an_evaluation_add_up_to_it(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    store, trained = plan.open_store(), TrainedSegmenters("tokyo", 0, plan)
    found = evaluated.evaluation_of(trained, "ga")
    rows = read_image_scores(store, found)
    assert len(rows) == evaluation.read_evaluation(store, found).images
    assert len({row["sample"] for row in rows}) == len(rows)
    counts = np.zeros((19, 19), dtype=np.int64)
    for row in _confusion(store, found):
        counts[NAMES.index(row["truth"]), NAMES.index(row["prediction"])] = row["pixels"]
    scored, missed = scored_counts(counts, SCORED)
    assert sum(row["right"] for row in rows) == np.trace(scored)
    assert sum(row["pixels"] for row in rows) == scored.sum() + missed.sum()


def test_the_worst_of_the_evaluation_are_drawn_and_no_other_image_is_predicted(
    finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = open_plan(finished_run.copied(tmp_path / "site").catalog)
    store, trained = plan.open_store(), TrainedSegmenters("tokyo", 0, plan)
    found = evaluated.evaluation_of(trained, "ga")
    tested = evaluated.tested_on(trained, "ga")
    looked_at: list[int] = []
    seen_by = evaluation.seen_by
    monkeypatch.setattr(
        evaluation, "seen_by", lambda *given: looked_at.append(1) or seen_by(*given)
    )
    arguments = (trained.start, trained.of_arm("ga"), found, tested, "ga", 0, "tokyo", plan)
    made = find_worst_images.fn(*arguments)
    ref = getattr(made, "data", made)
    ref = getattr(ref, "ref", ref)
    expected = worst_first(read_image_scores(store, found))[:PICTURES]
    assert len(looked_at) == 2 * len(expected)
    shown = read_worst(store, ref)
    assert [one.sample for one in shown] == [row["sample"] for row in expected]
    assert [one.right for one in shown] == sorted(one.right for one in shown)
    for one in shown:
        assert store.path(ref, one.file).read_bytes()[:2] == b"\xff\xd8"


def _confusion(store, found):
    return read_rows(store, found, "confusion.parquet", evaluation.CONFUSION)
