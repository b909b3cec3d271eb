"""The public test labels: ids mapped, and every fault named with its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from adapters.datasets.base import DatasetError
from adapters.datasets.cross_city import CrossCityDataset
from adapters.images import ImageError

NAME = "pano_00033_2_180"


def write(
    root: Path, labels: npt.NDArray[np.generic] | None, *, image: str | None = f"{NAME}.jpg"
) -> None:
    """One image of 12×18 pixels and its label below <root>/Roma."""
    for part in ("Images", "Labels"):
        (root / "Roma" / part / "Test").mkdir(parents=True, exist_ok=True)
    if image is not None:
        Image.new("RGB", (18, 12), (40, 90, 140)).save(root / "Roma/Images/Test" / image)
    if labels is not None:
        Image.fromarray(labels).save(root / f"Roma/Labels/Test/{NAME}_eval.png")


def all_label_ids() -> npt.NDArray[np.uint8]:
    ids = np.resize(np.arange(34, dtype=np.uint8), (12, 18))
    ids[0, 0] = 255
    return ids


def test_label_ids_become_train_ids(tmp_path: Path) -> None:
    ids = all_label_ids()
    write(tmp_path, ids)
    dataset = CrossCityDataset(tmp_path, "rome")
    assert dataset.samples("test") == (NAME,)
    train_ids = dataset.read(NAME).train_ids
    # The table of the method page: cityscapes labelId -> trainId.
    table = {7: 0, 8: 1, 11: 2, 19: 6, 20: 7, 21: 8, 23: 10}
    table |= {24: 11, 25: 12, 26: 13, 28: 15, 32: 17, 33: 18}
    table |= {12: 3, 13: 4, 17: 5, 22: 9, 27: 14, 31: 16}
    expected = np.vectorize(lambda value: table.get(value, 255))(ids)
    np.testing.assert_array_equal(train_ids, expected)


@pytest.mark.parametrize("value", [34, 40, 254])
def test_a_value_outside_the_map_is_named_with_its_file(tmp_path: Path, value: int) -> None:
    ids = all_label_ids()
    ids[3, 4] = value
    write(tmp_path, ids)
    with pytest.raises(DatasetError, match=rf"{NAME}_eval\.png holds the value {value}\b"):
        CrossCityDataset(tmp_path, "rome").read(NAME)


def test_an_image_without_label_and_a_label_without_image(tmp_path: Path) -> None:
    write(tmp_path, all_label_ids(), image=None)
    write(tmp_path, None, image="pano_00034_0_0.png")
    dataset = CrossCityDataset(tmp_path, "roma")
    assert dataset.samples("test") == (NAME, "pano_00034_0_0")
    with pytest.raises(DatasetError, match=rf"{NAME}_eval\.png has no image"):
        dataset.read(NAME)
    with pytest.raises(DatasetError, match=r"pano_00034_0_0\.png has no label"):
        dataset.read("pano_00034_0_0")


def test_sizes_must_agree(tmp_path: Path) -> None:
    write(tmp_path, np.zeros((12, 17), dtype=np.uint8))
    with pytest.raises(ImageError, match=rf"{NAME}_eval\.png is 12×17 .*12×18"):
        CrossCityDataset(tmp_path, "rome").read(NAME)


def test_colour_labels_are_refused(tmp_path: Path) -> None:
    write(tmp_path, np.zeros((12, 18, 3), dtype=np.uint8))
    with pytest.raises(ImageError, match=r"_eval\.png holds colours where label values are needed"):
        CrossCityDataset(tmp_path, "rome").read(NAME)


def test_a_truncated_image_and_a_large_file(tmp_path: Path) -> None:
    write(tmp_path, all_label_ids())
    path = tmp_path / f"Roma/Images/Test/{NAME}.jpg"
    size = path.stat().st_size
    with pytest.raises(DatasetError, match=rf"{NAME}\.jpg has more than the {size - 1} bytes"):
        CrossCityDataset(tmp_path, "rome", max_bytes=size - 1).read(NAME)
    path.write_bytes(path.read_bytes()[: size // 2])
    with pytest.raises(ImageError, match=rf"{NAME}\.jpg"):
        CrossCityDataset(tmp_path, "rome").read(NAME)
    path.unlink()
    (tmp_path / f"Roma/Images/Test/{NAME}.jpg").mkdir()
    with pytest.raises(DatasetError, match="cannot be read"):
        CrossCityDataset(tmp_path, "rome").read(NAME)


def test_other_files_do_not_disturb(tmp_path: Path) -> None:
    write(tmp_path, all_label_ids())
    for name in ("notes.txt", "pano_1_eval.png", f"{NAME}.png", f"{NAME}_eval.jpg", ".DS_Store"):
        (tmp_path / "Roma/Labels/Test" / name).write_bytes(b"x")
        (tmp_path / "Roma/Images/Test" / ("x" + name)).write_bytes(b"x")
    assert CrossCityDataset(tmp_path, "rome").samples("test") == (NAME,)


def test_missing_things_are_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*nowhere"):
        CrossCityDataset(tmp_path / "nowhere", "rome")
    write(tmp_path, None)
    with pytest.raises(DatasetError, match=r"Labels/Test has no label named"):
        CrossCityDataset(tmp_path, "rome")
    with pytest.raises(DatasetError, match="'tokyo'; cities there: Roma"):
        CrossCityDataset(tmp_path, "tokyo")


def test_pairs_alone_have_no_labels(time_pairs: Path) -> None:
    with pytest.raises(DatasetError, match="no label"):
        CrossCityDataset(time_pairs, "rome")
