"""What it costs to deploy a catalog again that has not changed.

    python benchmarks/deploying.py [CITIES]           # default: 30

A catalog of so many folder cities is deployed to a Prefect server of its own (SQLite), then again
three times without a change: wall time, and processor time of the command and of the server.
Results go to `benchmarks/results/deploying.md`.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.disturbed import ROOT, Stand
from benchmarks.soak import catalog

TIMES: Final = 3


def used(stand: Stand) -> tuple[float, float, float]:
    """Seconds: of the clock, of the processor in ended commands, and in the server."""
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    if stand.server is None:
        raise RuntimeError("the server was killed")
    server = psutil.Process(stand.server.pid).cpu_times()
    return (
        time.monotonic(),
        commands.ru_utime + commands.ru_stime,
        server.user + server.system,
    )


def deploying(stand: Stand, path: Path) -> tuple[list[float], str]:
    """What one deploying took, and the line that it ended with."""
    before = used(stand)
    log = stand.folder / "logs" / "deploy.log"
    stand.run(log, "deploy", "--catalog", path)
    lines = log.read_text().splitlines()
    said = next(line for line in lines if "unchanged" in line)
    return [after - one for after, one in zip(used(stand), before, strict=True)], said


def measured(cities: int, folder: Path) -> dict[str, Any]:
    """Of one first deploying and of those without a change."""
    with Stand(folder) as stand:
        path = catalog(folder, {"url": "store"}, list(range(cities)))
        first, said = deploying(stand, path)
        again = [deploying(stand, path) for _ in range(TIMES)]
    line = again[-1][1]
    return {
        "first": first,
        "said": said,
        "again": [statistics.median(one[0][at] for one in again) for at in range(3)],
        "line": line,
        "deployments": int(line.rpartition("unchanged ")[2].split(";")[0]),
    }


def page(cities: int, found: dict[str, Any]) -> str:
    """The results as a page."""
    count = found["deployments"]
    rows = [("first", found["first"]), ("again, without a change (median of 3)", found["again"])]
    lines = [
        "# Deploying",
        "",
        f"`python benchmarks/deploying.py {cities}`: {count} deployments on one Prefect server",
        f"(SQLite). Two cores, shared with other work (a load of {os.getloadavg()[1]:.0f}): read",
        "the processor times. Starting Python and reading the catalog is in them.",
        "",
        "| deploying | wall time | the command's processor time | the server's | both, a "
        "deployment |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {wall:.1f} s | {command:.1f} s | {server:.1f} s "
        f"| {1000 * (command + server) / count:.0f} ms |"
        for name, (wall, command, server) in rows
    ]
    return "\n".join([*lines, "", f"Again it says: `{found['line']}`.", ""])


def main() -> None:
    """Measures, and writes what was found."""
    cities = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory(prefix="crosscity-deploying-") as folder:
        text = page(cities, measured(cities, Path(folder)))
    (ROOT / "benchmarks" / "results" / "deploying.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
