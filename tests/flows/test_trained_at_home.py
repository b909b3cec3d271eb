"""What a pre-training finds out at home is stored with the segmenter, and every arm goes by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.store import ArtifactRef, Store
from crosscity.evaluation import evaluate
from crosscity.segmenters import in_train_ids
from tasks.judging.evaluated import evaluation_of
from tasks.judging.evaluation import read_evaluation
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_images import StoredLabelled
from tasks.training.trained import TrainedSegmenters

PLATEAU = {
    "until": "plateau",
    "steps": 12,
    "validate_every": 2,
    "patience": 1,
    "least_gain": 1.0,
    "average": 0.5,
    "prediction_rule": "weighted",
}


@pytest.fixture(scope="module")
def catalog(write_catalog: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city whose images are larger than those that its segmenter was trained on."""
    return write_catalog(
        tmp_path_factory.mktemp("home"),
        segmenters={"compact": {"pretraining": PLATEAU}},
        city={"image_size": [96, 192]},
    )


@pytest.fixture(scope="module")
def adapted(many_flows: Callable[..., dict[str, Any]], catalog: Path) -> dict[str, Any]:
    """Output of an adaptation, and the artifacts."""
    for verb in (("harvest", "tokyo"), ("adapt", "tokyo", "--arm", "control")):
        done = many_flows(*verb, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    scored = many_flows("evaluate", "tokyo", "--arm", "control", "--catalog", catalog)
    assert scored["code"] == 0, scored["err"]
    trained = TrainedSegmenters("tokyo", 0, open_plan(catalog))
    return {
        "said": done["err"],
        "start": trained.start,
        "adapted": trained.of_arm("control"),
        "evaluation": evaluation_of(trained, "control"),
    }


def described(catalog: Path, ref: ArtifactRef) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        Store(catalog.parent / "store").path(ref, "model.json").read_text()
    )
    return content


def test_how_it_ended_is_in_the_manifest(catalog: Path, adapted: dict[str, Any]) -> None:
    manifest = Store(catalog.parent / "store").manifest(adapted["start"])
    home = manifest.summary["home"]
    assert home["ended"] == "plateau"
    assert home["at"] == manifest.summary["steps"] == 5  # a look at 2 and at 4, and a quarter
    assert home["rule"] == "weighted"
    assert set(home["miou"]) == {"plain", "half_weighted", "weighted"}
    assert {name.partition("-")[0] for name in manifest.inputs} == {"part", "home"}


def test_size_and_rule_go_on_to_what_is_adapted(catalog: Path, adapted: dict[str, Any]) -> None:
    start, end = (described(catalog, adapted[name]) for name in ("start", "adapted"))
    assert start["trained_size"] == end["trained_size"] == [64, 128]
    assert any(start["prediction_offsets"])
    assert start["prediction_offsets"] == end["prediction_offsets"]


def test_test_images_go_through_at_the_size_that_it_was_trained_at(
    catalog: Path, adapted: dict[str, Any]
) -> None:
    plan = open_plan(catalog, city="tokyo")
    parts = scored_parts(plan, adapted["evaluation"])
    images = StoredLabelled(plan.open_store(), parts)
    assert images.images([0]).shape[1:3] == (96, 192)
    network = in_train_ids(stored_segmenter(plan, adapted["adapted"])[1])
    names = network.class_names
    found = {
        (row["truth"], row["prediction"]): row["pixels"]
        for row in confusion(plan.open_store(), adapted)
    }
    for size, same in (((64, 128), True), ((96, 192), False)):
        counts = evaluate(network, images, image_size=size)
        there = {(a, b): counts[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}
        assert (there == found) is same
    assert read_evaluation(plan.open_store(), adapted["evaluation"]).images == len(images)


def scored_parts(plan: Plan, evaluation: ArtifactRef) -> list[ArtifactRef]:
    made_of = plan.open_store().manifest(evaluation).inputs.values()
    return [
        ref for ref in plan.open_store().artifacts("labelled", "tokyo") if ref.digest in made_of
    ]


def confusion(store: Store, adapted: dict[str, Any]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(
        store.path(adapted["evaluation"], "confusion.parquet")
    ).to_pylist()
    return rows


def test_scored_classes_that_are_unlearned_at_home_are_reported_on_the_terminal(
    many_flows: Callable[..., dict[str, Any]], catalog: Path, adapted: dict[str, Any]
) -> None:
    """Five steps teach none of the small classes."""
    assert "crosscity: adapt tokyo: hardly a pixel is recognised of" in adapted["said"]
    noted = Store(catalog.parent / "store").manifest(adapted["start"]).summary["unlearned"]
    assert noted
    checked = many_flows("catalog", "check", "--catalog", catalog)
    assert checked["code"] == 0
    assert "warning: cities.tokyo: hardly a pixel is recognised of" in checked["err"]
