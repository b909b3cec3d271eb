"""Using what was adapted, as people do: predict a city or a folder, and hand both on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from crosscity.evaluation import predict
from crosscity.segmenters import build_segmenter, in_train_ids
from flows.cli.first_look import bundled_weights
from tasks.harvesting.current import current_harvest
from tasks.judging.chosen_segmenter import chosen_segmenter
from tasks.pages.exporting import export_city
from tasks.pages.pair_page import render_pair
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import open_plan
from tests.page_text import without_pictures


@pytest.fixture(scope="module")
def predicted(finished_run, crosscity, tmp_path_factory):
    """`crosscity predict tokyo` with an adaptation of the finished run."""
    (key, *_) = sorted(path.name for path in finished_run.store.glob("adaptation/tokyo/*"))
    out = tmp_path_factory.mktemp("predicted") / "out"
    words = ("predict", "tokyo", "--segmenter", key, "-o", out, "--ids", "trainIds")
    done = crosscity(*words, "--confidence", "--catalog", finished_run.catalog)
    assert done.returncode == 0, done.stderr
    assert "14 of 14 images predicted; table" in done.stdout
    return key, out


def test_predictions_are_what_the_evaluation_sees(finished_run, predicted) -> None:
    key, out = predicted
    plan = open_plan(finished_run.catalog)
    network = in_train_ids(chosen_segmenter(plan, key[:8]).segmenter)
    imagery = Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery)
    for image_id in imagery.ids():
        with Image.open(out / "labels" / f"{image_id}.png") as read:
            found = np.asarray(read)
        expected = predict(network, imagery.read(image_id)[None])[0]
        assert (found != expected).sum() <= 4  # a tie may turn in a batch
    table = pq.read_table(out / "predictions.parquet")
    assert set(table["status"].to_pylist()) == {"ok"}
    with (out / "images.csv").open(encoding="utf-8", newline="") as file:
        terms = {row["image_id"]: row for row in csv.DictReader(file)}
    assert set(terms) == set(imagery.ids())
    for image_id, row in terms.items():
        assert row["image"] == f"labels/{image_id}.png"
        known = imagery.row(image_id)
        assert (row["licence"], row["attribution"]) == (known["licence"], known["attribution"])
        assert row["captured_at"] == known["captured_at"].isoformat()
    description = json.loads((out / "prediction.json").read_text(encoding="utf-8"))
    assert key in description["segmenter"]


def test_again_it_finds_everything_and_writes_the_same(finished_run, predicted, crosscity) -> None:
    key, out = predicted
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    words = ("predict", "tokyo", "--segmenter", key, "-o", out, "--ids", "trainIds")
    done = crosscity(*words, "--confidence", "--catalog", finished_run.catalog)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_city_becomes_cityscapes_with_predictions_and_priors(
    finished_run, predicted, crosscity, tmp_path
) -> None:
    _, out = predicted
    words = ("export", "tokyo", "--as", "cityscapes", "-o", tmp_path / "city")
    done = crosscity(*words, "--predictions", out, "--catalog", finished_run.catalog)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "city").glob("leftImg8bit/*/tokyo/*.jpg"))) == 14
    assert len(list((tmp_path / "city").glob("gtFine/test/tokyo/*_labelTrainIds.png"))) == 4
    assert len(list((tmp_path / "city").glob("static/train/tokyo/*.png"))) == 10
    again = crosscity(*words, "--catalog", finished_run.catalog)
    assert again.returncode == 2
    assert "holds something already: name an empty folder" in again.stderr
    assert not list(tmp_path.glob("*.part"))


def test_maps_of_other_images_are_not_exported(finished_run, predicted, tmp_path) -> None:
    """A folder of predictions outlives its images: what changed since is said, never exported."""
    plan = open_plan(finished_run.catalog)
    for change, said in (
        (
            lambda table: table.slice(1),
            r"has no row of 1 of the 14 of tokyo, such as \S+; run `cro",
        ),
        (
            lambda table: table.set_column(1, table.schema.field(1), [["0" * 64] * len(table)]),
            r"is of another image of that name: run `crosscity predict tokyo -o \S+` again",
        ),
    ):
        folder = tmp_path / said[:6].replace(" ", "-")
        shutil.copytree(predicted[1], folder)
        table = pq.read_table(folder / "predictions.parquet")
        pq.write_table(change(table), folder / "predictions.parquet")
        with pytest.raises(InputError, match=said):
            export_city(plan, "tokyo", "cityscapes", tmp_path / "city", folder)
        assert not (tmp_path / "city").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--segmenter", "promoted"), "no segmenter is promoted for tokyo yet: run"),
        (("--segmenter", "0123456789"), "no segmenter or adaptation with the key 0123456789"),
        (("--segmenter", "best"), "neither 'promoted', nor a key in the store"),
        (("--segmenter", "compact"), "segmenters.compact has no weights of its own"),
        (("--ids", "colours"), "--ids is one of labelIds, trainIds, palette"),
        (("--size", "64"), "--size is HEIGHTxWIDTH"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence(
    finished_run, crosscity, tmp_path, words, sentence
) -> None:
    done = crosscity(
        "predict", "tokyo", "-o", tmp_path / "x", *words, "--catalog", finished_run.catalog
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def _weights(folder: Path, classes: int = 19) -> Path:
    """Of the small network that comes along, with its last layer cut to so many classes."""
    tensors = load_file(bundled_weights())
    path = folder / f"{classes}.safetensors"
    save_file({k: v[:classes] if v.ndim and len(v) == 19 else v for k, v in tensors.items()}, path)
    return path


def _pictures(folder: Path) -> None:
    """Two good images and three broken ones, each in another way."""
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (64, 48), "grey").save(folder / "good.png")
    Image.new("RGB", (48, 64), "white").save(folder / "below" / "good.jpg")
    (folder / "text.jpg").write_text("no picture", encoding="utf-8")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:-30])
    (folder / "readme.txt").write_text("not looked at", encoding="utf-8")


def test_broken_images_are_rows_and_the_end_says_how_many(crosscity, tmp_path) -> None:
    _pictures(tmp_path / "in")
    words = ("predict", tmp_path / "in", "--weights", _weights(tmp_path), "-o", tmp_path / "out")
    done = crosscity(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("2 of 5 images predicted, 3 failed; table: ")
    assert done.stderr.count("1 failed: ") == 3
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert {row["image"]: row["status"] for row in rows} == {
        **dict.fromkeys(("good", "below/good"), "ok"),
        **dict.fromkeys(("text", "empty", "cut"), "failed"),
    }
    assert all(bool(row["reason"]) == (row["status"] == "failed") for row in rows)
    told = crosscity(*words, "--json")
    assert told.returncode == 0
    assert set(json.loads(told.stdout)["failed"]) == {"text", "empty", "cut"}


def test_a_folder_that_gives_nothing_is_one_sentence(crosscity, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.jpg").write_text("no picture", encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "a.png")
    weights = ("--weights", _weights(tmp_path))
    other = ("--weights", _weights(tmp_path, classes=11))
    for words, sentence in (
        (("none", *weights), "none has no image"),
        (("bad", *weights), "none of the 1 image could be read"),
        (("a.png", *weights, "-o", tmp_path / "mine"), "mine holds something else"),
        (("a.png", *other), "11"),
    ):
        given = ("-o", tmp_path / "out") if "-o" not in words else ()
        done = crosscity("predict", tmp_path / words[0], *words[1:], *given)
        assert done.returncode == 2, (words, done.stderr)
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_folder_without_a_catalog_needs_weights(crosscity, tmp_path) -> None:
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "a.png")
    catalog = ("--catalog", tmp_path / "none.yaml")
    done = crosscity("predict", tmp_path / "a.png", "-o", tmp_path / "x", *catalog)
    assert done.returncode == 2
    assert "there is no catalog at" in done.stderr


def test_a_promoted_segmenter_of_several_cities_must_be_named(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    with pytest.raises(InputError, match="say whose promoted segmenter is meant"):
        chosen_segmenter(plan, "promoted")
    with pytest.raises(InputError, match="has no city 'rome'"):
        chosen_segmenter(plan, "promoted:rome")


def test_two_pictures_become_one_page(crosscity, tmp_path, finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    imagery = Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery)
    pair = [Path(tmp_path / f"{name}.jpg") for name in "ab"]
    for path, image_id in zip(pair, imagery.ids(), strict=False):
        path.write_bytes(imagery.data(image_id))
    (key, *_) = sorted(finished_run.store.glob("adaptation/tokyo/*"))
    words = ("try", *pair, "-o", tmp_path / "page", "--weights", key / "weights.safetensors")
    done = crosscity(*words, "--architecture", "efficientnet_lite0")
    assert done.returncode == 2, "weights of another architecture"
    done = crosscity("try", *pair, "-o", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page/index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    said = without_pictures(page).replace("http-equiv", "")
    assert "http" not in said, "nothing is fetched from elsewhere"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("three years")
    done = crosscity("try", *pair, "-o", tmp_path / "mine")
    assert done.returncode == 2
    assert "holds something else" in done.stderr


def test_names_of_pictures_are_text_on_the_page(finished_run) -> None:
    plan = open_plan(finished_run.catalog)
    imagery = Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery)
    first, second = (imagery.read(each) for each in imagery.ids()[:2])
    from tasks.priors.pair_prior import extract_prior

    prior = extract_prior(first, second, plan.city("tokyo").prior)
    page = render_pair((first, second), ("<script>alert(1)</script>.jpg", "b.jpg"), prior)
    assert "<script>" not in page


def test_other_classes_of_the_same_weights_are_other_predictions(tmp_path) -> None:
    """A killed run of one is not gone on with by the other: maps would have ids of both."""
    weights = tmp_path / "w.safetensors"
    names = ["car", "road", "sky"]
    options = {"width": 8, "class_names": names}
    save_file(build_segmenter("compact", options, seed=0).state_dict(), weights)

    def made_by(class_names):
        entry = {"architecture": "compact", "weights": str(weights), "options": dict(options)}
        entry["options"]["class_names"] = class_names
        catalog = {"version": 1, "stores": {"local": {"url": "store"}}, "store": "local"}
        catalog |= {"computes": {"laptop": {"device": "cpu"}}, "compute": "laptop"}
        path = tmp_path / "data_catalog.yaml"
        path.write_text(json.dumps(catalog | {"segmenters": {"mine": entry}}))
        return chosen_segmenter(open_plan(path), "mine").made_by

    assert made_by(names) == made_by(names)
    assert made_by(names) != made_by(["road", "car", "sky"])
