"""Files that were altered, cut short or removed behind the store's back; stores that moved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid

import fsspec
import pytest

from adapters.store import SINGLE, Selection, Store, StoreAwayError, StoreError, places
from adapters.store.places import file_sha256
from adapters.store.remote import RemotePlace


@pytest.fixture
def two_views(tmp_path, publish):
    """A published artifact, its folder, and a fresh store that has hashed nothing yet."""
    ref = publish(Store(tmp_path / "store"), {"images/x.jpg": b"pixels", "t": b"rows"})
    return ref, tmp_path / "store" / ref.uri, Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"pix", "3 bytes instead of 6"), (b"pixelS", "SHA-256"), (None, "is missing")],
)
def test_a_damaged_file_is_named_with_what_to_do(two_views, content, said) -> None:
    ref, folder, store = two_views
    looks = (lambda: store.path(ref, "images/x.jpg"), lambda: store.verify(ref))
    for number, look in enumerate(looks):
        kept = folder.with_name(f"kept-{number}")
        shutil.copytree(folder, kept)
        file = folder / "images" / "x.jpg"
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(StoreError) as caught:
            look()
        message = str(caught.value)
        assert "images/x.jpg" in message
        assert said in message
        assert f"{folder} is damaged" in message
        assert "run again, and it is made anew" in message
        assert store.find(ref.kind, ref.city, ref.key) is None
        kept.rename(folder)
    assert store.path(ref, "t").read_bytes() == b"rows"
    assert [one.what.startswith("images/x.jpg") for one in store.quarantined()] == [True, True]


def test_a_file_that_was_hashed_once_is_still_checked_on_demand(two_views) -> None:
    ref, folder, store = two_views
    store.path(ref, "t")
    hashed = (folder / "t").stat()
    (folder / "t").write_bytes(b"ROWS")
    os.utime(folder / "t", ns=(hashed.st_atime_ns, hashed.st_mtime_ns))
    assert store.path(ref, "t").read_bytes() == b"ROWS"
    with pytest.raises(StoreError, match="SHA-256"):
        store.verify(ref)


def test_a_file_that_was_written_since_it_was_hashed_is_hashed_again(two_views) -> None:
    ref, folder, store = two_views
    store.path(ref, "t")
    (folder / "t").write_bytes(b"ROWS")
    with pytest.raises(StoreError, match="SHA-256"):
        store.path(ref, "t")


def test_a_file_is_hashed_once_a_process_whoever_opens_the_store(two_views, monkeypatch) -> None:
    ref, folder, store = two_views
    hashed = []
    monkeypatch.setattr(
        places, "file_sha256", lambda path: hashed.append(path) or file_sha256(path)
    )
    for _ in range(3):
        Store(folder.parents[2]).path(ref, "t")
        store.path(ref, "t")
    assert hashed == [folder / "t"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: b"",
        lambda _: b"\xff\xfe not json",
        lambda _: b"[]",
        lambda text: text.replace(b'"version"', b'"verzion"'),
        lambda text: text.replace(b'"images/x.jpg"', b'"../../x.jpg"'),
        lambda text: text.replace(b'"city": "rome"', b'"city": "rio"'),
        lambda text: text.replace(b'"sha256": "', b'"sha256": "0')[:-1],
        lambda text: json.dumps(
            {**json.loads(text), "files": {"t": {"bytes": 4, "sha256": "0" * 64}}}
        ).encode(),
    ],
)
def test_a_damaged_manifest_is_named_and_moved_away(two_views, damage, caplog) -> None:
    ref, folder, store = two_views
    manifest = folder / "artifact.json"
    shutil.copytree(folder, folder.with_name("kept"))
    manifest.write_bytes(damage(manifest.read_bytes()))
    assert list(store.artifacts()) == [], "whoever looks for others passes it"
    assert "artifact.json" in caplog.text
    assert folder.is_dir(), "listing changes nothing"
    assert store.find(ref.kind, ref.city, ref.key) is None, "so that it is made again"
    assert "is made again" in caplog.text
    (moved,) = store.quarantined()
    assert (moved.kind, moved.city, moved.key) == (ref.kind, ref.city, ref.key)
    assert (folder.parents[2] / moved.place / "t").read_bytes() == b"rows"
    folder.with_name("kept").rename(folder)
    manifest.write_bytes(damage(manifest.read_bytes()))
    with pytest.raises(StoreError, match=r"artifact\.json .*moved to .*run again"):
        store.manifest(ref)
    assert len(store.quarantined()) == 2


def test_a_folder_without_a_manifest_is_damage(two_views) -> None:
    ref, folder, store = two_views
    (folder / "artifact.json").unlink()
    assert store.find(ref.kind, ref.city, ref.key) is None
    assert [one.what for one in store.quarantined()] == ["artifact.json is missing"]
    with pytest.raises(StoreError, match="not there any more"):
        store.manifest(ref)


def test_files_that_are_not_the_stores_own_are_not_listed(two_views) -> None:
    ref, folder, store = two_views
    root = folder.parents[2]
    (root / "Read me.txt").write_text("notes")
    (root / "imagery" / "rome" / ".DS_Store").write_text("x")
    (root / "imagery" / "rio.txt").write_text("x")
    assert list(store.artifacts()) == [ref]


def test_a_checkpoint_in_its_record_is_read_where_it_is_whole_and_by_no_earlier_release(
    tmp_path,
) -> None:
    store = Store(f"memory://{tmp_path.name}/store", cache_dir=tmp_path / "cache")
    where = ("imagery_part", "rome", "k1")
    images = {"a.jpg": b"\xff\xd8\n1234\n", "b.jpg": b"", "short": b"12345", "other": b"12345"}
    for name, data in images.items():
        store.save_progress(*where, name, data)
    folder = "/".join((".progress", *where))

    def damage(name: str, data: bytes, now: bytes) -> None:
        record = store._place.read(f"{folder}/{name}/record.json")
        assert record.endswith(b"\n" + data)
        store._place.replace(f"{folder}/{name}/record.json", record.removesuffix(data) + now)
        with pytest.raises(ValueError, match="Extra data"):  # what earlier releases did with it
            json.loads(record)

    damage("short", b"12345", b"1234")
    damage("other", b"12345", b"12346")
    # In a bucket, and as a folder that was copied from it.
    copy = tmp_path / "copied"
    for file in store.files():
        (copy / file.path).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.path).write_bytes(store._place.read(file.path))
    for one in (store, Store(copy)):
        assert one.list_progress(*where) == ["a.jpg", "b.jpg"]
        for name in ("a.jpg", "b.jpg"):
            assert one.load_progress(*where, name).read_bytes() == images[name]
    # One of an earlier release, beside its record, is read too; a new one takes its place.
    entry = {"bytes": 3, "sha256": hashlib.sha256(b"old").hexdigest()}
    store._place.replace(f"{folder}/old/{entry['sha256'][:16]}-old", b"old")
    store._place.replace(f"{folder}/old/record.json", json.dumps(entry).encode())
    assert store.load_progress(*where, "old").read_bytes() == b"old"
    store.save_progress(*where, "old", b"new")
    assert store.load_progress(*where, "old").read_bytes() == b"new"
    store.clear_progress(*where)
    assert store.list_progress(*where) == []


def test_torn_progress_is_ignored(tmp_path) -> None:
    store = Store(tmp_path / "store")
    where = ("adaptation", "rome", "k1")
    store.save_progress(*where, "whole", b"1234")
    for name, damage in (("short", b"12"), ("altered", b"1235")):
        store.save_progress(*where, name, b"1234")
        store.load_progress(*where, name).write_bytes(damage)
    store.save_progress(*where, "no-record", b"1234")
    record = store.load_progress(*where, "no-record").with_name("record.json")
    record.write_bytes(record.read_bytes()[:9])
    fresh = Store(tmp_path / "store")
    assert fresh.list_progress(*where) == ["whole"]
    assert fresh.load_progress(*where, "altered") is None
    fresh.save_progress(*where, "altered", b"1234")
    assert fresh.load_progress(*where, "altered").read_bytes() == b"1234"


def test_a_damaged_pointer_is_an_error_that_names_it(two_views) -> None:
    ref, folder, store = two_views
    store.switch("segmenter", "rome", Selection({SINGLE: ref}))
    pointer = folder.parents[2] / "current" / "rome" / "segmenter.json"
    whole = pointer.read_text()
    elsewhere = whole.replace(f'"uri": "{ref.uri}"', '"uri": "../../elsewhere"')
    above = whole.replace('"city": "rome"', '"city": "../rome"')
    assert whole not in (elsewhere, above)
    for text in ("", "{}", "[1]", '{"kind": 3}', whole[: len(whole) // 2], elsewhere, above):
        pointer.write_text(text)
        with pytest.raises(
            StoreError, match=r"segmenter\.json is damaged \(.*`crosscity store repair`"
        ):
            store.selected("segmenter", "rome")


def test_a_moved_store_keeps_references_pointers_and_progress(two_views, tmp_path) -> None:
    ref, _, store = two_views
    store.switch("segmenter", "rome", Selection({SINGLE: ref}))
    store.save_progress("adaptation", "rome", "k1", "step", b"1")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere")
    moved.verify(ref)
    assert moved.selected("segmenter", "rome") == Selection({SINGLE: ref})
    assert moved.load_progress("adaptation", "rome", "k1", "step").read_bytes() == b"1"
    assert list(moved.artifacts()) == [ref]


def test_a_store_may_be_copied_to_a_bucket_and_back(two_views, tmp_path) -> None:
    ref, folder, _ = two_views
    bucket = uuid.uuid4().hex
    files = fsspec.filesystem("memory")
    files.put(f"{folder.parents[2]}/", f"/{bucket}/", recursive=True)
    far = Store(f"memory://{bucket}", cache_dir=tmp_path / "cache")
    far.verify(ref)
    assert far.path(ref, "images/x.jpg").read_bytes() == b"pixels"
    with far.draft("pairs", "rome", "k", inputs=[], parameters={}, version="1") as draft:
        draft.file("a/b").write_bytes(b"1")
    files.get(f"/{bucket}/", f"{tmp_path}/back/", recursive=True)
    back = Store(tmp_path / "back")
    back.verify(ref)
    back.verify(draft.ref)


def test_remote_damage_is_found_behind_the_cache(tmp_path, publish) -> None:
    bucket = uuid.uuid4().hex
    files = fsspec.filesystem("memory")
    store = Store(f"memory://{bucket}", cache_dir=tmp_path / "cache")

    def published(content: bytes):
        ref = publish(store, {"t": b"rows"})
        found = [name for name in files.find(f"/{bucket}/imagery") if name.endswith("/t")]
        (place,) = found
        files.rm(place) if content == b"" else files.pipe_file(place, content)
        return ref

    ref = published(b"ROWS")
    with pytest.raises(StoreError, match=r"t has SHA-256 .* moved to memory://"):
        store.path(ref, "t")
    for damage, said in (
        (b"ROWS", "SHA-256"),
        (b"row", "3 bytes instead of 4"),
        (b"", "is missing"),
    ):
        copy = store.path(published(b"rows"), "t")
        assert published(damage) == ref
        assert store.path(ref, "t") == copy
        with pytest.raises(StoreError, match=said):
            store.verify(ref)
        assert store.find(ref.kind, ref.city, ref.key) is None
        assert files.find(f"/{bucket}/imagery") == [], "nothing is left of it where it was"
    whats = [one.what.split()[0] for one in store.quarantined()]
    assert whats == ["t"] * 4
    for one in store.quarantined():
        assert files.exists(f"/{bucket}/{one.place}/artifact.json")


def test_a_damaged_cache_heals_itself(tmp_path, publish) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    store = Store(url, cache_dir=tmp_path / "cache")
    ref = publish(store, {"t": b"rows"})
    copy = store.path(ref, "t")
    for damage in (b"row", b"ROWS"):
        copy.write_bytes(damage)
        assert Store(url, cache_dir=tmp_path / "cache").path(ref, "t").read_bytes() == b"rows"
    shutil.rmtree(tmp_path / "cache")
    assert store.path(ref, "t").read_bytes() == b"rows"


def test_an_unfinished_upload_is_not_an_artifact(tmp_path, publish) -> None:
    bucket = uuid.uuid4().hex
    files = fsspec.filesystem("memory")
    store = Store(f"memory://{bucket}", cache_dir=tmp_path / "cache")
    ref = publish(store, {"t": b"rows"})
    files.rm(f"/{bucket}/{ref.uri}/artifact.json")
    assert store.find(ref.kind, ref.city, ref.key) is None
    assert list(store.artifacts()) == []
    assert publish(store, {"t": b"rows"}) == ref


def test_what_was_moved_to_quarantine_is_listed_where_the_last_answer_was_lost(
    tmp_path, publish, monkeypatch
) -> None:
    """The move is tried again, and finds that there is nothing left to be moved."""
    url = f"memory://{uuid.uuid4().hex}/store"
    store = Store(url, cache_dir=tmp_path / "cache", patience=30)
    ref = publish(store, {"x": b"x"})
    store._place.replace(f"{ref.uri}/artifact.json", b"{")
    remove, lost = RemotePlace.remove, [ref.uri]

    def answered(place: RemotePlace, path: str) -> None:
        remove(place, path)
        if path in lost:
            lost.remove(path)
            raise StoreAwayError("the store does not answer")

    monkeypatch.setattr(RemotePlace, "remove", answered)
    assert store.find(ref.kind, ref.city, ref.key) is None
    assert lost == []
    (moved,) = store.quarantined()
    assert (moved.kind, moved.city, moved.key) == (ref.kind, ref.city, ref.key)
