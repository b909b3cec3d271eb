"""Pointers that were damaged come back with what they said, and nothing newer is overwritten."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from typing import Any

import pytest

from adapters.store import SINGLE, Selection, Store, StoreError
from adapters.store.errors import NewerReleaseError
from adapters.store.pointers import COPIES, DamagedPointerError

PATH = "current/rome/promoted.json"


@pytest.fixture
def states(store: Store, publish) -> list[Selection]:
    """Three states that the pointer had, each with a longer log."""
    made = []
    for number in range(3):
        ref = publish(store, {"a": bytes([number])}, parameters={"number": number})
        log = [f"promotion {one}" for one in range(number + 1)]
        made.append(Selection({SINGLE: ref}, {"log": log}))
        store.switch("promoted", "rome", made[-1])
    return made


def faults(store: Store) -> dict[str, StoreError]:
    return {
        f"{city}/{name}": fault for city, name, fault in store.pointer_faults() if fault is not None
    }


def planted(data: bytes) -> bytes:
    content = json.loads(data)
    content["refs"][SINGLE]["uri"] = "../../outside"
    return json.dumps(content).encode()


DAMAGES: list[Any] = [
    lambda data: data[: len(data) // 2],
    lambda _: b"",
    lambda _: b"\x00" * 400,
    lambda _: b"[]",
    lambda data: data.replace(b'"notes"', b'"nodes"'),
    lambda data: data.replace(b'"city": "rome"', b'"city": "../rome"'),
    planted,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pointer_is_told_moved_listed_and_restored(store, states, damage) -> None:
    place = store._place
    damaged = damage(place.read(PATH))
    place.replace(PATH, damaged)
    with pytest.raises(DamagedPointerError, match=r"promoted\.json is damaged .*store repair`"):
        store.selected("promoted", "rome")
    with pytest.raises(DamagedPointerError):  # nothing is switched over what nobody can read
        store.switch("promoted", "rome", states[0])
    assert place.read(PATH) == damaged
    (fault,) = faults(store).values()
    assert copy.copy(fault).what == fault.what  # as between processes
    made = store.repair_pointer("promoted", "rome")
    assert made.is_restored
    found = store.selected("promoted", "rome")
    assert found == states[-1]
    assert found.notes["log"] == ["promotion 0", "promotion 1", "promotion 2"]
    (moved,) = store.quarantined()
    assert (moved.kind, moved.city, moved.key) == ("current", "rome", "promoted.json")
    assert moved.place == made.quarantine
    assert moved.what == fault.what
    assert place.read(f"{moved.place}/promoted.json") == damaged
    assert not faults(store)
    again = store.repair_pointer("promoted", "rome")  # what is sound stays
    assert not again.quarantine
    assert len(store.quarantined()) == 1


def test_a_pointer_of_a_newer_release_is_never_called_damaged(store, states) -> None:
    newer = store._place.read(PATH).replace(b'"format": 1', b'"format": 7')
    store._place.replace(PATH, newer)
    (fault,) = faults(store).values()
    assert isinstance(fault, NewerReleaseError)
    assert "damaged" not in str(fault)
    for work in (
        lambda: store.selected("promoted", "rome"),
        lambda: store.repair_pointer("promoted", "rome"),
        lambda: store.switch("promoted", "rome", states[0]),
    ):
        with pytest.raises(NewerReleaseError, match="newer version"):
            work()
    assert store._place.read(PATH) == newer
    assert not store.quarantined()


@pytest.mark.usefixtures("states")
def test_an_older_state_does_not_replace_one_that_a_newer_release_kept(store) -> None:
    last = ".kept/rome/promoted/3.json"
    content = json.loads(store._place.read(last))
    content["state"] = content["state"].replace('"format": 1', '"format": 7')
    content["sha256"] = hashlib.sha256(content["state"].encode()).hexdigest()
    store._place.replace(last, json.dumps(content).encode())
    store._place.replace(PATH, b"{")
    with pytest.raises(NewerReleaseError, match="newer version"):
        store.repair_pointer("promoted", "rome")
    assert store._place.read(PATH) == b"{"


def test_the_newest_sound_copy_is_taken(store, states) -> None:
    store._place.replace(PATH, b"{")
    last = ".kept/rome/promoted/3.json"
    store._place.replace(last, store._place.read(last).replace(b"promotion 2", b"promotion 9"))
    store.repair_pointer("promoted", "rome")
    assert store.selected("promoted", "rome") == states[1]


def test_what_was_never_kept_is_moved_and_told_as_lost(store, states) -> None:
    for slot in store._place.children(".kept/rome/promoted"):
        store._place.remove(f".kept/rome/promoted/{slot}")
    store._place.replace(PATH, b"{")
    assert not store.repair_pointer("promoted", "rome").is_restored
    assert store.selected("promoted", "rome") is None
    assert len(store.quarantined()) == 1
    store.switch("promoted", "rome", states[0])
    assert store.selected("promoted", "rome") == states[0]


def test_copies_are_bounded_and_the_last_of_many_comes_back(store, states) -> None:
    for number in range(3 * COPIES):
        store.switch("promoted", "rome", Selection(states[0].refs, {"log": [number]}))
    assert len(store._place.children(".kept/rome/promoted")) == COPIES
    store._place.replace(PATH, b"")
    store.repair_pointer("promoted", "rome")
    assert store.selected("promoted", "rome").notes["log"] == [3 * COPIES - 1]


def test_states_are_counted_on_where_an_earlier_release_switched_in_between(store, states) -> None:
    content = json.loads(store._place.read(PATH))
    del content["number"]  # as releases before write it
    store._place.replace(PATH, json.dumps(content).encode())
    assert store.selected("promoted", "rome") == states[-1]
    store.switch("promoted", "rome", states[0])
    store._place.replace(PATH, b"")
    store.repair_pointer("promoted", "rome")
    assert store.selected("promoted", "rome") == states[0]


def test_a_state_that_is_there_already_is_not_written_again(store, states) -> None:
    before = store._place.read(PATH)
    store.switch("promoted", "rome", Selection(states[-1].refs, states[-1].notes))
    assert store._place.read(PATH) == before


def test_who_loses_a_race_leaves_no_copy(store, states) -> None:
    tries = []

    def change(state: Selection | None) -> Selection:
        tries.append(state)
        if len(tries) == 1:
            store.switch("promoted", "rome", states[0])
        return Selection(states[1].refs, {"log": [len(tries)]})

    store.alter("promoted", "rome", change)
    kept = [
        json.loads(json.loads(store._place.read(f".kept/rome/promoted/{one}"))["state"])["notes"]
        for one in store._place.children(".kept/rome/promoted")
    ]
    assert {"log": [2]} in kept
    assert {"log": [1]} not in kept


def test_a_pointer_that_somebody_deleted_comes_back_while_its_artifacts_are_there(
    tmp_path, publish
) -> None:
    store = Store(tmp_path / "store")
    ref = publish(store, {"a": b"1"})
    store.switch("promoted", "rome", Selection({SINGLE: ref}, {"log": ["first"]}))
    (tmp_path / "store" / PATH).unlink()
    (fault,) = faults(store).values()
    assert "is gone" in str(fault)
    made = store.repair_pointer("promoted", "rome")
    assert (made.is_restored, made.quarantine) == (True, "")
    assert store.selected("promoted", "rome").notes["log"] == ["first"]
    shutil.rmtree(tmp_path / "store" / "current")
    shutil.rmtree(tmp_path / "store" / ref.uri)
    assert not faults(Store(tmp_path / "store")), "the whole city was removed"
