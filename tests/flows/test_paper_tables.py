"""The paper's outputs as one command, in miniature: a city, a transfer, two seeds, two folds."""

from __future__ import annotations

import base64
import json
import re
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.steps.errors import InputError
from tasks.training import trainings

RANDOM = np.random.default_rng(5)
CAMVID = {"train": 3, "val": 2, "test": 2}


def camvid(root: Path) -> Path:
    """Frames of stripes in the layout of 11 classes."""
    for split, count in CAMVID.items():
        for number in range(count):
            labels = np.sort(RANDOM.integers(0, 12, (48, 1), dtype=np.uint8), axis=0)
            labels = np.repeat(labels, 96, axis=1)
            image = np.repeat(labels[..., None] * 20, 3, axis=2) + RANDOM.integers(
                0, 9, (48, 96, 3), dtype=np.uint8
            )
            name = f"0001TP_{1000 * len(split) + number:06d}"
            for folder, pixels, ending in ((split, image, "jpg"), (f"{split}annot", labels, "png")):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{name}.{ending}")
    return root


@pytest.fixture(scope="module")
def tables(tmp_path_factory, write_catalog, many_flows) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("paper")
    catalog = write_catalog(
        folder,
        datasets={
            "camvid": {
                "kind": "camvid",
                "root": str(camvid(folder / "camvid")),
                "image_size": [64, 128],
            }
        },
        transfers={
            "frankfurt-camvid": {
                "segmenter": "compact",
                "target": "camvid",
                "test_split": "test",
                "protocol": "camvid11",
            }
        },
    )
    words = ("paper-tables", "--seed", 0, "--seed", 4, "--folds", 2, "--catalog", catalog)
    done = many_flows(*words)
    assert done["code"] == 0, done["err"]
    return catalog, done["out"]


def made(catalog: Path, name: str) -> Path:
    (path,) = catalog.parent.glob(f"store/paper_tables/paper/*/{name}")
    return path


@pytest.mark.slow
def test_numbers_are_the_evaluations_over_seeds(tables):
    catalog, _ = tables
    rows = pq.read_table(made(catalog, "numbers.parquet")).to_pylist()
    store = catalog.parent / "store"
    (manifest,) = (json.loads(p.read_text()) for p in store.glob("paper_tables/*/*/artifact.json"))
    for owner, arm, role in (
        ("tokyo", "full", "evaluation-tokyo-full"),
        ("tokyo", "fine_tuned", "evaluation-tokyo-fine_tuned"),
        ("frankfurt-camvid", "ga", "evaluation-frankfurt-camvid-ga"),
        ("frankfurt", "pretrained", "at_home-compact"),
    ):
        mious = []
        for seed in (0, 4):
            folder = store / manifest["inputs_at"][f"{role}-{seed}"]
            mious.append(100 * json.loads((folder / "evaluation.json").read_text())["miou"])
        (row,) = (r for r in rows if (r["owner"], r["arm"], r["quantity"]) == (owner, arm, "mIoU"))
        assert row["mean"] == pytest.approx(statistics.mean(mious))
        assert row["sd"] == pytest.approx(statistics.stdev(mious))
        assert row["seeds"] == 2
    arms = {r["arm"] for r in rows if r["owner"] == "tokyo" and r["table"] == "2"}
    assert arms == {"pretrained", "ga", "ga_ca", "full", "fine_tuned"}
    arms = {r["arm"] for r in rows if r["owner"] == "frankfurt-camvid" and r["table"] == "3"}
    assert arms == {"pretrained", "ga", "ga_ca", "fine_tuned"}
    protocols = {r["owner"]: r["protocol"] for r in rows if r["table"] in ("2", "3")}
    assert protocols == {"tokyo": "score13", "frankfurt-camvid": "camvid11"}


@pytest.mark.slow
def test_the_papers_own_numbers_stand_beside_ours(tables):
    catalog, out = tables
    rows = pq.read_table(made(catalog, "numbers.parquet")).to_pylist()
    found = {(r["owner"], r["arm"], r["quantity"]): r["paper"] for r in rows}
    assert found["tokyo", "full", "mIoU"] == 42.8
    assert found["tokyo", "fine_tuned", "sky"] == 86.9
    assert found["frankfurt", "pretrained", "mIoU"] == 64.6
    assert found["frankfurt-camvid", "ga", "mIoU"] is None
    text = made(catalog, "tables.md").read_text()
    assert text in out
    assert re.search(r"\| – paper \| 83\.4 \| 35\.4 .*\| 42\.8 \|", text)
    for title in (
        "Table 1",
        "Table 2: tokyo",
        "Table 2: all cities",
        "Table 3",
        "Label statistics",
    ):
        assert title in text


@pytest.mark.slow
def test_the_page_is_whole_in_itself(tables):
    catalog, _ = tables
    page = made(catalog, "tables.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) >= 4  # features and panels of a city and of a transfer
    for picture in pictures:
        assert base64.b64decode(picture)[:3] == b"\xff\xd8\xff"
    assert "<h2>Features: tokyo</h2>" in page


@pytest.mark.slow
def test_folds_test_every_image_once(tables):
    catalog, _ = tables
    store = catalog.parent / "store"
    for path in store.glob("evaluation/tokyo/*/artifact.json"):
        manifest = json.loads(path.read_text())
        if "folds" in manifest["parameters"]:
            content = json.loads((path.parent / "evaluation.json").read_text())
            assert content["images"] == 2
            segmenters = {k: v for k, v in manifest["inputs"].items() if k.startswith("segmenter")}
            assert len(segmenters) == len(set(segmenters.values())) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        # Each starts a server of its own, which takes a while; the others tell the same way.
        (("paper-tables", "--city", "tokyo"), "cities.tokyo has no labels"),
        pytest.param(
            ("paper-tables", "--city", "atlantis"), "no city 'atlantis'", marks=pytest.mark.slow
        ),
        pytest.param(
            ("paper-tables", "--transfer", "moon"), "no transfer 'moon'", marks=pytest.mark.slow
        ),
        pytest.param(
            ("paper-tables",), "neither a city with labels nor a transfer", marks=pytest.mark.slow
        ),
        pytest.param(("transfer", "moon"), "no transfer 'moon'", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_reported_is_refused_before_any_work(
    write_catalog, many_commands, tmp_path, words, said
):
    catalog = write_catalog(tmp_path, city={"labels": None})
    done = many_commands(*words, "--catalog", catalog)
    assert done["code"] == 2, done
    assert said in done["err"]


def test_folds_are_proposed_that_all_cities_have_images_for(monkeypatch) -> None:
    plan: Any = SimpleNamespace()
    monkeypatch.setattr(trainings, "places_of", lambda _, parts, _pairs: parts)
    # Of rio's eight images, two are of each place.
    tested: dict[str, Any] = {"rome": range(8), "rio": [0, 1, 2, 3] * 2, "tokyo": range(12)}
    pairs: dict[str, Any] = dict.fromkeys(tested)
    with pytest.raises(
        InputError, match=r"^rome has .* of 8 places and rio has .* of 4 places.* give --folds 4, "
    ) as said:
        trainings.check_folds(12, tested, pairs, plan)
    assert "tokyo" not in str(said.value)
    trainings.check_folds(4, tested, pairs, plan)


def test_more_folds_than_test_images_end_before_anything_is_trained(
    tmp_path, write_catalog, many_flows
):
    catalog = write_catalog(tmp_path)
    done = many_flows("paper-tables", "--folds", 40, "--catalog", catalog)
    assert done["code"] == 2
    assert re.search(
        r"tokyo has readable labelled test images of \d+ places, and 40 folds .*give --folds \d+",
        done["err"],
    )
    assert not (tmp_path / "store" / "segmenter").exists()
