"""Images of one place are never trained on in a fold that is tested on another of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapters.images import encode_label_png, encode_png
from adapters.store import ArtifactRef, Store
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import LABELLED, OK
from tasks.steps.tables import part_name, write_rows
from tasks.training import folds as module
from tasks.training.folds import inside, outside, places_of
from tasks.training.identities import adapted_identity
from tasks.training.labelled import labelled_part
from tests.harvested import ref_of

PLACES = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60)


@given(places=PLACES, folds=st.integers(1, 12))
def test_each_image_is_tested_once_and_no_place_is_on_both_sides(places, folds) -> None:
    parts = [(inside((f, folds), places), outside((f, folds), places)) for f in range(folds)]
    assert sorted(i for tested, _ in parts for i in tested) == list(range(len(places)))
    for tested, trained in parts:
        assert sorted((*tested, *trained)) == list(range(len(places)))
        assert not {places[i] for i in tested} & {places[i] for i in trained}
    if len({*places}) >= folds:
        assert all(tested for tested, _ in parts)


@given(images=st.integers(1, 60), folds=st.integers(1, 12))
def test_where_each_image_is_of_its_own_place_every_nth_is_kept_out(images, folds) -> None:
    """As before places were looked at: what is in a store stays what it is."""
    places = [f"image {index}" for index in range(images)]
    for which in range(folds):
        assert inside((which, folds), places) == tuple(range(which, images, folds))


NAMES = ("pano_00007_0_090", "pano_00007_1_090", "x/pano_00008_0_000", "ours_a", "ours_b", "alone")
PAIR = {"image_a": "ours_a", "image_b": "ours_b", "place_id": "corner", "others": ["far/pano_x"]}


@pytest.fixture
def labelled(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Plan, list[ArtifactRef]]:
    """Labelled images of the public layout's names, of pairs, and of neither."""
    plan = open_plan(write_catalog(tmp_path))
    picture = np.zeros((8, 8, 3), np.uint8)
    rows = [
        {
            "sample": name,
            "image": encode_png(picture),
            "labels": encode_label_png(picture[:, :, 0]),
            "status": OK,
            "reason": None,
        }
        for name in NAMES
    ]
    store = Store(tmp_path / "store")
    with store.draft("labelled", "tokyo", "1" * 24, inputs={}, parameters={}, version="1") as draft:
        write_rows(draft, part_name(0), rows, LABELLED)
    monkeypatch.setattr(module, "read_rows", lambda *_: [PAIR])
    return plan, [draft.ref]


def test_places_are_known_by_pairs_and_by_the_public_names(labelled: Any) -> None:
    plan, parts = labelled
    found = places_of(plan, parts, parts[0])
    assert found[:3] == ("place 00007", "place 00007", "place 00008")
    assert found[3:] == ("place corner", "place corner", "image alone")
    assert len({*places_of(plan, parts, None)}) == 5


def test_places_of_a_folder_of_labels_are_known_by_its_names(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """The samples are called as the set calls them: by split, folders and file."""
    files = ("pano_00007_0_090", "pano_00007_1_090", "monday/pano_00008_0_000", "alone")
    for kind, pixels in (("images", np.zeros((8, 8, 3))), ("labels", np.full((8, 8), 7))):
        for file in files:
            path = tmp_path / "ours" / kind / f"{file}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    labels = {"kind": "folder", "root": "ours", "label_map": "labelIds"}
    plan = open_plan(write_catalog(tmp_path, city={"labels": labels}))
    made = labelled_part.fn("tokyo", "test", None, 0, plan)
    found = places_of(plan, [ref_of(made)], None)
    assert sorted(found) == ["image test_alone", *["place 00007"] * 2, "place 00008"]


def test_a_fold_by_places_is_another_segmenter_and_one_by_images_what_it_was(labelled: Any) -> None:
    plan, parts = labelled
    inputs = {"segmenter": parts[0], "part-0": parts[0]}

    def key(*places: str) -> str:
        return adapted_identity(inputs, "fine_tuned", 0, "tokyo", plan, (0, 2), places).key

    assert key("a", "b", "c", "d") == key()
    assert len({key(), key("a", "a", "b", "b"), key("a", "b", "b", "a")}) == 3
