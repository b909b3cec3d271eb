"""Adapting from one labelled set to another: which arms there are, and what they train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.store import Store
from tasks.judging.evaluated import segmenter_of_arm
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import TRANSFER_ARMS
from tasks.training.transfers import check_transfer_arm

TRANSFER = {"segmenter": "compact", "target": "frankfurt", "test_split": "test"}


@pytest.fixture
def plan(write_catalog, tmp_path: Path) -> Plan:
    return open_plan(write_catalog(tmp_path, transfers={"home": TRANSFER}))


@pytest.mark.parametrize("arm", TRANSFER_ARMS)
def test_arms_that_need_no_pairs_are_taken(plan: Plan, arm: str) -> None:
    check_transfer_arm(arm, "home", plan)


def test_what_a_transfer_has_not_is_reported_before_any_work(plan: Plan) -> None:
    with pytest.raises(InputError, match=r"no pairs of images and so no static prior: .* 'full'"):
        check_transfer_arm("full", "home", plan)
    with pytest.raises(InputError, match="no arm 'magic'; arms are pretrained, "):
        check_transfer_arm("magic", "home", plan)
    with pytest.raises(InputError, match="no transfer 'moon'"):
        check_transfer_arm("ga", "moon", plan)


def test_self_training_needs_no_pairs(many_flows, write_catalog, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, transfers={"home": TRANSFER})
    done = many_flows("transfer", "home", "--arm", "self_training", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    assert "mIoU " in done["out"]
    store = Store(tmp_path / "store")
    adapted = segmenter_of_arm("home", "self_training", 0, open_plan(catalog))
    assert store.manifest(adapted).parameters["arm"] == "self_training"
