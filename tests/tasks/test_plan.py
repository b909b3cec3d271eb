"""The plan of a run: read once, frozen, the same on another machine."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.catalog import CatalogError, load_catalog
from tasks.steps import plan as module
from tasks.steps.errors import InputError
from tasks.steps.plan import PLAN_VERSION, Plan, open_plan

SHIPPED = Path(__file__).parents[2] / "data_catalog.yaml"


def test_a_plan_is_the_same_after_pickling_and_after_json():
    plan = open_plan(SHIPPED)
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 - our own
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize("label_map", [{7: "road"}, {"#804080": "road"}])
def test_colours_and_values_of_labels_survive_json(write_catalog, tmp_path, label_map):
    """Keys of JSON are text: the value 7 must not come back as the text "7"."""
    mine = {"kind": "folder", "root": "here", "label_map": label_map}
    plan = open_plan(write_catalog(tmp_path, datasets={"mine": mine}))
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_with_an_infinite_setting_is_refused_like_such_a_catalog(write_catalog, tmp_path):
    plan = open_plan(write_catalog(tmp_path))
    city = plan.city("tokyo").model_copy(update={"max_metres_apart": float("inf")})
    unbounded = plan.model_copy(update={"cities": {"tokyo": city}})
    with pytest.raises(InputError, match="max_metres_apart"):
        Plan.from_json(unbounded.to_json())


def test_a_plan_of_another_version_is_refused_in_one_sentence():
    plan = open_plan(SHIPPED)
    newer = {**json.loads(plan.to_json()), "version": PLAN_VERSION + 1, "rockets": 3}
    with pytest.raises(InputError, match=f"plan is of version {PLAN_VERSION + 1}") as caught:
        Plan.from_json(json.dumps(newer))
    assert "\n" not in str(caught.value)
    pickled = pickle.dumps(plan.model_copy(update={"version": PLAN_VERSION + 1}))
    with pytest.raises(InputError, match="run both ends of the work with one release"):
        pickle.loads(pickled)  # noqa: S301 - our own


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": "one"}', f'{{"version": {PLAN_VERSION}}}']
)
def test_what_is_not_a_plan_is_refused_in_one_sentence(text):
    with pytest.raises(InputError, match="this is not a plan of a run") as caught:
        Plan.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_plan_cannot_be_changed():
    plan = open_plan(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        plan.root = "/elsewhere"
    with pytest.raises(ValidationError, match="frozen"):
        plan.city("tokyo").places = 3


def test_secrets_stay_references_until_they_are_used(write_catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCITY_TEST_STORE", "the-secret-place")
    stores = {"local": {"url": "${CROSSCITY_TEST_STORE}/store"}}
    plan = open_plan(write_catalog(tmp_path, stores=stores))
    assert "the-secret-place" not in plan.to_json()
    plan.open_store().check_writable()
    assert (tmp_path / "the-secret-place" / "store").is_dir()
    monkeypatch.delenv("CROSSCITY_TEST_STORE")
    with pytest.raises(CatalogError, match=r"stores\.local\.url needs .* CROSSCITY_TEST_STORE"):
        plan.open_store()


def test_a_catalog_saved_meanwhile_changes_nothing(write_catalog, tmp_path):
    path = write_catalog(tmp_path)
    plan = open_plan(path, city="tokyo")
    before = plan.to_json()
    write_catalog(tmp_path, city={"places": 999}, stores={"local": {"url": "other"}})
    assert plan.to_json() == before
    path.write_text("nonsense: [")
    assert plan.city("tokyo").places == 7
    plan.open_store().check_writable()
    assert (tmp_path / "store").is_dir()


def test_only_what_a_run_needs_is_in_its_plan(write_catalog, tmp_path):
    catalog = load_catalog(SHIPPED)
    plan = open_plan(SHIPPED, city="tokyo")
    entry = catalog.cities["tokyo"]
    assert set(plan.cities) == {"tokyo"}
    assert set(plan.segmenters) == {entry.segmenter}
    assert set(plan.trainings) == {entry.training}
    assert set(plan.datasets) == {catalog.segmenters[entry.segmenter].source}
    assert plan.transfers == {}
    camvid = {"kind": "camvid", "root": "camvid"}
    there = {"segmenter": "compact", "target": "camvid"}
    path = write_catalog(
        tmp_path, datasets={"camvid": camvid, "more": camvid}, transfers={"there": there}
    )
    plan = open_plan(path, transfer="there")
    assert set(plan.datasets) == {"frankfurt", "camvid"}
    assert set(plan.transfers) == {"there"}
    assert plan.cities == {}
    assert set(open_plan(SHIPPED, segmenter="compact").segmenters) == {"compact"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"city": "atlantis"}, "no city 'atlantis'; it has .*: add an entry under `cities`"),
        ({"transfer": "moon"}, "no transfer 'moon'"),
        ({"segmenter": "wide"}, "no segmenter 'wide'"),
        ({"compute": "mainframe"}, "no compute profile 'mainframe'; it has .*laptop"),
    ],
)
def test_what_the_catalog_has_not_is_reported_at_the_door(wanted, said):
    with pytest.raises(InputError, match=said):
        open_plan(SHIPPED, **wanted)


def test_the_profile_is_that_of_the_call_else_of_the_machine(monkeypatch):
    catalog = load_catalog(SHIPPED)
    assert open_plan(SHIPPED).compute == catalog.computes["laptop"]
    monkeypatch.setenv("CROSSCITY_COMPUTE", "gpu")
    assert open_plan(SHIPPED).compute == catalog.computes["gpu"]
    assert open_plan(SHIPPED, "laptop").compute == catalog.computes["laptop"]
    assert os.environ["CROSSCITY_COMPUTE"] == "gpu"
    plan = open_plan(SHIPPED)
    monkeypatch.setenv("CROSSCITY_COMPUTE", "laptop")
    assert plan.compute == catalog.computes["gpu"]


def test_a_store_is_opened_once_in_a_process(write_catalog, tmp_path):
    path = write_catalog(tmp_path)
    plan, twin = open_plan(path), open_plan(path, city="tokyo")
    assert plan.open_store() is twin.open_store()
    other = open_plan(write_catalog(tmp_path / "other"))
    assert other.open_store() is not plan.open_store()


ELSEWHERE = """
import pickle, sys
from pathlib import Path

plan = pickle.loads(Path(sys.argv[1]).read_bytes())
(ref,) = plan.open_store().artifacts()
print(ref.key, plan.folder("pictures", key="x"), plan.city("tokyo").places)
"""


def test_a_plan_works_in_another_process_in_another_folder_without_its_catalog(
    write_catalog, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_catalog(tmp_path / "here")
    plan = open_plan("here/data_catalog.yaml", city="tokyo")
    with plan.open_store().draft(
        "pairs", "tokyo", "akey", inputs={}, parameters={}, version="1"
    ) as draft:
        (draft.path / "x.txt").write_text("x")
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    (tmp_path / "here" / "data_catalog.yaml").unlink()
    (tmp_path / "away").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "plan"],
        cwd=tmp_path / "away",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SHIPPED.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["akey", str(tmp_path / "here" / "pictures"), "7"]
    shutil.rmtree(tmp_path / "here")


def test_no_step_opens_a_catalog():
    """The catalog is read at the doors alone: flows and verbs, by `open_plan`."""
    root = Path(module.__file__).parents[2]
    doors = {"steps/defaults.py", "steps/plan.py", "steps/settings.py"}
    for path in (root / "tasks").rglob("*.py"):
        if path.relative_to(root / "tasks").as_posix() not in doors:
            text = path.read_text(encoding="utf-8")
            for word in ("load_catalog", "open_catalog", "open_plan", "COMPUTE_VARIABLE"):
                assert word not in text, f"{path} uses {word}"
