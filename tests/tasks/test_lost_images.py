"""What the store has lost, or does not give now, is no property of an image: no artifact says so.

A row that failed stays in its artifact for good, as the key of that knows the images by their
digest alone, and they are the same once they were harvested again.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.datasets.files import FileDataset
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
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import IMAGERY, OK, PAIRS
from tasks.steps.tables import read_rows
from tasks.training.labelled import labelled_part, unlabelled_part
from tasks.training.pair_matching import PairMatching
from tests.harvested import fetched, ref_of

LOST = r"the images in imagery_part/tokyo/\w+ are gone from the store: .*harvest tokyo"


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    """Of a city in a store far away, where a shard is looked for when an image of it is read."""
    far = {"far": {"url": f"memory://{uuid.uuid4().hex}"}}
    city = {"places": 3, "test_places": 0}
    return open_plan(write_catalog(tmp_path, city=city, store="far", stores=far), city="tokyo")


def harvest(plan: Plan) -> tuple[ArtifactRef, list[ArtifactRef], ArtifactRef]:
    """The images, the shards that hold them, and the pairs."""
    captures = ref_of(list_captures.fn("tokyo", plan))
    parts = fetched(captures, plan)
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


class Disk:
    """A disk some of whose files cannot be opened; a test runs as whom no permission keeps out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bad: set[str] = set()
        opened = Path.open

        def open_or_fail(path: Path, *given: Any, **named: Any) -> Any:
            if path.name in self.bad:
                raise OSError(errno.EIO, "Input/output error", str(path))
            return opened(path, *given, **named)

        monkeypatch.setattr(Path, "open", open_or_fail)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def picture(path: Path, value: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        pixels = np.random.default_rng(len(str(path))).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    else:
        Image.fromarray(np.full((48, 64), value, dtype=np.uint8)).save(path)


def test_a_file_that_cannot_be_read_now_is_harvested_once_it_can(
    write_catalog: Callable[..., Path], tmp_path: Path, disk: Disk
) -> None:
    names = [f"pano_{place:05d}_{time}_90.png" for place in range(20) for time in range(2)]
    for name in names:
        picture(tmp_path / "views/tokyo/Images/Train" / name)
    folder = {"kind": "folder", "root": "views", "licence": "CC0-1.0", "attribution": "us"}
    city = {"provider": folder, "pairs_per_part": 40}
    plan = open_plan(write_catalog(tmp_path, city=city), city="tokyo")
    disk.bad = {names[3]}  # from the beginning: it is a fault of that file
    assert failed_images(plan) == [names[3][:-4]]
    disk.bad = set()
    captures = ref_of(list_captures.fn("tokyo", plan))
    (part,) = harvest_parts(captures, "tokyo", plan)
    disk.bad = {names[7]}
    with pytest.raises(InputError, match=rf"{names[7]} cannot be read: Input.* run again"):
        harvest_part.fn(captures, part, "tokyo", plan)
    disk.bad = set()
    assert failed_images(plan) == []


def failed_images(plan: Plan) -> list[str]:
    imagery, _, _ = harvest(plan)
    rows = read_rows(plan.open_store(), imagery, "imagery.parquet", IMAGERY)
    return [str(row["image_id"]) for row in rows if row["status"] != OK]


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_a_sample_that_cannot_be_read_now_is_read_once_it_can(
    write_catalog: Callable[..., Path], tmp_path: Path, disk: Disk, kind: str
) -> None:
    for number in range(20):
        picture(tmp_path / f"set/images/train/{number:02d}.png")
        picture(tmp_path / f"set/labels/train/{number:02d}_l.png", 0)
    entry = {"kind": "folder", "root": "set", "label_map": {0: "road"}, "label_ending": "_l.png"}
    plan = open_plan(write_catalog(tmp_path, datasets={"ours": entry}))

    def made() -> dict[str, Any]:
        step = labelled_part.fn("ours", "train", None, 0, plan) if kind == "labelled" else (
            unlabelled_part.fn("ours", "train", 0, plan)
        )  # fmt: skip
        failures = plan.open_store().manifest(ref_of(step)).summary["failures"]
        assert isinstance(failures, dict)
        return failures

    disk.bad = {"07.png"}
    assert sum(made().values()) == 1
    disk.bad = set()
    with pytest.MonkeyPatch.context() as patched:
        read = FileDataset._read_bytes

        def failing_later(self: FileDataset, path: Path) -> bytes:
            disk.bad = {"03.png"}
            return read(self, path)

        patched.setattr(FileDataset, "_read_bytes", failing_later)
        with pytest.raises(InputError, match=r"03\.png cannot be read: Input.* run again"):
            made()
    disk.bad = set()
    assert made() == {}
