"""A command has a server of its own, also where another one starts at the same moment."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

import pytest

from flows.cli import server

STUB = """
import http.server, sys, time
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *_):
        pass
time.sleep(float(sys.argv[3]))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
"""Answers any GET; one that cannot listen ends with an error, after the time that a start takes.

As Prefect's, it may listen where connections of a server that ended are still being closed.
"""


def test_a_server_of_another_command_on_the_same_port_is_never_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["another command's", "ours, in vain", "ours"])
    really_free = server.free_port
    asked: list[int] = []

    def command(port: int) -> list[str]:
        return [sys.executable, "-c", STUB, str(port), next(names), "0.5"]

    monkeypatch.setattr(server, "server_command", command)
    with server.running_server(tmp_path / "first") as first:
        taken = int(first.rpartition(":")[2])

        def free_port(preferred: int) -> int:
            asked.append(preferred)
            return taken if preferred else really_free(0)  # it was free when we looked

        monkeypatch.setattr(server, "free_port", free_port)
        with server.running_server(tmp_path / "second") as second:
            assert second != first
            with urllib.request.urlopen(f"{second}/api/health") as answer:  # noqa: S310
                assert answer.read() == b"ours"
    assert asked == [server.DASHBOARD_PORT, 0]


def test_a_port_that_is_taken_again_and_again_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "server_command", lambda port: [sys.executable, "-c", STUB, str(port), "one", "0"]
    )
    with server.running_server(tmp_path / "first") as first:
        monkeypatch.setattr(server, "free_port", lambda _: int(first.rpartition(":")[2]))
        with (
            pytest.raises(server.ServerError, match=r"took each port.* server\.log|server\.log"),
            server.running_server(tmp_path / "second"),
        ):
            pass
