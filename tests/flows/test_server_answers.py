"""Before a flow starts a server that is slow is waited for, and one that is absent is not."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from flows.cli import server
from flows.cli.server import ServerAwayError, running_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntrue"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Door:
    """A port that gives each connection the next answer; ``None`` resets it. The last one stays."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            answer = self.answers[min(self.asked, len(self.answers) - 1)]
            self.asked += 1
            with connection:
                connection.recv(65536)
                if answer is None:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                else:
                    connection.sendall(answer)


@pytest.fixture
def quick(monkeypatch):
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    monkeypatch.setattr(server, "time", clock)


def entered(monkeypatch, tmp_path, address):
    monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
    with running_server(tmp_path) as given:
        return given


@pytest.mark.usefixtures("quick")
def test_one_that_restarts_is_waited_for(monkeypatch, tmp_path):
    door = Door(None, BUSY, OK)
    assert entered(monkeypatch, tmp_path, door.address) == door.address
    assert door.asked == 3


@pytest.mark.usefixtures("quick")
def test_one_that_stays_ill_is_given_up(monkeypatch, tmp_path):
    ticks = itertools.count()
    monkeypatch.setattr(server.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(server, "ANSWER_SECONDS", 3.0)
    door = Door(BUSY)
    with pytest.raises(ServerAwayError, match="HTTP 503"):
        entered(monkeypatch, tmp_path, door.address)
    assert door.asked == 4


def test_one_that_does_not_listen_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "ANSWER_SECONDS", 1e9)  # or this test would not end
    with socket.socket() as taken:  # bound, and does not listen
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerAwayError, match="refused"):
            entered(monkeypatch, tmp_path, address)


def test_a_server_that_takes_no_answer_does_not_keep_a_command_that_is_done(tmp_path):
    """Prefect waits two minutes for each event, and hands over all before a process ends."""
    script = """
import sys
from contextlib import contextmanager

import typer

from flows.cli import application, main, server

server.LAST_SECONDS = 1.0
server._check_answers = lambda _: None
app = typer.Typer()


@app.command()
def work() -> None:
    with server.running_server(server.Path(sys.argv[1])):
        from prefect.events import emit_event

        for number in range(4):
            emit_event(f"step.{number}", resource={"prefect.resource.id": "a.run"})
    typer.echo("done")
    raise typer.Exit(3)


application.app = app
main.main([])
"""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/api"
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env={**os.environ, "PREFECT_API_URL": address},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,  # without an end of its own it takes eight minutes
        )
    assert done.returncode == 3, done.stderr
    assert done.stdout == "done\n"
    assert len(done.stderr) < 500
