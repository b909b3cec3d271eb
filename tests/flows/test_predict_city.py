"""The flow predict-city: what the catalog says, in the store, whatever is killed meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from adapters.images import decode_label_png
from crosscity.evaluation import predict
from crosscity.segmenters import in_train_ids
from flows.cli.main import main
from tasks.harvesting.current import current_harvest
from tasks.judging.city_predictions import CityPredictions
from tasks.judging.evaluated import segmenter_of_arm
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import open_plan
from tasks.training.segmenters import stored_segmenter

STOP_AT = Path(__file__).with_name("stop_at.py")


def catalog_of(finished_run: Any, folder: Path, **predictions: Any) -> Path:
    """The finished run's catalog with a copy of its store, and how its city is predicted."""
    folder.mkdir(parents=True)
    shutil.copytree(finished_run.store, folder / "store")
    catalog = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    key = segmenter_of_arm("tokyo", "full", 0, open_plan(finished_run.catalog)).key
    catalog["cities"]["tokyo"]["predictions"] = {"segmenter": key, **predictions}
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def predicted(finished_run, crosscity, tmp_path_factory) -> Path:
    """The catalog whose city was predicted by the flow, undisturbed."""
    folder = tmp_path_factory.mktemp("predicted") / "a"
    catalog = catalog_of(finished_run, folder, ids="trainIds", confidence=True)
    done = crosscity("predict", "tokyo", "--catalog", catalog, server=finished_run.server)
    assert done.returncode == 0, done.stderr
    assert "14 images of tokyo predicted: predictions/tokyo/" in done.stdout
    assert "next: `crosscity export tokyo" in done.stderr
    return catalog


def parts(catalog: Path) -> list[dict[str, Any]]:
    found = sorted(catalog.parent.glob("store/predictions_part/tokyo/*/artifact.json"))
    return sorted((json.loads(one.read_text()) for one in found), key=_number)


def _number(manifest: dict[str, Any]) -> int:
    return int(manifest["parameters"]["part"])


def test_it_is_what_the_segmenter_sees_in_every_image(predicted) -> None:
    plan = open_plan(predicted)
    made = CityPredictions("tokyo", plan)
    ref = segmenter_of_arm("tokyo", "full", 0, plan)
    network = in_train_ids(stored_segmenter(plan, ref)[1]).eval()
    imagery = Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery)
    assert len(imagery.ids()) == 14
    for image_id in imagery.ids():
        path = made.label_file(image_id)
        assert path is not None
        found = decode_label_png(path.read_bytes(), image_id)
        assert (found != predict(network, imagery.read(image_id))).sum() <= 4  # ties, in a batch
    table = pq.read_table(plan.open_store().path(made.ref, "predictions.parquet"))
    assert table["image"].to_pylist() == imagery.ids()
    shares = [name for name in table.column_names if name.startswith("share_")]
    sums = sum(np.array(table[name].to_pylist()) for name in shares)
    np.testing.assert_allclose(sums, 1.0)


def test_it_is_cut_into_shards_that_are_whole_artifacts(predicted) -> None:
    found = parts(predicted)
    assert [one["rows"] for one in found] == [4, 4, 4, 2]  # two images for each of two pairs
    for one in found:
        assert sum(name.startswith("labels/") for name in one["files"]) == one["rows"]
        assert sum(name.startswith("confidence/") for name in one["files"]) == one["rows"]
        assert not any(name.startswith(("overlays/", ".parts")) for name in one["files"])


def test_again_everything_is_found(predicted, crosscity, finished_run) -> None:
    before = parts(predicted)
    done = crosscity("predict", "tokyo", "--catalog", predicted, server=finished_run.server)
    assert done.returncode == 0, done.stderr
    assert parts(predicted) == before  # made_at and all


def test_a_kill_loses_the_shard_in_flight_and_the_end_is_the_same(
    predicted, finished_run, crosscity, launcher, waiting, tmp_path
) -> None:
    catalog = catalog_of(finished_run, tmp_path / "b", ids="trainIds", confidence=True)
    marker = tmp_path / "marker"
    process = launcher.start(
        [sys.executable, STOP_AT, "predict", marker, "predict", "tokyo", "--catalog", catalog],
        env=finished_run.server.environment,
    )
    waiting(lambda: marker.exists() or process.poll() is not None, "it stands still", every=0.02)
    launcher.end(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (first,) = parts(catalog)
    assert _number(first) == 0
    done = crosscity("predict", "tokyo", "--catalog", catalog, server=finished_run.server)
    assert done.returncode == 0, done.stderr
    assert parts(catalog)[0] == first
    assert _digests(catalog) == _digests(predicted)


def _digests(catalog: Path) -> dict[str, str]:
    store = catalog.parent / "store"
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("predictions", "predictions_part")
        for path in store.glob(f"{kind}/tokyo/**/*")
        if path.is_file() and path.name != "artifact.json"
    }


def test_what_is_in_the_store_is_exported(predicted, crosscity, tmp_path) -> None:
    words = ("export", "tokyo", "--as", "cityscapes", "-o", tmp_path / "out")
    done = crosscity(*words, "--stored-predictions", "--catalog", predicted)
    assert done.returncode == 0, done.stderr
    plan = open_plan(predicted)
    made = CityPredictions("tokyo", plan)
    written = sorted((tmp_path / "out").glob("gtFine/*/tokyo/*_labelTrainIds.png"))
    assert len(written) == 14
    expected = {
        hashlib.sha256(decode_label_png(path.read_bytes(), image).tobytes()).hexdigest()
        for image in Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery).ids()
        if (path := made.label_file(image)) is not None
    }
    found = {
        hashlib.sha256(decode_label_png(path.read_bytes(), str(path)).tobytes()).hexdigest()
        for path in written
    }
    assert found == expected


def test_other_settings_are_other_predictions(predicted) -> None:
    catalog = yaml.safe_load(predicted.read_text(encoding="utf-8"))
    catalog["cities"]["tokyo"]["predictions"]["ids"] = "labelIds"
    other = predicted.with_name("other.yaml")
    other.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    with pytest.raises(InputError, match="run `crosscity predict tokyo`"):
        CityPredictions("tokyo", open_plan(other))


@pytest.mark.parametrize(
    "words", [("predict", "tokyo"), ("evaluate", "tokyo", "--arm", "pretrained")]
)
def test_images_that_the_network_sees_distorted_are_told(
    predicted, finished_run, crosscity, tmp_path, words
) -> None:
    catalog = yaml.safe_load(predicted.read_text(encoding="utf-8"))
    shutil.copytree(predicted.parent / "store", tmp_path / "store")
    name = catalog["cities"]["tokyo"].get("training", "demo")
    catalog["trainings"][name]["image_size"] = [64, 64]
    other = tmp_path / "data_catalog.yaml"
    other.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    done = crosscity(*words, "--catalog", other, server=finished_run.server)
    assert done.returncode == 0, done.stderr
    assert "have other proportions than the 64×64 at which they go" in done.stderr
    assert "in `trainings` fits those of 64×128" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tokyo",), "readapt tokyo`, or name one with cities.tokyo.predictions.segmenter"),
        (("tokyo", "paris"), "one city of the catalog is predicted"),
        (("tokyo", "--segmenter", "0123456789"), "name a folder with -o"),
    ],
)
def test_what_cannot_go_into_the_store_is_one_sentence(
    finished_run, crosscity, words, sentence
) -> None:
    done = crosscity(
        "predict", *words, "--catalog", finished_run.catalog, server=finished_run.server
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--ids", "palette"), "--ids is not read"),
        (("--overlays",), "--overlays is not read"),
        (("--no-overlays", "--force"), "--overlays, --force is not read"),
        (("--segmenter", "promoted"), "no harvested pairs|no segmenter is promoted"),
    ],
)
def test_a_setting_that_the_store_does_not_heed_is_named(
    write_catalog, tmp_path, capsys, words, named
) -> None:
    """Label maps of other ids than were asked for look like those."""
    with pytest.raises(SystemExit) as ended:
        main(["predict", "tokyo", *words, "--catalog", str(write_catalog(tmp_path))])
    assert ended.value.code == 2
    assert re.search(named, capsys.readouterr().err)


def test_whoever_has_no_catalog_hears_of_weights(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path), "-o", "masks"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.search(r"--weights, or .* --architecture hf:NAME, which need none", said)


def test_the_way_to_a_transfer_is_one_command(write_catalog, tmp_path, capsys) -> None:
    """Its start is missing too, and what makes that alone leads to the next sentence."""
    catalog = write_catalog(
        tmp_path, transfers={"home": {"segmenter": "compact", "target": "frankfurt"}}
    )
    (tmp_path / "a.png").touch()
    for words in (["segmenter", "export"], ["predict", str(tmp_path), "--segmenter"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, "home", "-o", str(tmp_path / "x"), "--catalog", str(catalog)])
        assert ended.value.code == 2
        assert "`crosscity transfer home` makes all of it" in capsys.readouterr().err
