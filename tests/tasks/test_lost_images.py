"""What the store has lost, or does not give now, is no property of an image: no artifact says so.

A row that failed stays in its artifact for good, as the key of that knows the images by their
digest alone, and they are the same once they were harvested again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.predictions import PredictionFolder, Wanted
from adapters.store import ArtifactRef, StoreAwayError, StoreError
from crosscity.segmenters import build_segmenter
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.judging.predictions import Picture, pictures_of_city, predict_pictures
from tasks.priors.extraction import prior_part, prior_parts
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import PAIRS
from tasks.steps.tables import read_rows
from tasks.training.pair_matching import PairMatching

LOST = r"the images in imagery_part/tokyo/\w+ are gone from the store: .*harvest tokyo"


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    """Of a city in a store far away, where a shard is looked for when an image of it is read."""
    far = {"far": {"url": f"memory://{uuid.uuid4().hex}"}}
    city = {"places": 3, "test_places": 0}
    return open_plan(write_catalog(tmp_path, city=city, store="far", stores=far), city="tokyo")


def ref_of(made: Any) -> ArtifactRef:
    found = made if isinstance(made, ArtifactRef) else made.result()
    assert isinstance(found, ArtifactRef)
    return found


def harvest(plan: Plan) -> tuple[ArtifactRef, list[ArtifactRef], ArtifactRef]:
    """The images, the shards that hold them, and the pairs."""
    captures = ref_of(list_captures.fn("tokyo", plan))
    parts = [
        ref_of(harvest_part.fn(captures, part, "tokyo", plan))
        for part in harvest_parts(captures, "tokyo", plan)
    ]
    imagery = ref_of(join_imagery.fn(parts, "tokyo", plan))
    return imagery, parts, ref_of(choose_pairs.fn(imagery, "tokyo", plan))


def test_a_prior_of_lost_images_is_made_once_they_are_there_again(plan: Plan) -> None:
    imagery, parts, pairs = harvest(plan)
    shard = prior_parts(imagery, pairs, "tokyo", plan)[0]
    plan.open_store().remove(parts[0])
    with pytest.raises(StoreError, match=LOST):
        prior_part.fn(imagery, pairs, shard, "tokyo", plan)
    again = harvest(plan)
    assert (again[0].digest, again[2].digest) == (imagery.digest, pairs.digest)
    made = ref_of(prior_part.fn(imagery, pairs, shard, "tokyo", plan))
    assert plan.open_store().manifest(made).summary["failures"] == {}


def test_pairs_of_lost_images_are_not_taken_for_pairs_without_a_match(plan: Plan) -> None:
    imagery, parts, pairs = harvest(plan)
    pair = read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS)[0]
    for part in parts:
        plan.open_store().remove(part)
    matching = PairMatching(plan.city("tokyo").prior, "cpu", None)
    images = Imagery(plan.open_store(), imagery)
    with pytest.raises(StoreError, match=LOST):
        matching.points(pair["image_a"], pair["image_b"], images)


def predicted(pictures: list[Picture], folder: Path) -> None:
    segmenter = build_segmenter("compact", {"width": 16}, seed=1)
    out = PredictionFolder(folder, segmenter.class_names, Wanted("trainIds"), {"segmenter": "a"})
    predict_pictures(segmenter, pictures, out, batch_size=2, image_size=None, workers=2)


def test_images_that_are_lost_or_away_are_not_predicted_as_broken_ones(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagery, parts, _ = harvest(plan)
    images = Imagery(plan.open_store(), imagery)

    def away(*_: object) -> bytes:
        raise StoreAwayError("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(images, "data", away)
        with pytest.raises(StoreAwayError):
            predicted(pictures_of_city(images), tmp_path / "a")

    with monkeypatch.context() as patched:
        patched.setattr(images._store, "path", lambda *_: tmp_path / "of a disk that went")
        with pytest.raises(StoreError, match="of a disk that went"):
            predicted(pictures_of_city(images), tmp_path / "b")
    plan.open_store().remove(parts[0])
    with pytest.raises(StoreError):
        predicted(pictures_of_city(Imagery(plan.open_store(), imagery)), tmp_path / "c")
    assert not list(tmp_path.glob("[abc]/predictions.parquet"))
    assert np.isfinite(images.read(images.ids()[-1])).all()
