"""Script: run an operation once for each of its steps, killed by SIGKILL just before that step.

Usage: crash_every_step.py PLACE OPERATION FOLDER. A step is any opening, making, renaming, linking,
removing or syncing of a file or folder. After each kill a new store must find the old or the new
state whole, must be able to repeat the operation, and must have swept what the dead process left.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from object_files import url_of

from adapters.store import SINGLE, Selection, Store, StoreError, remote
from adapters.store import store as store_module

FACTS = {"inputs": ["a"], "parameters": {"k": 3}, "version": "1"}
WHERE = ("static_prior", "rome", "k1")
STEPS = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.truncate",
    "test.fsync",
}


def make(store, key, content):
    with store.draft("static_prior", "rome", key, **FACTS) as draft:
        for name in ("part-0", "images/x"):
            with draft.file(name).open("wb") as stream:
                for piece in content:
                    stream.write(bytes([piece]))
                    stream.flush()
                    sys.audit("test.fsync", str(draft.path))
    return draft.ref


def damage(store):
    """Alters a byte of a file behind the store's back."""
    ref = store.find(*WHERE)
    path = f"{store.manifest(ref).folder}/images/x"
    far = f"{store.manifest(ref).digest_folder}/images/x"
    place = store._place
    whole = place.read(path) or place.read(far)
    place.replace(path if place.read(path) else far, b"N" + whole[1:])


class Publish:
    def before(self, store):
        pass

    def run(self, store):
        make(store, "k1", b"new")

    def check(self, store):
        ref = store.find(*WHERE)
        if ref is not None:
            store.verify(ref)
            assert store.path(ref, "images/x").read_bytes() == b"new"
        assert list(store.artifacts()) == ([ref] if ref else [])
        return ref is not None


class Point:
    def before(self, store):
        store.switch("segmenter", "rome", Selection({SINGLE: make(store, "k0", b"old")}))
        make(store, "k1", b"new")

    def run(self, store):
        store.switch("segmenter", "rome", Selection({SINGLE: store.find(*WHERE)}))

    def check(self, store):
        key = store.selected("segmenter", "rome").refs[SINGLE].key
        assert key in {"k0", "k1"}
        return key == "k1"


class Switch:
    """Two artifacts and a note that count together."""

    def before(self, store):
        old = make(store, "k0", b"old")
        make(store, "k1", b"new")
        store.switch("harvest", "rome", Selection({"a": old, "b": old}, {"untold": ["old"]}))

    def run(self, store):
        new = store.find(*WHERE)
        store.switch("harvest", "rome", Selection({"a": new, "b": new}, {"untold": ["new"]}))

    def check(self, store):
        state = store.selected("harvest", "rome")
        keys = {ref.key for ref in state.refs.values()}
        assert len(keys) == 1, "never one of one state and one of the other"
        assert state.notes["untold"] == [{"k0": "old", "k1": "new"}[keys.pop()]]
        return state.notes["untold"] == ["new"]


class Save:
    def before(self, store):
        store.save_progress(*WHERE, "step", b"old")

    def run(self, store):
        store.save_progress(*WHERE, "step", lambda path: path.write_bytes(b"new"))

    def check(self, store):
        content = store.load_progress(*WHERE, "step").read_bytes()
        assert content in {b"old", b"new"}
        assert store.list_progress(*WHERE) == ["step"]
        return content == b"new"


class Quarantine:
    """A damaged artifact is moved away and found no more, or is still there, damaged."""

    def before(self, store):
        make(store, "k1", b"new")
        damage(store)

    def run(self, store):
        ref = store.find(*WHERE)
        if ref is not None:
            with suppress(StoreError):  # it is damaged; what became of it is checked below
                store.verify(ref)

    def check(self, store):
        ref = store.find(*WHERE)
        places = [one.place for one in store.quarantined()]
        if ref is None:
            assert len(places) >= 1
            return True
        assert store.manifest(ref).files
        return False


class Repair:
    """A damaged pointer is told, or says again what it said; the damaged file is listed then."""

    def before(self, store):
        for key in ("k0", "k1"):
            ref = make(store, key, key.encode())
            store.switch("promoted", "rome", Selection({SINGLE: ref}, {"log": [key]}))
        path = "current/rome/promoted.json"
        store._place.replace(path, store._place.read(path)[:40])

    def run(self, store):
        faults = [(name, city) for city, name, fault in store.pointer_faults() if fault]
        for name, city in faults:
            store.repair_pointer(name, city)

    def check(self, store):
        if any(fault is not None for _, _, fault in store.pointer_faults()):
            return False
        state = store.selected("promoted", "rome")
        assert (state.refs[SINGLE].key, state.notes["log"]) == ("k1", ["k1"])
        assert len(store.quarantined()) >= 1
        return True


class Clear:
    def before(self, store):
        store.save_progress(*WHERE, "one", b"1")
        store.save_progress(*WHERE, "two", b"2")

    def run(self, store):
        store.clear_progress(*WHERE)

    def check(self, store):
        names = store.list_progress(*WHERE)
        assert set(names) <= {"one", "two"}
        for name in names:
            assert store.load_progress(*WHERE, name).read_bytes() in {b"1", b"2"}
        return not names


def killed_before_step(step, folder, work):
    """Run `work` in a child that dies before its step number `step`; True if it got that far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event, args):
            nonlocal seen
            # Removals of whole trees name their parts relative to an open folder.
            relative = event in {"os.remove", "os.rmdir"}
            if event in STEPS and (relative or str(args[0]).startswith(str(folder))):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        fsync = os.fsync

        def watched_fsync(descriptor):
            sys.audit("test.fsync", str(folder))
            fsync(descriptor)

        os.fsync = watched_fsync
        sys.addaudithook(watch)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def open_store(kind, folder):
    packed = kind == "packed"
    url = url_of("objects" if packed else kind, folder)
    return Store(url, cache_dir=folder / "cache", pack=packed)


def one_transfer_at_a_time():
    """Side by side, steps would come in another order in each run: their numbers would not tell."""
    for module in (remote, store_module):
        module.TRANSFERS = 1


def main():
    one_transfer_at_a_time()
    kind, name, parent = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    operation = {
        "publish": Publish,
        "point": Point,
        "switch": Switch,
        "quarantine": Quarantine,
        "repair": Repair,
        "save": Save,
        "clear": Clear,
    }[name]()
    step, dead, states = 0, True, []
    while dead:
        step += 1
        folder = parent / str(step)
        folder.mkdir()
        operation.before(open_store(kind, folder))
        # The child opens its own store: a forked one of a remote place would share its session.
        dead = killed_before_step(
            step, folder, lambda at=folder: operation.run(open_store(kind, at))
        )
        states.append(operation.check(open_store(kind, folder)))
        store = open_store(kind, folder)
        operation.run(store)
        assert operation.check(store) is True
        store.check_writable()
        for drafts in folder.rglob(".drafts"):
            assert list(drafts.iterdir()) == [], f"debris after a kill before step {step}"
    assert states == sorted(states), "a later step never undoes what an earlier one did"
    assert states[0] is False
    assert states[-1] is True
    print(step - 1)


main()
