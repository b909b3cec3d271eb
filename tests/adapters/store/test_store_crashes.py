"""Real processes, really killed, and processes that race."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from adapters.store import Store, living, scratch
from adapters.store.scratch import STALE_HOURS

HERE = Path(__file__).parent


def run_script(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(HERE / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("place", "operation"),
    [
        *product(
            ("folder", "objects"),
            ("publish", "point", "switch", "quarantine", "repair", "save", "clear"),
        ),
        ("packed", "publish"),
    ],
)
def test_a_kill_before_any_step_leaves_old_or_new(place, operation, tmp_path) -> None:
    steps = int(run_script("crash_every_step.py", place, operation, tmp_path))
    assert steps >= 5


@pytest.mark.parametrize("place", ["folder", "objects"])
def test_racing_publishers_end_with_one_whole_artifact(place, tmp_path) -> None:
    run_script("race_to_publish.py", place, tmp_path)


WRITER = """
import sys, time
from adapters.store import Store
with Store(sys.argv[1]).draft("a", "rome", "k", inputs=[], parameters={}, version="1") as draft:
    (draft.path / "half").write_bytes(b"x" * 1000)
    print(draft.path, flush=True)
    time.sleep(1000)
"""


ELSEWHERE = """
from adapters.store import living, scratch
scratch.host_token = living.host_token = lambda: "0123456789ab"
"""


@pytest.fixture
def writer(tmp_path, request):
    """A process in the middle of a draft, and the draft's folder."""
    script = getattr(request, "param", "") + WRITER
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    yield process, folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_folder_of_a_live_process_stays_that_of_a_killed_one_goes(writer, tmp_path) -> None:
    process, folder = writer
    Store(tmp_path / "store").check_writable()
    assert (folder / "half").is_file()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "half").is_file()
    store = Store(tmp_path / "store")
    store.check_writable()
    assert not folder.exists()
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []
    assert store.find("a", "rome", "k") is None


def test_the_folder_of_another_host_stays_until_it_is_old(tmp_path) -> None:
    drafts = tmp_path / "store" / ".drafts"
    folder, lock = drafts / "0123456789ab-cd", drafts / "0123456789ab-cd.lock"
    orphan = drafts / "0123456789ab-ef"
    for one in (folder, orphan):
        one.mkdir(parents=True)
        (one / "half").write_bytes(b"x")
    lock.touch()
    Store(tmp_path / "store").check_writable()
    assert (folder / "half").is_file()
    assert (orphan / "half").is_file()
    then = time.time() - (STALE_HOURS + 1) * 3600
    for path in (folder, lock, orphan, orphan / "half"):
        os.utime(path, (then, then))
    Store(tmp_path / "store").check_writable()
    assert (folder / "half").is_file()  # a file in it is young: its process may live
    assert not orphan.exists()
    os.utime(folder / "half", (then, then))
    Store(tmp_path / "store").check_writable()
    assert list(drafts.iterdir()) == []


@pytest.mark.parametrize("writer", [ELSEWHERE], indirect=True)
def test_what_another_host_still_holds_stays_however_old_it_is(writer, tmp_path) -> None:
    """A training of days writes nothing into the folder of its draft, whose lock it holds."""
    process, folder = writer
    lock = folder.with_suffix(".lock")
    assert folder.name.startswith("0123456789ab-")
    then = time.time() - (STALE_HOURS + 1) * 3600
    for path in (folder / "half", folder, lock):
        os.utime(path, (then, then))
    Store(tmp_path / "store").check_writable()
    assert (folder / "half").is_file()
    process.send_signal(signal.SIGKILL)
    process.wait()
    Store(tmp_path / "store").check_writable()
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []


def test_a_draft_stays_young_where_no_lock_tells_that_its_owner_lives(
    folder_store, monkeypatch
) -> None:
    """Lustre and others have no flock unless they are mounted so."""
    monkeypatch.setattr(living, "HEART", living.Heart(every=0.01))
    then = time.time() - (STALE_HOURS + 1) * 3600
    facts = {"inputs": [], "parameters": {}, "version": "1"}
    with folder_store.draft("a", "rome", "k", **facts) as draft:
        for path in (draft.path, draft.path.with_suffix(".lock")):
            os.utime(path, (then, then))
        while draft.path.stat().st_mtime < then + 60:
            time.sleep(0.01)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(scratch, "host_token", lambda: "0123456789ab")
            elsewhere.setattr(scratch, "try_lock", lambda _: None)
            scratch.sweep(draft.path.parent, time.time())
        assert draft.path.is_dir()
        draft.file("x").write_bytes(b"x")
    assert folder_store.path(draft.ref, "x").read_bytes() == b"x"
    assert not living.HEART._beats


def test_a_forked_child_does_not_take_the_draft_with_it(tmp_path) -> None:
    script = """
import os, sys
from adapters.store import Store
store = Store(sys.argv[1])
with store.draft("a", "rome", "k", inputs=[], parameters={}, version="1") as draft:
    (draft.path / "x").write_bytes(b"1")
    child = os.fork()
    if child == 0:
        raise SystemExit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    Store(sys.argv[1]).check_writable()
    (draft.path / "y").write_bytes(b"2")
store.verify(draft.ref)
assert sorted(store.manifest(draft.ref).files) == ["x", "y"]
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=True)


def test_an_interrupted_sweep_is_finished_by_the_next(writer, tmp_path) -> None:
    process, folder = writer
    process.kill()
    process.wait()
    shutil.rmtree(folder)
    Store(tmp_path / "store").check_writable()
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []
