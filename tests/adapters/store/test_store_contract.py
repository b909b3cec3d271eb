"""What every store does, wherever it lies."""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import numpy as np
import pytest

from adapters.store import (
    SINGLE,
    ArtifactRef,
    Manifest,
    Selection,
    Store,
    StoreError,
    artifact_key,
)

FACTS = {"inputs": {"pairs": "b" * 64}, "parameters": {"k": 3, "size": [128, 256]}, "version": "2"}
KEY = artifact_key("static_prior", **FACTS)


def test_what_is_published_is_found_and_read(store: Store) -> None:
    assert store.find("static_prior", "rome", KEY) is None
    with store.draft("static_prior", "rome", KEY, **FACTS) as draft:
        (draft.path / "part-00000.parquet").write_bytes(b"rows")
        draft.file("images/x.jpg").write_bytes(b"pixels")
        draft.rows = np.int64(7)
        draft.file_rows["part-00000.parquet"] = 7
        draft.summary = {"failed": {"too dark": np.int32(2)}, "miou": float("nan")}
        assert store.find("static_prior", "rome", KEY) is None
    ref = store.find("static_prior", "rome", KEY)
    assert ref == draft.ref
    assert store.path(ref, "part-00000.parquet").read_bytes() == b"rows"
    assert store.path(ref, "images/x.jpg").read_bytes() == b"pixels"
    assert store.path(ref, "images/x.jpg").suffix == ".jpg"
    store.verify(ref)
    manifest = store.manifest(ref)
    assert (manifest.kind, manifest.city, manifest.key) == ("static_prior", "rome", KEY)
    assert manifest.inputs == FACTS["inputs"]
    assert manifest.parameters == FACTS["parameters"]
    assert manifest.version == "2"
    assert manifest.rows == 7
    assert manifest.summary == {"failed": {"too dark": 2}, "miou": None}
    assert manifest.files["images/x.jpg"].bytes == 6
    assert manifest.files["images/x.jpg"].sha256 == sha256(b"pixels").hexdigest()
    assert manifest.files["part-00000.parquet"].rows == 7
    assert manifest.made_at.utcoffset() == timedelta(0)
    assert datetime.now(UTC) - manifest.made_at < timedelta(hours=1)
    assert manifest.code_version


def test_a_reference_survives_json(store: Store, publish) -> None:
    ref = publish(store, {"a": b"1"})
    assert ArtifactRef.from_dict(json.loads(json.dumps(ref.to_dict()))) == ref
    assert ref.uri == f"imagery/rome/{ref.key}"


def test_a_damaged_reference_is_refused() -> None:
    good = {"kind": "a", "city": "b", "key": "c", "uri": "a/b/c", "digest": "d"}
    assert ArtifactRef.from_dict(good).key == "c"
    for bad in ({}, {**good, "uri": "../../etc"}, {**good, "digest": 3}, {**good, "kind": "../a"}):
        with pytest.raises(StoreError):
            ArtifactRef.from_dict(bad)


def test_the_digest_changes_if_and_only_if_the_contents_do(tmp_path, publish) -> None:
    stores = [Store(tmp_path / str(n)) for n in range(4)]
    same = [publish(one, {"a": b"1", "b": b"2"}).digest for one in stores[:2]]
    altered = publish(stores[2], {"a": b"1", "b": b"3"}).digest
    renamed = publish(stores[3], {"a": b"1", "c": b"2"}).digest
    assert same[0] == same[1]
    assert len({same[0], altered, renamed}) == 3


def test_measured_files_are_kept_and_checked_but_do_not_count_in_the_digest(store: Store) -> None:
    def published(version: str, course: bytes, measured: set[str]) -> ArtifactRef:
        facts = {**FACTS, "version": version}
        key = artifact_key("segmenter", **facts)
        with store.draft("segmenter", "rome", key, **facts) as draft:
            draft.file("weights").write_bytes(b"w")
            draft.file("course").write_bytes(course)
            draft.measured |= measured
        return draft.ref

    one = published("1", b"fast", {"course"})
    assert store.manifest(one).measured == ("course",)
    assert store.path(one, "course").read_bytes() == b"fast"
    folder = f"{one.kind}/{one.city}/{one.key}"
    store._place.remove(folder)
    again = published("1", b"slow", {"course"})
    assert again == one
    assert store.path(again, "course").read_bytes() == b"slow"
    store.verify(again)
    store._place.remove(folder)
    assert published("1", b"slow", set()).digest != one.digest
    with pytest.raises(StoreError, match="measured"):
        published("2", b"slow", {"weights", "corse"})


def test_two_writers_of_one_artifact_do_not_mix_their_measured_files(store: Store) -> None:
    with store.draft("static_prior", "rome", KEY, **FACTS) as first:
        first.file("course").write_bytes(b"mine")
        first.measured.add("course")
        with store.draft("static_prior", "rome", KEY, **FACTS) as second:
            second.file("course").write_bytes(b"theirs")
            second.measured.add("course")
    assert first.ref == second.ref
    store.verify(first.ref)
    assert store.path(first.ref, "course").read_bytes() == b"theirs"


def test_keys_tell_every_difference() -> None:
    base = {"inputs": ["a", "b"], "parameters": {"k": 3}, "version": "1"}
    keys = {
        artifact_key("x", **base),
        artifact_key("y", **base),
        artifact_key("x", **{**base, "inputs": ["b", "a"]}),
        artifact_key("x", **{**base, "inputs": {"0": "a", "1": "b"}}),
        artifact_key("x", **{**base, "parameters": {"k": 3.0}}),
        artifact_key("x", **{**base, "parameters": {"k": None}}),
        artifact_key("x", **{**base, "version": "1.0"}),
    }
    assert len(keys) == 7
    assert all(len(key) == 24 and int(key, 16) >= 0 for key in keys)


def test_keys_do_not_depend_on_the_order_of_names_or_on_tuples() -> None:
    one = artifact_key("x", inputs={"p": "1", "q": "2"}, parameters={"a": (1, 2)}, version="1")
    two = artifact_key("x", inputs={"q": "2", "p": "1"}, parameters={"a": [1, 2]}, version="1")
    # Written down, so that a change that would orphan everybody's artifacts is noticed.
    assert one == two == "00a7f934cb275bc70033491b"


@pytest.mark.parametrize(
    "bad",
    [
        {"inputs": "digest"},
        {"inputs": [b"x"]},
        {"parameters": {"x": float("nan")}},
        {"parameters": {1: 2}},
        {"parameters": {"x": object()}},
    ],
)
def test_keys_of_what_is_not_json_are_refused(bad) -> None:
    with pytest.raises(StoreError):
        artifact_key("x", **{"inputs": [], "parameters": {}, "version": "1", **bad})


def test_an_exception_publishes_nothing_and_leaves_no_debris(tmp_path, store: Store) -> None:
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(RuntimeError, match="my own"),
        store.draft("static_prior", "rome", KEY, **FACTS) as draft,
    ):
        (draft.path / "half").write_bytes(b"x")
        raise RuntimeError("my own")
    assert not draft.path.exists()
    assert store.find("static_prior", "rome", KEY) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(StoreError, match="not published yet"):
        _ = draft.ref


def test_the_first_publisher_is_kept(store: Store) -> None:
    with store.draft("static_prior", "rome", KEY, **FACTS) as slow:
        (slow.path / "x").write_bytes(b"slow")
        with store.draft("static_prior", "rome", KEY, **FACTS) as fast:
            (fast.path / "x").write_bytes(b"fast")
    assert slow.ref == fast.ref
    assert store.path(slow.ref, "x").read_bytes() == b"fast"
    assert not slow.path.exists()


def test_a_link_includes_a_file_of_another_artifact(store: Store) -> None:
    with store.draft("static_prior", "rome", "old", **FACTS) as old:
        old.file("images/x.jpg").write_bytes(b"pixels")
        old.file_rows["images/x.jpg"] = 1
    with store.draft("static_prior", "rome", "new", **FACTS) as new:
        new.add_link("images/x.jpg", old.ref)
        new.add_link("y.jpg", old.ref, "images/x.jpg")
        with pytest.raises(StoreError, match=r"already"):
            new.add_link("y.jpg", old.ref, "images/x.jpg")
        with pytest.raises(StoreError, match=r"no file 'z'"):
            new.add_link("z", old.ref)
    store.verify(new.ref)
    files = store.manifest(new.ref).files
    assert files["y.jpg"] == files["images/x.jpg"] == store.manifest(old.ref).files["images/x.jpg"]


def test_saved_progress_becomes_part_of_the_artifact(store: Store) -> None:
    store.save_progress("static_prior", "rome", KEY, "part-0", b"rows")
    with store.draft("static_prior", "rome", KEY, **FACTS) as draft:
        draft.add_file("part-0", store.load_progress("static_prior", "rome", KEY, "part-0"))
        with pytest.raises(StoreError, match="no file"):
            draft.add_file("part-1", draft.path / "absent")
    store.clear_progress("static_prior", "rome", KEY)
    store.verify(draft.ref)
    assert store.path(draft.ref, "part-0").read_bytes() == b"rows"


def test_progress_is_replaced_listed_and_cleared(store: Store) -> None:
    where = ("adaptation", "rome", "k1")
    assert store.list_progress(*where) == []
    assert store.load_progress(*where, "step.bin") is None
    store.clear_progress(*where)
    store.save_progress(*where, "step.bin", b"1")
    store.save_progress(*where, "step.bin", lambda path: path.write_bytes(b"2"))
    store.save_progress(*where, "a.json", b"{}")
    assert store.list_progress(*where) == ["a.json", "step.bin"]
    assert store.load_progress(*where, "step.bin").read_bytes() == b"2"
    assert store.load_progress(*where, "step.bin").suffix == ".bin"
    assert store.load_progress("adaptation", "rio", "k1", "step.bin") is None
    store.clear_progress(*where)
    assert store.list_progress(*where) == []
    assert list(store.artifacts()) == []


def test_a_failing_checkpoint_keeps_the_previous_one(store: Store) -> None:
    where = ("adaptation", "rome", "k1")
    store.save_progress(*where, "step", b"old")

    def half(path):
        path.write_bytes(b"ne")
        raise KeyError("stop")

    with pytest.raises(KeyError):
        store.save_progress(*where, "step", half)
    with pytest.raises(StoreError, match="nothing was written"):
        store.save_progress(*where, "step", lambda _: None)
    assert store.load_progress(*where, "step").read_bytes() == b"old"


def test_a_pointer_moves(store: Store, publish) -> None:
    assert store.selected("segmenter", "rome") is None
    one = publish(store, {"a": b"1"})
    two = publish(store, {"a": b"2"}, parameters={"again": True})
    store.switch("segmenter", "rome", Selection({SINGLE: one}))
    assert store.selected("segmenter", "rome") == Selection({SINGLE: one})
    store.switch("segmenter", "rome", Selection({SINGLE: two}))
    assert store.selected("segmenter", "rome") == Selection({SINGLE: two})
    assert store.selected("segmenter", "rio") is None
    gone = ArtifactRef(one.kind, one.city, "gone", one.uri, one.digest)
    with pytest.raises(StoreError, match="not there any more"):
        store.switch("segmenter", "rome", Selection({SINGLE: gone}))
    assert store.selected("segmenter", "rome") == Selection({SINGLE: two})


def test_the_newest_of_a_producer_is_noted_until_it_is_gone(store: Store, publish) -> None:
    assert store.newest("pairs", "rome", "full-0") is None
    one = publish(store, {"a": b"1"}, kind="pairs")
    two = publish(store, {"a": b"2"}, kind="pairs", parameters={"again": True})
    store.note_newest("full-0", one)
    store.note_newest("full-0", two)
    store.note_newest("full-1", one)
    assert store.newest("pairs", "rome", "full-0") == two
    assert store.newest("pairs", "rome", "full-1") == one
    assert store.newest("pairs", "rio", "full-0") is None
    assert store.newest("imagery", "rome", "full-0") is None
    store.note_newest("full-0", ArtifactRef(one.kind, one.city, "gone", one.uri, one.digest))
    assert store.newest("pairs", "rome", "full-0") is None
    assert len(list(store.artifacts())) == 2, "a note is not an artifact"


def test_listing_is_sorted_and_filtered(store: Store, publish) -> None:
    refs = [
        publish(store, {"a": b"1"}, kind=kind, city=city)
        for kind in ("pairs", "imagery")
        for city in ("rome", "rio")
    ]
    store.switch("x", "rome", Selection({SINGLE: refs[0]}))
    store.save_progress("imagery", "tokyo", "k", "x", b"1")
    listed = list(store.artifacts())
    assert [(ref.kind, ref.city) for ref in listed] == [
        ("imagery", "rio"),
        ("imagery", "rome"),
        ("pairs", "rio"),
        ("pairs", "rome"),
    ]
    assert set(listed) == set(refs)
    assert [ref.city for ref in store.artifacts(kind="pairs")] == ["rio", "rome"]
    assert [ref.kind for ref in store.artifacts(city="rome")] == ["imagery", "pairs"]
    assert list(store.artifacts("pairs", "tokyo")) == []


def test_a_reference_to_other_content_is_refused(store: Store, publish) -> None:
    ref = publish(store, {"a": b"1"})
    other = ArtifactRef(ref.kind, ref.city, ref.key, ref.uri, "0" * 64)
    with pytest.raises(StoreError, match="other content"):
        store.path(other, "a")


def test_asking_for_a_file_that_is_not_there_names_those_that_are(store: Store, publish) -> None:
    ref = publish(store, {"images/x.jpg": b"1"})
    with pytest.raises(StoreError, match=r"no file 'images/y.jpg'; it has images/x.jpg"):
        store.path(ref, "images/y.jpg")


def test_a_store_is_pickled_by_its_arguments(store: Store, publish) -> None:
    ref = publish(store, {"a": b"1"})
    assert pickle.loads(pickle.dumps(store)).find(ref.kind, ref.city, ref.key) == ref  # noqa: S301


def test_a_writable_store_says_nothing(store: Store) -> None:
    store.check_writable()
    assert list(store.artifacts()) == []


def test_manifests_hold_no_machine_paths(tmp_path, store: Store, publish) -> None:
    ref = publish(store, {"a": b"1"})
    text = store.manifest(ref).to_json().decode() + json.dumps(ref.to_dict())
    assert str(tmp_path) not in text
    assert "/" not in text.replace(ref.uri, "")


@pytest.mark.parametrize("name", ["deep/er/x", "artifact.json", ".hidden", "artifact.json/x"])
def test_drafts_admit_only_names_of_the_store(store: Store, name: str) -> None:
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(StoreError),
        store.draft("static_prior", "rome", KEY, **FACTS) as draft,
    ):
        path = draft.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    assert store.find("static_prior", "rome", KEY) is None


def test_drafts_admit_no_links_to_elsewhere(store: Store) -> None:
    with (
        pytest.raises(StoreError, match="not a plain file"),
        store.draft("static_prior", "rome", KEY, **FACTS) as draft,
    ):
        (draft.path / "x").symlink_to("/etc/hostname")
    with (
        pytest.raises(StoreError, match="rows for 'x'"),
        store.draft("static_prior", "rome", KEY, **FACTS) as draft,
    ):
        draft.file_rows["x"] = 3


def test_to_find_a_file_the_names_of_all_others_are_hashed_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.draft("static_prior", "rome", KEY, **FACTS) as draft:
        for number in range(20):
            draft.file(f"images/{number:02d}.jpg").write_bytes(b"pixels")
    hashed: list[int] = []
    digest_of = Manifest._digest_of

    def counted(self: Manifest, names: Collection[str]) -> str:
        hashed.append(len(names))
        return digest_of(self, names)

    monkeypatch.setattr(Manifest, "_digest_of", counted)
    for number in range(20):
        assert store.path(draft.ref, f"images/{number:02d}.jpg").read_bytes() == b"pixels"
    assert len(hashed) <= 2, "the digest, and the folder of the files"
