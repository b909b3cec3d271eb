"""Pictures of one's own, without labels: any names, any depth, any kind of picture."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.catalog.datasets import DatasetSite, ImagesSet
from adapters.datasets.base import DatasetError
from adapters.datasets.image_folder import ImageFolder
from adapters.images import ImageError

RANDOM = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (20, 30), **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **how)
    return path


def test_all_pictures_at_any_depth_are_of_the_split_train(tmp_path: Path) -> None:
    names = ["b.jpg", "Straße 1/früh/ä.PNG", "Straße 1/spät/ä.webp", "東京/1.jpeg", "大阪/1.jpeg"]
    for name in names:
        picture(tmp_path / name)
    for hidden in (".trash/c.jpg", "Straße 1/._ä.png", "notes.txt", "nights.jpg/readme"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"")
    dataset = ImageFolder(tmp_path)
    samples = dataset.samples("train")
    assert len(samples) == len(names)
    assert list(samples) == sorted(samples) == list(dataset.unlabelled("train"))
    assert len({dataset.read_image(sample).tobytes() for sample in samples}) == len(names)


def test_folders_that_are_linked_to_are_entered_each_once(tmp_path: Path) -> None:
    """As data sets are put together of disks; a link upwards leads to all that is beside a set."""
    picture(tmp_path / "beside.jpg")
    picture(tmp_path / "disk" / "march" / "a.jpg")
    picture(tmp_path / "set" / "here" / "a.jpg")
    (tmp_path / "set" / "elsewhere").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set" / "here")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "disk" / "above").symlink_to(tmp_path)
    for images in (".", "*"):
        samples = ImageFolder(tmp_path / "set", images=images).samples("train")
        assert [name for name in samples if "march" in name] == ["elsewhere_march_a"]
        assert len(samples) == 2


def test_a_folder_that_cannot_be_read_is_left_out_and_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, listed = picture(tmp_path / "closed" / "a.jpg").parent, os.scandir
    picture(tmp_path / "open" / "b.jpg")

    def scandir(path: str) -> object:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    dataset = ImageFolder(tmp_path)
    assert list(dataset.samples("train")) == ["open_b"]
    assert dataset.unreadable == [closed]


def test_pictures_that_differ_in_their_type_alone_are_two(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        picture(tmp_path / name)
    assert list(ImageFolder(tmp_path).samples("train")) == ["a_jpg", "a_png", "b"]


def test_a_pattern_takes_some_folders(tmp_path: Path) -> None:
    for name in ("2025/camera 1/a.jpg", "2025/camera 2/a.jpg", "2026/camera 1/deep/a.jpg"):
        picture(tmp_path / name)
    some = ImageFolder(tmp_path, images="*/camera 1")
    assert list(some.samples("train")) == ["2025_camera_1_a", "2026_camera_1_deep_a"]
    with pytest.raises(DatasetError, match="holds no picture"):
        ImageFolder(tmp_path, images="*/camera 3")
    with pytest.raises(DatasetError, match="must lie below the set's root"):
        ImageFolder(tmp_path, images="../elsewhere")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], r"holds no picture \(JPEG, PNG or WebP, at any depth\): it is empty"),
        (["notes.txt", "a/b.csv"], "none of its 2 files is one"),
        (["a.HEIC", "b/c.tif"], r"\.heic, \.tif is not, so make the 2 pictures JPEG or PNG"),
    ],
)
def test_a_folder_without_pictures_says_what_it_holds(
    tmp_path: Path, files: list[str], said: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0")
    with pytest.raises(DatasetError, match=said):
        ImageFolder(tmp_path)


def test_pictures_of_other_types_are_left_out_and_known(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "b.HEIC").write_bytes(b"0")
    assert ImageFolder(tmp_path).left_out == [tmp_path / "b.HEIC"]


def test_reading_a_label_says_that_there_is_none(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=f"{path} has no label, as none of this set"):
        ImageFolder(tmp_path).read("a")
    with pytest.raises(DatasetError, match="no sample 'b'"):
        ImageFolder(tmp_path).read("b")


def _grey(path: Path) -> tuple[int, int]:
    Image.new("L", (30, 20), 7).save(path.with_suffix(".png"))
    return 20, 30


def _transparent(path: Path) -> tuple[int, int]:
    Image.new("RGBA", (30, 20), (255, 0, 0, 0)).save(path.with_suffix(".png"))
    return 20, 30


def _turned(path: Path) -> tuple[int, int]:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(path.with_suffix(".jpg"), exif=exif)
    return 30, 20


def _square_and_upside_down(path: Path) -> tuple[int, int]:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (30, 30)).save(path.with_suffix(".jpg"), exif=exif)
    return 30, 30


def _large(path: Path) -> tuple[int, int]:
    Image.new("RGB", (4000, 3000)).save(path.with_suffix(".jpg"))
    return 1773, 2364  # the proportions of 3 to 4, and no more than 2 ** 22 pixels


@pytest.mark.parametrize("make", [_grey, _transparent, _turned, _square_and_upside_down, _large])
def test_whatever_camera_made_it_a_picture_is_upright_rgb(
    tmp_path: Path, make: Callable[[Path], tuple[int, int]]
) -> None:
    size = make(tmp_path / "a")
    image = ImageFolder(tmp_path).read_image("a")
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8


def test_a_large_picture_stays_where_a_size_is_set(tmp_path: Path) -> None:
    _large(tmp_path / "a")
    entry = ImagesSet(kind="images", root=str(tmp_path), image_size=(256, 512))
    opened = entry.open(DatasetSite("mine", tmp_path))
    assert opened.read_image("a").shape == (3000, 4000, 3)
    assert "most_pixels" not in entry.identity(opened, ["a"])
    free = ImagesSet(kind="images", root=str(tmp_path))
    assert free.identity(free.open(DatasetSite("mine", tmp_path)), ["a"])["most_pixels"] == 1 << 22


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match=f"{path} is"):
        ImageFolder(tmp_path).read_image("a")


def test_another_picture_under_a_name_is_another_revision(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    before = ImageFolder(tmp_path).revision(["a"])
    picture(tmp_path / "b.jpg")
    assert ImageFolder(tmp_path).revision(["a"]) == before
    picture(tmp_path / "a.jpg")
    assert ImageFolder(tmp_path).revision(["a"]) != before


def test_a_set_of_pictures_survives_pickling(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    dataset = ImageFolder(tmp_path)
    copy = pickle.load(io.BytesIO(pickle.dumps(dataset)))  # noqa: S301 - our own bytes
    assert np.array_equal(copy.read_image("a"), dataset.read_image("a"))
