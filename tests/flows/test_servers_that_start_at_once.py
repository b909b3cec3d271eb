"""Commands that start at once in one folder: each gets a server, one after the other.

The server here is a stand-in that does what Prefect's was seen to do: it migrates the database of
its home when it starts, and ends where another one migrates it at that moment ("Online migration
expected to match one row"), or where its port is taken ("address already in use").
"""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.cli import server
from flows.cli.server import ServerError, _started_server, _stop

MIGRATES = """
import http.server, os, pathlib, sys, time
home = pathlib.Path(os.environ["PREFECT_HOME"])
migrating = home / "migrating"
try:
    migrating.touch(exist_ok=False)
except FileExistsError:
    sys.exit("Online migration expected to match one row when updating; 0 found")
time.sleep(0.5)
migrating.unlink()
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""


@pytest.fixture
def stand_in(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(
        server, "server_command", lambda port: [sys.executable, "-c", MIGRATES, str(port)]
    )
    return tmp_path / "home"


def test_each_command_gets_a_server_of_its_own(stand_in):
    with ThreadPoolExecutor(4) as pool:  # a server ends with the thread that started it
        started = list(pool.map(lambda _: _started_server(stand_in), range(4)))
        alive = [process.poll() is None for process, _ in started]
        for process, _ in started:
            _stop(process)
    assert all(alive)
    assert len({address for _, address in started}) == 4


def test_a_port_that_is_taken_meanwhile_is_left_to_whoever_has_it(stand_in, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        free_port = server.free_port
        monkeypatch.setattr(
            server, "free_port", lambda preferred: taken if preferred else free_port(0)
        )
        process, address = _started_server(stand_in)
        _stop(process)
    assert not address.endswith(f":{taken}")


def test_one_that_fails_by_itself_is_an_error_that_names_its_log(stand_in):
    stand_in.mkdir()
    (stand_in / "migrating").touch()
    with pytest.raises(ServerError, match=r"did not start; its log is .*server\.log"):
        _started_server(stand_in)
