"""Simulated labels: the very images of the street views, and splits that never meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.datasets.base import DatasetError
from adapters.datasets.simulated import SimulatedDataset
from adapters.images import decode_image, sanitised_image
from adapters.street_view.simulated import SimulatedStreetView
from simcity import STYLES


def street_view() -> SimulatedStreetView:
    return SimulatedStreetView(
        "taipei", bbox=(121.5, 25.0, 121.6, 25.1), places=5, seed=9, image_size=(40, 80)
    )


def dataset(**changes: Any) -> SimulatedDataset:
    options: dict[str, Any] = {
        "style": "taipei",
        "seed": 9,
        "image_size": (40, 80),
        "splits": {"test": ["taipei_9_000003", "taipei_9_000001"]},
    }
    return SimulatedDataset(**(options | changes))


def test_test_places_are_the_street_views_pixel_for_pixel() -> None:
    provider, labelled = street_view(), dataset()
    captures = {c.image_id: c for c in provider.captures()}
    assert labelled.samples("test") == ("taipei_9_000003_0", "taipei_9_000001_0")
    for name in labelled.samples("test"):
        data = provider.fetch(captures[name])
        sample = labelled.read(name)
        image = decode_image(data, name)
        np.testing.assert_array_equal(sample.image, image)
        # What a harvest stores is still the same image.
        np.testing.assert_array_equal(
            decode_image(sanitised_image(data, image), name), sample.image
        )
        truth = provider.ground_truth(captures[name])
        np.testing.assert_array_equal(sample.train_ids, truth.train_ids)


def test_numbered_splits_meet_neither_each_other_nor_the_street_views() -> None:
    provider = SimulatedStreetView(
        "taipei", bbox=(121.5, 25.0, 121.6, 25.1), places=30, seed=9, image_size=(40, 80)
    )
    labelled = dataset(splits={"train": 40, "val": 20, "test": 10})
    groups = [{c.image_id for c in provider.captures()}]
    groups += [set(labelled.samples(split)) for split in ("train", "val", "test")]
    assert [len(group) for group in groups] == [60, 40, 20, 10]
    assert len(set.union(*groups)) == 130


def test_a_split_can_grow_without_changing_another() -> None:
    small = dataset(splits={"train": 2, "test": 3})
    large = dataset(splits={"train": 9, "val": 4, "test": 3})
    assert small.samples("test") == large.samples("test")
    assert small.samples("train") == large.samples("train")[:2]


def test_a_style_may_be_given_as_a_record() -> None:
    named, given = dataset(), dataset(style=STYLES["taipei"])
    name = named.samples("test")[0]
    np.testing.assert_array_equal(named.read(name).image, given.read(name).image)
    assert named.revision() == given.revision() == street_view().revision()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": "atlantis"}, "'atlantis'; styles: "),
        ({"seed": -1}, "seed"),
        ({"image_size": (40, 0)}, "40×0"),
        ({"splits": {"holdout": 3}}, "'holdout'"),
        ({"splits": {"test": -1}}, "'test'.*-1"),
        ({"splits": {"test": 1_000_001}}, "'test'"),
        ({"splits": {"test": ["taipei_8_000001"]}}, "'taipei_8_000001' is not a place"),
        ({"splits": {"test": ["rome_9_000001"]}}, "'rome_9_000001' is not a place"),
        ({"splits": {"test": ["taipei_9_1"]}}, "'taipei_9_1' is not a place"),
        ({"splits": {"test": ["taipei_9_0000001"]}}, "is not a place"),
        ({"splits": {"test": ["taipei_9_000001_0"]}}, "is not a place"),
        ({"splits": {"test": [""]}}, "is not a place"),
        ({"splits": {"test": ["taipei_9_000001"] * 2}}, "listed twice"),
        ({"splits": {"train": ["taipei_9_000001"], "test": ["taipei_9_000001"]}}, "another split"),
        ({"splits": {"train": 2, "test": ["taipei_9_1000001"]}}, "another split"),
    ],
)
def test_bad_settings_are_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        dataset(**changes)
    assert "\n" not in str(caught.value)
