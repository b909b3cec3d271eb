"""The weights that come along: what they say of themselves is true."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from adapters.datasets.simulated import SimulatedDataset
from crosscity.evaluation import confusion_matrix, predict, score, unlearned_classes
from crosscity.segmenters import build_segmenter
from tasks.training.segmenters import load_checked

WEIGHTS = Path(str(files("crosscity").joinpath("weights/street.safetensors")))
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "street_weights.json"


@pytest.fixture(scope="module")
def segmenter():
    made = build_segmenter("efficientnet_lite0", {}, seed=0)
    load_checked(made, WEIGHTS)
    return made


def test_they_are_small_half_floats_of_the_nineteen_classes() -> None:
    assert WEIGHTS.stat().st_size < 10_000_000
    with safe_open(WEIGHTS, framework="pt") as opened:
        assert len(json.loads(opened.metadata()["class_names"])) == 19
        assert json.loads(opened.metadata()["image_size"]) == [256, 512]
        kinds = {str(opened.get_tensor(name).dtype) for name in opened.keys()}  # noqa: SIM118
    assert kinds <= {"torch.float16", "torch.int64"}


def test_they_know_their_home(segmenter) -> None:
    """On a few of the places that the model card's score is from: no class is at nothing."""
    city = SimulatedDataset("frankfurt", seed=11, image_size=(256, 512), splits={"val": 12})
    counts = np.zeros((19, 19), dtype=np.int64)
    for name in city.samples("val"):
        sample = city.read(name)
        counts += confusion_matrix(sample.train_ids, predict(segmenter, sample.image[None])[0], 19)
    stated = json.loads(RESULTS.read_text(encoding="utf-8"))
    whole = stated["validation"][stated["chosen"]]["miou"]
    assert score(counts, "score13").miou > whole - 0.15
    scored = {name for name, _ in unlearned_classes(counts, segmenter.class_names)}
    assert not scored & {"road", "sidewalk", "building", "vegetation", "sky", "car", "person"}
