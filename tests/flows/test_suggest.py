"""Places worth a label, a task for CVAT, and the labels on their way back."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from adapters.images import decode_image
from crosscity.evaluation import predict
from crosscity.labels import CLASSES, VOID
from crosscity.safeguard import static_points
from crosscity.segmenters import in_train_ids
from flows.cli.application import app
from tasks.harvesting.current import current_harvest
from tasks.judging import suggestion
from tasks.judging.evaluated import segmenter_of_arm
from tasks.judging.suggestion import segmenter_before, suggested_places
from tasks.pages.labelling_task import learning_entry
from tasks.priors.pair_prior import extract_prior
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import PAIRS
from tasks.steps.tables import read_rows
from tasks.training.extras import labelled_places
from tasks.training.labelled import labelled_set
from tasks.training.segmenters import stored_segmenter


@pytest.fixture(scope="module")
def finished_run(finished_run, tmp_path_factory) -> Any:
    """A copy of it, as what is suggested and learned here is stored."""
    return finished_run.copied(tmp_path_factory.mktemp("suggesting") / "site")


@pytest.fixture(scope="module")
def key(finished_run) -> str:
    return segmenter_of_arm("tokyo", "full", 0, open_plan(finished_run.catalog)).key


@pytest.fixture(scope="module")
def task(finished_run, crosscity, key, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("suggested") / "task"
    words = ("suggest", "tokyo", "-n", 3, "-o", out, "--segmenter", key)
    done = crosscity(*words, "--catalog", finished_run.catalog)
    assert done.returncode == 0, done.stderr
    assert "3 places of tokyo to label" in done.stdout
    assert "next: make a task of" in done.stderr
    return out


def test_how_many_pairs_were_looked_at_is_said_where_a_city_has_more(
    finished_run: Any, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a city has no more places was said of the 400 pairs that were looked at."""
    monkeypatch.setattr(suggestion, "MOST_PAIRS", 2)
    words = ["suggest", "tokyo", "-n", "3", "-o", str(tmp_path / "task"), "--segmenter", key]
    done = CliRunner().invoke(app, [*words, "--catalog", str(finished_run.catalog)])
    assert done.exit_code == 0, done.stderr
    assert re.search(r"looked at 2 of the \d+ pairs of tokyo", done.stderr)
    assert "they have 2 places of the split train, not 3" in done.stderr


def test_the_table_says_what_was_seen(finished_run, task) -> None:
    """Against the two segmenters and the matches themselves."""
    plan = open_plan(finished_run.catalog)
    after = segmenter_of_arm("tokyo", "full", 0, plan)
    before = segmenter_before(plan, after)
    assert before is not None
    networks = [in_train_ids(stored_segmenter(plan, one)[1]).eval() for one in (after, before)]
    harvest = current_harvest("tokyo", plan)
    imagery = Imagery(plan.open_store(), harvest.imagery)
    pairs = read_rows(plan.open_store(), harvest.pairs, "pairs.parquet", PAIRS)
    by_id = {pair["pair_id"]: pair for pair in pairs}
    rows = pq.read_table(task / "suggested.parquet").to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert len({row["place_id"] for row in rows}) == 3
    for row in rows:
        pair = by_id[row["pair_id"]]
        assert row["image_id"] in (pair["image_a"], pair["image_b"])
        assert row["split"] == "train"
        assert row["licence"]
        both = [imagery.read(pair[end]) for end in ("image_a", "image_b")]
        prior = extract_prior(both[0], both[1], plan.city("tokyo").prior)
        points = static_points(prior.matches, prior.masks)
        assert row["points"] == len(points[0])
        seen = [[predict(network, image) for image in both] for network in networks]
        at = [labels[p[:, 0], p[:, 1]] for labels, p in zip(seen[0], points, strict=True)]
        assert row["times_differ"] == pytest.approx((at[0] != at[1]).mean())
        disputed = [float((seen[0][end] != seen[1][end]).mean()) for end in (0, 1)]
        assert row["segmenters_differ"] == pytest.approx(max(disputed))
    with (task / "suggested.csv").open(encoding="utf-8", newline="") as file:
        sheet = list(csv.DictReader(file))
    assert [row["image_id"] for row in sheet] == [row["image_id"] for row in rows]


def test_the_ranking_is_there_for_other_programs(finished_run, task) -> None:
    plan = open_plan(finished_run.catalog)
    after = segmenter_of_arm("tokyo", "full", 0, plan)
    places = suggested_places(plan, "tokyo", 3, after, segmenter_before(plan, after))
    ids = pq.read_table(task / "suggested.parquet")["image_id"].to_pylist()
    assert [place.image_id for place in places] == ids
    alone = suggested_places(plan, "tokyo", 100, after, split="test")
    assert {place.split for place in alone} == {"test"}
    assert len(alone) == 2
    assert all(place.segmenters_differ is None for place in alone)


def _masks(image: ET.Element) -> np.ndarray:
    """The label map that a CVAT image holds (docs.cvat.ai, "Run-length encoding")."""
    found = np.full((int(image.get("height")), int(image.get("width"))), VOID, np.uint8)
    names = {one.name: one.train_id for one in CLASSES}
    for mask in sorted(image.findall("mask"), key=lambda one: int(one.get("z_order"))):
        lengths = [int(each) for each in mask.get("rle").split(",")]
        values = np.repeat(np.arange(len(lengths)) % 2, lengths).astype(bool)
        height, width = int(mask.get("height")), int(mask.get("width"))
        top, left = int(mask.get("top")), int(mask.get("left"))
        inside = found[top : top + height, left : left + width]
        inside[values.reshape(height, width)] = names[mask.get("label")]
    return found


def _labelled(task: Path, plan: Plan) -> dict[str, np.ndarray]:
    """Corrects the task, and exports it as CVAT's "Segmentation mask 1.1".

    Colours lie in SegmentationClass/, black where nothing is.

    Returns:
        The corrected labels by image.
    """
    after = segmenter_of_arm("tokyo", "full", 0, plan)
    network = in_train_ids(stored_segmenter(plan, after)[1]).eval()
    root = ET.parse(task / "annotations.xml").getroot()  # noqa: S314 - written above
    (task / "SegmentationClass").mkdir(exist_ok=True)
    corrected: dict[str, np.ndarray] = {}
    for image in root.findall("image"):
        name = str(image.get("name"))
        picture = decode_image((task / "images" / name).read_bytes(), name)
        labels = _masks(image)
        np.testing.assert_array_equal(labels, predict(network, picture))
        labels[:16, :16] = 10  # a person corrects a corner to sky,
        labels[-8:] = VOID  # and leaves the bonnet out
        corrected[Path(name).stem] = labels
        colours = np.zeros((*labels.shape, 3), np.uint8)
        for one in CLASSES:
            colours[labels == one.train_id] = one.colour
        Image.fromarray(colours).save(task / "SegmentationClass" / f"{Path(name).stem}.png")
    return corrected


def _catalog(finished_run) -> dict[str, Any]:
    """The catalog of the run for another folder; its store stays."""
    catalog: dict[str, Any] = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    catalog["stores"]["local"]["url"] = str(finished_run.store)
    return catalog


def test_labels_of_training_places_come_back_and_are_learned_from(
    finished_run, crosscity, key, tmp_path
) -> None:
    """`labels.yaml` as an included file, and the command that the terminal names."""
    task = tmp_path / "task"
    words = ("suggest", "tokyo", "-n", 3, "-o", task, "--segmenter", key)
    asked = crosscity(*words, "--catalog", finished_run.catalog)
    assert asked.returncode == 0, asked.stderr
    (command,) = re.findall(r"`crosscity (adapt .*?)`", asked.stderr)
    corrected = _labelled(task, open_plan(finished_run.catalog))
    path = tmp_path / "data_catalog.yaml"
    catalog = _catalog(finished_run) | {"include": "task/labels.yaml"}
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")

    done = crosscity(*command.split(), "--catalog", path, server=finished_run.server)
    assert done.returncode == 0, done.stderr
    plan = open_plan(path)
    adapted = segmenter_of_arm("tokyo", command.split()[-1], 0, plan)
    store = plan.open_store()
    terms = store.manifest(adapted).parameters["recipe"]["objectives"]
    names = [term["objective"] for term in terms]
    assert names == ["source_task", "self_training", "few_labels"]
    inputs = store.inputs_of(adapted)
    shards = [inputs[role] for role in sorted(inputs) if role.startswith("label-")]
    learned = labelled_places(store, [ref for ref in shards if ref is not None])
    assert {name.removeprefix("train_") for name in learned} == set(corrected)


def test_the_recipe_of_weights_without_a_source_needs_none(finished_run, tmp_path) -> None:
    plan = open_plan(finished_run.catalog)
    entry = plan.segmenter(plan.city("tokyo").segmenter).model_copy(update={"source": None})
    name = plan.city("tokyo").segmenter
    alone = plan.model_copy(update={"segmenters": {**plan.segmenters, name: entry}})
    said = yaml.safe_load(learning_entry(alone, "tokyo", "few", 16, tmp_path))
    (recipe,) = said["recipes"].values()
    assert [one["objective"] for one in recipe["objectives"]] == ["self_training", "few_labels"]
    assert recipe["labels"]["places"] == 16


def test_predictions_are_masks_and_come_back_as_labels_that_are_scored_on(
    finished_run, crosscity, key, tmp_path
) -> None:
    task = tmp_path / "task"
    words = ("suggest", "tokyo", "-n", 2, "-o", task, "--segmenter", key, "--split", "test")
    asked = crosscity(*words, "--catalog", finished_run.catalog)
    assert asked.returncode == 0, asked.stderr
    assert "adapt" not in asked.stderr  # nobody learns from what is scored on
    corrected = _labelled(task, open_plan(finished_run.catalog))
    entry = yaml.safe_load((task / "labels.yaml").read_text(encoding="utf-8"))
    catalog = _catalog(finished_run)
    catalog["cities"]["tokyo"] |= entry
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")

    found = labelled_set(open_plan(path), "tokyo", None)
    assert len(found.samples("test")) == 2
    for sample in found.samples("test"):
        (name,) = [one for one in corrected if sample.endswith(one)]
        np.testing.assert_array_equal(found.read(sample).train_ids, corrected[name])

    done = crosscity(
        "evaluate", "tokyo", "--arm", "full", "--catalog", path, server=finished_run.server
    )
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--split", "best"), "--split is train, test or all"),
        (("--segmenter", "promoted"), "no segmenter is promoted for tokyo yet"),
        (("--against", "promoted"), "or name one with --against"),
        (("--against", "0123456789"), "no segmenter or adaptation with the key 0123456789"),
    ],
)
def test_what_cannot_be_suggested_is_one_sentence(
    finished_run, key, crosscity, tmp_path, words, sentence
) -> None:
    first = ("suggest", "tokyo", "-o", tmp_path / "x", "--segmenter", key)
    done = crosscity(*first, *words, "--catalog", finished_run.catalog)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []
