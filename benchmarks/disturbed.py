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

import cv2
import numpy as np
import psutil

from flows.cli.server import (
    QUIET,
    free_port,
    server_command,
    server_environment,
    wait_until_healthy,
)
from flows.database import PostgreSQL
from tests.tcp_gate import Gate

ROOT: Final = Path(__file__).resolve().parents[1]

PATIENCE: Final = 1200.0
"""Seconds after which a command is taken to hang; the longest takes one minute undisturbed."""


@dataclass
class Stand:
    """A server on SQLite or PostgreSQL, behind a door, and a folder for everything."""

    folder: Path
    on_postgresql: bool = False
    port: int = 0
    server: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    gate: Gate = field(init=False)
    database: PostgreSQL | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.port = free_port(0)
        home = self.folder / "prefect"
        if self.on_postgresql:
            self.folder.chmod(0o755)  # PostgreSQL's user is to pass
            home.mkdir(exist_ok=True)
            self.database = PostgreSQL(home, home / "services")
            self.database.start()
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
        if self.database is not None:
            self.database.stop()

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
                env={**server_environment(home, self.port), **QUIET, **self._database_url()},
                start_new_session=True,
            )
        wait_until_healthy(self.server, f"http://127.0.0.1:{self.port}", log)

    def _database_url(self) -> dict[str, str]:
        if self.database is None:
            return {}
        return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database.url}

    def restart_database(self, away: float) -> None:
        """Ends PostgreSQL without a word to its clients, and starts it again after a while."""
        if self.database is None:
            raise RuntimeError("SQLite is no process of its own")
        data = self.folder / "prefect" / "postgresql"
        number = int((data / "postmaster.pid").read_text().split()[0])
        os.kill(number, signal.SIGQUIT)  # "immediate shutdown": as after a crash, it recovers
        while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.1)
        time.sleep(away)
        if not self.database.start():
            raise RuntimeError("PostgreSQL was not to run any more")

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

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:  # noqa: ANN401
        """One request to the Prefect server, not through the door; without a body it is a GET."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
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


def put_places(folder: Path, name: str, seed: int, places: range) -> None:
    """Writes two times of each place: one texture, seen again with noise and a new dark thing."""
    train = folder / "streets" / name / "Images" / "Train"
    train.mkdir(parents=True, exist_ok=True)
    for place in places:
        dice = np.random.default_rng([seed, place])
        coarse = dice.integers(0, 256, (8, 16, 3)).astype(np.uint8)
        street = cv2.resize(coarse, (128, 64), interpolation=cv2.INTER_CUBIC).astype(int)
        for moment in (0, 1):
            picture = street + dice.integers(-12, 13, street.shape)
            x, y = (int(dice.integers(0, limit)) for limit in (100, 40))
            picture[y : y + 16, x : x + 20] = 20
            cv2.imwrite(
                str(train / f"pano_{place:05d}_{moment}_90.png"),
                picture.clip(0, 255).astype(np.uint8),
            )


def simulated_city(places: int, seed: int = 3, pairs_per_part: int = 2) -> dict[str, Any]:
    """The entry of a small simulated city with labels."""
    return {
        "provider": {"kind": "simulated", "style": "tokyo"},
        "area": {"bbox": [139.7, 35.6, 139.8, 35.7]},
        "places": places,
        "test_places": 2,
        "seed": seed,
        "image_size": [64, 128],
        "labels": {"kind": "simulated", "fine_tune_places": 3},
        "prior": {"downscale": 1, "superpixels": 40},
        "pairs_per_part": pairs_per_part,
    }


def pictured_city() -> dict[str, Any]:
    """The entry of a city whose pictures `put_places` writes."""
    return {
        "provider": {
            "kind": "folder",
            "root": "streets",
            "licence": "CC0-1.0",
            "attribution": "nobody",
        },
        "prior": {"downscale": 1, "superpixels": 40},
        "pairs_per_part": 2,
    }
