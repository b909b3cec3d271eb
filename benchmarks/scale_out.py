"""One worker process against two, on the priors of some pairs of a simulated city.

`python benchmarks/scale_out.py [PAIRS]` (default 128) makes the pairs once and extracts their
priors by one and by two worker processes (`runner: processes`), each into a store of its own and
in a process of its own. Wall time is given whole and from the first finished shard on, which leaves
the start of the workers out; processor time is that of all processes together. On a machine that
others use too, only the latter says what the work cost, and the ratio of both what spreading it
adds. The bytes are compared. Two free cores are needed for a meaningful wall time. Results go to
`benchmarks/results/scale_out.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, cast

import psutil
import typer
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import ArtifactRef
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
PAIRS_A_PART: Final = 8


def main(pairs: Annotated[int, typer.Argument(min=1, help="Of the city.")] = 128) -> None:
    """Runs the comparison and writes the results."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="crosscity-scale-") as folder:
        root = Path(folder)
        _harvest(_plan(root / "harvest", pairs, workers=1))
        rows = [_measured(root, pairs, workers) for workers in WORKERS]
    if rows[0].pop("digests") != rows[1].pop("digests"):
        sys.exit("the bytes differ")
    measured = {
        "pairs": pairs,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "runs": rows,
    }
    (RESULTS / "scale_out.json").write_text(json.dumps(measured, indent=1) + "\n")
    (RESULTS / "scale_out.md").write_text(page(measured))
    print(page(measured))


def page(measured: dict[str, Any]) -> str:
    """The results as a page."""
    one, two = measured["runs"]
    pairs, first, last = measured["pairs"], measured["load_before"], measured["load_after"]
    whole = one["seconds"] / two["seconds"]
    without = one["seconds_a_pair"] / two["seconds_a_pair"]
    processor = two["processor_seconds"] / one["processor_seconds"]
    lines = [
        "# One worker process and two",
        "",
        f"`python benchmarks/scale_out.py {pairs}`: priors of {pairs} pairs of 640 × 1280,",
        f"{PAIRS_A_PART} a shard, `runner: processes`, {measured['cores']} cores. The load of the",
        f"machine, of other work for the most part, was {first} before and {last} after: where it",
        "is more than the number of cores, read the processor time alone.",
        "",
        "| workers | wall time | a pair, after the first shards | processor time | a pair |",
        "|---|---|---|---|---|",
    ]
    for row in measured["runs"]:
        lines.append(
            f"| {row['workers']} | {row['seconds']:.1f} s | {1000 * row['seconds_a_pair']:.0f} ms "
            f"| {row['processor_seconds']:.1f} s "
            f"| {1000 * row['processor_seconds'] / pairs:.0f} ms |"
        )
    lines += [
        "",
        f"By two, the wall time is {whole:.2f} times as short, start of the workers included, and",
        f"{without:.2f} times without it; the processor time is {processor:.2f} times that of one.",
        "The bytes are the same.",
    ]
    return "\n".join(lines) + "\n"


def _measured(root: Path, pairs: int, workers: int) -> dict[str, Any]:
    place = root / f"workers-{workers}"
    shutil.copytree(root / "harvest", place)
    command = [sys.executable, __file__, "run", str(place), str(pairs), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("TAKEN ")]
    if done.returncode or not found:
        raise RuntimeError(f"the run with {workers} workers failed: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(found[0].removeprefix("TAKEN "))
    return row


def _run(place: Path, pairs: int, workers: int) -> None:
    """Extracts the priors in this process and prints what it took."""
    plan = _plan(place, pairs, workers=workers)
    imagery, chosen = _harvest(plan)  # it is there
    shards = [(imagery, chosen, part, CITY) for part in prior_parts(imagery, chosen, CITY, plan)]
    before, started = _processor_seconds(), time.monotonic()
    ends: list[tuple[float, float]] = []

    def finished(*_: object) -> None:
        ends.append((time.monotonic(), _processor_seconds()))

    made = spread(make_prior_part, shards, plan, finished)
    # The first `workers` shards end with what came before them; the rest is the work itself.
    rest = pairs - workers * PAIRS_A_PART
    taken = {
        "workers": workers,
        "seconds": round(time.monotonic() - started, 2),
        "seconds_a_pair": round((ends[-1][0] - ends[workers - 1][0]) / max(1, rest), 4),
        "processor_seconds": round(ends[-1][1] - before, 2),
        "digests": [ref.digest for ref in made],
    }
    print("TAKEN " + json.dumps(taken))


def _plan(folder: Path, pairs: int, *, workers: int) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    catalog: dict[str, Any] = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "computes": {"laptop": {"runner": "processes", "workers": workers}},
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
                "places": pairs + 1,
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
        _run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        typer.run(main)
