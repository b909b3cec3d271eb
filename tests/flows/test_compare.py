"""`crosscity compare`: two segmenters on the same images, with labels and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters.store import Store
from flows import compare_segmenters
from tasks.judging import promotion
from tasks.judging.compared_segmenters import compared_segmenter, two_words
from tasks.steps.plan import open_plan


@pytest.fixture(scope="module")
def site(finished_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of a finished run, on a store of its own in which GA is in use."""
    folder = tmp_path_factory.mktemp("compared") / "site"
    shutil.copytree(finished_run.catalog.parent, folder)
    store = Store(folder / "store")
    for ref in store.artifacts("adaptation", "tokyo"):
        if store.manifest(ref).parameters["arm"] == "ga":
            promotion.put_in_use(store, "tokyo", ref)
    return folder / "data_catalog.yaml"


@pytest.fixture(scope="module")
def compared(site: Path, many_flows: Any) -> dict[str, Any]:
    """The segmenter in use beside the one that was pre-trained."""
    done = many_flows("compare", "compact", "tokyo", "--json", "--catalog", site)
    assert done["code"] == 0, done
    told: dict[str, Any] = json.loads(done["out"])
    return told


def test_both_look_at_the_same_images(compared: dict[str, Any], check_page: Any) -> None:
    page = Path(compared["where"])
    content = json.loads(page.with_name("comparison.json").read_text(encoding="utf-8"))
    assert content["segmenters"]["A"]["word"] == "compact"
    assert content["segmenters"]["B"]["arm"] == "ga"
    for name in ("agreement", "kappa", "confidence", "entropy", "miou", "iou.road"):
        assert len(content["figures"][name]) == 2
    assert sum(first for first, _ in content["shares"].values()) == pytest.approx(1)
    text = check_page(page)
    assert text.count("most different,") == 6
    assert "B − A" in text


def test_it_is_no_verdict_on_either(compared: dict[str, Any], site: Path) -> None:
    store = Store(site.parent / "store")
    key = compared["segmenters"]["B"]["key"]
    (ref,) = [each for each in store.artifacts("adaptation", "tokyo") if each.key == key]
    assert "verdict" not in promotion.evidence_of(store, "tokyo", ref)


def test_the_scores_are_those_of_the_evaluations(compared: dict[str, Any], site: Path) -> None:
    (report,) = (site.parent / "store").glob("report/tokyo/*/report.json")
    scores = json.loads(report.read_text(encoding="utf-8"))["scores"]
    assert compared["figures"]["miou"] == [scores[arm]["miou"] for arm in ("pretrained", "ga")]
    evaluations = list((site.parent / "store").glob("evaluation/tokyo/*"))
    assert len(evaluations) == len(scores), "what was scored is found"


def test_a_browser_shows_it(compared: dict[str, Any], shown_in_a_browser: Any) -> None:
    shown_in_a_browser(Path(compared["where"]))


def test_a_city_in_which_none_is_in_use_is_meant_by_its_adaptation(finished_run: Any) -> None:
    """As after the README's three commands, which promote nothing."""
    plan = open_plan(finished_run.catalog)
    assert promotion.promoted_segmenter(plan.open_store(), "tokyo") is None
    by_arm = compared_segmenter(plan, f"tokyo:{plan.city('tokyo').arm}")
    assert compared_segmenter(plan, "tokyo").ref == by_arm.ref
    start, other = two_words(plan, "tokyo", None)
    assert other == "tokyo"
    assert compared_segmenter(plan, start).ref == compared_segmenter(plan, "tokyo:pretrained").ref


def test_scores_are_noted_as_those_of_the_seed_that_was_trained(
    finished_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked with another seed, or without one, does not rename a training given by key."""
    plan = open_plan(finished_run.catalog)
    refs = list(plan.open_store().artifacts("adaptation", "tokyo"))[:2]
    noted: list[tuple[str, int]] = []

    def evaluate(ref: Any, _labelled: Any, arm: str, seed: int, *_: Any) -> Any:
        noted.append((arm, seed))
        return ref

    monkeypatch.setattr(compare_segmenters, "evaluate", evaluate)
    compare_segmenters._scores((refs[0], refs[1]), [], 7, "tokyo", plan)
    made_by = [plan.open_store().manifest(ref).parameters for ref in refs]
    assert noted == [(one["arm"], one["seed"]) for one in made_by]
    assert {seed for _, seed in noted} == {0}


def test_scores_of_another_city_s_adaptation_are_not_noted_as_those_of_an_arm_here(
    finished_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = open_plan(finished_run.catalog)
    store = plan.open_store()
    adapted = next(iter(store.artifacts("adaptation", "tokyo")))
    (start,) = store.artifacts("segmenter")
    noted: list[str] = []
    monkeypatch.setattr(
        compare_segmenters, "evaluate", lambda _ref, _labelled, arm, *_: noted.append(arm)
    )
    compare_segmenters._scores((start, adapted), [], 0, "lisbon", plan)
    arm = store.manifest(adapted).parameters["arm"]
    assert noted == ["pretrained", f"tokyo-{arm}"]


def test_what_cannot_be_compared_is_told_before_any_work(many_commands: Any, site: Path) -> None:
    for words, said in (
        (("tokyo", "tokyo"), "name two different segmenters"),
        (("tokyo@2001-01-01", "tokyo"), "no segmenter was in use in tokyo at 2001-01-01"),
        (("oslo", "tokyo"), "'oslo' does not name a segmenter to compare"),
    ):
        done = many_commands("compare", *words, "--catalog", site)
        assert done["code"] == 2, done
        assert said in done["err"]
