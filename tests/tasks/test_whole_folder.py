"""A folder or file that appears whole, where others of the same process number write beside it.

In a container every process has the number 1: one that was killed left its unfinished folder under
the name that the next one takes, and two of them write into one folder of a shared disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.exports.files import write_whole
from tasks.pages.whole_folder import whole_folder
from tasks.steps.errors import InputError


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("tasks.pages.whole_folder.warn_user", said.append)
    (tmp_path / f".out.{os.getpid()}.part").mkdir()
    (tmp_path / ".another.12345678.part").mkdir()
    with whole_folder(tmp_path / "out") as unfinished:
        (unfinished / "page.html").write_text("whole")
    assert (tmp_path / "out" / "page.html").read_text() == "whole"
    # It is hidden, and may be as large as a city.
    assert len(said) == 1
    assert f"/.out.{os.getpid()}.part is what a run that was killed has left" in said[0]
    assert (tmp_path / "out").stat().st_mode == (
        tmp_path / f".out.{os.getpid()}.part"
    ).stat().st_mode


def test_of_two_that_write_one_folder_the_first_is_whole_and_the_other_is_told(
    tmp_path: Path,
) -> None:
    def second() -> None:
        with whole_folder(tmp_path / "out") as unfinished:
            (unfinished / "page.html").write_text("second")
            first()

    def first() -> None:
        with whole_folder(tmp_path / "out") as unfinished:
            (unfinished / "page.html").write_text("first")

    with pytest.raises(InputError, match="out"):
        second()
    assert (tmp_path / "out" / "page.html").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_of_two_that_write_one_file_each_is_whole(tmp_path: Path) -> None:
    def second(path: Path) -> None:
        path.write_text("second")
        write_whole(tmp_path / "page.html", lambda path: path.write_text("first"))
        with path.open("a") as file:
            file.write(", whole")

    write_whole(tmp_path / "page.html", second)
    assert (tmp_path / "page.html").read_text() == "second, whole"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
