"""What the fault campaigns share: a Prefect server that can die, doors that can be shut, commands.

`Stand` starts a Prefect server with a home of its own on the loopback interface, with a door (the
tests' `Gate`) before it, and runs the command line in processes that can be killed as a group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import psutil

from flows.cli.server import (
    QUIET,
    free_port,
    server_command,
    server_environment,
    wait_until_healthy,
)
from tests.tcp_gate import Gate

ROOT: Final = Path(__file__).resolve().parents[1]

PATIENCE: Final = 1200.0
"""Seconds after which a command is taken to hang; the longest takes one minute undisturbed."""


@dataclass
class Stand:
    """A server behind a door, and a folder for everything."""

    folder: Path
    port: int = 0
    server: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    gate: Gate = field(init=False)

    def __enter__(self) -> Self:
        self.port = free_port(0)
        self.start_server()
        self.gate = Gate(self.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.gate.shut()
        self.kill_server()

    def start_server(self) -> None:
        """Starts the server on its port and its database, and waits until it answers."""
        home = self.folder / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        log = home / "server.log"
        with log.open("ab") as output:
            self.server = subprocess.Popen(
                server_command(self.port),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**server_environment(home, self.port), **QUIET},
                start_new_session=True,
            )
        wait_until_healthy(self.server, f"http://127.0.0.1:{self.port}", log)

    def kill_server(self) -> None:
        """Ends the server as a power cut would."""
        if self.server is not None:
            kill_group(self.server)
            self.server = None

    def restart_server(self, away: float) -> None:
        """Kills the server, and starts it again after so many seconds."""
        self.kill_server()
        time.sleep(away)
        self.start_server()
        self.restarts += 1

    def server_use(self) -> dict[str, float]:
        """Memory in MiB and open files of the server's processes."""
        if self.server is None:
            return {"memory_mib": 0.0, "open_files": 0.0}
        parent = psutil.Process(self.server.pid)
        family = [parent, *parent.children(recursive=True)]
        return {
            "memory_mib": round(sum(one.memory_info().rss for one in family) / 2**20, 1),
            "open_files": float(sum(one.num_fds() for one in family)),
        }

    def start(self, log: Path, *words: object) -> subprocess.Popen[bytes]:
        """Starts the command line on this server; its output goes to a file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.cli.main", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env={
                    **os.environ,
                    **self.environment(),
                    "XDG_CACHE_HOME": str(log.parent / "cache"),
                },
            )

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - what is JSON
        """One request to the Prefect server, not through the door; without a body it is a GET."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def every(self, route: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Everything that a filter of the server finds, page after page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask(route, {**body, "limit": 200, "offset": len(found)})
            found += page
            if len(page) < 200:
                return found

    def environment(self) -> dict[str, str]:
        """Variables of a command that uses this server."""
        return {
            **QUIET,
            "PREFECT_API_URL": f"http://127.0.0.1:{self.gate.port}/api",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def run(self, log: Path, *words: object) -> float:
        """Runs a command to its good end; gives the seconds that it took."""
        began = time.monotonic()
        process = self.start(log, *words)
        code = process.wait(timeout=PATIENCE)
        if code:
            raise RuntimeError(f"{words} ended with {code}: {log.read_text()[-3000:]}")
        return time.monotonic() - began


class Started(Protocol):
    """A process that leads a session, as `subprocess.Popen` gives it."""

    pid: int

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended."""


def kill_group(process: Started) -> None:
    """SIGKILL for a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def miniature(store: dict[str, Any], cities: dict[str, Any]) -> dict[str, Any]:
    """A catalog whose whole way takes seconds: tiny networks, six steps of training.

    Args:
        store: The entry of the one store.
        cities: The cities by name.
    """
    return {
        "version": 1,
        "store": "only",
        "stores": {"only": store},
        "datasets": {
            "frankfurt": {
                "kind": "simulated",
                "style": "frankfurt",
                "image_size": [64, 128],
                "train": 6,
                "val": 1,
                "test": 1,
            }
        },
        "segmenters": {
            "compact": {
                "architecture": "compact",
                "options": {"width": 16},
                "source": "frankfurt",
                "pretraining": {"steps": 6, "batch_size": 2},
            }
        },
        "trainings": {
            "demo": {
                "preset": "demo",
                "adaptation": {"steps": 12, "batch_size": 2},
                "fine_tuning": {"steps": 4, "batch_size": 2},
                "checkpoint_every": 2,
            }
        },
        "cities": cities,
    }
