"""Artifacts are found by what decides them; two pointers alone stand beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.store import ArtifactRef, Store
from tasks.judging.evaluated import evaluation_of_arm, panels_of, segmenter_of_arm
from tasks.judging.steps_ahead import steps_ahead
from tasks.pages.demo import finished_demo
from tasks.pages.report import report_parts
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import DEMO_ARMS
from tasks.training.trained import TrainedSegmenters


def pointers(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in store.glob("current/*/*")}


def manifests(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in store.glob("[a-z]*/*/*/artifact.json")}


@pytest.fixture
def copy(finished_run, tmp_path) -> Path:
    """The folder of a copy of the finished run, with its catalog."""
    return finished_run.copied(tmp_path / "copy").catalog.parent


def test_a_demo_leaves_the_pointer_to_its_harvest_and_no_other(finished_run) -> None:
    assert pointers(finished_run.store) == {"current/tokyo/harvest.json"}


def test_a_readapted_city_has_two_pointers_and_no_other(copy, many_flows) -> None:
    catalog = copy / "data_catalog.yaml"
    before = manifests(copy / "store")
    done = many_flows("readapt", "tokyo", "--arm", "ga", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    wanted = {"current/tokyo/harvest.json", "current/tokyo/promoted.json"}
    assert pointers(copy / "store") == wanted
    made = {place.split("/")[0] for place in manifests(copy / "store") - before}
    assert made == {"safeguard"}, "everything else was there"


def older(folder: Path) -> Plan:
    """Gives a store the layout of the release before: pointers to everything, no newest noted."""
    plan = open_plan(folder / "data_catalog.yaml")
    store, named = plan.open_store(), {}
    for arm in DEMO_ARMS:
        segmenter = segmenter_of_arm("tokyo", arm, 0, plan)
        name = "pretrained-compact-0" if arm == "pretrained" else f"arm-{arm}-0"
        named[segmenter.city, name] = segmenter
        named["tokyo", f"evaluation-{arm}-0"] = evaluation_of_arm("tokyo", arm, 0, plan)
        if arm != "pretrained":
            panels = panels_of(TrainedSegmenters("tokyo", 0, plan), arm)
            assert panels is not None
            named["tokyo", f"panels-{arm}-0"] = panels
    parts = report_parts("tokyo", 0, plan)
    named["tokyo", "static_prior"] = parts["static_prior"]
    named["tokyo", "figure-prior"] = parts["prior_figure"]
    named["tokyo", "prior_quality"] = parts["prior_quality"]
    (named["tokyo", "report-0"],) = store.artifacts("report", "tokyo")
    for (city, name), ref in named.items():
        path = folder / "store" / "current" / city / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(ref.to_dict(), indent=1, sort_keys=True))
    shutil.rmtree(folder / "store" / ".newest")
    return plan


def change(folder: Path, *key: str, to: Any) -> Plan:
    path = folder / "data_catalog.yaml"
    document = yaml.safe_load(path.read_text())
    at = document
    for part in key[:-1]:
        at = at[part]
    at[key[-1]] = to
    path.write_text(yaml.safe_dump(document))
    return open_plan(path)


def test_a_store_of_the_release_before_is_found_whole(copy, many_flows) -> None:
    plan = older(copy)
    assert {step.state for step in steps_ahead("tokyo", "full", 0, plan)} == {"found"}
    assert finished_demo("tokyo", 0, plan) is not None
    before = manifests(copy / "store")
    for verb in ("harvest", "priors", "adapt", "evaluate"):
        done = many_flows(verb, "tokyo", "--catalog", copy / "data_catalog.yaml")
        assert done["code"] == 0, done["err"]
    assert manifests(copy / "store") == before, "nothing is fetched or made again"
    done = many_flows("report", "tokyo", "--catalog", copy / "data_catalog.yaml")
    assert done["code"] == 0, done["err"]
    added = set(manifests(copy / "store")) - set(before)
    assert {path.partition("/")[0] for path in added} == {
        "differences",
        "safeguard",
        "worst_images",
        "report",
    }, "a demo's report has neither what can be seen without labels nor the worst images"


def test_a_store_of_the_release_before_says_what_was_changed(copy) -> None:
    older(copy)
    for key, value, said in (
        (("segmenters", "compact", "pretraining", "steps"), 7, "pretraining.steps 6, the catalog"),
        (("trainings", "demo", "adaptation", "steps"), 9, "adaptation.steps 6, the catalog says 9"),
        (("cities", "tokyo", "prior", "superpixels"), 41, "prior.superpixels 40, the catalog says"),
    ):
        before = yaml.safe_load((copy / "data_catalog.yaml").read_text())
        plan = change(copy, *key, to=value)
        (why, *_) = {step.why for step in steps_ahead("tokyo", "full", 0, plan) if step.why}
        assert said in why
        (copy / "data_catalog.yaml").write_text(yaml.safe_dump(before))


def test_a_changed_data_set_is_refused_until_all_that_depends_on_it_is_made_anew(
    copy, many_flows
) -> None:
    """Every verb either refuses with the sentence, or makes anew; none takes what there was."""
    before = segmenter_of_arm("tokyo", "ga", 0, open_plan(copy / "data_catalog.yaml"))
    plan = change(copy, "datasets", "frankfurt", "train", to=8)

    def run(*words: str) -> dict[str, Any]:
        outcome: dict[str, Any] = many_flows(*words, "--catalog", copy / "data_catalog.yaml")
        return outcome

    sentence = "made with datasets.frankfurt.train 6, the catalog says 8: run `crosscity pretrain"
    for words in (("evaluate", "tokyo", "--arm", "ga"), ("report", "tokyo")):
        done = run(*words)
        assert done["code"] == 2, words
        assert sentence in done["err"]
    assert sentence.partition(":")[0] in run("plan", "tokyo", "--arm", "ga")["out"]
    assert run("pretrain", "compact")["code"] == 0
    done = run("evaluate", "tokyo", "--arm", "ga")
    assert done["code"] == 2
    assert "'ga' of tokyo (seed 0) was made of another segmenter" in done["err"]
    for words in (("adapt", "tokyo", "--arm", "ga"), ("evaluate", "tokyo", "--arm", "ga")):
        done = run(*words)
        assert done["code"] == 0, done["err"]
    store, found = plan.open_store(), segmenter_of_arm("tokyo", "ga", 0, plan)
    assert found != before
    images = [ref for role, ref in store.inputs_of(found).items() if role.startswith("part-")]
    assert [store.manifest(ref).rows for ref in images if ref is not None] == [8]


def test_what_pointers_of_an_older_release_name_is_not_believed(copy, finished_run) -> None:
    """One that names the artifact of another arm changes nothing."""
    plan = older(copy)
    wrong = segmenter_of_arm("tokyo", "ga", 0, plan)
    path = copy / "store" / "current" / "tokyo" / "arm-full-0.json"
    path.write_text(json.dumps(wrong.to_dict()))
    assert segmenter_of_arm("tokyo", "full", 0, plan) != wrong
    path.write_bytes(b"{")  # nor is it opened
    assert segmenter_of_arm("tokyo", "full", 0, plan) == segmenter_of_arm(
        "tokyo", "full", 0, open_plan(finished_run.catalog)
    )


def test_the_newest_of_a_producer_explains_and_is_never_taken(copy) -> None:
    """Whatever is noted as the newest, what is found is what the catalog says."""
    plan = open_plan(copy / "data_catalog.yaml")
    found = {arm: segmenter_of_arm("tokyo", arm, 0, plan) for arm in ("ga", "full")}
    store = Store(copy / "store")
    store.note_newest("full-0", found["ga"])
    assert segmenter_of_arm("tokyo", "full", 0, plan) == found["full"]
    for note in (copy / "store" / ".newest").rglob("*.json"):
        note.write_bytes(b"cut sho")
    assert segmenter_of_arm("tokyo", "full", 0, plan) == found["full"]
    assert store.newest("adaptation", "tokyo", "full-0") is None
    gone = ArtifactRef(**{**found["ga"].to_dict(), "digest": "0" * 64})
    store.note_newest("full-0", gone)
    assert store.newest("adaptation", "tokyo", "full-0") is None
