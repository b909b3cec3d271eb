"""Files whose names are in another encoding than UTF-8, as those of old archives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from adapters.datasets.image_folder import ImageFolder
from adapters.images import encode_jpeg
from adapters.predictions import PredictionFolder, Wanted
from crosscity.segmenters import build_segmenter
from tasks.harvesting.harvest import list_captures
from tasks.judging.predictions import found_in, predict_pictures
from tasks.steps.plan import open_plan
from tasks.training.labelled import unlabelled_part
from tests.harvested import ref_of

JPEG = encode_jpeg(np.zeros((48, 64, 3), dtype=np.uint8), 90)


def write(folder: Path, name: bytes, data: bytes = JPEG) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(data)


def summary_of(made: Any, plan: Any) -> Any:
    return plan.open_store().manifest(ref_of(made)).summary


def test_such_a_picture_is_predicted(tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", "café.jpg".encode()):
        write(tmp_path / "in", name)
    segmenter = build_segmenter("compact", {"width": 16}, seed=1)
    out = PredictionFolder(tmp_path / "out", segmenter.class_names, Wanted(), {"segmenter": "a"})
    pictures = found_in([tmp_path / "in"]).pictures
    made = predict_pictures(segmenter, pictures, out, batch_size=2, image_size=None, workers=1)
    rows = pq.read_table(made.table).to_pylist()
    assert [row["image"] for row in rows] == ["café", "caf%E9"]
    assert all((tmp_path / "out" / row["labels"]).is_file() for row in rows)


def test_such_a_file_among_those_of_a_city_is_left_out_and_told(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    train = tmp_path / "views/tokyo/Images/Train"
    for name in (b"caf\xe9.jpg", b"pano_00001_0_90.jpg", b"pano_00001_1_90.jpg"):
        write(train, name)
    folder = {"kind": "folder", "root": "views", "licence": "CC0-1.0", "attribution": "us"}
    plan = open_plan(write_catalog(tmp_path, city={"provider": folder}), city="tokyo")
    (rejected,) = summary_of(list_captures.fn("tokyo", plan), plan)["rejected"]
    assert rejected["name"] == "Train/caf%E9.jpg"


def test_such_a_file_that_is_no_picture_is_a_row(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(20):
        write(tmp_path / "set", b"%d.jpg" % number)
    write(tmp_path / "set", b"caf\xe9.jpg", b"no picture")
    entry = {"kind": "images", "root": "set"}
    plan = open_plan(write_catalog(tmp_path, datasets={"ours": entry}))
    (reason,) = summary_of(unlabelled_part.fn("ours", "train", 0, plan), plan)["failures"]
    assert "caf%E9.jpg is not a readable" in reason
    names = [ImageFolder(tmp_path / "set").file_name(one) for one in ("caf_", "0")]
    assert names == ["caf%E9.jpg", "0.jpg"]
