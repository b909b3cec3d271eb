"""The commands that README and docs/operate.md show for deployments, word for word.

In a fresh clone of what is committed. Its environment is this one's, so nothing is downloaded; a
variable that the documents name chooses a free port.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def shown(document: str, heading: str) -> str:
    """The first block of commands below a heading."""
    text = (ROOT / document).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1]


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "crosscity"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    # What is committed tells nothing of what is being changed: the documents' own words do.
    for name in ("README.md", "docs/operate.md", "Makefile"):
        shutil.copyfile(ROOT / name, folder / name)
    # The environment that tests run in, whatever its name and whoever made it, as a ready one.
    (folder / ".venv").mkdir()
    for each in Path(sys.prefix).iterdir():
        if each.name != ".ready":
            (folder / ".venv" / each.name).symlink_to(each, target_is_directory=each.is_dir())
    (folder / ".venv" / ".ready").touch()
    for name in ("pyproject.toml", "constraints.txt"):  # older than the environment: nothing to do
        os.utime(folder / name, (0, 0))
    yield folder
    subprocess.run(["make", "down"], cwd=folder, check=False, env=environment(folder))


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    plain = os.pathsep.join(
        one for one in kept["PATH"].split(os.pathsep) if not one.startswith(sys.prefix)
    )
    return {
        **kept,
        "PATH": plain,
        "PYTHONPATH": str(folder),
        "PORT": "0",  # as `make up PORT=0`
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def run_block(folder: Path, block: str) -> str:
    """Runs the lines as somebody types them, each only after the one before went well."""
    done = subprocess.run(
        ["bash", "-e", "-u", "-x", "-c", block],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def processes_of(folder: Path) -> list[int]:
    """Processes that were started for the clone and live."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("PREFECT_HOME", "")
        except (psutil.Error, OSError):
            continue
        if home.startswith(str(folder)):
            found.append(process.pid)
    return found


@pytest.mark.parametrize(
    ("document", "heading"),
    [
        ("README.md", "As deployments"),
        pytest.param("docs/operate.md", "With deployments", marks=pytest.mark.slow),
    ],
)
def test_the_commands_for_deployments_work_as_they_stand(clone, document, heading):
    reported = run_block(clone, shown(document, heading))
    assert "+ harvest-city/tokyo" in reported
    assert re.search(r"Created flow run", reported), reported
    assert "worker stopped" in reported
    assert "server stopped" in reported
    assert not processes_of(clone)


@pytest.mark.slow
def test_up_twice_run_in_between_and_down(clone):
    first = run_block(clone, "make up; make up")
    assert "server: started" in first
    assert "server: runs" in first
    assert "worker: runs" in first
    run_block(
        clone, ". .crosscity/activate; prefect deployment run harvest-city/tokyo -p city=tokyo"
    )
    deadline = time.monotonic() + 120
    while not list(clone.glob(".crosscity/store/.drafts/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    before = processes_of(clone)
    assert len(before) >= 3, "server, worker and the run"
    run_block(clone, "make down")
    assert not processes_of(clone)
    assert "no server was running" in run_block(clone, "make down")
    again = run_block(clone, "make up; . .crosscity/activate; make down; make up; make down")
    assert again.count("server: started") == 2, "in the same shell"


@pytest.mark.slow
def test_a_killed_server_is_started_again_on_what_it_knew(clone):
    run_block(clone, "make up")
    server = clone / ".crosscity/prefect/services/server.json"
    pid = int(re.search(r'"pid": (\d+)', server.read_text(encoding="utf-8"))[1])
    os.killpg(pid, signal.SIGKILL)
    again = run_block(clone, "make up")
    assert "server: started" in again
    assert "created 0, changed 0, removed 0" in again


def test_a_port_that_is_taken_is_reported(clone):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            ["make", "up", f"PORT={port}"],
            cwd=clone,
            env=environment(clone),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr
