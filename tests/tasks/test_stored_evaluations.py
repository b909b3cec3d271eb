"""What is read of a stored evaluation is what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapters.store import Store
from crosscity.evaluation import ImageCounts
from crosscity.labels import CLASSES
from tasks.judging.evaluation import read_evaluation, write_evaluation
from tasks.judging.image_scores import image_row
from tasks.judging.scoring_rules import rules_of
from tasks.steps.plan import open_plan

NAMES = tuple(road_class.name for road_class in CLASSES)


def test_a_segmenter_that_is_right_nowhere_has_a_score_of_0(write_catalog, tmp_path: Path) -> None:
    plan = open_plan(write_catalog(tmp_path))
    rules = rules_of(plan, "tokyo")
    wrong = np.zeros((len(NAMES), len(NAMES)), dtype=np.int64)
    wrong[0, 1] = 100  # nothing but road, taken for sidewalk
    with Store(tmp_path).draft(
        "evaluation", "tokyo", "a", inputs={}, parameters={}, version="1"
    ) as draft:
        row = image_row("a", ImageCounts(wrong, 100), rules.protocol, NAMES)
        write_evaluation(draft, wrong, [row], rules, NAMES)
    found = read_evaluation(Store(tmp_path), draft.ref)
    assert (found.miou, found.miou_of_truth) == (0, 0)
    assert "(over the classes that it has: 0.0 %)" in found.class_note()
