"""What processes leave that are killed in the middle of whatever they do, and that it goes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.store import Store, StoreError
from adapters.store.left import LONG_SECONDS, Left
from adapters.store.living import sign_of_life
from adapters.store.names import SIGNS_FOLDER
from adapters.store.upkeep import orphans

HERE = Path(__file__).parent
DAY = timedelta(days=1)
LONG = timedelta(seconds=LONG_SECONDS + 60)
AGAIN = ".progress/pairs/rome/again/step/"
"""Where a first checkpoint is whole, and the process died while it wrote the second."""


def opened(place: dict[str, Any]) -> Store:
    return Store(place["url"], options=place.get("options"), cache_dir=Path(place["cache"]))


def pruned(store: Store, now: datetime) -> list[Left]:
    """Removes what the dead left, as it is at a moment of the store's clock."""
    found = orphans(store, DAY, now)
    for one in found:
        store.remove_left(one)
    return found


def files_of(store: Store) -> set[str]:
    return {file.path for file in store.files() if not file.path.startswith(".locks/")}


@pytest.fixture
def place(place: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return {"cache": str(tmp_path / "cache"), **place}


@pytest.fixture
def holder(launcher: Any, place: dict[str, Any]) -> Callable[..., subprocess.Popen[str]]:
    """A process that has a lease, and changes its mark five times a second."""

    def started(**facts: Any) -> subprocess.Popen[str]:
        timing = {"beat": 0.2, "expiry": 2.0, "look": 0.05}
        given = {**place, "do": "make", "key": "k", "seconds": 1000.0, "timing": timing, **facts}
        process = launcher.start(
            [sys.executable, HERE / "take_turns.py", json.dumps(given)], stdout=subprocess.PIPE
        )
        while "makes" not in json.loads(process.stdout.readline()):
            pass
        return process

    return started


def test_of_all_that_killed_processes_leave_nothing_stays(place):
    made = subprocess.run(
        [sys.executable, HERE / "die_in_the_middle.py", json.dumps(place)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = [json.loads(line) for line in made.stdout.splitlines()]
    left = {one["case"]: one["left"] for one in said}
    is_far = place["url"].startswith("s3:")
    assert len(left) == 12 + is_far
    # In a far place, drafts lie in the cache folder of the machine.
    assert [case for case, files in left.items() if not files] == ["drafting"] * is_far
    store = opened(place)
    now = store.now()
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60
    before = files_of(store)
    # Whose process is known to be dead goes at once; what somebody may be writing stays.
    at_once = {one.place.partition("/")[0] for one in pruned(store, now)}
    assert at_once == {".leases", ".shared"}
    assert is_far or not list(Path(place["url"], ".drafts").iterdir())

    later = now + 2 * DAY
    pruned(store, later)
    assert orphans(store, DAY, later) == []
    assert list(store._place.unfinished()) == []
    whole = ("pairs/rome/whole/", "pairs/rome/finishing/", AGAIN)
    stays = files_of(store)
    assert {path for path in stays if not path.startswith(whole)} == set()
    assert {path for path in before - stays if path.startswith(whole)} == {
        path for path in left["saving_again"] if path not in stays
    }
    checkpoint = store.load_progress("pairs", "rome", "again", "step")
    assert checkpoint is not None
    assert checkpoint.read_bytes()[:1] == b"x"
    for ref in store.artifacts():
        store.verify(ref)


def test_a_lease_is_old_by_the_clock_of_the_store_and_only_where_nobody_writes(
    place, holder, monkeypatch
):
    living = holder(host="0123456789ab")  # of another machine: only its mark says that it lives
    store = opened(place)
    ahead = 10 * 365 * 86400
    machine = time.time
    monkeypatch.setattr(time, "time", lambda: machine() + ahead)
    assert [one for one in pruned(store, store.now()) if one.marks] == []
    living.send_signal(signal.SIGKILL)
    living.wait()
    assert [one for one in pruned(store, store.now()) if one.marks] == []
    (gone,) = (one for one in pruned(store, store.now() + LONG) if one.marks)
    assert gone.place == ".leases/numbers/rome/k.json"
    assert not [path for path in files_of(store) if path.startswith(".leases/")]


def test_a_halted_process_of_this_machine_keeps_its_lease(place, holder):
    halted = holder()
    halted.send_signal(signal.SIGSTOP)
    store = opened(place)
    assert [one for one in pruned(store, store.now() + DAY) if one.marks] == []
    assert ".leases/numbers/rome/k.json" in files_of(store)
    halted.send_signal(signal.SIGKILL)
    halted.wait()
    assert [one.place for one in pruned(store, store.now()) if one.marks] == [
        ".leases/numbers/rome/k.json"
    ]


def test_who_shows_a_sign_meanwhile_stays(place, holder):
    living = holder(host="0123456789ab")
    store = opened(place)
    late = store.now() + LONG
    (found,) = (one for one in orphans(store, DAY, late) if one.marks)
    lease = store._place.read(found.place)
    while store._place.read(found.place) == lease:
        time.sleep(0.05)
    store.remove_left(found)
    assert found.place in files_of(store)
    living.send_signal(signal.SIGKILL)


def test_the_old_sign_of_a_process_that_lives_elsewhere_stays(tmp_path):
    signs = tmp_path / SIGNS_FOLDER
    signs.mkdir()
    lives, died = (signs / f"0123456789ab-{name}" for name in ("lives", "died"))
    for sign in (lives, died):
        sign.touch()
        os.utime(sign, (1e9, 1e9))
    with lives.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert sign_of_life(tmp_path)
    assert (lives.exists(), died.exists()) == (True, False)


@pytest.mark.parametrize("dated_as", [None, "LastModified", "last_modified", "mtime"])
def test_what_the_store_gives_no_age_of_stays(dated_as, tmp_path, monkeypatch):
    """Listings as s3fs, adlfs and gcsfs have them, and one that says of no file when it was."""
    store = Store(f"memory://{tmp_path}", cache_dir=tmp_path / "cache")
    files = [f"pairs/rome/{'1' * 24}/{'2' * 16}/x", ".drafts/probe-1", ".leases/pairs/rome/k.json"]
    lease = {"members": {"a": {"beat": 1, "has": True, "number": 0, "sign": "elsewhere-1"}}}
    for path in files:
        store._place.replace(path, json.dumps(lease).encode())
    listed = store._place._files.find

    def find(path, **how):
        plain = {name: {"size": one["size"]} for name, one in listed(path, **how).items()}
        dated = {} if dated_as is None else {dated_as: datetime(2026, 1, 1, tzinfo=UTC)}
        return {name: {**one, **dated} for name, one in plain.items()}

    monkeypatch.setattr(store._place._files, "find", find)
    found = {one.place for one in orphans(store, DAY, datetime(2026, 2, 1, tzinfo=UTC))}
    unfinished = files[0].rpartition("/")[0]
    assert found == (set() if dated_as is None else {unfinished, *files[1:]})


def test_a_store_that_cannot_be_written_to_says_so_before_anything_is_pruned(folder_store, publish):
    publish(folder_store, {"x": b"x"})
    folder_store._place._root.joinpath(".drafts").rmdir()
    folder_store._place._root.joinpath(".drafts").write_bytes(b"not a folder")
    with pytest.raises(StoreError):
        folder_store.now()
