"""Adapting from one labelled set to another: which arms there are, and what they train on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.store import Store
from tasks.judging.evaluated import segmenter_of_arm
from tasks.pages.paper_scope import TABLE_3_ARMS, table_3_arms
from tasks.pages.transfer_report import transfer_report_identity
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
    with pytest.raises(
        InputError, match=r"no pairs of images: .* 'source_free_looks' is for cities"
    ):
        check_transfer_arm("source_free_looks", "home", plan)
    with pytest.raises(InputError, match=r"no pairs of images and so no static prior: .* 'full'"):
        check_transfer_arm("full", "home", plan)
    with pytest.raises(InputError, match="no arm 'magic'; arms are pretrained, "):
        check_transfer_arm("magic", "home", plan)
    with pytest.raises(InputError, match="no transfer 'moon'"):
        check_transfer_arm("ga", "moon", plan)


def test_no_arm_is_scored_on_the_labels_that_it_learned(write_catalog, tmp_path: Path) -> None:
    """Fine-tuned and scored on one split, an arm was a bound that was none."""
    few = {"objectives": [{"objective": "source_task"}, {"objective": "few_labels"}]}

    def labels(**of: object) -> dict[str, Any]:
        return {**few, "labels": {"places": 1, "chosen": "random", **of}}

    same = {**TRANSFER, "target_split": "train", "test_split": "train"}
    plan = open_plan(
        write_catalog(
            tmp_path,
            transfers={"same": same, "home": TRANSFER, "unscored": {**same, "test_split": None}},
            recipes={"own": labels(), "named": labels(dataset="frankfurt")},
        )
    )
    for arm in ("fine_tuned", "own", "named"):
        with pytest.raises(InputError, match=rf"'train' of datasets\.frankfurt, whose .* '{arm}'"):
            check_transfer_arm(arm, "same", plan)
        check_transfer_arm(arm, "home", plan)
        check_transfer_arm(arm, "unscored", plan)
    check_transfer_arm("ga", "same", plan)  # to adapt to what is scored is a protocol of its own
    assert table_3_arms("same", plan) == ("pretrained", "ga", "ga_ca")
    assert table_3_arms("home", plan) == TABLE_3_ARMS


@pytest.fixture(scope="module")
def transferred(many_flows, write_catalog, tmp_path_factory) -> Any:
    """What `crosscity transfer home` said of self-training, and then of the pre-trained one."""
    folder = tmp_path_factory.mktemp("transferred")
    catalog = write_catalog(folder, transfers={"home": TRANSFER})

    def run(*words: object) -> dict[str, Any]:
        done: dict[str, Any] = many_flows(*words, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return done

    first = run("transfer", "home", "--arm", "self_training")
    second = run("transfer", "home", "--arm", "pretrained", "--json")
    return SimpleNamespace(folder=folder, catalog=catalog, run=run, first=first, second=second)


def test_self_training_needs_no_pairs(transferred) -> None:
    assert "mIoU " in transferred.first["out"]
    store = Store(transferred.folder / "store")
    adapted = segmenter_of_arm("home", "self_training", 0, open_plan(transferred.catalog))
    assert store.manifest(adapted).parameters["arm"] == "self_training"


def test_a_transfer_says_its_remarks_and_leaves_a_page(
    transferred, check_page, shown_in_a_browser
) -> None:
    err, out = transferred.first["err"], transferred.first["out"]
    assert "mIoU over " in out
    assert (
        "remark: Pre-trained (where it began) was not scored: `crosscity transfer home --arm pre"
        in err
    )
    first = re.search(r"^report: (.*report\.html)$", out, re.MULTILINE)
    assert first is not None
    assert "Self-training" in out or "self-training" in out

    told = json.loads(transferred.second["out"])
    page = Path(told["where"])
    content = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    assert content["city"] == "home"
    assert set(content["scores"]) == {"pretrained", "self_training"}
    assert content["arm"] == "self_training"
    assert content["figures"]["miou"] == content["scores"]["self_training"]["miou"]
    assert content["figures"]["miou_before"] == told["miou"]
    assert told["figures"] == content["figures"]
    assert any("fine_tuned" in line for line in content["missing"])
    assert content["worst_images"]
    judged = content["safeguard"]
    assert judged["sentence"] in err + out
    assert "images without labels" in judged["sentence"] or judged["keep"] == "before"
    text = check_page(page)
    assert "Class by class" in text
    assert "agreement of an image and its mirror image before" in text
    road = judged["looks"]["smaller"]["agreed"]["road"]
    assert all(0 <= road[when] <= 1 for when in ("before", "after"))
    assert f"<td>{road['before']:.3f}</td><td>{road['after']:.3f}</td>" in text
    assert judged["sentence"].split(":")[0] in text
    assert "taken for" in text
    assert "<code>crosscity transfer home --arm fine_tuned --seed 0</code>" in text
    shown_in_a_browser(page)


def test_two_segmenters_are_compared_by_the_labels_that_it_is_scored_on(
    transferred, check_page
) -> None:
    store = Store(transferred.folder / "store")
    scores = {ref.key for ref in store.artifacts("evaluation", "home")}
    told = json.loads(
        transferred.run("compare", "home:pretrained", "home:self_training", "--json")["out"]
    )
    assert {ref.key for ref in store.artifacts("evaluation", "home")} == scores, "they are found"
    report = json.loads(transferred.run("report", "home", "--json")["out"])
    content = json.loads(Path(report["where"]).with_name("report.json").read_text(encoding="utf-8"))
    arms = ("pretrained", "self_training")
    assert told["figures"]["miou"] == [content["scores"][arm]["miou"] for arm in arms]
    text = check_page(Path(told["where"]))
    assert "frankfurt (split test), and were scored on 1 labelled images" in text
    assert "its labels, and it as both segmenters see it" in text

    (worst,) = content["worst_images"]
    shown = re.search(r"of those that are scored A gets ([\d.]+) % right, B ([\d.]+) %", text)
    assert shown is not None
    assert float(shown[2]) == pytest.approx(100 * worst["right"], abs=0.05)
    (drawn,) = store.artifacts("differences", "home")
    assert any(role.startswith("labelled") for role in store.manifest(drawn).inputs)


def test_the_report_of_a_transfer_is_found_checked_and_indexed(transferred) -> None:
    told = json.loads(transferred.second["out"])
    again = transferred.run("report", "home", "--json")
    assert json.loads(again["out"])["where"] == told["where"]
    quiet = transferred.run("transfer", "home", "--arm", "pretrained", "--quiet")
    assert "remark" not in quiet["err"]
    assert "does not hold" in transferred.run("check", "home", "--fail-if", "miou>1")["out"]
    folder = transferred.folder / "all"
    words = ("report", "--all", "--as-they-are", "-o", folder, "--json")
    index = json.loads(transferred.run(*words)["out"])
    assert index["transfers"] == {"home": "reported"}
    assert index["cities"] == {"tokyo": "nothing yet"}


def test_a_report_says_what_the_catalog_says_now(write_catalog, tmp_path: Path) -> None:
    """Its page holds the entry, and which lines it lacks: both are of its key."""
    keys = []
    for split in ("val", None):
        folder = tmp_path / str(split)
        folder.mkdir()
        catalog = write_catalog(folder, transfers={"home": {**TRANSFER, "test_split": split}})
        keys.append(transfer_report_identity({}, "home", "ga", 0, open_plan(catalog)).key)
    assert keys[0] != keys[1]
