"""What each source's label values mean, against tables written down independently."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adapters.datasets.base import DatasetError
from adapters.datasets.camvid import CamVidDataset
from adapters.datasets.cityscapes import CityscapesDataset
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.labelled_folder import LabelledFolder
from adapters.datasets.synthia import SynthiaDataset
from adapters.images import ImageError
from crosscity.labels import CLASSES, TRAIN_ID

# labelId: trainId, from the table of the Cityscapes label definitions.
CITYSCAPES = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11}
CITYSCAPES |= {25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
# SYNTHIA class id: trainId, as the papers that train on 16 classes map them.
SYNTHIA = {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9, 1: 10, 10: 11, 17: 12}
SYNTHIA |= {8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18}
# CamVid's 11 classes, in the order of the data's own README.
CAMVID = "sky building pole road sidewalk vegetation,traffic sign,fence,car,person,rider"


def row(path: Path, values: list[int], dtype: type = np.uint8) -> None:
    """A label file of one row that holds the values; and an image like it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.array([values], dtype=dtype)
    if dtype is np.uint16:
        cv2.imwrite(str(path), np.stack([labels * 0, labels * 0 + 7, labels], axis=-1))
    else:
        Image.fromarray(labels).save(path)


def image(path: Path, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 1), (90, 120, 30)).save(path)


def test_cityscapes_label_ids(tmp_path: Path) -> None:
    values = [*range(34), 255]
    image(tmp_path / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png", len(values))
    row(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png", values)
    dataset = CityscapesDataset(tmp_path)
    assert dataset.samples("val") == ("ulm_000000_000019",)
    found = dataset.read("ulm_000000_000019").train_ids[0].tolist()
    assert found == [CITYSCAPES.get(value, 255) for value in values]


def test_label_ids_of_a_folder_may_number_the_licence_plate_as_gta5_does(tmp_path: Path) -> None:
    image(tmp_path / "images/train/00001.png", 4)
    row(tmp_path / "labels/train/00001.png", [7, 33, 34, 26])
    found = LabelledFolder(
        tmp_path, images="images/{split}", labels="labels/{split}", label_map="labelIds"
    )
    (name,) = found.samples("train")
    assert found.read(name).train_ids[0].tolist() == [0, 18, 255, 13]
    row(tmp_path / "labels/train/00001.png", [7, 33, 35, 26])
    with pytest.raises(DatasetError, match=r"holds the value 35, which is not a Cityscapes label"):
        found.read(name)


def test_cityscapes_without_the_wanted_kind_of_labels(tmp_path: Path) -> None:
    image(tmp_path / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png", 3)
    row(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png", [7, 8, 11])
    with pytest.raises(DatasetError, match=r"no label gtFine/.*_gtFine_labelTrainIds\.png"):
        CityscapesDataset(tmp_path, labels="labelTrainIds")


def test_synthia_classes_are_in_the_first_channel_of_16_bits(tmp_path: Path) -> None:
    values = list(range(23))
    image(tmp_path / "RGB/0000000.png", 23)
    row(tmp_path / "GT/LABELS/0000000.png", values, np.uint16)
    # The file is what it should be: 16 bits, and Pillow would read zeros.
    assert (tmp_path / "GT/LABELS/0000000.png").read_bytes()[24] == 16
    found = SynthiaDataset(tmp_path).read("0000000").train_ids[0].tolist()
    assert found == [SYNTHIA.get(value, 255) for value in values]


def test_synthia_coloured_copies_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "RGB/0000000.png", 4)
    image(tmp_path / "GT/LABELS/0000000.png", 4)
    with pytest.raises(ImageError, match=r"0000000\.png has 8 bits .* coloured copies"):
        SynthiaDataset(tmp_path).read("0000000")


def test_synthia_holds_out_an_even_spread(tmp_path: Path) -> None:
    for number in range(10):
        image(tmp_path / f"RGB/{number:07d}.png", 2)
        row(tmp_path / f"GT/LABELS/{number:07d}.png", [1, 2], np.uint16)
    dataset = SynthiaDataset(tmp_path, val=2)
    assert dataset.samples("val") == ("0000000", "0000005")
    assert len(dataset.samples("train")) == 8
    with pytest.raises(DatasetError, match="val cannot be 10"):
        SynthiaDataset(tmp_path, val=10)


def camvid_names() -> list[str]:
    first, *rest = CAMVID.split(",")
    return [*first.split(), *rest]


def test_camvid_eleven_classes(tmp_path: Path) -> None:
    image(tmp_path / "train/0001TP_006690.png", 12)
    row(tmp_path / "trainannot/0001TP_006690.png", list(range(12)))
    found = CamVidDataset(tmp_path).read("0001TP_006690").train_ids[0].tolist()
    assert found == [*(TRAIN_ID[name] for name in camvid_names()), 255]


def test_camvid_original_colours(tmp_path: Path) -> None:
    meant = {
        (128, 64, 128): "road",
        (128, 0, 192): "road",
        (0, 0, 192): "sidewalk",
        (128, 0, 0): "building",
        (64, 192, 0): "wall",
        (64, 64, 128): "fence",
        (192, 192, 128): "pole",
        (0, 64, 64): "traffic light",
        (192, 128, 128): "traffic sign",
        (128, 128, 0): "vegetation",
        (128, 128, 128): "sky",
        (64, 64, 0): "person",
        (0, 128, 192): "rider",
        (64, 0, 128): "car",
        (192, 128, 192): "truck",
        (192, 0, 192): "motorcycle",
        (0, 0, 0): None,
    }
    image(tmp_path / "701_StillsRaw_full/0016E5_07961.png", len(meant))
    path = tmp_path / "LabeledApproved_full/0016E5_07961_L.png"
    path.parent.mkdir()
    Image.fromarray(np.array([list(meant)], dtype=np.uint8)).save(path)
    dataset = CamVidDataset(tmp_path)
    assert dataset.samples("val") == ("0016E5_07961",)
    found = dataset.read("0016E5_07961").train_ids[0].tolist()
    assert found == [255 if name is None else TRAIN_ID[name] for name in meant.values()]


def test_camvid_by_sequence(tmp_path: Path) -> None:
    for split, frames in {"train": ["0001TP_1", "0006R0_f2"], "test": ["0001TP_9"]}.items():
        for frame in frames:
            image(tmp_path / split / f"{frame}.jpg", 2)
            row(tmp_path / f"{split}annot" / f"{frame}.png", [0, 3])
    dusk = CamVidDataset(tmp_path, sequences=["0001TP"])
    assert dusk.samples("train") == ("0001TP_1",)
    assert dusk.samples("test") == ("0001TP_9",)
    assert dusk.samples("val") == ()
    with pytest.raises(DatasetError, match="no sequence '0016E5'; it has 0001TP, 0006R0"):
        CamVidDataset(tmp_path, sequences=["0016E5"])


def test_real_camvid(shared_data: Path) -> None:
    dataset = CamVidDataset(shared_data / "camvid")
    assert {s: len(dataset.samples(s)) for s in ("train", "val", "test")} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    sample = dataset.read("0001TP_008550")
    assert sample.image.shape == (360, 480, 3)
    # At dusk: a road at the bottom, sky at the top.
    assert TRAIN_ID["sky"] in sample.train_ids[:60]
    assert TRAIN_ID["road"] in sample.train_ids[-60:]
    dusk = CamVidDataset(shared_data / "camvid", sequences=["0001TP"])
    assert [len(dusk.samples(s)) for s in ("train", "val", "test")] == [62, 0, 62]


def test_the_original_layout_is_divided_as_the_copy_of_eleven_classes(
    shared_data: Path, tmp_path: Path
) -> None:
    eleven = CamVidDataset(shared_data / "camvid")
    (tmp_path / "LabeledApproved_full").mkdir()
    for split in ("train", "val", "test"):
        for name in eleven.samples(split):
            (tmp_path / "LabeledApproved_full" / f"{name}_L.png").touch()
    original = CamVidDataset(tmp_path)
    for split in ("train", "val", "test"):
        assert original.samples(split) == eleven.samples(split)


def cross_city(root: Path) -> CrossCityDataset:
    """Two test places; one of them, and one image of the other, are among the training images."""
    for part, name in (
        ("Test", "pano_00001_0_90.jpg"),
        ("Test", "pano_00002_0_90.png"),
        ("Train", "pano_00001_0_90.png"),  # the leak: a test image
        ("Train", "pano_00001_1_90.jpg"),  # its place at another time
        ("Train", "pano_00003_0_180.jpg"),
        ("Train", "pano_00003_1_180.png"),
    ):
        image(root / "Roma/Images" / part / name, 3)
    for name in ("pano_00001_0_90", "pano_00002_0_90"):
        row(root / f"Roma/Labels/Test/{name}_eval.png", [7, 8, 11])
    return CrossCityDataset(root, "Rome")


def test_the_clean_split_has_no_test_place(tmp_path: Path) -> None:
    dataset = cross_city(tmp_path)
    assert dataset.unlabelled("clean") == ("pano_00003_0_180", "pano_00003_1_180")
    assert dataset.unlabelled("transductive") == (
        "pano_00001_0_90",
        "pano_00001_1_90",
        "pano_00002_0_90",
        "pano_00003_0_180",
        "pano_00003_1_180",
    )
    assert dataset.unlabelled("test") == dataset.samples("test")
    for name in dataset.unlabelled("transductive"):
        assert dataset.read_image(name).shape == (1, 3, 3)
    with pytest.raises(DatasetError, match="has no label"):
        dataset.read("pano_00003_0_180")


@pytest.mark.parametrize(
    ("label_map", "said"),
    [
        ({}, "values .* or colours"),
        ({0: "road", "#000000": "sky"}, "values .* or colours"),
        ({0: "raod"}, "no class 'raod'; classes are road"),
        ({256: "road"}, "value 256"),
        ({"804080": "road"}, "write '#rrggbb'"),
        ({"#80408": "road"}, "write '#rrggbb'"),
        ({"#80408g": "road"}, "write '#rrggbb'"),
    ],
)
def test_wrong_label_maps_are_reported(tmp_path: Path, label_map: dict, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        LabelledFolder(tmp_path, label_map=label_map)


def test_palette_labels_keep_their_indices(tmp_path: Path) -> None:
    image(tmp_path / "images/train/a.jpg", 3)
    path = tmp_path / "labels/train/a.png"
    path.parent.mkdir(parents=True)
    labels = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    labels.putpalette([255, 0, 0] * 256)
    labels.save(path)
    dataset = LabelledFolder(tmp_path, label_map={0: "road", 1: "void", 2: "bus"})
    assert dataset.read("train_a").train_ids[0].tolist() == [0, 255, TRAIN_ID["bus"]]


def test_folders_outside_the_root_are_refused(tmp_path: Path) -> None:
    for folder in ("../other/{split}", "/etc/{split}"):
        with pytest.raises(DatasetError, match="below the set's root"):
            LabelledFolder(tmp_path, label_map={0: "road"}, images=folder)


def test_names_are_all_classes() -> None:
    assert {CLASSES[train].label_id: train for train in range(19)} == CITYSCAPES
