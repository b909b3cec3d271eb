"""The report is one page that anyone may be sent: nothing of its input is taken for HTML."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import yaml
from PIL import Image

from adapters.store import Store
from tasks.pages import report
from tasks.pages.scores import score_rows
from tasks.steps.dashboard import artifact_slug, small_jpeg
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.arms import saw_labels

HOSTILE = '<script>alert("1")</script> & <img src=x onerror=alert(1)>'


def test_names_and_credits_are_text_and_never_html(finished_run, monkeypatch):
    plan = open_plan(finished_run.catalog)
    parts = report.report_parts("tokyo", 0, plan)
    monkeypatch.setattr(report.Imagery, "credits", lambda _self: [(HOSTILE, HOSTILE, 3)])
    monkeypatch.setitem(report.ARM_NAMES, "ga", HOSTILE)
    page = report._render(plan, "tokyo", 0, parts)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;") == page.count("&lt;img src=x") >= 3


def test_a_report_of_a_city_without_evaluation_says_what_to_run(write_catalog, tmp_path):
    plan = open_plan(write_catalog(tmp_path))
    with pytest.raises(InputError, match="run `crosscity harvest tokyo` first"):
        report.report_parts("tokyo", 0, plan)


def test_the_best_of_the_unlabelled_arms_is_marked_and_the_bound_is_not(finished_run):
    plan = open_plan(finished_run.catalog)
    parts = report.report_parts("tokyo", 0, plan)
    scored = {
        arm: report.read_evaluation(plan.open_store(), ref)
        for arm, ref in report.evaluations_of(parts).items()
    }
    blind = [arm for arm in scored if not saw_labels(arm, "tokyo", plan)]
    assert "fine_tuned" not in blind
    rows = score_rows(scored, blind)
    for column, cell in enumerate(rows[-1]["cells"]):
        assert not cell["best"]
        shown = [row["cells"][column] for row in rows[:-1]]
        marked = [float(cell["text"]) for cell in shown if cell["best"]]
        known = [float(cell["text"]) for cell in shown if cell["text"] != "–"]
        assert not marked or set(marked) == {max(known)}


def test_a_report_is_of_the_arm_that_the_catalog_names(finished_run) -> None:
    catalog = finished_run.catalog.with_name("another_arm.yaml")
    document = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    document["cities"]["tokyo"]["arm"] = "ga"
    catalog.write_text(yaml.safe_dump(document), encoding="utf-8")
    plans = [open_plan(path) for path in (finished_run.catalog, catalog)]
    parts = report.report_parts("tokyo", 0, plans[0])
    assert parts == report.report_parts("tokyo", 0, plans[1])
    assert [report.shown_arm(parts, "tokyo", plan) for plan in plans] == ["full", "ga"]
    keys = [report.report_identity(parts, "tokyo", 0, plan).key for plan in plans]
    assert keys[0] != keys[1]


def test_a_page_of_before_a_city_had_labels_is_not_the_page_of_now(finished_run) -> None:
    """What it says of the catalog is in its key: what is not scored yet is no part of it."""
    document = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    document["cities"]["tokyo"]["labels"] = None
    catalog = finished_run.catalog.with_name("without_labels.yaml")
    catalog.write_text(yaml.safe_dump(document), encoding="utf-8")
    now, before = open_plan(finished_run.catalog), open_plan(catalog)
    parts = {
        role: ref
        for role, ref in report.report_parts("tokyo", 0, now).items()
        if not role.startswith(("evaluation-", "panels-"))
    }
    said = [report.report_content(plan, "tokyo", 0, parts)["missing"] for plan in (before, now)]
    assert said[0] == []
    assert said[1]
    keys = [report.report_identity(parts, "tokyo", 0, plan).key for plan in (before, now)]
    assert keys[0] != keys[1]


def test_what_a_page_rests_on_is_gone_through_once(finished_run, monkeypatch) -> None:
    """In a far store, each of a city's many shards is a request each time."""
    plan = open_plan(finished_run.catalog)
    parts = report.report_parts("tokyo", 0, plan)
    rests_on = report.behind(plan.open_store(), parts)
    wanted = report.report_content(plan, "tokyo", 0, parts)
    monkeypatch.setattr(Store, "inputs_of", lambda *_: pytest.fail("gone through again"))
    content = report.report_content(plan, "tokyo", 0, parts, rests_on)
    assert content == wanted
    assert "<table" in report._render(plan, "tokyo", 0, parts, content, rests_on)


def test_a_page_of_another_seed_names_what_adapts_with_it(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    parts = report.report_parts("tokyo", 1, plan)
    assert report.shown_arm(parts, "tokyo", plan) is None
    page = report._render(plan, "tokyo", 1, parts)
    said = "nothing was adapted to it with seed 1 yet: <code>crosscity adapt tokyo --seed 1</code>"
    assert said in page


@pytest.mark.parametrize("also_scored", [False, True])
def test_an_arm_that_is_shown_and_was_not_scored_is_told(finished_run, also_scored) -> None:
    plan = open_plan(finished_run.catalog)
    parts = report.report_parts("tokyo", 0, plan)
    arm = report.shown_arm(parts, "tokyo", plan)
    left_out = {role for role in parts if role.startswith("evaluation-")}
    if also_scored:
        left_out = {f"evaluation-{arm}"}
    parts = {role: ref for role, ref in parts.items() if role not in left_out}
    content = report.report_content(plan, "tokyo", 0, parts)
    assert content["arm"] == arm
    assert bool(content["scores"]) == also_scored
    told = [line for line in content["missing"] if "which this page is about" in line]
    (sentence,) = told
    command = f"crosscity evaluate tokyo --arm {arm} --seed 0"
    assert command in sentence
    page = report._render(plan, "tokyo", 0, parts, content)
    assert f"<code>{command}</code>" in page
    assert 'href="#scores"' in page
    assert 'id="scores"' in page
    assert "No label of tokyo was read" not in page


@pytest.mark.parametrize("size", [(40, 60), (700, 1400)])
def test_pictures_for_the_dashboard_fit_their_limit(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    data = small_jpeg(noise, 30_000)
    assert len(data) <= 30_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width / picture.height == pytest.approx(size[1] / size[0], rel=0.02)
    assert base64.b64encode(data)


def test_keys_of_dashboard_artifacts_are_what_prefect_demands():
    assert artifact_slug("Losses tokyo_GA+CA (1)") == "losses-tokyo-ga-ca-1"
