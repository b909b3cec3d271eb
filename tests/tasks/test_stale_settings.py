"""What is reported is what the catalog says: a setting that changed is never silently ignored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog import City
from adapters.catalog.model import PriorSettings
from crosscity.adaptation import PRESETS, PretrainingSettings
from tasks.harvesting.current import (
    NOT_OF_A_HARVEST,
    NOT_OF_A_PROVIDERS_HARVEST,
    current_harvest,
    harvested_with,
)
from tasks.judging.chosen_segmenter import segmenter_to_promote
from tasks.judging.evaluated import segmenter_of_arm
from tasks.judging.steps_ahead import steps_ahead
from tasks.pages.report import report_parts
from tasks.priors.identities import extracted
from tasks.steps.errors import InputError, StaleError
from tasks.steps.freshness import as_words, differences
from tasks.steps.plan import open_plan
from tasks.training.arms import DEMO_ARMS


@pytest.fixture
def changed(finished_run, tmp_path):
    """The plan of the finished run's catalog with one value changed."""

    def change(*key: str, to: Any) -> Any:
        document = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
        document["stores"]["local"]["url"] = str(finished_run.store)
        at = document
        for part in key[:-1]:
            at = at.setdefault(part, {})
        at[key[-1]] = to
        path = tmp_path / "data_catalog.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return open_plan(path)

    return change


def _verbs(plan: Any) -> dict[str, Any]:
    """What each verb begins with."""

    def of(work: Any) -> str | None:
        try:
            work()
        except InputError as error:
            return str(error)
        return None

    def priors() -> None:
        extracted(current_harvest("tokyo", plan).pairs, "tokyo", plan)

    return {
        "priors": of(lambda: current_harvest("tokyo", plan)),
        "adapt": of(priors),
        "evaluate": of(lambda: segmenter_of_arm("tokyo", "full", 0, plan)),
        "report": of(lambda: report_parts("tokyo", 0, plan)),
    }


def test_nothing_is_stale_where_nothing_changed(changed) -> None:
    assert set(_verbs(changed("cities", "tokyo", "seed", to=3)).values()) == {None}


CASES = {
    "provider": (
        ("cities", "tokyo", "seed"),
        4,
        ("priors", "adapt", "evaluate", "report"),
        "the harvest of tokyo was made with seed 3, the catalog says 4: run `crosscity harvest",
    ),
    "pairs": (
        ("cities", "tokyo", "min_days_apart"),
        90,
        ("priors", "adapt", "evaluate", "report"),
        "made with min_days_apart 30.0, the catalog says 90.0: run `crosscity harvest tokyo`",
    ),
    "prior": (
        ("cities", "tokyo", "prior", "k"),
        30,
        ("adapt", "evaluate", "report"),
        "the static priors of tokyo were made with prior.k 3, the catalog says 30: run "
        "`crosscity priors tokyo`",
    ),
    "segmenter": (
        ("segmenters", "compact", "options", "width"),
        24,
        ("evaluate", "report"),
        "options.width 16, the catalog says 24: run `crosscity pretrain compact",
    ),
    "pre-training": (
        ("segmenters", "compact", "pretraining", "steps"),
        7,
        ("evaluate", "report"),
        "was made with pretraining.steps 6, the catalog says 7: run `crosscity pretrain compact",
    ),
    "data set": (
        ("datasets", "frankfurt", "train"),
        8,
        ("evaluate", "report"),
        "the labelled images of frankfurt (train) were made with datasets.frankfurt.train 6, the "
        "catalog says 8: run `crosscity pretrain compact --seed 0`",
    ),
    "validation images of a data set": (
        ("datasets", "frankfurt", "val"),
        2,
        ("evaluate", "report"),
        "the labelled images of frankfurt (val) were made with datasets.frankfurt.val 1, the "
        "catalog says 2: run `crosscity pretrain compact --seed 0`",
    ),
    "fewer images of a data set": (
        ("datasets", "frankfurt", "train"),
        5,
        ("evaluate", "report"),
        "datasets.frankfurt.train 6, the catalog says 5: run `crosscity pretrain compact",
    ),
    "seed of a data set": (
        ("datasets", "frankfurt", "seed"),
        1,
        ("evaluate", "report"),
        "the labelled images of frankfurt (train) were made with datasets.frankfurt.seed 0, the "
        "catalog says 1: run `crosscity pretrain compact --seed 0`",
    ),
    "labels of the city": (
        ("cities", "tokyo", "labels", "fine_tune_places"),
        2,
        (),
        "",
    ),
    "adaptation": (
        ("trainings", "demo", "adaptation", "steps"),
        12,
        ("evaluate",),
        "the segmenter 'full' of tokyo (seed 0) was made with adaptation.steps 6, the catalog "
        "says 12: run `crosscity adapt tokyo --arm full --seed 0`",
    ),
    "evaluation": (
        ("cities", "tokyo", "labels", "protocol"),
        "merge",
        ("report",),
        "the evaluation of 'pretrained' on tokyo was made with labels.protocol score13, the "
        "catalog says merge: run `crosscity evaluate tokyo",
    ),
}


@pytest.mark.parametrize("section", CASES)
def test_a_changed_setting_is_refused_by_every_verb_that_depends_on_it(changed, section) -> None:
    key, value, refusing, sentence = CASES[section]
    said = _verbs(changed(*key, to=value))
    assert {verb for verb, text in said.items() if text is not None} == set(refusing)
    assert all(sentence in said[verb] for verb in refusing), said


def test_a_changed_number_of_labelled_places_concerns_fine_tuning_alone(changed) -> None:
    plan = changed("cities", "tokyo", "labels", "fine_tune_places", to=2)
    with pytest.raises(StaleError, match=r"images of tokyo \(train\) were 3 when they were read"):
        segmenter_of_arm("tokyo", "fine_tuned", 0, plan)
    parts = report_parts("tokyo", 0, plan)
    assert "evaluation-full" in parts
    assert "evaluation-fine_tuned" not in parts


def test_a_set_that_is_tested_on_makes_no_segmenter_stale(changed) -> None:
    """Settings of a set decide what was trained on only as far as they change its images."""
    said = _verbs(changed("datasets", "frankfurt", "test", to=2))
    assert set(said.values()) == {None}


def test_arms_and_seeds_are_told_apart_by_what_they_are_made_of(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    found = {arm: segmenter_of_arm("tokyo", arm, 0, plan) for arm in DEMO_ARMS}
    assert len(set(found.values())) == len(DEMO_ARMS)
    store = plan.open_store()
    for arm, ref in found.items():
        assert store.manifest(ref).parameters.get("arm", "pretrained") == arm
        with pytest.raises(InputError, match="seed 1` first") as caught:
            segmenter_of_arm("tokyo", arm, 1, plan)
        assert not isinstance(caught.value, StaleError), "another seed is not an earlier version"


def _states(plan: Any, arm: str = "full") -> dict[str, str]:
    return {step.name: step.state for step in steps_ahead("tokyo", arm, 0, plan)}


def test_the_plan_of_what_is_there_is_that_all_is_found(changed) -> None:
    states = _states(changed("cities", "tokyo", "seed", to=3))
    assert set(states) == {
        *("harvest", "static priors", "segmenter compact", "adaptation full", "evaluation")
    }
    assert set(states.values()) == {"found"}


def test_the_plan_says_what_is_made_anew_and_why_and_what_it_costs(changed) -> None:
    plan = changed("cities", "tokyo", "prior", "k", to=30)
    steps = {step.name: step for step in steps_ahead("tokyo", "full", 0, plan)}
    assert steps["harvest"].state == "found"
    assert steps["static priors"].state == "to be made anew"
    assert steps["static priors"].why.endswith("prior.k 3, the catalog says 30")
    assert steps["static priors"].cost == "5 pairs to match"
    assert steps["adaptation full"].state == "to be made anew"
    plan = changed("trainings", "demo", "adaptation", "steps", to=12)
    steps = {step.name: step for step in steps_ahead("tokyo", "ga", 0, plan)}
    assert steps["adaptation ga"].cost == "12 training steps"
    assert "adaptation.steps 6, the catalog says 12" in steps["adaptation ga"].why


def test_the_plan_of_an_empty_store_is_everything_and_makes_nothing(
    write_catalog, tmp_path, crosscity
) -> None:
    catalog = write_catalog(tmp_path / "new")
    assert set(_states(open_plan(catalog)).values()) == {"to be made"}
    done = crosscity("plan", "tokyo", "--catalog", catalog)
    assert done.returncode == 0, done.stderr
    assert "harvest" in done.stdout
    assert "to be made (14 images)" in done.stdout
    assert "to be made (6 training steps)" in done.stdout
    assert not any((tmp_path / "new" / "store").rglob("*.json"))


def test_what_is_promoted_without_a_key_is_what_the_catalog_describes(changed) -> None:
    plan = changed("cities", "tokyo", "arm", to="ga")
    found = segmenter_to_promote(plan, "tokyo", None)
    assert found == segmenter_of_arm("tokyo", "ga", 0, plan)
    store = plan.open_store()
    newest = max(
        store.artifacts("adaptation", "tokyo"), key=lambda ref: store.manifest(ref).made_at
    )
    assert newest != found, "the test would not tell them apart"
    plan = changed("trainings", "demo", "adaptation", "steps", to=7)
    with pytest.raises(InputError, match=r"steps 6, the catalog says 7.* promote tokyo KEY"):
        segmenter_to_promote(plan, "tokyo", None)
    assert segmenter_to_promote(plan, "tokyo", newest.key) == newest


def test_arms_of_other_settings_are_left_out_of_the_report(changed) -> None:
    plan = changed("trainings", "demo", "adaptation", "steps", to=12)
    parts = report_parts("tokyo", 0, plan)
    assert "evaluation-pretrained" in parts
    assert "evaluation-fine_tuned" in parts
    assert not {f"evaluation-{arm}" for arm in ("ga", "ga_ca", "full")} & set(parts)


def test_a_raised_version_is_a_reason_too(finished_run, monkeypatch) -> None:
    plan = open_plan(finished_run.catalog)
    monkeypatch.setattr("tasks.priors.identities.PRIOR_VERSION", "99")
    with pytest.raises(InputError, match=r"priors of tokyo were made by version .* has 99: run"):
        extracted(current_harvest("tokyo", plan).pairs, "tokyo", plan)
    monkeypatch.undo()
    monkeypatch.setattr("tasks.training.identities.TRAINING_VERSION", "99")
    with pytest.raises(InputError, match="run `crosscity pretrain compact --seed 0`"):
        segmenter_of_arm("tokyo", "full", 0, plan)


def test_settings_that_only_say_how_the_work_is_done_make_nothing_stale(changed) -> None:
    for key, value in (("pairs_per_part", 3), ("failure_limit", 0.5), ("schedule", "0 3 * * 1")):
        assert set(_verbs(changed("cities", "tokyo", key, to=value)).values()) == {None}, key


SIMULATED = City.model_validate(
    {
        "provider": {"kind": "simulated", "style": "tokyo"},
        "area": {"bbox": [139.7, 35.6, 139.8, 35.7]},
    }
)


def test_what_is_left_out_of_a_harvest_is_there_with_a_reason() -> None:
    """A setting added later counts, unless somebody writes here why it need not."""
    assert set(NOT_OF_A_HARVEST) <= set(City.model_fields)
    wanted = set(harvested_with(SIMULATED))
    assert set(City.model_fields) - wanted - {"version"} == set(NOT_OF_A_HARVEST) - {
        "test_margin_metres"
    }
    assert all(NOT_OF_A_HARVEST.values())
    assert all(NOT_OF_A_PROVIDERS_HARVEST.values())


def _other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list | tuple):
        return [*value, 1]
    return {"x": 1} if isinstance(value, dict) else "x"


SETTINGS = {
    "prior": PriorSettings().model_dump(),
    "pretraining": asdict(PretrainingSettings()),
    "adaptation": asdict(PRESETS["demo"]),
    "harvest": harvested_with(SIMULATED),
}


@given(st.data())
def test_any_setting_of_any_section_makes_a_difference_that_names_it(data) -> None:
    section = data.draw(st.sampled_from(sorted(SETTINGS)))
    name = data.draw(st.sampled_from(sorted(SETTINGS[section])))
    before = SETTINGS[section]
    now = {**before, name: _other(before[name])}
    found = differences(before, now)
    assert found
    assert all(one.key == name or one.key.startswith(f"{name}.") for one in found)
    assert f"{section}.{name}" in as_words(found, f"{section}.")
    assert differences(before, dict(before)) == []
