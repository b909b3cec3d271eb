"""Digests of files are remembered exactly as long as the files stay as they are."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters import file_digests as module
from adapters.file_digests import file_digests

DATA = bytes(range(256)) * 300


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read, with a cache of their own and files that are settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_SECONDS", -60.0)
    names: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, kind: str) -> Any:
        names.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return names


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    found = {f"f{number}": folder / f"f{number}.png" for number in range(3)}
    for number, path in enumerate(found.values()):
        path.write_bytes(DATA[number:])
    return found


def test_a_file_is_read_once_and_known_ever_after(read, files) -> None:
    wanted = {name: sha256(DATA[number:]) for number, name in enumerate(files)}
    assert file_digests(files) == wanted
    assert file_digests(files) == wanted
    assert read == ["f0.png", "f1.png", "f2.png"]
    assert file_digests({}) == {}


def test_what_was_changed_is_read_again_though_size_and_time_are_as_before(read, files) -> None:
    file_digests(files)
    before = files["f1"].stat()
    other = DATA[1:-1] + b"x"
    files["f1"].write_bytes(other)
    os.utime(files["f1"], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = files["f1"].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert file_digests(files)["f1"] == sha256(other)
    assert read == ["f0.png", "f1.png", "f2.png", "f1.png"]
    files["f0"].rename(files["f2"])  # another file under a known name
    assert file_digests(files) == {"f0": None, "f1": sha256(other), "f2": sha256(DATA)}


def test_a_file_that_has_just_changed_is_not_remembered(read, files, monkeypatch) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 3600.0)
    file_digests(files)
    file_digests(files)
    assert len(read) == 6


@pytest.mark.usefixtures("read")
def test_what_cannot_be_read_has_no_digest(tmp_path, files) -> None:
    found = file_digests({"gone": tmp_path / "gone", "folder": tmp_path, **files})
    assert found["gone"] is None
    assert found["folder"] is None
    assert found["f0"] == sha256(DATA)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, but long enough to be examined" * 40]
)
def test_a_damaged_cache_is_made_anew(read, files, tmp_path, content) -> None:
    cache = tmp_path / "cache" / "crosscity" / "file-digests.sqlite"
    wanted = file_digests(files)
    cache.write_bytes(content)
    for _ in range(3):
        assert file_digests(files) == wanted
    assert 6 <= len(read) <= 9, "at the latest the run after remembers again"


def test_without_a_cache_folder_files_are_read_each_time(read, files, tmp_path) -> None:
    (tmp_path / "cache").write_bytes(b"a file stands where the folder should")
    assert file_digests(files) == file_digests(files)
    assert len(read) == 6


def test_names_that_are_not_text_are_names(read, tmp_path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    path.write_bytes(DATA)
    assert file_digests({"odd": path}) == file_digests({"odd": path}) == {"odd": sha256(DATA)}
    assert len(read) == 1


@pytest.mark.usefixtures("read")
def test_many_may_look_at_once(files) -> None:
    wanted = file_digests(files)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: file_digests(files), range(40))) == [wanted] * 40
