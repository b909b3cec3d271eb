"""Every format is read back by the program that it is written for."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapters.exports import FORMATS, ExportError, ExportItem, check_licences, exporter
from adapters.images import encode_jpeg
from crosscity.labels import CLASSES, TRAIN_ID_TO_LABEL_ID, VOID

RANDOM = np.random.default_rng(5)


def _item(number: int, **changes) -> ExportItem:
    height, width = 24, 40
    picture = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = np.repeat(RANDOM.integers(0, 19, (6, 10), dtype=np.uint8), 4, axis=0)
    labels = np.repeat(labels, 4, axis=1)
    labels[:2] = VOID
    given = {
        "image_id": f"tokyo_{number:03d}_0",
        "jpeg": encode_jpeg(picture, 90),
        "size": (height, width),
        "labels": labels,
        "static": labels < 11,
        "lat": 35.6 + number / 1000,
        "lon": 139.7 + number / 1000,
        "heading": 370.0,
        "captured_at": datetime(2024, 5, number + 1, tzinfo=UTC),
        "split": "test" if number == 2 else "train",
        "place_id": f"p{number}",
        "licence": "CC-BY-SA-4.0",
        "attribution": "Somebody",
    }
    return ExportItem(**{**given, **changes})


ITEMS = [_item(0), _item(1), _item(2), _item(3, labels=None, static=None, lat=None, lon=None)]


def _export(name, folder, items=ITEMS):
    writer = exporter(name)(folder, "tokyo")
    for item in items:
        writer.add(item)
    writer.finish()
    assert not list(folder.rglob("*.part"))
    return folder


def test_cityscapes_own_scripts_score_the_labels(tmp_path) -> None:
    """Layout and ids: cityscapesscripts/evaluation/evalPixelLevelSemanticLabeling.py."""
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as Scripts
    from cityscapesscripts.helpers.csHelpers import getCsFileInfo

    folder = _export("cityscapes", tmp_path / "out")
    truths = sorted(folder.glob("gtFine/*/*/*_gtFine_labelIds.png"))
    assert len(truths) == 3
    for truth in truths:
        assert getCsFileInfo(str(truth)).city == "tokyo"
    args = Scripts.args
    args.evalInstLevelScore, args.quiet, args.JSONOutput = False, True, False
    scores = Scripts.evaluateImgLists([str(t) for t in truths], [str(t) for t in truths], args)
    present = set(np.unique(np.concatenate([i.labels.ravel() for i in ITEMS[:3]]))) - {VOID}
    for road_class in CLASSES:
        expected = 1.0 if road_class.train_id in present else None
        if expected:
            assert scores["classScores"][road_class.name] == pytest.approx(1.0)
    with Image.open(truths[0]) as read:
        assert np.asarray(read)[0, 0] == 0, "void is Cityscapes' 'unlabeled'"
    table = (folder / "images.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 5
    assert "CC-BY-SA-4.0" in table[1]


def test_pycocotools_reads_the_masks(tmp_path) -> None:
    from pycocotools.coco import COCO

    folder = _export("coco", tmp_path / "out")
    coco = COCO(str(folder / "annotations.json"))
    assert len(coco.getImgIds()) == 4
    for number, item in enumerate(ITEMS[:3], start=1):
        assert (folder / "images" / coco.loadImgs(number)[0]["file_name"]).is_file()
        found = np.zeros(item.size, dtype=np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number)):
            mask = coco.annToMask(annotation)
            assert mask.sum() == annotation["area"]
            found[mask == 1] = annotation["category_id"]
        expected = np.where(item.labels == VOID, 0, TRAIN_ID_TO_LABEL_ID[item.labels])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_the_terms_of_every_image_go_with_it(tmp_path, name) -> None:
    owners = [f"Straßenamt {number}" for number in range(3)]
    _export(name, tmp_path / "out", [_item(k, attribution=who) for k, who in enumerate(owners)])
    told = ""
    for path in (tmp_path / "out").rglob("*.*"):
        if path.suffix == ".parquet":
            told += str(pq.read_table(path).to_pylist())
        elif path.suffix == ".json":
            told += str(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in (".csv", ".xml"):
            told += path.read_text(encoding="utf-8")
    assert all(who in told for who in owners)
    assert "CC-BY-SA-4.0" in told


def _decoded(mask: ET.Element, size) -> np.ndarray:
    """As docs.cvat.ai/docs/other/xml_format describes run-length encoding."""
    lengths = [int(each) for each in mask.get("rle").split(",")]
    values = np.repeat(np.arange(len(lengths)) % 2, lengths)
    height, width = int(mask.get("height")), int(mask.get("width"))
    whole = np.zeros(size, dtype=bool)
    top, left = int(mask.get("top")), int(mask.get("left"))
    whole[top : top + height, left : left + width] = values.reshape(height, width)
    return whole


def test_cvat_masks_decode_as_its_documents_say(tmp_path) -> None:
    folder = _export("cvat", tmp_path / "out")
    root = ET.parse(folder / "annotations.xml").getroot()  # noqa: S314 - written above
    assert root.findtext("version") == "1.1"
    declared = {label.findtext("name") for label in root.iter("label")}
    train_id = {each.name: each.train_id for each in CLASSES}
    images = root.findall("image")
    assert [image.get("name") for image in images] == [f"{i.image_id}.jpg" for i in ITEMS]
    for image, item in zip(images[:3], ITEMS, strict=False):
        found = np.full(item.size, VOID, dtype=np.uint8)
        for mask in image.findall("mask"):
            assert mask.get("label") in declared
            found[_decoded(mask, item.size)] = train_id[mask.get("label")]
        np.testing.assert_array_equal(found, item.labels)


def test_fiftyone_finds_data_and_labels_of_one_name(tmp_path) -> None:
    """docs.voxel51.com/user_guide/import_datasets.html, ImageSegmentationDirectory."""
    folder = _export("fiftyone", tmp_path / "out")
    data = {path.stem: path for path in (folder / "data").iterdir()}
    labels = {path.stem: path for path in (folder / "labels").iterdir()}
    assert set(labels) < set(data)
    targets = json.loads((folder / "mask_targets.json").read_text(encoding="utf-8"))
    for item in ITEMS[:3]:
        with Image.open(labels[item.image_id]) as read:
            values = np.asarray(read)
        assert set(np.unique(values)) - {0} <= {int(value) for value in targets}
        assert ((values == 0) == (item.labels == VOID)).all()


def test_geopandas_opens_the_points(tmp_path) -> None:
    import geopandas

    folder = _export("geoparquet", tmp_path / "out")
    frame = geopandas.read_parquet(folder / "images.parquet")
    assert frame.crs == "OGC:CRS84"
    assert len(frame) == 4
    assert frame.geometry[3] is None
    np.testing.assert_allclose([frame.geometry[1].x, frame.geometry[1].y], [139.701, 35.601])
    shares = frame.filter(like="share_").iloc[0]
    assert shares["share_road"] == pytest.approx((ITEMS[0].labels == 0).mean())
    assert frame.static_share[0] == pytest.approx(ITEMS[0].static.mean())


@pytest.mark.parametrize(
    ("longitudes", "west", "east"),
    [((179.98, -179.97, 179.99), 179.98, -179.97), ((-0.1, 0.2), -0.1, 0.2), ((180.0,), 180, 180)],
)
def test_boxes_across_the_antimeridian_are_as_geojson_has_them(
    tmp_path, longitudes, west, east
) -> None:
    """RFC 7946, 5.2, to which both formats refer: the first longitude is the western one."""
    items = [_item(number, lat=-16.8, lon=lon) for number, lon in enumerate(longitudes)]
    stac = _export("stac", tmp_path / "stac", items)
    extent = json.loads((stac / "collection.json").read_text(encoding="utf-8"))["extent"]
    assert extent["spatial"]["bbox"] == [[west, -16.8, east, -16.8]]
    table = _export("geoparquet", tmp_path / "geoparquet", items) / "images.parquet"
    geo = json.loads(pq.read_schema(table).metadata[b"geo"])
    assert geo["columns"]["geometry"]["bbox"] == [west, -16.8, east, -16.8]


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_pystac_reads_a_valid_catalog(tmp_path, monkeypatch, given) -> None:
    """Also once the folder has its name, which is not the one that it was written under."""
    import pystac

    monkeypatch.chdir(tmp_path)
    written = tmp_path / "out.part" if given == "absolute" else Path("out.part")
    folder = _export("stac", written).rename(tmp_path / "out")
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    collection.validate()
    items = {item.id: item for item in collection.get_items(recursive=True)}
    assert set(items) == {item.image_id for item in ITEMS}
    for item in ITEMS:
        read = items[item.image_id]
        read.validate()
        assert read.properties["crosscity:licence"] == "CC-BY-SA-4.0"
        assert read.properties["view:azimuth"] == 10.0
        for asset in read.assets.values():
            assert not asset.href.startswith("/"), "the folder may be moved"
        path = read.assets["image"].get_absolute_href()
        with open(path, "rb") as file:  # noqa: PTH123 - pystac gives a text
            assert file.read() == item.jpeg


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("etalab-2.0", "etalab-2.0"),
        ("ODbL-1.0", "ODbL-1.0"),
        ("cc by-sa 4.0", "CC-BY-SA-4.0"),
        ("CC-BY-4.0 (City of Lisbon)", "other"),
        ("CC0", "other"),
    ],
)
def test_stac_names_licences_as_spdx_does_or_not_at_all(tmp_path, licence, identifier) -> None:
    import pystac

    folder = _export("stac", tmp_path / "out", [_item(0, licence=licence)])
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    item = next(collection.get_items(recursive=True))
    collection.validate()
    item.validate()
    assert collection.license == item.properties["license"] == identifier
    assert item.properties["crosscity:licence"] == licence


def test_datasets_decodes_images_and_labels(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = _export("hf-dataset", tmp_path / "out")
    files = {split: str(folder / f"data/{split}-*.parquet") for split in ("train", "test")}
    read = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in read.items()} == {"train": 3, "test": 1}
    row = read["test"][0]
    np.testing.assert_array_equal(np.asarray(row["labels"]), ITEMS[2].labels)
    np.testing.assert_array_equal(np.asarray(row["static_prior"]), ITEMS[2].static)
    with Image.open(io.BytesIO(ITEMS[2].jpeg)) as picture:
        np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(picture))
    assert row["licence"] == "CC-BY-SA-4.0"
    assert read["train"][2]["labels"] is None


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_second_export_of_the_same_gives_the_same_bytes(tmp_path, name) -> None:
    items = [item for item in ITEMS if item.captured_at]
    one, two = (_export(name, tmp_path / each, items) for each in ("one", "two"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


@pytest.mark.parametrize(
    "licence", ["CC-BY-4.0", "CC BY-SA 4.0", "cc0-1.0", "ODbL", "Licence Ouverte 2.0", "etalab-2.0"]
)
def test_open_licences_may_be_passed_on(licence) -> None:
    check_licences([licence])


@pytest.mark.parametrize(
    "licence",
    ["© Google, research use only", "proprietary", "research only", "CC-BYE", "mitigated", ""],
)
def test_other_licences_are_refused_with_the_reason(licence) -> None:
    with pytest.raises(ExportError, match=r"2 images are under .* --allowed"):
        check_licences(["CC-BY-4.0", licence, licence])
    check_licences([licence], allowed="we took the pictures")


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match="no format 'voc'; there are cityscapes, coco, cvat"):
        exporter("voc")
