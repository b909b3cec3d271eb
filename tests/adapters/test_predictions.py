from __future__ import annotations

import json
import unicodedata

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapters import predictions
from adapters.predictions import (
    IDS,
    PredictionFolder,
    PredictionsError,
    Wanted,
    check_folder,
    class_rows,
)
from crosscity.labels import CLASSES, VOID, palette

NAMES = tuple(road_class.name for road_class in CLASSES)
LABELS = np.random.default_rng(0).integers(0, 19, (12, 20), dtype=np.uint8)
PICTURE = np.random.default_rng(1).integers(0, 256, (12, 20, 3), dtype=np.uint8)
SURE = np.linspace(0, 1, 240, dtype=np.float32).reshape(12, 20)


def _written(tmp_path, ids="labelIds", names=NAMES, labels=LABELS, **wanted):
    folder = PredictionFolder(tmp_path / "out", names, Wanted(ids, **wanted), {"segmenter": "a"})
    return folder, folder.write("drive/0001", PICTURE, labels, SURE)


def test_label_ids_are_those_of_cityscapes_own_table() -> None:
    """cityscapesscripts/helpers/labels.py is the definition of both kinds of id."""
    from cityscapesscripts.helpers.labels import name2label

    rows = class_rows(NAMES, "labelIds"), class_rows(NAMES, "trainIds")
    for by_label, by_train in zip(*rows, strict=True):
        assert by_label.id == name2label[by_label.name].id
        assert by_train.id == name2label[by_train.name].trainId
        assert by_label.colour == name2label[by_label.name].color


@pytest.mark.parametrize("ids", IDS)
def test_maps_read_back_as_their_ids(tmp_path, ids) -> None:
    folder, row = _written(tmp_path, ids)
    table = np.array([each.id for each in folder.classes], dtype=np.uint8)
    with Image.open(tmp_path / "out" / row["labels"]) as read:
        assert read.mode == ("P" if ids == "palette" else "L")
        np.testing.assert_array_equal(np.asarray(read), table[LABELS])
        if ids == "palette":
            np.testing.assert_array_equal(np.asarray(read.convert("RGB")), palette()[LABELS])


def test_shares_and_confidence_are_those_of_the_pixels(tmp_path) -> None:
    _, row = _written(tmp_path, confidence=True)
    for index, name in enumerate(NAMES):
        share = row[f"share_{name.replace(' ', '_')}"]
        assert share == pytest.approx((index == LABELS).mean())
    assert row["mean_confidence"] == pytest.approx(SURE.mean(), abs=1e-6)
    grey = cv2.imread(str(tmp_path / "out/confidence/drive/0001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, np.round(SURE * 255).astype(np.uint8))
    overlay = cv2.imread(str(tmp_path / "out/overlays/drive/0001.jpg"))
    assert overlay.shape == (12, 20, 3)


def test_classes_that_differ_by_a_blank_alone_have_shares_of_their_own(tmp_path) -> None:
    names = ("lane mark", "lane_mark_2", "lane_mark", "road")
    folder, row = _written(tmp_path, "trainIds", names, LABELS % 4)
    table = folder.finish([{"image": "drive/0001", "sha256": "0" * 64, "status": "ok", **row}])
    stored = pq.read_table(table).to_pylist()[0]
    shares = [value for name, value in stored.items() if name.startswith("share_")]
    assert shares == pytest.approx([(index == LABELS % 4).mean() for index in range(4)])
    assert [name for name in stored if name.startswith("share_")] == [
        *("share_lane_mark", "share_lane_mark_2", "share_lane_mark_3", "share_road"),
    ]


def test_no_class_is_written_as_void(tmp_path) -> None:
    names = tuple(f"class {number}" for number in range(222))
    with pytest.raises(PredictionsError, match="have labelIds up to 255: write trainIds"):
        PredictionFolder(tmp_path / "out", names, Wanted("labelIds"), {})
    assert not (tmp_path / "out").exists()
    folder = PredictionFolder(tmp_path / "out", names, Wanted("trainIds"), {})
    assert len({row.id for row in folder.classes} - {VOID}) == 222


def test_further_classes_get_ids_that_cityscapes_has_not(tmp_path) -> None:
    names = (*NAMES, "lane marking", "crosswalk")
    labels = LABELS.copy()
    labels[0] = 20
    folder, row = _written(tmp_path, names=names, labels=labels)
    assert [each.id for each in folder.classes[19:]] == [34, 35]
    assert cv2.imread(str(tmp_path / "out" / row["labels"]), cv2.IMREAD_UNCHANGED)[0, 0] == 35
    content = json.loads((tmp_path / "out/prediction.json").read_text(encoding="utf-8"))
    assert content["classes"][20]["name"] == "crosswalk"
    assert content["void"] == VOID


def test_a_folder_of_something_else_is_left_alone(tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("three years")
    with pytest.raises(PredictionsError, match=r"out holds something else .* --force"):
        PredictionFolder(out, NAMES, Wanted(), {})
    assert [each.name for each in out.iterdir()] == ["thesis.txt"]
    PredictionFolder(out, NAMES, Wanted(), {}, force=True)
    assert (out / "thesis.txt").read_text() == "three years"


def test_predictions_of_two_segmenters_are_not_mixed(tmp_path) -> None:
    folder, row = _written(tmp_path)
    rows = [{"image": "drive/0001", "sha256": "aa", "status": "ok", **row}]
    folder.finish_part(0, rows)
    again = PredictionFolder(tmp_path / "out", NAMES, Wanted(), {"segmenter": "a"})
    assert again.finished(0, {"drive/0001": "aa"}) is not None
    assert again.finished(0, {"drive/0001": "bb"}) is None, "another image of that name"
    with pytest.raises(PredictionsError, match="something else than these predictions"):
        PredictionFolder(tmp_path / "out", NAMES, Wanted(), {"segmenter": "b"})
    forced = PredictionFolder(tmp_path / "out", NAMES, Wanted(), {"segmenter": "b"}, force=True)
    assert forced.finished(0, {"drive/0001": "aa"}) is None


def test_what_is_written_over_is_not_taken_for_whole_before_its_end(tmp_path) -> None:
    """Killed in between, maps of trainIds lay there beside a table of labelIds, and were read."""
    folder, row = _written(tmp_path, confidence=True)
    folder.finish([{"image": "drive/0001", "sha256": "aa", "status": "ok", **row}])
    wanted = Wanted("trainIds", overlays=False)
    forced = PredictionFolder(tmp_path / "out", NAMES, wanted, {"segmenter": "b"}, force=True)
    assert not (tmp_path / "out/predictions.parquet").exists()
    forced.write("drive/0001", PICTURE, LABELS, SURE)
    left = sorted(each.name for each in (tmp_path / "out").rglob("*") if each.is_file())
    assert left == ["0001.png", "prediction.json"], "no overlay or confidence of the other"


def test_a_shard_whose_map_was_deleted_is_made_again(tmp_path) -> None:
    folder, row = _written(tmp_path)
    folder.finish_part(0, [{"image": "drive/0001", "sha256": "aa", "status": "ok", **row}])
    (tmp_path / "out" / row["labels"]).unlink()
    assert folder.finished(0, {"drive/0001": "aa"}) is None


def test_the_table_has_failed_images_too(tmp_path) -> None:
    folder, row = _written(tmp_path)
    good = {"image": "drive/0001", "sha256": "aa", "status": "ok", **row}
    bad = {"image": "x", "sha256": "bb", "status": "failed", "reason": "x is cut short"}
    folder.finish_part(0, [good, bad])
    table = pq.read_table(folder.finish([good, bad]))
    assert table["status"].to_pylist() == ["ok", "failed"]
    assert table["share_road"].to_pylist()[1] is None
    assert not (tmp_path / "out/.parts").exists()


def test_an_image_that_fails_now_keeps_no_map_of_an_earlier_run(tmp_path) -> None:
    """A map beside a row without one would be taken for what the image shows."""
    wanted = {"overlays": True, "confidence": True}
    folder, row = _written(tmp_path, **wanted)
    folder.finish([{"image": "drive/0001", "sha256": "aa", "status": "ok", **row}])
    again = PredictionFolder(
        tmp_path / "out", NAMES, Wanted("labelIds", **wanted), {"segmenter": "a"}
    )
    bad = {"image": "drive/0001", "sha256": "bb", "status": "failed", "reason": "cut short"}
    again.finish_part(0, [bad])
    again.finish([bad])
    left = sorted(each.name for each in (tmp_path / "out").rglob("*") if each.is_file())
    assert left == ["prediction.json", "predictions.parquet"]


def test_maps_of_images_that_are_no_longer_given_are_told(tmp_path) -> None:
    folder, row = _written(tmp_path)
    other = folder.write("übergröße", PICTURE, LABELS, SURE)
    assert folder.earlier([row, other, {"image": "x", "labels": None}]) == []
    assert folder.earlier([row]) == ["labels/übergröße.png"]


def test_what_goes_on_and_what_does_not_is_told_before_any_work(tmp_path) -> None:
    """Of a size that is chosen for minutes, nothing is known by then."""
    out, made_by = tmp_path / "out", {"segmenter": "a", "image_size": None}
    check_folder(out, ["x"], NAMES, Wanted(), made_by, undecided="image_size")
    assert list(out.iterdir()) == []
    PredictionFolder(out, NAMES, Wanted(), {**made_by, "image_size": [64, 128]})
    check_folder(out, ["x"], NAMES, Wanted(), made_by, undecided="image_size")
    with pytest.raises(PredictionsError, match="something else than these predictions"):
        check_folder(out, ["x"], NAMES, Wanted(), made_by)
    other = {**made_by, "segmenter": "b"}
    with pytest.raises(PredictionsError, match="something else than these predictions"):
        check_folder(out, ["x"], NAMES, Wanted(), other, undecided="image_size")
    check_folder(out, ["x"], NAMES, Wanted(), other, force=True)


def test_names_that_the_disk_takes_for_one_are_refused(tmp_path, monkeypatch) -> None:
    """As those of macOS, Windows and memory cards do with names of either case or accent."""
    names = ["drive/IMG_1", "b", "Drive/img_1", "caf\u00e9", "cafe\u0301"]
    check_folder(tmp_path / "out", names, NAMES, Wanted(), {})

    def place(folder, name):
        return folder / unicodedata.normalize("NFD", name).lower()

    monkeypatch.setattr(predictions, "_place", place)
    with pytest.raises(PredictionsError, match=r"called drive/IMG_1 and Drive/img_1, which the d"):
        check_folder(tmp_path / "out", names, NAMES, Wanted(), {})
    with pytest.raises(PredictionsError, match="two images are called caf"):
        check_folder(tmp_path / "out", names[1:2] + names[3:], NAMES, Wanted(), {})
    check_folder(tmp_path / "out", names[1:4], NAMES, Wanted(), {})
    assert list((tmp_path / "out").iterdir()) == [], "nothing is left of the trial"
