from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapters.datasets.image_folder import ImageFolder
from adapters.images import encode_jpeg, encode_png
from adapters.predictions import PredictionFolder, Wanted
from crosscity.evaluation import predict
from crosscity.segmenters import build_segmenter
from flows.cli.first_look import bundled_weights
from flows.cli.predict import _pictures as pictures_of_verb
from tasks.judging import predictions
from tasks.judging.predictions import SHARD, found_in, predict_pictures
from tasks.steps.errors import InputError

RANDOM = np.random.default_rng(3)


def _segmenter():
    return build_segmenter("compact", {"width": 16}, seed=1)


def _run(paths, out, **options):
    segmenter = _segmenter()
    folder = PredictionFolder(out, segmenter.class_names, Wanted("trainIds"), {"segmenter": "a"})
    given = {"batch_size": 4, "image_size": None, "workers": 2, **options}
    return predict_pictures(segmenter, found_in(paths).pictures, folder, **given)


def _images(folder: Path, count: int, size=(32, 48)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
        (folder / f"{index:03d}.png").write_bytes(encode_png(picture))
    return folder


def test_bad_images_are_rows_and_good_ones_are_what_the_segmenter_sees(tmp_path) -> None:
    folder = _images(tmp_path / "in", 5)
    (folder / "002.png").write_bytes((folder / "002.png").read_bytes()[:200])
    (folder / "003.png").write_bytes(b"<html>not found</html>")
    (folder / "notes.txt").write_text("not an image")
    odd = RANDOM.integers(0, 256, (40, 36, 3), dtype=np.uint8)
    (folder / "sub").mkdir()
    (folder / "sub" / "Odd.JPG").write_bytes(encode_jpeg(odd, 95))
    done = _run([folder], tmp_path / "out")
    assert done.images == 6
    assert set(done.failed) == {"002", "003"}
    rows = {row["image"]: row for row in pq.read_table(done.table).to_pylist()}
    assert rows["003"]["reason"] == "003 is not a readable JPEG, PNG or WebP image."
    assert rows["sub/Odd"]["status"] == "ok"
    from PIL import Image

    with Image.open(folder / "000.png") as picture:
        expected = predict(_segmenter(), np.asarray(picture)[None])[0]
    with Image.open(tmp_path / "out/labels/000.png") as read:
        assert (np.asarray(read) != expected).sum() <= 2  # a tie may turn in a batch


def test_names_that_differ_by_ending_alone_keep_it(tmp_path) -> None:
    folder = _images(tmp_path / "in", 1)
    picture = RANDOM.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    (folder / "000.jpg").write_bytes(encode_jpeg(picture, 95))
    _run([folder], tmp_path / "out")
    names = sorted(each.name for each in (tmp_path / "out/labels").iterdir())
    assert names == ["000.jpg.png", "000.png.png"]


def test_what_is_not_an_image_is_said_before_any_work(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no image: looked for \.jpeg, \.jpg"):
        found_in([tmp_path / "empty"])
    with pytest.raises(InputError, match="neither a city of the catalog nor a file or folder"):
        found_in([tmp_path / "nowhere"])
    one, two = _images(tmp_path / "a", 1), _images(tmp_path / "b", 1)
    with pytest.raises(InputError, match=r"two images are called 000\.png"):
        found_in([one, two])


PROGRAM = """
import sys
from pathlib import Path
import tasks.judging.predictions as module
from tests_predictions import _run
shards = 0
finish = module.PredictionFolder.finish_part
def finish_and_say(self, part, rows):
    finish(self, part, rows)
    print("finished", part, flush=True)
module.PredictionFolder.finish_part = finish_and_say
_run([Path(sys.argv[1])], Path(sys.argv[2]))
"""


def test_a_killed_run_goes_on_with_the_next_shard(tmp_path, monkeypatch) -> None:
    folder = _images(tmp_path / "in", 2 * SHARD + 3, size=(16, 16))
    (tmp_path / "tests_predictions.py").write_text(Path(__file__).read_text(encoding="utf-8"))
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(tmp_path)))}
    arguments = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "finished 0\n"
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out/predictions.parquet").exists()
    made: list[int] = []
    finish = PredictionFolder.finish_part
    monkeypatch.setattr(
        PredictionFolder,
        "finish_part",
        lambda self, part, rows: (made.append(part), finish(self, part, rows)),
    )
    _run([folder], tmp_path / "out")
    assert made[-1] == 2
    assert 0 not in made
    undisturbed = _run([folder], tmp_path / "fresh")
    assert undisturbed.table.read_bytes() == (tmp_path / "out/predictions.parquet").read_bytes()
    for each in sorted((tmp_path / "fresh/labels").iterdir()):
        assert each.read_bytes() == (tmp_path / "out/labels" / each.name).read_bytes()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_what_a_killed_run_had_begun_is_removed_and_is_not_something_else(tmp_path) -> None:
    folder, out = _images(tmp_path / "in", 2, size=(16, 16)), tmp_path / "out"

    def begin(path: Path, touched: float) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (touched, touched))
        return path

    at_first = begin(out / ".prediction.json.0123abcd.part", 1)  # before it said what it is
    _run([folder], out)
    begun = [
        begin(out / "labels" / ".000.png.89ef4567.part", 1),
        begin(out / "overlays" / "sub" / ".001.jpg.00000000.part", 1),
    ]
    kept = [
        begin(out / "labels" / ".000.png.ffffffff.part", time.time() + 3600),  # somebody writes it
        begin(out / "labels" / ".mine.part", 1),  # of no writer of ours
    ]
    _run([folder], out)
    assert not any(path.exists() for path in (at_first, *begun))
    assert all(path.exists() for path in kept)


def test_predictions_among_the_pictures_are_no_pictures(tmp_path, many_commands) -> None:
    folder = _images(tmp_path / "in", 3, size=(32, 64))
    _images(folder / ".thumbnails", 2)
    words = ("predict", folder, "--weights", bundled_weights(), "--size", "32x64")
    for _ in range(2):
        done = many_commands(*words, "-o", folder / "masks")
        assert done["code"] == 0, done["err"]
        assert "3 of 3 images predicted" in done["out"]
    assert f"what is in {folder / 'masks'} is left out: it was predicted" in done["err"]
    assert ImageFolder(folder).samples("train") == ("000", "001", "002")
    # Whoever names the folder itself means it.
    assert len(found_in([folder / "masks" / "overlays"]).pictures) == 3
    # A file of that name alone is no description of ours.
    (folder / "prediction.json").write_text("[]")
    assert len(found_in([tmp_path]).pictures) == 3


@pytest.fixture
def listed(tmp_path, monkeypatch) -> Counter[Path]:
    """How often each folder below the test's own is listed, by whatever way."""
    counted: Counter[Path] = Counter()
    scandir, listdir = os.scandir, os.listdir

    def counting(reads):
        def read(path="."):
            if Path(path).is_relative_to(tmp_path):
                counted[Path(path)] += 1
            return reads(path)

        return read

    monkeypatch.setattr(os, "scandir", counting(scandir))
    monkeypatch.setattr(os, "listdir", counting(listdir))
    return counted


def _nested(folder: Path) -> Path:
    """Pictures at several depths, hidden ones and predictions."""
    for name in ("", "a", "a/b", "c", ".hidden/deep", "masks/labels", "masks/overlays"):
        _images(folder / name, 1)
    (folder / "masks" / "prediction.json").write_text('{"format": 1, "ids": "", "classes": []}')
    return folder


def test_each_folder_of_pictures_is_listed_once(tmp_path, listed, capsys) -> None:
    """Also by the verb itself: on a share of a network, listing is what takes the time."""
    folder = _nested(tmp_path / "in")
    once = {folder / name for name in ("", "a", "a/b", "c", "masks")}
    listed.clear()
    pictures = pictures_of_verb([str(folder)], None, None)
    assert [each.name for each in pictures] == ["000", "a/000", "a/b/000", "c/000"]
    assert listed == dict.fromkeys(once, 1)
    assert f"what is in {folder / 'masks'} is left out" in capsys.readouterr().err
    listed.clear()
    assert len(ImageFolder(folder).samples("train")) == 4
    assert listed == dict.fromkeys(once, 1)


def test_a_folder_that_is_not_admitted_is_told_and_the_others_are_predicted(
    tmp_path, monkeypatch, capsys
) -> None:
    folder, scandir = _nested(tmp_path / "in"), os.scandir

    def refusing(path):
        if Path(path).name in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    refused = {"a"}
    assert len(pictures_of_verb([str(folder)], None, None)) == 2
    told = capsys.readouterr().err
    assert f"what is in {folder / 'a'} is left out: it does not admit this user" in told
    refused = {"in"}
    with pytest.raises(InputError, match="in cannot be read: Permission denied"):
        pictures_of_verb([str(folder)], None, None)


def test_a_picture_is_read_once_where_no_earlier_run_has_left_any(tmp_path, monkeypatch) -> None:
    read: Counter[Path] = Counter()
    read_bytes = Path.read_bytes

    def counting(path):
        read[path] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    folder = _images(tmp_path / "in", 3)
    _run([folder], tmp_path / "out")
    assert {read[path] for path in folder.iterdir()} == {1}


def test_pictures_that_the_network_sees_distorted_are_told(tmp_path, many_commands) -> None:
    folder = _images(tmp_path / "in", 2, size=(64, 48))
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(folder / "wide.png")
    words = ("predict", folder, "--weights", bundled_weights(), "--no-overlays")
    done = many_commands(*words, "-o", tmp_path / "out")  # trained at 256×512
    assert done["code"] == 0, done["err"]
    assert "2 of 3 images have other proportions than the 256×512 at which they go" in done["err"]
    assert "predict those of 64×48 by themselves with --size 416x312" in done["err"]
    (folder / "wide.png").unlink()
    done = many_commands(*words, "--size", "64x48", "-o", tmp_path / "fitting")
    assert "proportions" not in done["err"]


@pytest.mark.parametrize("count", [24, 60])
def test_so_many_pictures_are_held_and_no_more(tmp_path, monkeypatch, count: int) -> None:
    """Decoded pictures that are alive at one moment, with a disk that is slower than everything."""
    alive: set[int] = set()
    most, lock = [0], threading.Lock()

    def gone(number: int) -> None:
        with lock:
            alive.discard(number)

    def decode(data: bytes, name: str):
        image = predictions_decode(data, name)
        with lock:
            number = int(name)
            alive.add(number)
            most[0] = max(most[0], len(alive))
        weakref.finalize(image, gone, number)
        return image

    class SlowDisk(PredictionFolder):
        def write(self, *arguments):
            time.sleep(0.01)
            return super().write(*arguments)

    predictions_decode = predictions.decode_image
    monkeypatch.setattr(predictions, "decode_image", decode)
    folder, batch, workers = _images(tmp_path / "in", count), 2, 2
    segmenter = _segmenter()
    out = SlowDisk(tmp_path / "out", segmenter.class_names, Wanted("trainIds"), {"segmenter": "a"})
    done = predict_pictures(
        segmenter,
        found_in([folder]).pictures,
        out,
        batch_size=batch,
        image_size=None,
        workers=workers,
    )
    assert done.images == count
    # Two batches are read ahead, one is in the network and one came out of it, two wait for the
    # disk; each worker has one in its hands, and so has each of the three ends.
    assert most[0] <= 6 * batch + workers + 3
    assert most[0] > batch


def test_pictures_that_are_not_read_are_told(tmp_path) -> None:
    """A link that leads nowhere is an image that cannot be read; other types are named."""
    folder = _images(tmp_path / "in", 2)
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "telephone.HEIC").write_bytes(b"not read")
    (folder / "notes.txt").write_text("not a picture")
    done = _run([folder], tmp_path / "out")
    assert set(done.failed) == {"gone"}
    assert found_in([folder, folder / "000.png"]).left_out == [folder / "telephone.HEIC"]
