"""What every labelled data set must do; each one passes the same suite."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.datasets.base import DatasetError, LabelledDataset, LabelledSample
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.simulated import SimulatedDataset
from crosscity.labels import CLASSES, VOID


@dataclass
class Subject:
    """A data set under test: how to make it, and how many samples each split has."""

    make: Callable[[], LabelledDataset]
    splits: dict[str, int]


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
    rng = np.random.default_rng(0)
    (tmp_path / "Taipei/Images/Test").mkdir(parents=True)
    (tmp_path / "Taipei/Labels/Test").mkdir(parents=True)
    for number, ending in enumerate(["jpg", "png", "jpg"]):
        name = f"pano_{number:05d}_0_180"
        size = (20 + number, 30)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            tmp_path / f"Taipei/Images/Test/{name}.{ending}"
        )
        Image.fromarray(rng.integers(0, 34, size, dtype=np.uint8)).save(
            tmp_path / f"Taipei/Labels/Test/{name}_eval.png"
        )
    return Subject(lambda: CrossCityDataset(tmp_path, "taipei"), {"test": 3})


@pytest.fixture(
    params=[simulated_source, simulated_target, cross_city], ids=lambda make: make.__name__
)
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


def test_samples_are_images_with_train_ids(subject: Subject) -> None:
    dataset = subject.make()
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
        assert same(one.read(name), other.read(name))


def test_samples_differ(subject: Subject) -> None:
    dataset = subject.make()
    images = [dataset.read(name).image.tobytes() for name in everything(dataset, subject)]
    assert len(set(images)) == len(images)


def test_threads_read_what_one_reads(subject: Subject) -> None:
    dataset = subject.make()
    names = everything(dataset, subject)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(dataset.read, names))
    assert all(same(one, dataset.read(name)) for one, name in zip(together, names, strict=True))


def test_survives_pickling(subject: Subject) -> None:
    dataset = subject.make()
    copy: LabelledDataset = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    name = everything(dataset, subject)[0]
    assert same(copy.read(name), dataset.read(name))


@pytest.mark.parametrize("split", ["dev", "", "../test", "Test"])
def test_an_unknown_split_names_the_known_ones(subject: Subject, split: str) -> None:
    with pytest.raises(DatasetError) as caught:
        subject.make().samples(split)
    assert repr(split) in str(caught.value)
    assert "test" in str(caught.value)


@pytest.mark.parametrize("sample", ["", "nowhere", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_an_unknown_sample_is_one_clear_sentence(subject: Subject, sample: str) -> None:
    with pytest.raises(DatasetError) as caught:
        subject.make().read(sample)
    assert "\n" not in str(caught.value)
