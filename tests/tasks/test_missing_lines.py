"""What a page says is missing can be made: each command that it names is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.catalog import CatalogError
from tasks.pages.scores import missing_lines
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import check_arm, check_source, is_trained
from tasks.training.identities import segmenter_of
from tasks.training.transfers import check_transfer_arm

WEIGHTS = {"given": {"architecture": "compact", "options": {"width": 16}, "weights": "w.pth"}}
NO_LABELS = {"labels": {"kind": "simulated", "fine_tune_places": 0}}
TRANSFERS = {
    "sourced": {"segmenter": "compact", "target": "frankfurt"},
    "alone": {"segmenter": "given", "target": "frankfurt"},
}


def check_by_hand(owner: str, arm: str, plan: Plan) -> None:
    """What `crosscity adapt`, `evaluate` and `transfer` refuse before any work."""
    if owner in plan.transfers:
        check_transfer_arm(arm, owner, plan)
    elif is_trained(arm):
        check_arm(arm, plan)
        check_source(arm, segmenter_of(owner, plan), plan)


@pytest.mark.parametrize(
    ("owner", "city", "arms"),
    [
        ("sourced", {}, ["pretrained", "bn", "fine_tuned"]),
        ("alone", {}, ["pretrained", "source_free", "fine_tuned"]),
        ("tokyo", {}, ["pretrained", "bn", "fine_tuned"]),
        ("tokyo", NO_LABELS, ["pretrained", "bn"]),
        ("tokyo", {"segmenter": "given"}, ["pretrained", "source_free", "fine_tuned"]),
    ],
)
def test_commands_that_are_named_are_taken(
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    owner: str,
    city: dict[str, Any],
    arms: list[str],
) -> None:
    kept = {"arm": "source_free"} if "segmenter" in city else {}
    path = write_catalog(tmp_path, city={**city, **kept}, segmenters=WEIGHTS, transfers=TRANSFERS)
    plan = open_plan(path)
    verb = "transfer" if owner in TRANSFERS else "evaluate"
    sentences = missing_lines({}, owner, 0, plan, verb=verb)
    named = [
        re.findall(r"`crosscity \w+ (\w+) --arm (\w+) --seed 0`", one)[-1] for one in sentences
    ]
    assert named == [(owner, arm) for arm in arms]
    for _, arm in named:
        check_by_hand(owner, arm, plan)


def test_the_city_whose_test_places_alone_have_labels_cannot_be_fine_tuned(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """So that its bound is not asked for above."""
    with pytest.raises(CatalogError, match="no training place of the city has a label"):
        open_plan(write_catalog(tmp_path, city={**NO_LABELS, "arm": "fine_tuned"}))
