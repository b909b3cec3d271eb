"""What every data set must do; each one passes the same suite.

A set without labels (`images`) passes what is not about labels: of it, images alone are read.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from adapters.datasets.base import DatasetError, LabelledDataset, LabelledSample
from adapters.datasets.camvid import CamVidDataset
from adapters.datasets.cityscapes import CityscapesDataset
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.image_folder import ImageFolder
from adapters.datasets.labelled_folder import LabelledFolder
from adapters.datasets.simulated import SimulatedDataset
from adapters.datasets.synthia import SynthiaDataset
from crosscity.labels import CLASSES, VOID


@dataclass
class Subject:
    """A data set under test.

    Attributes:
        make: Makes it.
        splits: How many samples each split has.
        a_label: The label file of one sample, where there are files.
        wrong: Writes a label with a value that the source does not have, and tells the value.
        has_labels: Whether samples have labels; of a set without, images alone are read.
    """

    make: Callable[[], LabelledDataset]
    splits: dict[str, int]
    a_label: Path | None = None
    wrong: Callable[[Path], str] | None = None
    has_labels: bool = True


RANDOM = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (20, 30)) -> None:
    """An image of noise, of whatever format its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def grey(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """An 8-bit label PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def wrong_grey(value: int) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        labels = np.zeros((20, 30), dtype=np.uint8)
        labels[3, 4] = value
        grey(path, labels)
        return str(value)

    return write


def simulated_source(_tmp_path: Path) -> Subject:
    splits = {"train": 3, "val": 2, "test": 2}
    return Subject(
        lambda: SimulatedDataset("frankfurt", seed=1, image_size=(32, 64), splits=splits), splits
    )


def simulated_target(_tmp_path: Path) -> Subject:
    return Subject(
        lambda: SimulatedDataset(
            "rio",
            seed=2,
            image_size=(32, 64),
            splits={
                "test": ["rio_2_000004", "rio_2_000001"],
                "train": ["rio_2_000000"],
            },
        ),
        {"test": 2, "train": 1},
    )


def cross_city(tmp_path: Path) -> Subject:
    for number, ending in enumerate(["jpg", "png", "jpg"]):
        name = f"pano_{number:05d}_0_180"
        size = (20 + number, 30)
        picture(tmp_path / f"Roma/Images/Test/{name}.{ending}", size)
        label = tmp_path / f"Roma/Labels/Test/{name}_eval.png"
        grey(label, RANDOM.integers(0, 34, size, dtype=np.uint8))
    return Subject(lambda: CrossCityDataset(tmp_path, "rome"), {"test": 3}, label, wrong_grey(34))


def cityscapes(kind: str, values: int) -> Callable[[Path], Subject]:
    def make(tmp_path: Path) -> Subject:
        splits = {"train": 3, "val": 2}
        label = tmp_path
        for split, count in splits.items():
            for number in range(count):
                city = {"train": ("aachen", "zurich"), "val": ("munster", "lindau")}[split][
                    number % 2
                ]
                name = f"{city}_{number:06d}_000019"
                picture(tmp_path / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")
                label = tmp_path / f"gtFine/{split}/{city}/{name}_gtFine_{kind}.png"
                grey(label, RANDOM.integers(0, values, (20, 30), dtype=np.uint8))
                # What lies beside the labels in the real set must not be taken for them.
                picture(label.with_name(f"{name}_gtFine_color.png"))
        return Subject(
            lambda: CityscapesDataset(tmp_path, labels=kind), splits, label, wrong_grey(77)
        )

    make.__name__ = f"cityscapes_{kind}"
    return make


def sixteen_bits(path: Path, classes: npt.NDArray[np.uint16]) -> None:
    """A SYNTHIA label: class id in the first channel, instance in the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red_green_blue = np.stack([classes, classes * 300, np.zeros_like(classes)], axis=-1)
    assert cv2.imwrite(str(path), red_green_blue[..., ::-1])


def wrong_sixteen_bits(path: Path) -> str:
    sixteen_bits(path, np.full((20, 30), 23, dtype=np.uint16))
    return "23"


def synthia(tmp_path: Path) -> Subject:
    for number in range(5):
        picture(tmp_path / f"RGB/{number:07d}.png")
        label = tmp_path / f"GT/LABELS/{number:07d}.png"
        sixteen_bits(label, RANDOM.integers(0, 23, (20, 30), dtype=np.uint16))
    splits = {"train": 3, "val": 2}
    return Subject(lambda: SynthiaDataset(tmp_path, val=2), splits, label, wrong_sixteen_bits)


CAMVID_FRAMES = {
    "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
    "val": ["0016E5_07959", "0016E5_08159"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


def camvid_11(tmp_path: Path) -> Subject:
    for split, frames in CAMVID_FRAMES.items():
        for number, frame in enumerate(frames):
            picture(tmp_path / split / f"{frame}.{('png', 'jpg')[number % 2]}")
            label = tmp_path / f"{split}annot" / f"{frame}.png"
            grey(label, RANDOM.integers(0, 12, (20, 30), dtype=np.uint8))
    splits = {split: len(frames) for split, frames in CAMVID_FRAMES.items()}
    return Subject(lambda: CamVidDataset(tmp_path), splits, label, wrong_grey(12))


CAMVID_COLOURS = [(128, 64, 128), (64, 192, 0), (0, 128, 192), (0, 0, 0), (192, 64, 128)]


def wrong_colour(path: Path) -> str:
    Image.new("RGB", (30, 20), (1, 2, 3)).save(path)
    return "#010203"


def camvid_32(tmp_path: Path) -> Subject:
    for frames in CAMVID_FRAMES.values():
        for frame in frames:
            picture(tmp_path / "701_StillsRaw_full" / f"{frame}.png")
            label = tmp_path / "LabeledApproved_full" / f"{frame}_L.png"
            label.parent.mkdir(exist_ok=True)
            chosen = RANDOM.integers(0, len(CAMVID_COLOURS), (20, 30))
            Image.fromarray(np.array(CAMVID_COLOURS, dtype=np.uint8)[chosen]).save(label)
    splits = {split: len(frames) for split, frames in CAMVID_FRAMES.items()}
    return Subject(lambda: CamVidDataset(tmp_path), splits, label, wrong_colour)


def folder_of_values(tmp_path: Path) -> Subject:
    splits = {"train": 3, "test": 2}
    for split, count in splits.items():
        for number in range(count):
            picture(tmp_path / f"images/{split}/drive {number}/{number}.jpg")
            label = tmp_path / f"labels/{split}/drive {number}/{number}_label.png"
            grey(label, RANDOM.choice(np.array([0, 3, 200], dtype=np.uint8), (20, 30)))
    label_map: dict[int | str, str] = {0: "road", 3: "sky", 200: "void"}
    return Subject(
        lambda: LabelledFolder(tmp_path, label_map=label_map, label_ending="_label.png"),
        splits,
        label,
        wrong_grey(4),
    )


def folder_of_colours(tmp_path: Path) -> Subject:
    colours = np.array([(0, 0, 0), (128, 64, 128), (0, 0, 142)], dtype=np.uint8)
    for number in range(3):
        picture(tmp_path / f"views/{number}.png")
        label = tmp_path / f"classes/{number}.png"
        label.parent.mkdir(exist_ok=True)
        Image.fromarray(colours[RANDOM.integers(0, 3, (20, 30))]).save(label)
    label_map: dict[int | str, str] = {"#000000": "void", "#804080": "road", "#00008E": "car"}
    return Subject(
        lambda: LabelledFolder(tmp_path, label_map=label_map, images="views", labels="classes"),
        {"train": 3},
        label,
        wrong_colour,
    )


def images(tmp_path: Path) -> Subject:
    for number in range(3):
        picture(tmp_path / f"drive {number}/früh/{number}.{('jpg', 'png', 'webp')[number]}")
    return Subject(lambda: ImageFolder(tmp_path), {"train": 3}, has_labels=False)


SUBJECTS = [
    simulated_source,
    simulated_target,
    cross_city,
    cityscapes("labelIds", 34),
    cityscapes("labelTrainIds", 19),
    synthia,
    camvid_11,
    camvid_32,
    folder_of_values,
    folder_of_colours,
    images,
]


@pytest.fixture(params=SUBJECTS, ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made


def everything(dataset: LabelledDataset, subject: Subject) -> list[str]:
    return [sample for split in subject.splits for sample in dataset.samples(split)]


def same(one: LabelledSample, other: LabelledSample) -> bool:
    return np.array_equal(one.image, other.image) and np.array_equal(one.train_ids, other.train_ids)


def test_splits_have_their_samples_and_share_none(subject: Subject) -> None:
    dataset = subject.make()
    assert {split: len(dataset.samples(split)) for split in subject.splits} == subject.splits
    samples = everything(dataset, subject)
    assert len({sample.casefold() for sample in samples}) == len(samples)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", sample) for sample in samples)
    assert re.fullmatch(r"[a-z_]+", dataset.name)


def with_labels(subject: Subject) -> LabelledDataset:
    if not subject.has_labels:
        pytest.skip("this set has no labels, which `read` says")
    return subject.make()


def image_of(dataset: LabelledDataset, subject: Subject, name: str) -> npt.NDArray[np.uint8]:
    return dataset.read(name).image if subject.has_labels else dataset.read_image(name)


def test_samples_are_images_with_train_ids(subject: Subject) -> None:
    dataset = with_labels(subject)
    for name in everything(dataset, subject):
        sample = dataset.read(name)
        assert sample.image.dtype == sample.train_ids.dtype == np.uint8
        assert sample.image.ndim == 3
        assert sample.image.shape == (*sample.train_ids.shape, 3)
        assert set(np.unique(sample.train_ids)) <= {*range(len(CLASSES)), VOID}
        assert (sample.train_ids != VOID).any()


def test_two_instances_agree(subject: Subject) -> None:
    one, other = subject.make(), subject.make()
    assert one.revision() == other.revision() != ""
    for split in subject.splits:
        assert list(one.samples(split)) == list(other.samples(split))
    for name in everything(one, subject):
        if subject.has_labels:
            assert same(one.read(name), other.read(name))
        assert np.array_equal(one.read_image(name), other.read_image(name))


def test_samples_differ(subject: Subject) -> None:
    dataset = subject.make()
    names = everything(dataset, subject)
    found = [image_of(dataset, subject, name).tobytes() for name in names]
    assert len(set(found)) == len(found)


def test_threads_read_what_one_reads(subject: Subject) -> None:
    dataset = subject.make()
    names = everything(dataset, subject)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda name: image_of(dataset, subject, name), names))
        labelled = list(pool.map(dataset.read, names)) if subject.has_labels else []
    for image, name in zip(together, names, strict=True):
        assert np.array_equal(image, image_of(dataset, subject, name))
    assert all(same(one, dataset.read(name)) for one, name in zip(labelled, names, strict=False))


def test_survives_pickling(subject: Subject) -> None:
    dataset = subject.make()
    copy: LabelledDataset = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    name = everything(dataset, subject)[0]
    assert np.array_equal(image_of(copy, subject, name), image_of(dataset, subject, name))
    if subject.has_labels:
        assert same(copy.read(name), dataset.read(name))


def test_images_come_without_their_labels_too(subject: Subject) -> None:
    dataset = subject.make()
    for split in subject.splits:
        assert list(dataset.unlabelled(split)) == list(dataset.samples(split))
        for name in dataset.unlabelled(split):
            image = dataset.read_image(name)
            assert image.dtype == np.uint8
            assert image.ndim == 3
            np.testing.assert_array_equal(image, image_of(dataset, subject, name))


def test_a_set_without_labels_says_so_where_one_is_read(subject: Subject) -> None:
    if subject.has_labels:
        return
    dataset = subject.make()
    for name in everything(dataset, subject):
        with pytest.raises(DatasetError, match="has no label"):
            dataset.read(name)


@pytest.mark.parametrize("split", ["dev", "", "../test", "Test"])
def test_an_unknown_split_names_the_known_ones(subject: Subject, split: str) -> None:
    with pytest.raises(DatasetError) as caught:
        subject.make().samples(split)
    assert repr(split) in str(caught.value)
    assert all(known in str(caught.value) for known in subject.splits)
    with pytest.raises(DatasetError, match="has no split"):
        subject.make().unlabelled(split)


@pytest.mark.parametrize("sample", ["", "nowhere", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_an_unknown_sample_is_one_clear_sentence(subject: Subject, sample: str) -> None:
    for read in (subject.make().read, subject.make().read_image):
        with pytest.raises(DatasetError) as caught:
            read(sample)
        assert "\n" not in str(caught.value)


def the_sample_of(dataset: LabelledDataset, subject: Subject, *, label: Path) -> str:
    """The one sample whose reading fails once its label is broken."""
    failing = []
    for name in everything(dataset, subject):
        try:
            dataset.read(name)
        except ValueError as error:
            assert str(label) in str(error) or label.name in str(error)  # noqa: PT017
            failing.append(name)
    (name,) = failing
    return name


def with_files(subject: Subject) -> Path:
    if subject.a_label is None:
        pytest.skip("labels of this set are rendered, or it has none: none is read from files")
    return subject.a_label


def test_a_value_outside_the_map_is_named_with_its_file(subject: Subject) -> None:
    label = with_files(subject)
    assert subject.wrong is not None
    value = subject.wrong(label)
    dataset = subject.make()
    name = the_sample_of(dataset, subject, label=label)
    with pytest.raises(DatasetError) as caught:
        dataset.read(name)
    assert f"{label} holds the value {value}, which is not a " in str(caught.value)
    dataset.read_image(name)


def test_a_lost_label_is_named_and_no_smaller_set(subject: Subject) -> None:
    label = with_files(subject)
    before = {split: list(subject.make().samples(split)) for split in subject.splits}
    revision = subject.make().revision()
    label.unlink()
    dataset = subject.make()
    assert {split: list(dataset.samples(split)) for split in subject.splits} == before
    assert dataset.revision() != revision
    name = the_sample_of(dataset, subject, label=label)
    with pytest.raises(DatasetError, match="has no label"):
        dataset.read(name)
    assert dataset.read_image(name).shape[-1] == 3


def test_a_broken_label_and_one_of_another_size_are_named(subject: Subject) -> None:
    label = with_files(subject)
    whole = label.read_bytes()
    label.write_bytes(whole[: len(whole) // 2])
    the_sample_of(subject.make(), subject, label=label)
    with Image.open(io.BytesIO(whole)) as opened:
        mode = opened.mode
    if mode in ("L", "RGB") and subject.wrong is not wrong_sixteen_bits:
        with Image.open(io.BytesIO(whole)) as opened:
            opened.crop((0, 0, 7, 9)).save(label)
        the_sample_of(subject.make(), subject, label=label)
    label.write_bytes(b"no image at all")
    the_sample_of(subject.make(), subject, label=label)


def test_a_set_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    makers: list[Callable[[Path], LabelledDataset]] = [
        CityscapesDataset,
        SynthiaDataset,
        CamVidDataset,
        lambda root: CrossCityDataset(root, "rome"),
        lambda root: LabelledFolder(root, label_map={0: "road"}),
        ImageFolder,
    ]
    for make in makers:
        with pytest.raises(DatasetError, match=r"no folder .*nowhere"):
            make(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match=re.escape(str(tmp_path))):
            make(tmp_path)
