"""Artifacts that are switched together."""

from __future__ import annotations

import json
import shutil

import pytest

from adapters.store import Selection, Store, StoreError


@pytest.fixture
def two(store, publish):
    return publish(store, {"a": b"1"}), publish(store, {"b": b"2"}, kind="pairs")


def test_a_selection_comes_back_with_its_notes(store, two) -> None:
    assert store.selected("harvest", "rome") is None
    state = Selection({"imagery": two[0], "pairs": two[1]}, {"untold": [{"city": "rome", "n": 3}]})
    store.switch("harvest", "rome", state)
    found = store.selected("harvest", "rome")
    assert dict(found.refs) == {"imagery": two[0], "pairs": two[1]}
    assert dict(found.notes) == {"untold": [{"city": "rome", "n": 3}]}
    store.switch("harvest", "rome", Selection(found.refs))
    assert dict(store.selected("harvest", "rome").notes) == {}
    assert store.selected("harvest", "rio") is None


def test_what_is_not_in_the_store_cannot_be_selected(tmp_path, publish) -> None:
    store = Store(tmp_path / "store")
    ref = publish(store, {"a": b"1"})
    shutil.rmtree(tmp_path / "store" / ref.uri)
    with pytest.raises(StoreError, match="not there any more"):
        Store(f"file://{tmp_path}/store").switch("harvest", "rome", Selection({"imagery": ref}))
    assert store.selected("harvest", "rome") is None


def test_a_damaged_selection_is_an_error_that_names_it(tmp_path, publish) -> None:
    store = Store(tmp_path / "store")
    ref = publish(store, {"a": b"1"})
    store.switch("harvest", "rome", Selection({"imagery": ref}))
    pointer = tmp_path / "store" / "current" / "rome" / "harvest.json"
    whole = pointer.read_text()
    content = json.loads(whole)
    for text in (
        whole[: len(whole) // 2],
        "",
        "[]",
        "{}",
        whole.replace(ref.uri, "../../etc"),
        whole.replace('"city": "rome"', '"city": "../rome"'),
        json.dumps({**content, "refs": [1]}),
        json.dumps({**content, "refs": {"imagery": None}}),
        json.dumps({**content, "notes": 3}),
    ):
        pointer.write_text(text)
        with pytest.raises(
            StoreError, match=r"harvest\.json is damaged \(.*`crosscity store repair`"
        ):
            store.selected("harvest", "rome")
    pointer.write_text(json.dumps({**content, "since": "today"}))
    assert store.selected("harvest", "rome") == Selection({"imagery": ref}, {})
    pointer.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(StoreError, match="newer version of this program"):
        store.selected("harvest", "rome")
