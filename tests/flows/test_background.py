"""Processes that go on after the command that started them end with all that they started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.background import Background

AMID_A_START = """
import signal, subprocess, sys, time

def start(*_):
    run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10000)"])
    run.wait()

signal.signal(signal.SIGTERM, start)
print("ready", flush=True)
while True:
    time.sleep(1)
"""
"""A worker that begins a run when it is told to end, and ends once that has ended."""


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Callable[[], list[psutil.Process]]]:
    """The processes that live and were started in an environment that names this folder."""

    def living() -> list[psutil.Process]:
        found = []
        for one in psutil.process_iter():
            try:
                if one.environ().get("A_TEST") == str(tmp_path):
                    found.append(one)
            except (psutil.Error, OSError):
                continue
        return [one for one in found if one.status() != psutil.STATUS_ZOMBIE]

    yield living
    for one in living():
        one.kill()


def test_a_run_that_is_begun_while_its_worker_is_stopped_ends_with_it(
    tmp_path: Path, ours: Callable[[], list[psutil.Process]], waiting: Callable[..., None]
) -> None:
    worker = Background(tmp_path, "worker")
    worker.start([sys.executable, "-c", AMID_A_START], {**os.environ, "A_TEST": str(tmp_path)})
    waiting(lambda: "ready" in worker.log.read_text(), "it is up")
    assert worker.stop(patience=3.0)
    assert ours() == []
    assert worker.running() is None
