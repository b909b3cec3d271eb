"""What another release of this program wrote: older and newer manifests, fields not known here."""

from __future__ import annotations

import json
import shutil

import pytest

from adapters.store import SINGLE, Manifest, Selection, Store, StoreError
from adapters.store.records import FORMAT, NEWEST_FORMAT


def rewritten(folder, change) -> None:
    """Changes a published manifest behind the store's back, as another release would have it."""
    values = json.loads((folder / "artifact.json").read_bytes())
    change(values)
    (folder / "artifact.json").write_text(json.dumps(values))


@pytest.fixture
def published(tmp_path, publish):
    ref = publish(Store(tmp_path / "store"), {"t": b"rows"})
    return ref, tmp_path / "store" / ref.uri, Store(tmp_path / "store")


def test_a_manifest_says_its_format(published) -> None:
    ref, folder, store = published
    assert json.loads((folder / "artifact.json").read_bytes())["format"] == FORMAT
    assert store.manifest(ref).format == FORMAT


def test_a_manifest_from_before_there_was_a_number_is_read(published) -> None:
    ref, folder, store = published

    def older(values) -> None:
        del values["format"], values["inputs_at"]

    rewritten(folder, older)
    assert store.find(ref.kind, ref.city, ref.key) == ref
    store.verify(ref)
    assert list(store.artifacts()) == [ref]


def test_fields_of_the_release_after_are_kept_and_the_digest_still_checked(published) -> None:
    ref, folder, store = published

    def newer(values) -> None:
        values["reviewed_by"] = {"name": "somebody"}
        values["files"]["t"]["compression"] = "none"

    rewritten(folder, newer)
    data = (folder / "artifact.json").read_bytes()
    assert store.find(ref.kind, ref.city, ref.key) == ref
    store.verify(ref)
    again = Manifest.from_json(Manifest.from_json(data).to_json())
    assert json.loads(again.to_json()) == json.loads(data)

    def altered(values) -> None:
        values["files"]["t"]["sha256"] = "0" * 64

    rewritten(folder, altered)
    with pytest.raises(ValueError, match="digest does not fit"):
        Manifest.from_json((folder / "artifact.json").read_bytes())


def test_a_newer_format_is_not_damage(published, caplog) -> None:
    ref, folder, store = published
    store.switch("x", "rome", Selection({SINGLE: ref}))
    rewritten(folder, lambda values: values.update(format=NEWEST_FORMAT + 1, files="moved"))
    store = Store(f"file://{folder.parents[2]}")  # one that has read nothing of it yet
    for look in (
        lambda: store.find(ref.kind, ref.city, ref.key),
        lambda: store.manifest(ref),
        lambda: store.path(ref, "t"),
    ):
        with pytest.raises(StoreError, match="made by a newer version of this program") as caught:
            look()
        assert "damaged" not in str(caught.value)
        assert "delete" not in str(caught.value)
    assert list(store.artifacts()) == []
    assert "newer version" in caplog.text
    assert folder.is_dir()
    assert store.quarantined() == []


def test_a_pointer_with_fields_of_the_release_after_is_read(published) -> None:
    ref, folder, store = published
    store.switch("x", "rome", Selection({SINGLE: ref}))
    pointer = folder.parents[2] / "current" / "rome" / "x.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "since": "today"}))
    assert store.selected("x", "rome") == Selection({SINGLE: ref})


def test_inputs_are_found_where_the_manifest_says(tmp_path, publish, monkeypatch) -> None:
    store = Store(tmp_path / "store")
    images = publish(store, {"a": b"1"})
    pairs = publish(store, {"b": b"2"}, kind="pairs")

    def made(key: str, **more):
        inputs = {"imagery": images.digest, "pairs": pairs.digest}
        facts = {"inputs": inputs, "parameters": {}, "version": "1", **more}
        with store.draft("static_prior", "rome", key, **facts) as draft:
            draft.file("c").write_bytes(b"3")
        return draft.ref

    both = {"imagery": images, "pairs": pairs}
    reported, untold = made("told", inputs_at=both), made("untold")
    searched = []
    scan = Store.artifacts

    def watched(self, *arguments):
        searched.append(arguments)
        return scan(self, *arguments)

    monkeypatch.setattr(Store, "artifacts", watched)
    assert store.inputs_of(reported) == both
    assert searched == [], "a look-up reads what it looks for and nothing else"
    assert store.inputs_of(untold) == both
    assert searched == [()], "an older manifest does not say where its inputs lie"
    shutil.rmtree(tmp_path / "store" / pairs.uri)
    assert Store(tmp_path / "store").inputs_of(reported) == {"imagery": images, "pairs": None}


def test_an_input_cannot_lead_out_of_the_store(tmp_path, publish) -> None:
    store = Store(tmp_path / "store")
    images = publish(store, {"a": b"1"})
    facts = {"inputs": {"x": images.digest}, "parameters": {}, "version": "1"}
    with store.draft("pairs", "rome", "k", **facts, inputs_at={"x": images}) as draft:
        draft.file("b").write_bytes(b"2")
    folder = tmp_path / "store" / draft.ref.uri
    planted = Manifest.from_json((folder / "artifact.json").read_bytes()).to_json()
    planted = planted.replace(images.uri.encode(), b"../../etc")
    with pytest.raises(ValueError, match="inputs_at"):
        Manifest.from_json(planted)
