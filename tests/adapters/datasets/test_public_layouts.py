"""Public sets in their own layouts, read by the very entries of docs/datasets.md.

The layouts are those of the sets' own documents and tools: IDD of AutoNUE/public-code
(README.md, "Dataset Structure", and level3Id in helpers/anue_labels.py), ACDC and Dark Zurich as
w1oves/Rein (configs/_base_/datasets/night-acdc_1024x1024.py) and MIC, lhoyer/DAFormer
(mmseg/datasets/dark_zurich.py) read them, Mapillary Vistas v1.2 of its demo.py and
open-mmlab/mmsegmentation (projects/Mapillary_dataset/README.md), Kaggle's CamVid
(`class_dict.csv`, `train_labels/<frame>_L.png`), and Cityscapes (mcordts/cityscapesScripts,
README.md, "Dataset Structure").
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import TypeAdapter

from adapters.catalog import DataSet
from adapters.catalog.datasets.base import DatasetSite
from adapters.datasets.base import DatasetError
from adapters.datasets.files import sample_ids
from adapters.datasets.labelled_folder import LabelledFolder
from adapters.images import ImageError
from crosscity.labels import TRAIN_ID

DOCUMENT = Path(__file__).parents[3] / "docs" / "datasets.md"
SIZE = (6, 9)


def documented() -> dict[str, dict[str, Any]]:
    """Every data set of the document."""
    found: dict[str, dict[str, Any]] = {}
    for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        found |= yaml.safe_load(block).get("datasets") or {}
    return found


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = len(list(path.parent.iterdir()))
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix.lower() == ".jpg" else "PNG")


def label(path: Path, values: list[int], palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, dtype=np.uint8), SIZE)
    picture = Image.fromarray(pixels)
    if palette:
        picture.putpalette(
            np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes()
        )
    picture.save(path)


def colours(path: Path, triples: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(triples, dtype=np.uint8), (*SIZE, 3))
    Image.fromarray(pixels).save(path)


def cityscapes_jpeg(root: Path) -> None:
    for split, city in (("train", "aachen"), ("val", "ulm")):
        for number in range(2):
            name = f"{city}/{city}_00000{number}_000019"
            image(root / f"leftImg8bit/{split}/{name}_leftImg8bit.{('jpg', 'JPG')[number]}")
            label(root / f"gtFine/{split}/{name}_gtFine_labelIds.png", [7, 8, 11, 26, 3])


def camvid_kaggle(root: Path) -> None:
    for split, frame in (
        ("train", "0001TP_006690"),
        ("val", "0016E5_07959"),
        ("test", "Seq05VD_f1"),
    ):
        image(root / split / f"{frame}.png")
        colours(
            root / f"{split}_labels" / f"{frame}_L.png", [(128, 64, 128), (64, 0, 128), (0, 0, 0)]
        )


def idd(root: Path) -> None:
    for split in ("train", "val"):
        for drive, kind in (("0", "png"), ("119", "jpg")):  # part I and part II
            image(root / f"leftImg8bit/{split}/{drive}/005506_leftImg8bit.{kind}")
            label(
                root / f"gtFine/{split}/{drive}/005506_gtFine_labellevel3Ids.png", [0, 9, 24, 255]
            )
            (root / f"gtFine/{split}/{drive}/005506_gtFine_polygons.json").write_text("{}")
    image(root / "leftImg8bit/test/7/000001_leftImg8bit.png")


def acdc(root: Path) -> None:
    for weather in ("fog", "night"):
        for split in ("train", "val", "test"):
            name = f"{weather}/{split}/GOPR0475/GOPR0475_frame_000041"
            image(root / f"rgb_anon/{name}_rgb_anon.png")
            if split != "test":
                label(root / f"gt/{name}_gt_labelTrainIds.png", [0, 13, 8, 255])
                label(root / f"gt/{name}_gt_labelIds.png", [7, 26, 21, 0])
                colours(root / f"gt/{name}_gt_labelColor.png", [(128, 64, 128)])
                label(root / f"gt/{name}_gt_invIds.png", [0])


def dark_zurich(root: Path) -> None:
    image(root / "rgb_anon/train/night/GOPR0351/GOPR0351_frame_000001_rgb_anon.png")
    name = "night/GOPR0356/GOPR0356_frame_000321"
    image(root / f"rgb_anon/val/{name}_rgb_anon.png")
    image(root / "rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000001_ref_rgb_anon.png")
    label(root / f"gt/val/{name}_gt_labelTrainIds.png", [0, 13, 8, 255])
    label(root / f"gt/val/{name}_gt_invGray.png", [0, 255])


def vistas(root: Path) -> None:
    for split in ("training", "validation"):
        for name in ("__CRyFzoDOXn6unQ6a3DnQ", "--BCOrFo5asbNm-UqQoEAA"):
            image(root / f"{split}/images/{name}.jpg")
            label(root / f"{split}/v1.2/labels/{name}.png", [13, 55, 30, 65], palette=True)
            label(root / f"{split}/v2.0/labels/{name}.png", [21, 108, 61, 116], palette=True)
    image(root / "testing/images/abc.jpg")


def beside(root: Path) -> None:
    """What unpacking on other systems leaves in every folder, and what comes with downloads."""
    for folder in [root, *(one for one in root.rglob("*") if one.is_dir())]:
        first = next((one for one in sorted(folder.iterdir()) if one.is_file()), None)
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"x")
        if first is not None:
            (folder / f"._{first.name}").write_bytes(b"\0\5\x16\7")  # of macOS, in every zip
    (root / "license.txt").write_text("terms")


def more_cityscapes(root: Path) -> None:
    """The other files of gtFine (cityscapesScripts, README.md), and packages beside it."""
    for path in sorted(root.glob("gtFine/*/*/*_labelIds.png")):
        colours(path.with_name(path.name.replace("labelIds", "color")), [(128, 64, 128)])
        label(path.with_name(path.name.replace("labelIds", "labelTrainIds")), [0, 1])
        picture = Image.fromarray(np.full(SIZE, 26001, dtype=np.uint16))
        picture.save(path.with_name(path.name.replace("labelIds", "instanceIds")))
        path.with_name(path.name.replace("labelIds.png", "polygons.json")).write_text("{}")
    image(root / "leftImg8bit/train_extra/bamberg/bamberg_000000_000000_leftImg8bit.jpg")
    label(root / "gtCoarse/train/aachen/aachen_000000_000019_gtCoarse_labelIds.png", [0])
    image(root / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.jpg")
    label(root / "gtFine/test/berlin/berlin_000000_000019_gtFine_labelIds.png", [3, 3])


def more_acdc(root: Path) -> None:
    """Pictures of the same places in fair weather, and panoptic labels, as ACDC's download."""
    for split in ("train", "val", "test"):
        name = f"rgb_anon/fog/{split}_ref/GOPR0475/GOPR0475_frame_000041_rgb_ref_anon.png"
        image(root / name)
    colours(root / "gt_panoptic/fog/train/GOPR0475_frame_000041_gt_panoptic.png", [(1, 0, 0)])
    (root / "gt_detection/fog").mkdir(parents=True)
    (root / "gt_detection/fog/instancesonly_fog_train_gt_detection.json").write_text("{}")


def more_dark_zurich(root: Path) -> None:
    """Its other times of day, positions and lists (README of the download)."""
    for time in ("day", "twilight"):
        image(root / f"rgb_anon/train/{time}/GOPR0345/GOPR0345_frame_000001_rgb_anon.png")
    name = "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt"
    label(root / f"{name}_labelIds.png", [7, 26])
    colours(root / f"{name}_labelColor.png", [(128, 64, 128)])
    for folder, ending in (("gps", "csv"), ("corresp", "csv"), ("lists_file_names", "txt")):
        (root / folder).mkdir()
        (root / folder / f"val.{ending}").write_text("1,2")


def more_vistas(root: Path) -> None:
    """Instances, polygons and panoptic segments of either version."""
    for version in ("v1.2", "v2.0"):
        for split in ("training", "validation"):
            folder = root / split / version
            for kind in ("instances", "panoptic"):
                (folder / kind).mkdir(parents=True)
                picture = Image.fromarray(np.full(SIZE, 13 * 256, dtype=np.uint16))
                picture.save(folder / kind / "__CRyFzoDOXn6unQ6a3DnQ.png")
            (folder / "polygons").mkdir()
            (folder / "polygons/__CRyFzoDOXn6unQ6a3DnQ.json").write_text("{}")
    for version in ("v1.2", "v2.0"):
        (root / f"config_{version}.json").write_text("{}")


def more_camvid(root: Path) -> None:
    (root / "class_dict.csv").write_text("name,r,g,b\nAnimal,64,128,64\n")


def more_idd(root: Path) -> None:
    """What createLabels.py and the download leave beside the labels that are read."""
    for path in sorted(root.glob("gtFine/*/*/*level3Ids.png")):
        for kind in ("labelids", "labelcsTrainIds", "instanceids"):
            label(path.with_name(path.name.replace("labellevel3Ids", kind)), [0, 250])
    image(root / "leftImg8bit/train/0/111111_leftImg8bit.png")
    (root / "gtFine/train/0/111111_gtFine_polygons.json").write_text("{}")


MORE: dict[str, Callable[[Path], None]] = {
    "cityscapes-jpeg": more_cityscapes,
    "camvid-kaggle": more_camvid,
    "idd": more_idd,
    "acdc": more_acdc,
    "dark-zurich": more_dark_zurich,
    "vistas": more_vistas,
}
"""What else whole downloads hold."""


LAYOUTS: dict[str, tuple[Callable[[Path], None], dict[str, int]]] = {
    "cityscapes-jpeg": (cityscapes_jpeg, {"train": 2, "val": 2}),
    "camvid-kaggle": (camvid_kaggle, {"train": 1, "val": 1, "test": 1}),
    "idd": (idd, {"train": 2, "val": 2}),
    "acdc": (acdc, {"train": 2, "val": 2}),
    "dark-zurich": (dark_zurich, {"train": 0, "val": 1}),
    "vistas": (vistas, {"train": 2, "val": 2}),
}


def opened(name: str, root: Path) -> Any:
    entry = {**documented()[name], "root": str(root)}
    return TypeAdapter(DataSet).validate_python(entry).open(DatasetSite(name, root))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_documented_entry_reads_the_public_layout(tmp_path, name):
    make, splits = LAYOUTS[name]
    make(tmp_path)
    dataset = opened(name, tmp_path)
    first, second = ("road", "car")
    for split, pairs in splits.items():
        assert dataset.matching(split).pairs == pairs
        for sample in dataset.samples(split):
            if name == "dark-zurich" and split == "train":
                assert dataset.read_image(sample).shape == (*SIZE, 3)
                continue
            read = dataset.read(sample)
            assert read.image.shape == (*SIZE, 3)
            found = set(np.unique(read.train_ids).tolist())
            assert {TRAIN_ID[first], TRAIN_ID[second], 255} <= found, sample
    assert not dataset.matching().labels
    assert dataset.unlabelled("train")


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_else_a_download_holds_changes_nothing(tmp_path, name):
    make, splits = LAYOUTS[name]
    make(tmp_path)
    before = opened(name, tmp_path)
    MORE[name](tmp_path)
    beside(tmp_path)
    after = opened(name, tmp_path)
    for split in splits:
        more = {"train_0_111111"} if (name, split) == ("idd", "train") else set()
        assert set(after.samples(split)) - set(before.samples(split)) == more
        assert after.matching(split).pairs == before.matching(split).pairs
        for sample in before.samples(split):
            assert np.array_equal(after.read_image(sample), before.read_image(sample))


@pytest.mark.parametrize("name", LAYOUTS)
def test_endings_may_be_of_any_case(tmp_path, name):
    """As of files that a camera, or another system, wrote."""
    make, splits = LAYOUTS[name]
    make(tmp_path)
    before = {split: opened(name, tmp_path).matching(split).pairs for split in splits}
    for path in sorted(one for one in tmp_path.rglob("*") if one.is_file()):
        path.rename(path.with_suffix(path.suffix.upper()))
    after = opened(name, tmp_path)
    assert {split: after.matching(split).pairs for split in splits} == before


def test_every_set_of_the_document_is_an_entry():
    for entry in documented().values():
        TypeAdapter(DataSet).validate_python(entry)


VISTAS: list[str] = [
    "bird",
    "ground-animal",
    "curb",
    "fence",
    "guard-rail",
    "other-barrier",
    "wall",
    "bike-lane",
    "crosswalk-plain",
    "curb-cut",
    "parking",
    "pedestrian-area",
    "rail-track",
    "road",
    "service-lane",
    "sidewalk",
    "bridge",
    "building",
    "tunnel",
    "person",
    "bicyclist",
    "motorcyclist",
    "other-rider",
    "crosswalk-zebra",
    "general",
    "mountain",
    "sand",
    "sky",
    "snow",
    "terrain",
    "vegetation",
    "water",
    "banner",
    "bench",
    "bike-rack",
    "billboard",
    "catch-basin",
    "cctv-camera",
    "fire-hydrant",
    "junction-box",
    "mailbox",
    "manhole",
    "phone-booth",
    "pothole",
    "street-light",
    "pole",
    "traffic-sign-frame",
    "utility-pole",
    "traffic-light",
    "back",
    "front",
    "trash-can",
    "bicycle",
    "boat",
    "bus",
    "car",
    "caravan",
    "motorcycle",
    "on-rails",
    "other-vehicle",
    "trailer",
    "truck",
    "wheeled-slow",
    "car-mount",
    "ego-vehicle",
    "unlabeled",
]
"""Ends of the names of Mapillary Vistas 1.2, in the order of `labels` of its config_v1.2.json."""
OF_VISTAS: dict[str, str] = {
    "curb": "sidewalk", "guard-rail": "fence", "other-barrier": "fence", "bike-lane": "road",
    "crosswalk-plain": "road", "curb-cut": "sidewalk", "pedestrian-area": "sidewalk",
    "service-lane": "road", "bicyclist": "rider", "motorcyclist": "rider", "other-rider": "rider",
    "crosswalk-zebra": "road", "general": "road", "mountain": "terrain", "sand": "terrain",
    "catch-basin": "road", "manhole": "road", "pothole": "road", "street-light": "pole",
    "traffic-sign-frame": "traffic sign", "utility-pole": "pole", "back": "traffic sign",
    "front": "traffic sign", "on-rails": "train",
}  # fmt: skip
"""What else than a class of the same name stands for one of Cityscapes."""
IDD: list[tuple[str, ...]] = [
    ("road",), ("parking", "drivable fallback"), ("sidewalk",),
    ("rail track", "non-drivable fallback"), ("person", "animal"), ("rider",), ("motorcycle",),
    ("bicycle",), ("autorickshaw",), ("car",), ("truck",), ("bus",),
    ("caravan", "trailer", "train", "vehicle fallback"), ("curb",), ("wall",), ("fence",),
    ("guard rail",), ("billboard",), ("traffic sign",), ("traffic light",), ("pole", "polegroup"),
    ("obs-str-bar-fallback",), ("building",), ("bridge", "tunnel"), ("vegetation",),
    ("sky", "fallback background"),
]  # fmt: skip
"""By level3Id, the names of AutoNUE/public-code, helpers/anue_labels.py."""


def test_values_of_vistas_are_those_of_its_table() -> None:
    given = documented()["vistas"]["label_map"]
    assert len(VISTAS) == 66
    ours = {name.replace("-", " ") for name in VISTAS} & set(TRAIN_ID)
    expected = [
        name.replace("-", " ") if name.replace("-", " ") in ours else OF_VISTAS.get(name, "void")
        for name in VISTAS
    ]
    assert [given[value] for value in range(66)] == expected
    assert len(given) == 66
    assert set(TRAIN_ID) == set(expected) - {"void"}


def test_values_of_idd_are_those_of_its_table() -> None:
    given = documented()["idd"]["label_map"]
    assert list(given) == [*range(26), 255]
    for value, names in enumerate(IDD):
        same = [name for name in names if name in TRAIN_ID and name != "train"]
        terrain = "terrain" if "non-drivable fallback" in names else "void"
        assert given[value] == (same[0] if same else terrain), names


MAP = {0: "road", 1: "void"}


def test_images_and_labels_in_one_folder(tmp_path):
    for number in range(3):
        image(tmp_path / f"all/{number}.png")
        label(tmp_path / f"all/{number}_L.PNG", [0, 1])
    dataset = LabelledFolder(
        tmp_path, label_map=MAP, images="all", labels="all", label_ending="_L.png"
    )
    assert dataset.matching().pairs == len(dataset.samples("train")) == 3
    for number in range(3):
        image(tmp_path / f"two/{number}_rgb.jpg")
        label(tmp_path / f"two/{number}.png", [0, 1])
    dataset = LabelledFolder(
        tmp_path, label_map=MAP, images="two", labels="two", image_ending="_rgb"
    )
    assert dataset.matching().pairs == len(dataset.samples("train")) == 3
    for number in range(3):
        image(tmp_path / f"four/{number}_rgb.png")
        label(tmp_path / f"four/{number}.png", [0, 1])
    for written in ("four", "four/", "./four"):  # one folder, however it is written
        dataset = LabelledFolder(
            tmp_path, label_map=MAP, images=written, labels="four", image_ending="_rgb"
        )
        assert dataset.matching().pairs == len(dataset.samples("train")) == 3
    for number in range(3):
        image(tmp_path / f"three/{number}.png")
        label(tmp_path / f"three/masks/{number}.png", [0, 1])
    dataset = LabelledFolder(tmp_path, label_map=MAP, images="three", labels="three/masks")
    assert dataset.matching().pairs == len(dataset.samples("train")) == 3


def test_folders_of_a_set_may_be_links_and_hidden_ones_are_none(tmp_path):
    """Once what was linked to was no part of the set, and a copy that an editor hides was."""
    for kind, write in (("images", image), ("labels", lambda path: label(path, [0]))):
        train = tmp_path / "set" / kind / "train"
        for folder in (train / "1", train / ".ipynb_checkpoints", tmp_path / "disk" / kind):
            write(folder / "a.png")
        (train / "2").symlink_to(tmp_path / "disk" / kind)
    dataset = LabelledFolder(tmp_path / "set", label_map={0: "road"})
    assert list(dataset.samples("train")) == ["train_1_a", "train_2_a"]
    assert len(dataset.pairs("train")) == 2


def test_a_folder_of_a_set_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    image(tmp_path / "images" / "train" / "1" / "a.png")
    label(tmp_path / "labels" / "train" / "1" / "a.png", [0])
    listed, closed = os.scandir, tmp_path / "images" / "train" / "1"

    def scandir(path):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DatasetError, match=f"{closed} cannot be read: Permission denied"):
        LabelledFolder(tmp_path, label_map={0: "road"})


def test_names_that_would_become_one_id_get_a_digest(tmp_path):
    long = "a" * 120
    names = ["東京", "大阪", "a b", "a_b", f"{long}1", f"{long}2", "plain"]
    for number, name in enumerate(names):
        image(tmp_path / f"images/{name}.jpg")
        label(tmp_path / f"labels/{name}.png", [number % 2])
    dataset = LabelledFolder(tmp_path, label_map=MAP, images="images", labels="labels")
    samples = dataset.samples("train")
    assert len(set(samples)) == len(names)
    assert dataset.matching().pairs == len(names)
    assert "train_plain" in samples
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,128}", sample) for sample in samples)
    assert {int(dataset.read(sample).train_ids[0, 0]) for sample in samples} == {0, 255}
    assert sample_ids(names) == sample_ids(reversed(names))


def test_letters_with_accents_are_one_name_however_they_are_stored(tmp_path):
    image(tmp_path / "images/Z\u00fcrich.jpg")
    label(tmp_path / "labels/Zu\u0308rich.png", [0, 1])
    dataset = LabelledFolder(tmp_path, label_map=MAP, images="images", labels="labels")
    assert dataset.matching().pairs == 1


def test_a_wrong_ending_is_reported_when_the_set_is_opened(tmp_path):
    for number in range(5):
        image(tmp_path / f"images/{number}.jpg")
        label(tmp_path / f"labels/{number}_mask.png", [0, 1])
    with pytest.raises(DatasetError) as caught:
        LabelledFolder(tmp_path, label_map=MAP, images="images", labels="labels")
    text = str(caught.value)
    assert "none of the 5 images" in text
    assert "0.jpg" in text
    assert "2_mask.png and 2 more" in text
    assert "\n" not in text


def test_palettes_that_disagree_in_a_set_are_reported(tmp_path):
    for number in range(2):
        image(tmp_path / f"images/{number}.jpg")
        path = tmp_path / f"labels/{number}.png"
        label(path, [0, 1], palette=True)
    with Image.open(path) as picture:  # what an optimiser does: the entries in another order
        picture.load()
        swapped = picture.remap_palette([1, 0, *range(2, 256)])
    swapped.save(path)
    dataset = LabelledFolder(tmp_path, label_map=MAP, images="images", labels="labels")
    dataset.read("train_0")
    with pytest.raises(DatasetError, match=r"1\.png and .*0\.png give the value [01] different"):
        dataset.read("train_1")


def test_palettes_that_disagree_between_parts_that_are_read_apart_are_reported(tmp_path):
    """A set is opened for each hundred of its images, and for each of its splits."""
    for split, order in (("train", [0, 1]), ("val", [1, 0])):
        for number in range(3):
            image(tmp_path / f"images/{split}/{number}.jpg")
            path = tmp_path / f"labels/{split}/{number}.png"
            label(path, [0, 1], palette=True)
            with Image.open(path) as picture:
                picture.load()
                ordered = picture.remap_palette([*order, *range(2, 256)])
            ordered.save(path)
    with pytest.raises(DatasetError, match="different colours in their palettes"):
        LabelledFolder(tmp_path, label_map=MAP).read("val_2")


def test_a_label_in_colours_that_says_it_is_turned_is_reported(tmp_path):
    image(tmp_path / "images/train/a.png")
    path = tmp_path / "labels/train/a.png"
    colours(path, [(0, 0, 0), (1, 2, 3)])
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down, so its size tells nothing
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, exif=exif)
    dataset = LabelledFolder(tmp_path, label_map={"#000000": "void", "#010203": "road"})
    with pytest.raises(ImageError, match=r"labels/train/a\.png carries the EXIF orientation 3"):
        dataset.read("train_a")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits": {"train": "../x"}}, "below the set's root"),
        ({"images": "*/{split}"}, "as many \\*"),
        ({"label_map": "trainIds"}, "no label map 'trainIds'"),
    ],
)
def test_what_a_folder_cannot_be_is_reported(tmp_path, changes, said):
    with pytest.raises(DatasetError, match=said):
        LabelledFolder(tmp_path, **{"label_map": MAP, **changes})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_has_a_label_of_which_the_size_tells_the_turn(tmp_path, orientation):
    """Programs that draw labels heed the orientation of EXIF or do not."""
    upright = SIZE if orientation < 5 else SIZE[::-1]
    for name, size in (("like", upright), ("square", (7, 7))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"images/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = SIZE if name == "like" else size
        Image.new("RGB", shape[::-1], "grey").save(path, "JPEG", exif=exif)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.zeros(size, dtype=np.uint8)).save(tmp_path / f"labels/{name}.png")
    dataset = LabelledFolder(tmp_path, label_map=MAP, images="images", labels="labels")
    for name, reported in (("like", orientation in (2, 3, 4)), ("square", orientation > 1)):
        if reported:
            with pytest.raises(ImageError, match="nothing tells whether its label is turned too"):
                dataset.read(f"train_{name}")
        else:
            assert dataset.read(f"train_{name}").image.shape[:2] == upright or name == "square"
