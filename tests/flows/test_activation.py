"""What a shell that has read `.crosscity/activate` knows once its server is stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.background import Background
from flows.cli import services
from flows.cli.server import standing_server

STOPPED, ELSEWHERE = "http://127.0.0.1:9", "http://127.0.0.1:10"
NAMES = ("PREFECT_API_URL", "CROSSCITY_ACTIVATED")


@pytest.fixture(autouse=True)
def fresh_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_HOME", *NAMES):
        monkeypatch.delenv(name, raising=False)


def activate(root: Path, monkeypatch: pytest.MonkeyPatch, *, is_own: bool) -> None:
    """Has this process know what a shell knows that reads the file."""
    path = services._write_activation(root, STOPPED, is_own=is_own)
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    line = f'. "{path}"; {sys.executable} -c "{program}"'
    told = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    for name in NAMES:
        monkeypatch.setenv(name, json.loads(told)[name])


def test_an_activated_shell_takes_the_server_of_its_folder_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "a folder's name"
    activate(root, monkeypatch, is_own=True)
    assert standing_server(root) is None, "it was stopped: `crosscity up` starts one"
    with monkeypatch.context() as patch:
        running = type("Running", (), {"address": ELSEWHERE})()
        patch.setattr(Background, "running", lambda _: running)
        assert standing_server(root) == ELSEWHERE, "started again, at another port"
    assert standing_server(tmp_path / "other") == STOPPED, "of another catalog on that server"
    monkeypatch.setenv("PREFECT_API_URL", f"{ELSEWHERE}/api")
    assert standing_server(root) == ELSEWHERE, "named since by hand"


def test_a_server_that_was_named_stays_the_one_in_an_activated_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(tmp_path, monkeypatch, is_own=True)
    activate(tmp_path, monkeypatch, is_own=False)  # `up` beside a server of another machine
    assert standing_server(tmp_path) == STOPPED
