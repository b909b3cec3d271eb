"""Services that take minutes to start, as on a full machine, are waited for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import database
from flows.background import Background
from flows.cli import services
from flows.deployments import WORK_POOL

MINUTES = 240.0


class Clock:
    """Goes on where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def is_late(self) -> bool:
        """Whether what was started would be up by now."""
        return self.now >= MINUTES


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[list[str]]:
    """Names of the services that were started, for each of which a process stands that sleeps."""
    names: list[str] = []
    processes: list[subprocess.Popen[bytes]] = []

    def start(self: Background, *_: object, **__: object) -> subprocess.Popen[bytes]:
        names.append(self.name)
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10000)"]))
        return processes[-1]

    def stop(_: Background, *, patience: float) -> bool:
        pytest.fail(f"it was stopped after {clock.now:.0f} s, with {patience:.0f} s to end")

    monkeypatch.setattr(Background, "start", start)
    monkeypatch.setattr(Background, "stop", stop)
    yield names
    for process in processes:
        process.kill()
        process.wait()


def test_postgresql_that_recovers_is_waited_for(
    started: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def is_ready(*_: object, **__: object) -> SimpleNamespace:
        # PQPING_REJECT: "server is alive but rejecting connections", as while it recovers.
        return SimpleNamespace(returncode=0 if clock.is_late() else 1)

    made = database.PostgreSQL(tmp_path, tmp_path / "services")
    monkeypatch.setattr(database, "time", clock)
    monkeypatch.setattr(database, "_programs", lambda: tmp_path)
    monkeypatch.setattr(database.PostgreSQL, "is_made", lambda _: True)
    monkeypatch.setattr(database.PostgreSQL, "_make_folders", lambda _: None)
    monkeypatch.setattr(database, "_as_user", list)
    monkeypatch.setattr(database, "subprocess", SimpleNamespace(run=is_ready))
    assert made.start()
    assert len(started) == 1


def test_a_worker_that_imports_for_long_is_waited_for(
    started: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(services, "time", clock)
    monkeypatch.setattr(services, "_is_online", lambda *_: clock.is_late())
    services._worker_up(tmp_path, tmp_path / "data_catalog.yaml", "http://127.0.0.1:9", WORK_POOL)
    assert started == ["worker"]
