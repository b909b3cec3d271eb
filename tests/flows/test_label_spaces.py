"""A segmenter whose classes stand in another order is trained and scored as the same segmenter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from crosscity.labels import CLASSES
from crosscity.segmenters import build_segmenter
from tasks.judging.evaluated import evaluation_of_arm
from tasks.steps.plan import open_plan

NAMES = [road_class.name for road_class in CLASSES]


@pytest.mark.slow
def test_the_order_of_classes_does_not_change_what_is_learned_and_scored(
    write_catalog, many_flows, tmp_path
):
    trained = build_segmenter("compact", {"width": 16}, seed=5).state_dict()
    order = list(reversed(range(19)))
    turned = {
        name: tensor[order].contiguous() if name.startswith("classifier.") else tensor
        for name, tensor in trained.items()
    }
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "usual": ({"width": 16}, trained),
        "turned": ({"width": 16, "class_names": NAMES[::-1]}, turned),
    }
    found = {}
    for kind, (options, weights) in kinds.items():
        save_file(weights, tmp_path / f"{kind}.safetensors")
        entry = {"options": options, "weights": f"{kind}.safetensors"}
        catalog = write_catalog(tmp_path, segmenters={"compact": entry})
        found[kind] = scores(many_flows, catalog, tmp_path / "store")
    for arm in ("pretrained", "control"):
        usual, other = found["usual"][arm], found["turned"][arm]
        assert usual["per_class"] == pytest.approx(other["per_class"], abs=0.02)
        assert usual["miou"] > 0
    assert found["usual"]["pretrained"] == found["turned"]["pretrained"]
    assert found["usual"]["control"] != found["usual"]["pretrained"]


def scores(many_flows: Any, catalog: Path, store: Path) -> dict[str, dict[str, Any]]:
    for words in (
        ("harvest", "tokyo"),
        ("adapt", "tokyo", "--arm", "control"),
        ("evaluate", "tokyo", "--arm", "pretrained"),
        ("evaluate", "tokyo", "--arm", "control"),
    ):
        done = many_flows(*words, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    read = {}
    for arm in ("pretrained", "control"):
        path = (
            store / evaluation_of_arm("tokyo", arm, 0, open_plan(catalog)).uri / "evaluation.json"
        )
        read[arm] = {
            name: value
            for name, value in json.loads(path.read_text()).items()
            if name in {"miou", "per_class"}
        }
        read[arm]["per_class"] = {
            name: -1.0 if value is None else value for name, value in read[arm]["per_class"].items()
        }
    return read
