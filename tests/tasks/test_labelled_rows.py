"""Labelled images stay on disk, and are decoded only where pixels are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from adapters.images import encode_label_png, encode_png
from adapters.store import Store
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.steps.schemas import LABELLED, PAIRS
from tasks.steps.tables import write_rows
from tasks.training import labelled, stored_images
from tasks.training.labelled import labelled_part
from tasks.training.stored_images import StoredLabelled, StoredUnlabelled
from tests.harvested import ref_of

RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (7, 96, 128, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 19, (7, 96, 128), dtype=np.uint8)


@pytest.fixture
def parts(tmp_path):
    """A store with two shards: images 0 to 3 and a failed one, images 4 to 6."""
    store = Store(tmp_path / "store")
    refs = []
    for part, indices in enumerate(([0, 1, None, 2, 3], [4, 5, 6])):
        rows = [
            {
                "sample": f"s{index}",
                "image": None if index is None else encode_png(IMAGES[index]),
                "labels": None if index is None else encode_label_png(LABELS[index]),
                "status": "failed" if index is None else "ok",
                "reason": "broken" if index is None else None,
            }
            for index in indices
        ]
        with store.draft(
            "labelled", "rome", f"p{part}", inputs=[], parameters={}, version="1"
        ) as draft:
            write_rows(draft, f"part-{part:05d}.parquet", rows, LABELLED)
        refs.append(draft.ref)
    return store, refs


def test_good_rows_of_all_shards_in_their_order(parts):
    images = StoredLabelled(*parts)
    assert [images.name(i) for i in range(len(images))] == [f"s{i}" for i in range(7)]
    np.testing.assert_array_equal(images.images([0, 3, 6]), IMAGES[[0, 3, 6]])
    np.testing.assert_array_equal(images.labels([2, 4]), LABELS[[2, 4]])
    chosen = StoredLabelled(*parts, chosen=[5, 1])
    assert [chosen.name(i) for i in range(len(chosen))] == ["s5", "s1"]
    np.testing.assert_array_equal(chosen.images([0]), IMAGES[[5]])


def test_opening_them_again_holds_none_of_them_in_memory(parts):
    StoredLabelled(*parts)
    before = pa.total_allocated_bytes()
    images = StoredLabelled(*parts)
    held = pa.total_allocated_bytes() - before
    assert len(images) == 7
    assert held < IMAGES[0].nbytes / 4 < IMAGES.nbytes


def test_empty_priors_need_no_pixel(parts, monkeypatch):
    targets = StoredUnlabelled(*parts)
    small = StoredUnlabelled(*parts, size=(10, 20))

    def refuse(*_: object) -> None:
        raise AssertionError("an image is decoded for its size")

    monkeypatch.setattr(stored_images, "decode_image", refuse)
    assert targets.priors([0, 4]).shape == (2, 96, 128)
    assert not targets.priors([0, 4]).any()
    assert small.priors([1]).shape == (1, 10, 20)


def test_images_of_two_sizes_are_not_a_batch_with_or_without_their_pixels(tmp_path):
    store = Store(tmp_path / "store")
    rows = [
        {"sample": str(n), "image": encode_png(image), "labels": None, "status": "ok"}
        for n, image in enumerate((IMAGES[0], IMAGES[1][:50]))
    ]
    with store.draft("unlabelled", "x", "k", inputs=[], parameters={}, version="1") as draft:
        write_rows(draft, "part-00000.parquet", [{**r, "reason": None} for r in rows], LABELLED)
    targets = StoredUnlabelled(store, [draft.ref])
    for read in (targets.images, targets.priors):
        with pytest.raises(InputError, match="images of a batch need one size"):
            read([0, 1])


def test_labelled_images_of_a_simulated_city_are_those_of_its_lights(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """The id of a view does not say in which light it is drawn, and the store finds by the key."""
    pair = {"pair_id": "p", "place_id": "tokyo_3_000000", "split": "test"}
    pair |= {"image_a": "tokyo_3_000000_0", "image_b": "tokyo_3_000000_1"}
    seen = {}
    for lights in (None, ["night", "day"], ["day", "night"]):
        plan = open_plan(write_catalog(tmp_path, {"lights": lights}))
        store = plan.open_store()
        if not seen:
            with store.draft(
                "pairs", "tokyo", "1" * 24, inputs={}, parameters={}, version="1"
            ) as draft:
                write_rows(draft, "pairs.parquet", [pair], PAIRS)
        made = labelled_part.fn("tokyo", "test", draft.ref, 0, plan)
        images = StoredLabelled(store, [ref_of(made)])
        seen[str(lights)] = images.images([0]).mean()
    # The first of the two is that of the views that are scored.
    assert seen["['night', 'day']"] < 0.6 * min(seen["None"], seen["['day', 'night']"])


@pytest.mark.parametrize(("value", "told"), [(7, True), (23, False)])
def test_train_ids_that_are_read_as_label_ids_are_told_once_when_they_are_read(
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: int,
    told: bool,
) -> None:
    """Else a training of hours learns signs as road and vegetation as sidewalk."""
    monkeypatch.setattr(labelled, "PART_SIZE", 1)
    for name, pixels in (("images", IMAGES), ("labels", np.full((2, 96, 128), value, np.uint8))):
        (tmp_path / name / "train").mkdir(parents=True)
        for number in range(2):
            Image.fromarray(pixels[number]).save(tmp_path / name / "train" / f"{number}.png")
    ours = {"kind": "folder", "root": ".", "label_map": "labelIds"}
    plan = open_plan(write_catalog(tmp_path, datasets={"ours": ours}))
    for part in (0, 1, 0):
        labelled_part.fn("ours", "train", None, part, plan)
    said = [one for one in caplog.messages if "if the files hold trainIds" in one]
    assert len(said) == told
    assert all(one.startswith("ours, train: as labelIds, all that was examined") for one in said)


class Counted(str):
    """An id that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, str(other))


def test_places_of_a_split_are_not_looked_for_among_all_others(parts, monkeypatch):
    ids = [f"tokyo-{number % 500:05d}" for number in range(1000)]
    rows = [{"place_id": Counted(one), "split": "train"} for one in ids]
    rows.append({"place_id": Counted("tokyo-99999"), "split": "test"})
    monkeypatch.setattr(labelled, "read_rows", lambda *_: rows)
    store, refs = parts
    found = labelled._places_by_split(store, refs[0])
    assert found == {"train": ids[:500], "test": ["tokyo-99999"]}
    assert Counted.compared < 10 * len(rows)


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_a_set_is_listed_once_for_all_its_shards(
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Listed for each, a set of 100 000 files took three quarters of an hour of listing alone."""
    monkeypatch.setattr(labelled, "PART_SIZE", 1)
    for name, pixels in (("images", IMAGES), ("labels", np.full((2, 96, 128), 7, np.uint8))):
        (tmp_path / name / "train").mkdir(parents=True)
        for number in range(2):
            Image.fromarray(pixels[number]).save(tmp_path / name / "train" / f"{number}.png")
    ours = {"kind": "folder", "root": ".", "label_map": "labelIds"}
    plan = open_plan(write_catalog(tmp_path, datasets={"ours": ours}))
    listed, opened = [], labelled.labelled_set
    monkeypatch.setattr(labelled, "labelled_set", lambda *of: listed.append(of) or opened(*of))

    def shards() -> int:
        with labelled.sets_as_first_listed():
            if kind == "labelled":
                parts = labelled.labelled_parts("ours", "train", None, plan)
                made = [labelled_part.fn("ours", "train", None, part, plan) for part in parts]
            else:
                parts = labelled.unlabelled_parts("ours", "train", plan)
                made = [labelled.unlabelled_part.fn("ours", "train", part, plan) for part in parts]
        return len({ref_of(one).key for one in made})

    assert shards() == 2
    assert len(listed) == 1
    assert not labelled._LISTED._held, "held for nothing"
    for name in ("images", "labels"):
        source = tmp_path / name / "train" / "0.png"
        (source.parent / "2.png").write_bytes(source.read_bytes())
    assert shards() == 3
    assert len(listed) == 2
    another = open_plan(write_catalog(tmp_path / "b", datasets={"ours": {**ours, "root": ".."}}))
    with labelled.sets_as_first_listed():
        labelled.labelled_parts("ours", "train", None, another)
        labelled_part.fn("ours", "train", None, 0, plan)
    assert len(listed) == 4, "another catalog's set of that name is another"
