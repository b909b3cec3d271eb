"""`crosscity store`: what is damaged is found, moved and listed."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from adapters.store import Store
from flows.cli.store import app


@pytest.fixture
def store(write_catalog, tmp_path):
    """The store of a catalog with two artifacts, and how to run a verb on it."""
    catalog = write_catalog(tmp_path)
    opened = Store(tmp_path / "store")
    for key in ("one", "two"):
        with opened.draft("pairs", "tokyo", key, inputs=[], parameters={}, version="1") as draft:
            draft.file("x").write_bytes(key.encode())

    def run(verb: str):
        return CliRunner().invoke(app, [verb, "--catalog", str(catalog)])

    return tmp_path / "store", run


def test_a_whole_store_is_whole(store) -> None:
    _, run = store
    done = run("check")
    assert done.exit_code == 0
    assert "2 artifacts are whole, 0 are not" in done.output
    assert "0 artifacts are in quarantine" in run("quarantine").output


def test_what_is_damaged_is_moved_named_and_listed(store) -> None:
    folder, run = store
    (folder / "pairs/tokyo/one/x").write_bytes(b"eno")
    (folder / "pairs/tokyo/two/artifact.json").write_bytes(b"{")
    done = run("check")
    assert done.exit_code == 1
    assert "0 artifacts are whole, 2 are not" in done.output
    listed = run("quarantine").output
    assert "quarantine/pairs/tokyo/one." in listed
    assert "x has SHA-256" in listed
    assert "artifact.json is damaged" in listed
    assert "2 artifacts are in quarantine" in listed
    again = run("check")
    assert again.exit_code == 0
    assert "0 artifacts are whole, 0 are not" in again.output
