"""One worker process against two, on the priors of some pairs of a simulated city.

`python benchmarks/scale_out.py [PAIRS] [ROUNDS]` (default 128 and 3) makes the pairs once and
extracts their priors by one and by two worker processes in turn, each into a store of its own, in
a process of its own: by processes that the step starts (`runner: processes`), whose start is in
the time, and by workers that were there before (`runner: dask` with the `address` of a
scheduler), which have done a shard of other pairs. Wall time is that of the whole step, and for
the former also from the first finished shards on; processor time is that of all processes
together. On a machine that others use too, only the latter says what the work cost, and the ratio
of both what spreading it adds. The bytes are compared. Two free cores are needed for a meaningful
wall time. Results go to `benchmarks/results/scale_out.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, cast

import psutil
import typer
import yaml
from distributed import Client

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import ArtifactRef
from benchmarks.whole_files import write_json, write_text
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.priors.extraction import make_prior_part, prior_parts
from tasks.steps.plan import Plan, open_plan
from tasks.steps.spread import spread

CITY = "tokyo"


RESULTS: Final = Path(__file__).parent / "results"
WORKERS: Final = (1, 2)
RUNNERS: Final = {"processes": "`processes`", "dask": "`dask`, workers there before"}
PAIRS_A_PART: Final = 8


def main(
    pairs: Annotated[int, typer.Argument(min=1, help="Of the city.")] = 128,
    rounds: Annotated[int, typer.Argument(min=1, help="Of each of the runs, in turn.")] = 3,
) -> None:
    """Runs the comparison and writes the results."""
    if pairs % PAIRS_A_PART:
        raise typer.BadParameter(f"whole shards are timed: a multiple of {PAIRS_A_PART} pairs")
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="crosscity-scale-") as folder:
        root = Path(folder)
        _harvest(_plan(root / "harvest", pairs, {"runner": "processes", "workers": 1}))
        for number in range(rounds):
            for runner in RUNNERS:
                for workers in WORKERS:
                    place = root / f"{number}-{runner}-{workers}"
                    shutil.copytree(root / "harvest", place)
                    rows.append(_measured(place, pairs, runner, workers))
                    shutil.rmtree(place)
    if len({tuple(row.pop("digests")) for row in rows}) != 1:
        sys.exit("the bytes differ")
    measured = {
        "pairs": pairs,
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "runs": rows,
    }
    write_json(RESULTS / "scale_out.json", measured, indent=1)
    write_text(RESULTS / "scale_out.md", page(measured))
    print(page(measured))


def page(measured: dict[str, Any]) -> str:
    """The results as a page."""
    pairs, rounds = measured["pairs"], measured["rounds"]
    first, last = measured["load_before"], measured["load_after"]
    lines = [
        "# One worker process and two",
        "",
        f"`python benchmarks/scale_out.py {pairs} {rounds}`: priors of {pairs} pairs of",
        f"640 × 1280, {PAIRS_A_PART} a shard, {measured['cores']} cores; all ways in turn, and of",
        "several rounds the medians. The load of the machine, its own included, was",
        f"{first} before and {last} after: where it is more than the number of cores, read the",
        "processor time alone.",
        "",
        "| runner | workers | wall time | a pair, after the first shards "
        "| processor time | a pair |",
        "|---|---|---|---|---|---|",
    ]
    for runner in RUNNERS:
        for workers in WORKERS:
            rows = _rows(measured, runner, workers)
            seconds, a_pair, processor = (
                statistics.median(row[key] for row in rows)
                for key in ("seconds", "seconds_a_pair", "processor_seconds")
            )
            lines.append(
                f"| {RUNNERS[runner]} | {workers} | {seconds:.1f} s | {1000 * a_pair:.0f} ms "
                f"| {processor:.1f} s | {1000 * processor / pairs:.0f} ms |"
            )
    lines += ["", "How many times as short the wall time is by two workers, round by round:", ""]
    lines += [
        f"- {RUNNERS['dask']}: {_times(measured, 'dask', 'seconds')};",
        f"- {RUNNERS['processes']}, with their start: {_times(measured, 'processes', 'seconds')};",
        f"- the same without it: {_times(measured, 'processes', 'seconds_a_pair')}.",
        "",
        "The bytes are the same.",
    ]
    return "\n".join(lines) + "\n"


def _rows(measured: dict[str, Any], runner: str, workers: int) -> list[dict[str, Any]]:
    return [
        row for row in measured["runs"] if row["runner"] == runner and row["workers"] == workers
    ]


def _times(measured: dict[str, Any], runner: str, key: str) -> str:
    one, two = (_rows(measured, runner, workers) for workers in WORKERS)
    return ", ".join(f"{a[key] / b[key]:.2f}" for a, b in zip(one, two, strict=True))


def _measured(place: Path, pairs: int, runner: str, workers: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "run", str(place), str(pairs), runner, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("TAKEN ")]
    if done.returncode or not found:
        raise RuntimeError(
            f"the run with {workers} workers ({runner}) failed: {done.stderr[-2000:]}"
        )
    row: dict[str, Any] = json.loads(found[0].removeprefix("TAKEN "))
    return row


def _run(place: Path, pairs: int, runner: str, workers: int) -> None:
    """Extracts the priors in this process and prints what it took."""
    with ExitStack() as stack:
        compute: dict[str, Any] = {"runner": runner, "workers": workers}
        if runner == "dask":
            address = stack.enter_context(_cluster(place, workers))
            compute = {"runner": runner, "address": address, "workers": 1}
        plan = _plan(place, pairs, compute)
        imagery, chosen = _harvest(plan)  # it is there
        parts = prior_parts(imagery, chosen, CITY, plan)
        shards = [(imagery, chosen, part, CITY) for part in parts]
        count = pairs // PAIRS_A_PART
        if runner == "dask":  # each worker's first shard, of pairs beyond those that count
            spread(make_prior_part, shards[count:], plan, lambda *_: None)
        taken = _taken(shards[:count], plan, workers)
    print("TAKEN " + json.dumps({"runner": runner, "workers": workers, **taken}))


def _taken(shards: Sequence[tuple[Any, ...]], plan: Plan, workers: int) -> dict[str, Any]:
    before, started = _processor_seconds(), time.monotonic()
    ends: list[float] = []
    made = spread(make_prior_part, shards, plan, lambda *_: ends.append(time.monotonic()))
    # The first `workers` shards end with what came before them; the rest is the work itself.
    rest = (len(shards) - workers) * PAIRS_A_PART
    return {
        "seconds": round(time.monotonic() - started, 2),
        "seconds_a_pair": round((ends[-1] - ends[workers - 1]) / max(1, rest), 4),
        "processor_seconds": round(_processor_seconds() - before, 2),
        "digests": [ref.digest for ref in made],
    }


@contextmanager
def _cluster(place: Path, workers: int) -> Iterator[str]:
    """A scheduler and its workers, started by hand as docs/operate.md has it; its address."""
    where = place / "scheduler.json"
    python = [sys.executable, "-m"]
    shown = ["--no-dashboard", "--scheduler-file", str(where)]
    with ExitStack() as stack:

        def start(command: list[str]) -> None:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start(
            [
                *python,
                "distributed.cli.dask_scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                *shown,
            ]
        )
        while not (where.is_file() and where.read_text().rstrip().endswith("}")):
            time.sleep(0.1)
        for _ in range(workers):
            start([*python, "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", *shown])
        address = str(json.loads(where.read_text())["address"])
        with Client(address) as client:
            client.wait_for_workers(workers)
        yield address


def _plan(folder: Path, pairs: int, compute: dict[str, Any]) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    catalog: dict[str, Any] = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "computes": {"laptop": compute},
        "datasets": {
            "frankfurt": {
                "kind": "simulated",
                "style": "frankfurt",
                "image_size": [64, 128],
                "train": 1,
                "val": 1,
                "test": 1,
            }
        },
        "segmenters": {"compact": {"architecture": "compact", "source": "frankfurt"}},
        "trainings": {"demo": {"preset": "demo"}},
        "cities": {
            CITY: {
                "provider": {"kind": "simulated", "style": "tokyo"},
                "area": {"bbox": [139.73, 35.65, 139.79, 35.70]},
                "places": pairs + max(WORKERS) * PAIRS_A_PART + 1,
                "test_places": 1,
                "image_size": [640, 1280],
                "pairs_per_part": PAIRS_A_PART,
            }
        },
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
    return open_plan(path, city=CITY)


def _harvest(plan: Plan) -> tuple[ArtifactRef, ArtifactRef]:
    captures = _ref(list_captures.fn(CITY, plan))
    parts = [
        _ref(harvest_part.fn(captures, part, CITY, plan))
        for part in harvest_parts(captures, CITY, plan)
    ]
    imagery = _ref(join_imagery.fn(parts, CITY, plan))
    return imagery, _ref(choose_pairs.fn(imagery, CITY, plan))


def _ref(made: object) -> ArtifactRef:
    """What a step gives outside of a flow: the reference, or a state that holds it."""
    ref: ArtifactRef = made if isinstance(made, ArtifactRef) else cast("Any", made).result()
    return ref


def _processor_seconds() -> float:
    """Of this process and of all that it, and its children, have started."""
    me = psutil.Process()
    used = 0.0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:  # one of the processes that are compared
        _run(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        typer.run(main)
