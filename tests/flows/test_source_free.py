"""Weights alone: a segmenter without a source set is scored, adapted and guarded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.catalog import CatalogError
from adapters.store import Store
from crosscity.segmenters import build_segmenter
from tasks.judging.evaluated import segmenter_of_arm
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.identities import adaptation_parameters
from tasks.training.segmenters import starting_segmenter

MODEL = {"architecture": "compact", "options": {"width": 16}}
TRANSFER = {"segmenter": "given", "target": "frankfurt", "test_split": "test"}
FAST = {"source_free": {"steps": 3, "batch_size": 2, "statistics_images": 4}}


@pytest.fixture
def catalog(write_catalog: Callable[..., Path], tmp_path: Path) -> Path:
    """A catalog with a segmenter that is a weight file and no more."""
    torch.save(build_segmenter("compact", {"width": 16}, seed=4).state_dict(), tmp_path / "w.pth")
    return write_catalog(
        tmp_path,
        segmenters={"given": {**MODEL, "weights": "w.pth"}},
        transfers={"home": TRANSFER},
        trainings={"demo": FAST},
        city={"segmenter": "given"},
    )


def test_weights_alone_are_scored_and_adapted_to_a_set(
    many_flows: Callable[..., dict[str, Any]], catalog: Path, tmp_path: Path
) -> None:
    for arm in ("pretrained", "source_free"):
        done = many_flows("transfer", "home", "--arm", arm, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        assert "mIoU " in done["out"]
        said = "crosscity: segmenters.given: it has no source, so nothing tells whether"
        assert said in done["err"]
    store = Store(tmp_path / "store")
    plan = open_plan(catalog)
    adapted = segmenter_of_arm("home", "source_free", 0, plan)
    start = segmenter_of_arm("home", "pretrained", 0, plan)
    assert start.city == "given"
    manifest = store.manifest(adapted)
    assert manifest.parameters["arm"] == "source_free"
    assert manifest.parameters["steps"] == 3
    shown = manifest.summary["shown_size"]
    assert [one["size"] for one in shown["tried"]] == [[64, 128], [96, 192], [128, 256]]
    assert "images are shown at" in done["err"]
    # The labels of the set are scored with; what is learned from are images alone.
    assert {name.partition("-")[0] for name in manifest.inputs} == {"segmenter", "target"}
    before = load_file(store.path(start, "weights.safetensors"))
    after = load_file(store.path(adapted, "weights.safetensors"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_arm_that_needs_the_source_is_reported_before_any_work(
    many_flows: Callable[..., dict[str, Any]], catalog: Path, tmp_path: Path
) -> None:
    done = many_flows("transfer", "home", "--arm", "ga_ca", "--catalog", catalog)
    assert done["code"] == 2
    assert "segmenters.given has no source" in done["err"]
    assert "--arm source_free" in done["err"]
    assert not list(Store(tmp_path / "store").artifacts())


def test_weights_alone_are_adapted_to_a_city(
    many_flows: Callable[..., dict[str, Any]], catalog: Path, tmp_path: Path
) -> None:
    """Without a prior and without an image of a source; then the adapted segmenter is scored."""
    for verb in (
        ("harvest", "tokyo"),
        ("adapt", "tokyo", "--arm", "source_free"),
        ("evaluate", "tokyo", "--arm", "source_free"),
        ("evaluate", "tokyo", "--arm", "pretrained"),
    ):
        done = many_flows(*verb, "--catalog", catalog)
        assert done["code"] == 0, (verb, done["err"])
    store = Store(tmp_path / "store")
    adapted = segmenter_of_arm("tokyo", "source_free", 0, open_plan(catalog))
    assert "static_prior" not in store.manifest(adapted).inputs

    done = many_flows("adapt", "tokyo", "--arm", "source_free_looks", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    looking = segmenter_of_arm("tokyo", "source_free_looks", 0, open_plan(catalog))
    assert "static_prior" not in store.manifest(looking).inputs
    one, all_looks = (
        store.path(each, "weights.safetensors").read_bytes() for each in (adapted, looking)
    )
    assert one != all_looks


def test_what_matches_depend_on_is_in_the_key_of_an_arm_that_reads_no_prior(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """A prior is an input, and says it; without one nothing else would."""
    pairs = {"objectives": [{"objective": "two_looks", "weight": 1.0}]}
    with_prior = {**pairs, "prior": "veto"}
    recipes = {"pairs": pairs, "with_prior": with_prior}
    found = []
    for prior in ({}, {"downscale": 2}):
        plan = open_plan(write_catalog(tmp_path, city={"prior": prior}, recipes=recipes))
        arms = ("source_free", "source_free_looks", *recipes)
        found.append({arm: adaptation_parameters("tokyo", arm, 0, plan) for arm in arms})
    changed = {arm for arm in found[0] if found[0][arm] != found[1][arm]}
    assert changed == {"source_free_looks", "pairs"}
    assert "looks" not in found[0]["source_free"]  # as releases that had no such setting wrote it


def test_the_arm_is_no_setting(write_catalog: Callable[..., Path], tmp_path: Path) -> None:
    wrong = {"demo": {"source_free": {"looks": True}}}
    with pytest.raises(CatalogError, match=r"source_free\.looks: it is the arm source_free_looks"):
        open_plan(write_catalog(tmp_path, trainings=wrong))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"architecture": "compact"}, "nothing to pre-train it on: give source, or the weights"),
        (
            {"python": "my_package:build", "pretraining": {"steps": 3}},
            "without a source nothing is pre-trained",
        ),
        (
            {"architecture": "dilated_vgg16", "backbone_weights": "vgg.pth"},
            "nothing to pre-train it on",
        ),
    ],
)
def test_a_segmenter_that_can_have_learned_nothing_is_refused(
    write_catalog: Callable[..., Path], tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(CatalogError, match=said):
        open_plan(write_catalog(tmp_path, segmenters={"bare": entry}))


def test_a_setting_that_there_is_not_is_reported_with_its_key(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    wrong = {"demo": {"source_free": {"momentum": 0.9}}}
    with pytest.raises(CatalogError, match=r"source_free\.momentum: no such setting"):
        open_plan(write_catalog(tmp_path, trainings=wrong))


def test_a_function_that_brings_its_weights_is_known_by_them(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brought.py").write_text(
        "from crosscity.segmenters import build_segmenter\n"
        "def build(seed):\n"
        "    return build_segmenter('compact', {'width': 16}, seed=seed)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries = {
        name: {"python": "brought:build", "options": {"seed": seed}}
        for name, seed in (("one", 1), ("other", 2))
    }
    plan = open_plan(write_catalog(tmp_path, segmenters=entries))
    one, other = (starting_segmenter(plan, name, seed=0) for name in entries)
    assert one.is_trained
    assert other.is_trained
    assert one.made_of["built_sha256"] != other.made_of["built_sha256"]


def test_what_reads_the_source_says_that_there_is_none(catalog: Path) -> None:
    from tasks.training.identities import source_of

    with pytest.raises(InputError, match=r"segmenters\.given has no source"):
        source_of("given", open_plan(catalog))
