"""A loss of power at any moment, on a disk that keeps only what was synced: nothing is ever wrong.

What counts is what lies under final names. That damage would be found by its SHA-256 and moved away
is another matter: here there must be none.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.store import SINGLE, ArtifactRef, Manifest, Selection, Store, durable, local
from adapters.store.names import MANIFEST_NAME, SCRATCH_FOLDER

sys.path.insert(0, str(Path(__file__).parent))
from power_loss import Files, every, few, recorded

FACTS: dict[str, Any] = {"inputs": [], "parameters": {}, "version": "1"}
WHERE = ("static_prior", "rome", "k1")
TREE = "static_prior/rome/k1/"


def made(store: Store, key: str, content: bytes) -> ArtifactRef:
    with store.draft("static_prior", "rome", key, **FACTS) as draft:
        draft.file("part-0").write_bytes(content * 50)
        draft.file("images/x").write_bytes(content * 70)
        if key == "k1" and store.find("static_prior", "rome", "k0") is not None:
            draft.add_link("linked", made(store, "k0", b"old"), "part-0")
    return draft.ref


class Operation:
    """Something that is done to a store; what it leaves under final names is old or new."""

    def before(self, store: Store) -> None:
        """What is there already, safely on disk."""

    def run(self, store: Store) -> None:
        """Does it."""
        raise NotImplementedError

    def is_new(self, files: Files) -> bool:
        """Whether the new state is there; fails where it is neither the old nor the new one."""
        raise NotImplementedError


def whole(files: Files, folder: str) -> bool:
    """Whether an artifact is there; fails where it is there in part."""
    there = {path.removeprefix(folder): d for path, d in files.items() if path.startswith(folder)}
    if not there:
        return False
    manifest = Manifest.from_json(there.pop(MANIFEST_NAME))
    assert set(there) == set(manifest.files)
    for name, entry in manifest.files.items():
        assert hashlib.sha256(there[name]).hexdigest() == entry.sha256, name
    return True


class Commit(Operation):
    def before(self, store: Store) -> None:
        made(store, "k0", b"old")

    def run(self, store: Store) -> None:
        made(store, "k1", b"new")

    def is_new(self, files: Files) -> bool:
        assert whole(files, "static_prior/rome/k0/")
        return whole(files, TREE)


class FirstCommit(Commit):
    """Into a store that does not exist yet: its folders are to be made too."""

    def before(self, store: Store) -> None:
        pass

    def is_new(self, files: Files) -> bool:
        return whole(files, TREE)


class Switch(Operation):
    """A pointer to two artifacts, with a note."""

    pointer = "current/rome/harvest.json"

    def before(self, store: Store) -> None:
        self.old, self.new = (
            Selection({SINGLE: made(store, key, key.encode())}, {"of": key}) for key in ("k0", "k1")
        )
        store.switch("harvest", "rome", self.old)

    def run(self, store: Store) -> None:
        store.switch("harvest", "rome", self.new)

    def is_new(self, files: Files) -> bool:
        state = Selection.from_json(files[self.pointer])
        assert state in (self.old, self.new)
        return state == self.new


class CompareAndSet(Switch):
    """As promotions do."""

    def run(self, store: Store) -> None:
        store.alter("harvest", "rome", lambda _: self.new)


class Checkpoint(Operation):
    folder = ".progress/static_prior/rome/k1/step/"

    def before(self, store: Store) -> None:
        store.save_progress(*WHERE, "step", b"old" * 30)

    def run(self, store: Store) -> None:
        store.save_progress(*WHERE, "step", lambda path: path.write_bytes(b"new" * 40))

    def is_new(self, files: Files) -> bool:
        record = json.loads(files[f"{self.folder}record.json"])
        data = files[f"{self.folder}{record['sha256'][:16]}-step"]
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
        assert data in {b"old" * 30, b"new" * 40}
        return data[:3] == b"new"


class Remove(Operation):
    """`crosscity store prune`: whole or gone."""

    def before(self, store: Store) -> None:
        made(store, "k1", b"new")

    def run(self, store: Store) -> None:
        ref = store.find(*WHERE)
        assert ref is not None
        store.remove(ref)

    def is_new(self, files: Files) -> bool:
        return not whole(files, TREE)


OPERATIONS = [Commit, FirstCommit, Switch, CompareAndSet, Checkpoint, Remove]


def distinct(states: Any) -> list[Files]:
    """Different ones, in a fixed order; what lies in scratch folders does not count."""
    found: dict[frozenset[tuple[str, bytes]], Files] = {}
    for files in states:
        left = {k: v for k, v in files.items() if not k.startswith(f"{SCRATCH_FOLDER}/")}
        found.setdefault(frozenset(left.items()), files)
    return list(found.values())


def record_of(operation: Operation, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    root = folder / "store"
    root.mkdir()
    operation.before(Store(root))
    with recorded(root, patch) as recording:
        operation.run(Store(root))
    return recording


def check_states(operation: Operation, recording: Any, subsets: Any) -> list[Files]:
    states = distinct(recording.states(subsets))
    assert {operation.is_new(files) for files in states} == {False, True}
    # What was done is done once it has returned.
    assert all(operation.is_new(files) for files in recording.least())
    return states


@pytest.mark.parametrize("kind", OPERATIONS)
def test_after_a_loss_of_power_the_old_or_the_new_is_there(kind, tmp_path, monkeypatch):
    operation = kind()
    recording = record_of(operation, tmp_path, monkeypatch)
    states = check_states(operation, recording, few(seed=19))
    assert len(states) >= 2
    # The program comes up on some of them, does it again, and is where an undisturbed one is.
    for number, files in enumerate(states[:: max(1, len(states) // 6)]):
        root = tmp_path / f"after-{number}"
        lay_out(files, root)
        store = Store(root)
        if kind is not Remove or store.find(*WHERE) is not None:
            operation.run(store)
        assert operation.is_new(read_back(root))
        store.check_writable()


@pytest.mark.slow  # every subset of what was not synced: minutes
@pytest.mark.parametrize("kind", OPERATIONS)
def test_after_any_loss_of_power_the_old_or_the_new_is_there(kind, tmp_path, monkeypatch):
    operation = kind()
    recording = record_of(operation, tmp_path, monkeypatch)
    check_states(operation, recording, every)


@pytest.mark.parametrize("kind", [Commit, Switch, Checkpoint])
@pytest.mark.parametrize("unsynced", ["files", "folders"])
def test_without_its_syncs_the_store_would_fail_here(kind, unsynced, tmp_path, monkeypatch):
    def half(path: Path, sync: Callable[[Path], None] = durable.sync) -> None:
        if path.is_dir() == (unsynced == "files"):
            sync(path)

    for module in (durable, local):
        monkeypatch.setattr(module, "sync", half)
    operation = kind()
    recording = record_of(operation, tmp_path, monkeypatch)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        check_states(operation, recording, few(seed=19))


def lay_out(files: Files, root: Path) -> None:
    root.mkdir()
    for path, data in files.items():
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def read_back(root: Path) -> Files:
    found = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
