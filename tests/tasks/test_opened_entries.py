"""`crosscity catalog check --deep` opens everything before any work, and trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crosscity.segmenters import build_segmenter
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training import opened_entries as opening
from tasks.training.opened_entries import Finding, opened_entries


def made(folder: Path, images: int, labels: int, ending: str = ".png", value: int = 0) -> None:
    for kind, count, name in (("images", images, ".png"), ("labels", labels, ending)):
        (folder / kind / "train").mkdir(parents=True)
        for number in range(count):
            shape = (40, 64, 3) if kind == "images" else (40, 64)
            pixels = np.full(shape, value, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / "train" / f"{number:03d}{name}")


def findings(write_catalog: Any, root: Path, **changes: Any) -> dict[str, Finding]:
    plan = open_plan(write_catalog(root, **changes))
    return {finding.key: finding for finding in opened_entries(plan)}


def folder_set(**changes: Any) -> dict[str, Any]:
    return {"kind": "folder", "root": "ours", "label_map": {0: "road", 1: "void"}, **changes}


def test_a_good_catalog_is_opened_whole_and_nothing_is_made(write_catalog, many_commands, tmp_path):
    made(tmp_path / "ours", 4, 4)
    catalog = write_catalog(tmp_path, datasets={"ours": folder_set()})
    done = many_commands("catalog", "check", "--deep", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    assert "datasets.ours: train 4 pairs of image and label" in done["out"]
    assert (
        "segmenters.compact: 19 classes, to be pre-trained, takes images of 64×128" in done["out"]
    )
    assert "cities.tokyo: its provider simulated opens; exact labels" in done["out"]
    assert "datasets.frankfurt: train 6 samples" in done["out"]
    assert not (tmp_path / "store").exists()


def test_images_and_labels_without_partner_are_counted_and_three_named(write_catalog, tmp_path):
    made(tmp_path / "ours", 9, 4)
    (tmp_path / "ours/labels/train/zzz.png").write_bytes(
        (tmp_path / "ours/labels/train/000.png").read_bytes()
    )
    found = findings(write_catalog, tmp_path, datasets={"ours": folder_set()})["datasets.ours"]
    assert not found.is_fault
    assert "train 4 pairs of image and label, 5 images without label (" in found.said
    assert found.said.count("images/train/00") == 3
    assert "and 2 more" in found.said
    assert "1 labels without image (" in found.said


def test_faults_of_every_kind_are_reported_and_the_rest_is_opened(
    write_catalog, many_commands, tmp_path
):
    made(tmp_path / "ours", 3, 3, ending="_mask.png")
    made(tmp_path / "void", 3, 3, value=1)
    made(tmp_path / "odd", 3, 3, value=7)
    tensors = build_segmenter("compact", {"width": 8}, seed=0).state_dict()
    torch.save({f"net.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "w.pth")
    small = {"architecture": "compact", "options": {"width": 8}, "source": "frankfurt"}
    catalog = write_catalog(
        tmp_path,
        datasets={
            "ours": folder_set(),
            "void": folder_set(root="void"),
            "odd": folder_set(root="odd"),
            "gone": folder_set(root="gone"),
            "elsewhere": folder_set(root="${NOT_SET_ANYWHERE}"),
        },
        segmenters={
            "foreign": {**small, "weights": "w.pth"},
            "absent": {**small, "weights": "absent.pth"},
            "mine": {"python": "no_such_package:build", "source": "frankfurt"},
        },
    )
    done = many_commands("catalog", "check", "--deep", "--catalog", catalog)
    assert done["code"] == 2
    reported = done["err"]
    for said in (
        "datasets.ours: none of the 3 images",
        "datasets.void: the labels of train that were examined are all void",
        "datasets.odd: ",
        "000.png holds the value 7",
        "datasets.gone: There is no folder",
        "NOT_SET_ANYWHERE",
        "segmenters.foreign: ",
        "names of another program",
        "segmenters.absent: there is no weight file",
        "segmenters.mine: ",
        "8 entries of",
    ):
        assert said in reported, "\n".join((said, reported))
    assert "segmenters.compact: 19 classes" in done["out"]
    assert not (tmp_path / "store").exists()


def test_test_labels_of_cityscapes_are_empty_as_they_are_handed_out(write_catalog, tmp_path):
    for split, value in (("train", 7), ("val", 7), ("test", 1)):  # road; ego vehicle, which is void
        image = tmp_path / f"cs/leftImg8bit/{split}/{split}/{split}_000000_000019_leftImg8bit.png"
        label = tmp_path / f"cs/gtFine/{split}/{split}/{split}_000000_000019_gtFine_labelIds.png"
        for path, shape in ((image, (40, 64, 3)), (label, (40, 64))):
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(path)
    sets = {"cityscapes": {"kind": "cityscapes", "root": "cs"}}
    found = findings(write_catalog, tmp_path, datasets=sets)["datasets.cityscapes"]
    assert not found.is_fault, found.said
    assert (
        "test 1 pairs of image and label (the labels that were examined are all void" in found.said
    )


@pytest.mark.parametrize(("value", "told"), [(7, True), (23, False)])
def test_train_ids_that_are_taken_for_label_ids_are_told(write_catalog, tmp_path, value, told):
    made(tmp_path / "ours", 3, 3, value=value)  # 7: a road as labelId, a traffic sign as trainId
    sets = {
        "ours": folder_set(label_map="labelIds"),
        "right": folder_set(label_map="labelTrainIds"),
    }
    if value == 23:  # the sky, and no trainId
        del sets["right"]
    found = findings(write_catalog, tmp_path, datasets=sets)
    assert not found["datasets.ours"].is_fault
    assert ("if the files hold trainIds" in found["datasets.ours"].said) is told
    if told:
        assert "is road or void" in found["datasets.ours"].said
        assert "trainIds" not in found["datasets.right"].said


@pytest.mark.parametrize("count", [0, 2])
def test_a_city_is_opened_with_its_folder_and_labels(write_catalog, tmp_path, count):
    made(tmp_path / "ours", count, count)
    (tmp_path / "ours/images/train").rename(tmp_path / "ours/images/test")
    (tmp_path / "ours/labels/train").rename(tmp_path / "ours/labels/test")
    city = {"labels": {**folder_set(images="images/test", labels="labels/test"), "kind": "folder"}}
    found = findings(write_catalog, tmp_path, city=city)["cities.tokyo"]
    assert found.is_fault == (count == 0)
    if count:
        assert "test 2 pairs of image and label" in found.said


def test_a_fault_that_names_its_entry_names_it_once() -> None:
    def fails() -> str:
        raise InputError("segmenters.mine: its weights are NaN")

    assert opening._finding("segmenters.mine", fails).said == "its weights are NaN"
