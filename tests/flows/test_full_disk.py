"""What a command says whose output meets a full disk; it goes on once there is room."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.predictions import PredictionFolder, PredictionsError, Wanted
from adapters.unwritable import cannot_be_written, full_disk
from flows.background import check_room
from flows.cli import report
from flows.cli.errors import BAD_INPUT, FAILED, exit_code, one_sentence
from flows.cli.output import publish
from flows.cli.server import ServerError, wait_until_healthy
from tasks.pages.whole_folder import whole_folder
from tasks.steps.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 2, (64, 96)).astype(np.uint8)
SURE = np.ones((64, 96), np.float32)


@contextmanager
def full(room: int) -> Iterator[None]:
    """Inside, the system lets no file of this process grow beyond so many bytes."""
    before, writes_none = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # of a module that is imported here, it would keep a part
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = writes_none


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("step", ["an image", "a shard", "the table"])
def test_predictions_name_the_full_folder_and_go_on(tmp_path, step):
    folder = PredictionFolder(tmp_path / "masks", ("road", "sky"), Wanted(), {})
    row = {"image": "one", "sha256": "0" * 64, "status": "ok"}

    def work() -> None:
        if step == "an image":
            folder.write("one", PICTURE, LABELS, SURE)
        elif step == "a shard":
            folder.finish_part(0, [row])
        else:
            folder.finish([row])

    before = files(folder.folder)
    with (
        pytest.raises(PredictionsError, match=r"masks .* full: free some space") as told,
        full(500),
    ):
        work()
    assert exit_code(told.value) == BAD_INPUT
    assert files(folder.folder) == before, "nothing half-written"
    work()
    assert len(files(folder.folder)) > len(before)


def test_a_folder_or_file_that_is_written_whole_names_the_full_place(tmp_path):
    with (
        pytest.raises(InputError, match=r"out cannot .* full: free some space"),
        full(500),
        whole_folder(tmp_path / "out") as unfinished,
    ):
        (unfinished / "image.png").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"page.html cannot .* full: free some space"), full(500):
        publish(tmp_path / "page.html", lambda path: path.write_bytes(bytes(1000)))
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_reports_a_full_disk_in_its_own_way_is_understood(tmp_path):
    class SafetensorError(Exception):
        pass

    with (
        pytest.raises(InputError, match=r"out cannot .* full: free some space"),
        whole_folder(tmp_path / "out"),
    ):
        raise SafetensorError("Error while serializing: IoError(StorageFull)")
    with pytest.raises(SafetensorError), whole_folder(tmp_path / "out"):
        raise SafetensorError("of another kind")


@pytest.mark.parametrize("name", ["/var/lib/x.db", None])
def test_a_disk_that_is_full_anywhere_else_is_told_in_a_sentence(name):
    error = OSError(errno.ENOSPC, "No space left on device", name)
    assert "the disk is full: free some space" in one_sentence(error)
    assert (name or "machine") in one_sentence(error)
    assert one_sentence(error) == full_disk(name or "a folder of this machine")
    assert exit_code(error) == BAD_INPUT


def test_a_server_without_room_for_its_database_names_the_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    asked = (ended, "http://127.0.0.1:9", tmp_path / "server.log")
    with pytest.raises(InputError, match=r"did not start: .* the disk is full: free") as told:
        wait_until_healthy(*asked)
    assert exit_code(told.value) == BAD_INPUT
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    with pytest.raises(ServerError, match=r"server did not start; its log is"):
        wait_until_healthy(*asked)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_written_is_told_in_a_sentence_by_whatever_meets_it(number):
    error = OSError(number, os.strerror(number), "/var/lib/x.db")
    assert one_sentence(error) == cannot_be_written("/var/lib/x.db", error)
    assert exit_code(error) == BAD_INPUT
    nameless = OSError(number, os.strerror(number))
    assert exit_code(nameless) == FAILED


@pytest.mark.parametrize("words", [("harvest", "tokyo"), ("dashboard",)])
def test_a_server_whose_folder_cannot_be_written_names_it_and_another_way(
    write_catalog, crosscity, tmp_path, words
):
    catalog = write_catalog(tmp_path)
    (tmp_path / "file").touch()
    home = {"PREFECT_HOME": str(tmp_path / "file" / "home")}
    environment = {"PREFECT_API_URL": "", **home}
    done = crosscity(*words, "--catalog", catalog, environment=environment)
    assert done.returncode == BAD_INPUT, done.stderr
    assert "home cannot be made because" in done.stderr
    assert "PREFECT_HOME names another folder" in done.stderr
    found = crosscity("doctor", "--catalog", catalog, environment=environment)
    assert found.returncode == 1
    assert "FAIL  server: none runs, and one that a command starts cannot keep" in found.stdout


def test_a_report_that_finds_no_place_to_work_is_no_city_without_a_report(monkeypatch):
    told = report._Told()

    def work() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/x/starting.lock")

    report._guarded("tokyo", told, work)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    report._guarded("rome", told, lambda: check_room("the server", Path("/nowhere/log")))
    assert list(told.damaged) == ["tokyo", "rome"]
    assert not told.missing


def test_the_words_of_a_full_disk_stand_in_one_place():
    """Whoever looks for the sentence in the documents finds it, whatever met the full disk."""
    sources = [
        path for room in ("adapters", "tasks", "flows") for path in (ROOT / room).rglob("*.py")
    ]
    saying = [path for path in sources if "disk is full:" in path.read_text(encoding="utf-8")]
    assert saying == [ROOT / "adapters" / "unwritable.py"]
    told = full_disk("X").partition(":")[0]
    assert told.replace("X", "…") in (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "out lies on a read-only file system: mount it writable"),
        (errno.EACCES, "out does not admit this user: grant read and write permission on /out"),
        (errno.ENOTDIR, "out cannot be made because /out, or a folder above, is a file"),
        (errno.EIO, "out cannot be written: Input/output error"),
    ],
)
def test_an_output_that_cannot_be_written_says_what_to_do(number, said):
    error = OSError(number, os.strerror(number), "/out/.page.html.12.part")
    assert cannot_be_written("/out", error).removeprefix("/").startswith(said)
