"""What it costs to deploy a catalog again that has not changed.

    python benchmarks/deploying.py [CITIES]           # default: 30

A catalog of so many folder cities is deployed to a Prefect server of its own (SQLite), then again
three times without a change: wall time, and processor time of the command and of the server. The
same with one city, as most of it is starting Python: the difference is what deployments cost.
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
from typing import Annotated, Any, Final

import psutil
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.disturbed import ROOT, Stand
from benchmarks.soak import catalog
from benchmarks.whole_files import write_text

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
    folder.mkdir()
    with Stand(folder) as stand:
        path = catalog(folder, {"url": "store"}, list(range(cities)))
        first, _ = deploying(stand, path)
        again = [deploying(stand, path) for _ in range(TIMES)]
    line = again[-1][1]
    return {
        "first": first,
        "again": [statistics.median(one[0][at] for one in again) for at in range(3)],
        "load": os.getloadavg()[1],
        "deployments": int(line.rpartition("unchanged ")[2].split(";")[0]),
    }


def page(cities: int, one: dict[str, Any], found: dict[str, Any]) -> str:
    """The results as a page."""
    rows = [
        (f"{some['deployments']}, {when}", some[key])
        for some in (one, found)
        for when, key in (("first", "first"), ("again, without a change", "again"))
    ]
    more = found["deployments"] - one["deployments"]
    marginal = [
        1000 * (many - few) / more for many, few in zip(found["again"], one["again"], strict=True)
    ]
    lines = [
        "# Deploying",
        "",
        f"`python benchmarks/deploying.py {cities}`: catalogs of one city and of {cities}, each on "
        "a Prefect server of its own (SQLite).",
        f"Two cores, shared with other work (a load of {found['load']:.0f}): read the processor "
        "times. Starting Python is in them.",
        "",
        "| deployments | wall time | the command's processor time | the server's |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {wall:.1f} s | {command:.1f} s | {server:.1f} s |"
        for name, (wall, command, server) in rows
    ]
    lines += [
        "",
        f"One more deployment that has not changed takes {marginal[1]:.1f} ms of the command's "
        f"processor time and {marginal[2]:.1f} ms of the server's.",
        "What is asked is a listing of 200 a request, whatever has not changed "
        "(`tests/flows/test_reconciliation.py`).",
    ]
    return "\n".join([*lines, ""])


def main(cities: Annotated[int, typer.Argument(min=2, help="Of the catalog.")] = 30) -> None:
    """Measures, and writes what was found."""
    with tempfile.TemporaryDirectory(prefix="crosscity-deploying-") as folder:
        one, found = (measured(count, Path(folder) / str(count)) for count in (1, cities))
    text = page(cities, one, found)
    write_text(ROOT / "benchmarks" / "results" / "deploying.md", text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
