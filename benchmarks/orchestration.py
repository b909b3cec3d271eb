"""What orchestration costs: a city whose science is replaced by constants.

    python benchmarks/orchestration.py [--folder FOLDER] [pairs ...]   # default: 1000 1600 10000

Images are one and the same picture of 32 × 64 pixels of a constant quality, priors are empty masks:
what is left is listing, decoding a tiny picture, dealing, storing, looking up, and telling the
server. Each stage is a process of its own against a Prefect server of its own; processor time and
memory are of that process, the server's time and the growth of its database are beside it. `again`
finds everything done. Results go to `benchmarks/results/orchestration.json` and `.md`.

A run that was stopped goes on in the same FOLDER: stages that it had measured are kept, and the one
that it was in begins anew. `--plain` leaves the server out: steps are plain calls, so what is
measured is this program's own part, which is what could grow with the square of the pairs.
`--whole-city` measures only what works on all pairs at once, and not shard by shard: seconds at
100 000 pairs (`orchestration_whole_city`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import FileEntry
from adapters.store.local import LocalPlace
from adapters.street_view.base import Capture, capture_table
from benchmarks.whole_files import write_json, write_text
from crosscity.image_quality import image_quality
from crosscity.matching import Matches
from crosscity.pairing import make_pairs
from flows import runner
from flows.cli.server import prefect_home, running_server
from flows.extract_priors import extract_priors
from flows.harvest_city import harvest_city
from tasks.harvesting import fetching
from tasks.harvesting.fetching import capture_of, capture_row, listing_digest
from tasks.harvesting.pair_table import pair_settings
from tasks.priors import extraction
from tasks.priors.pair_prior import PairPrior
from tasks.steps import artifact_task
from tasks.steps.plan import open_plan
from tasks.steps.schemas import CAPTURES

RESULTS: Final = Path(__file__).parent / "results"
STAGES: Final = ("harvest", "priors", "again")
MADE: Final = {
    "harvest": ("captures", "captures_slice", "imagery_part", "imagery", "pairs"),
    "priors": ("pairs_slice", "static_prior_part", "static_prior", "illustration"),
    "again": (),
}
"""Kinds of artifacts that a stage makes, which one that begins anew must not find."""
SECONDS_A_PAIR: Final = (1.09, 0.31)
"""What the rest of a pair of 640 × 1280 took of a core at first, and its prior today."""
SIZE: Final = (32, 64)
PAIRS_A_PART: Final = 50


class ConstantCity:
    """A provider whose places all look the same, at two times each."""

    name = "constant"

    def __init__(self, count: int) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(buffer, "JPEG")
        self._data = buffer.getvalue()
        self._listed = [
            Capture(
                image_id=f"i{place:06d}-{year}",
                provider=self.name,
                place_id=f"p{place:06d}",
                lat=35.0 + 1e-3 * (place // 1000),
                lon=139.0 + 1e-3 * (place % 1000),
                heading=90.0,
                pitch=0.0,
                fov=90.0,
                captured_at=datetime(year, 5, 1, tzinfo=UTC),
                licence="CC0-1.0",
                attribution="nobody",
            )
            for place in range(count)
            for year in (2015, 2020)
        ]

    def captures(self) -> list[Any]:
        """Two of each place."""
        return self._listed

    def near(self, _lat: float, _lon: float, _metres: float) -> list[Any]:
        """Nothing is asked for by position here."""
        return []

    def within(self, _bounds: object) -> list[Any]:
        """Nothing is asked for by area here."""
        return []

    def fetch(self, _capture: object, _view: object = None) -> bytes:
        """The one picture."""
        return self._data

    def revision(self) -> str:
        """It does not change."""
        return "1"


def constant_city(_site: object, count: int) -> ConstantCity:
    """What the catalog names."""
    return ConstantCity(count)


def write_catalog(folder: Path, pairs: int) -> Path:
    """The catalog of a city of so many places, all for training."""
    provider = {
        "kind": "python",
        "python": "orchestration:constant_city",
        "options": {"count": pairs},
    }
    content = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "datasets": {
            "none": {
                "kind": "simulated",
                "style": "frankfurt",
                "image_size": list(SIZE),
                "train": 1,
                "val": 1,
                "test": 1,
            }
        },
        "segmenters": {"compact": {"architecture": "compact", "source": "none"}},
        "trainings": {"demo": {"preset": "demo"}},
        "cities": {
            "constant": {
                "provider": provider,
                "area": {"bbox": [138.9, 34.9, 141.0, 37.0]},
                "places": pairs,
                "test_places": 0,
                "image_size": list(SIZE),
                "pairs_per_part": PAIRS_A_PART,
                "segmenter": "compact",
                "training": "demo",
            }
        },
        "compute": "here",
        "computes": {"here": {"device": "cpu", "threads": 1, "workers": 1}},
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run_stage(stage: str, catalog: str, *, plain: bool = False) -> None:
    """Runs a stage in this process and prints what it took."""
    reads: Counter[str] = Counter()

    def counted(name: str) -> None:
        original = getattr(LocalPlace, name)

        def call(*arguments: object, **named: object) -> object:
            given = original(*arguments, **named)
            entry = arguments[-1]
            size = entry.bytes if isinstance(entry, FileEntry) else len(given or b"")
            reads.update(reads=1, bytes=size)
            return given

        setattr(LocalPlace, name, call)

    for name in ("read", "children", "local_path"):
        counted(name)
    quality = image_quality(np.full((*SIZE, 3), 90, np.uint8))
    setattr(fetching, "image_quality", lambda _: quality)  # noqa: B010 - mypy minds the other way
    flat = np.zeros(SIZE, np.int32)
    nowhere, static = np.empty(0, np.float32), flat.astype(bool)
    even = np.full(SIZE, 0.5, np.float32)
    prior = PairPrior(
        matches=Matches(
            x_a=nowhere,
            y_a=nowhere,
            x_b=nowhere,
            y_b=nowhere,
            score=nowhere,
            entry=np.empty(0, np.int32),
        ),
        superpixels=(flat, flat),
        masks=(static, static),
        probabilities=(even, even),
    )
    setattr(extraction, "extract_prior", lambda *_, **__: prior)  # noqa: B010
    setattr(extraction, "prior_figure", lambda *_, **__: np.zeros((*SIZE, 3), np.uint8))  # noqa: B010
    flows: list[Any] = []
    flows += [harvest_city] if stage in ("harvest", "again") else []
    flows += [extract_priors] if stage in ("priors", "again") else []
    if plain:
        for module in (artifact_task, runner):
            setattr(module, "is_looking", lambda: True)  # noqa: B010 - steps are called, not run
        flows = [flow.fn for flow in flows]
    began, clock = time.process_time(), time.monotonic()
    for flow in flows:
        flow(city="constant", catalog=catalog)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    taken = {
        "processor_seconds": round(time.process_time() - began, 2),
        "seconds": round(time.monotonic() - clock, 2),
        "memory_mib": round(usage.ru_maxrss / 1024),
        **reads,
    }
    print("TAKEN " + json.dumps(taken))


def task_runs(address: str) -> int:
    """How many task runs the server has."""
    request = urllib.request.Request(  # noqa: S310 - the loopback interface
        f"{address}/api/task_runs/count",
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return int(answer.read())


def settled_task_runs(address: str) -> int:
    """How many there are once the server has written down all that was reported to it."""
    last, now = -1, task_runs(address)
    while now != last:
        time.sleep(3)
        last, now = now, task_runs(address)
    return now


def server_seconds() -> float:
    """Processor time of the server so far: it is this process's only child."""
    times = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def database_bytes(home: Path) -> int:
    """Bytes in use in the server's database, once its log is written into it."""
    with closing(sqlite3.connect(home / "prefect.db", timeout=60)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        values = [
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        ]
    return (values[0] - values[1]) * values[2]


class WithoutPandas:
    """Finds no pandas: only development packages bring it, and pyarrow imports it where it is."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        if name == "pandas":
            raise ImportError(name)


def measure(
    pairs: int, folder: Path, measured: set[str], *, plain: bool
) -> Iterator[dict[str, Any]]:
    """The stages of a city of so many pairs that were not measured in this folder yet."""
    missing = [stage for stage in STAGES if stage not in measured]
    if not missing:
        return
    catalog = write_catalog(folder, pairs)
    for kind in [kind for stage in missing for kind in MADE[stage]]:
        shutil.rmtree(folder / "store" / kind, ignore_errors=True)
    if plain:
        for stage in missing:
            taken = run_apart("plain", stage, catalog, {})
            yield {"pairs": pairs, "stage": stage, "plain": True, **taken}
        return
    with running_server(folder) as address:
        for stage in missing:
            yield {"pairs": pairs, "stage": stage, **measured_stage(stage, catalog, address)}


def run_apart(how: str, stage: str, catalog: Path, more: dict[str, str]) -> dict[str, Any]:
    """What a stage takes in a process of its own, without what it takes of a server."""
    done = subprocess.run(
        [sys.executable, __file__, how, stage, str(catalog)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **more,
            "PYTHONPATH": str(Path(__file__).parent),
            "OMP_NUM_THREADS": "1",
        },
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("TAKEN ")]
    if done.returncode or not found:
        raise RuntimeError(f"{stage} of {catalog.parent} failed: {done.stderr[-2000:]}")
    taken: dict[str, Any] = json.loads(found[0].removeprefix("TAKEN "))
    return {**taken, "load": round(os.getloadavg()[0], 1)}


def measured_stage(stage: str, catalog: Path, address: str) -> dict[str, Any]:
    """What a stage takes, the server's part included."""
    home = prefect_home(catalog.parent)
    before = (server_seconds(), database_bytes(home), task_runs(address))
    taken = run_apart("stage", stage, catalog, {"PREFECT_API_URL": f"{address}/api"})
    runs = settled_task_runs(address) - before[2]
    grown = database_bytes(home) - before[1]
    return {
        **taken,
        "server_seconds": round(server_seconds() - before[0], 2),
        "task_runs": runs,
        "database_bytes_a_task_run": round(grown / max(1, runs)),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page."""
    loads = [row["load"] for row in rows]
    served = [row for row in rows if not row.get("plain")]
    plain = [row for row in rows if row.get("plain")]
    lines = [
        "# What orchestration costs",
        "",
        "`python benchmarks/orchestration.py`: a city whose images are all one tiny picture and",
        f"whose priors are empty, {PAIRS_A_PART} pairs a shard, each stage a process of its own",
        f"against a server of its own (Prefect 3.8.8, SQLite). {os.cpu_count()} cores were shared",
        f"with other work (a load of {min(loads):.0f} to {max(loads):.0f}): read the processor",
        "times, not the wall times. Starting Python and importing is not counted in the time, and",
        "is in the memory. `again` finds everything done, as a flow.",
        "",
        "| pairs | stage | processor time | a pair | memory at most | store reads | MB read "
        "| server's | task runs | database a task run |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"{_own_part(row)} | {row['server_seconds']:.1f} s | {row['task_runs']} "
        f"| {row['database_bytes_a_task_run'] / 1000:.0f} kB |"
        for row in served
    ]
    lines += [*_shares(served), *_growth(served)]
    if plain:
        lines += [
            "",
            "Without a server (`--plain`), this program's own part alone:",
            "",
            "| pairs | stage | processor time | a pair | memory at most | store reads | MB read |",
            "|---|---|---|---|---|---|---|",
            *(f"{_own_part(row)} |" for row in plain),
            *_growth(plain),
        ]
    return "\n".join(lines) + "\n"


def _own_part(row: dict[str, Any]) -> str:
    return (
        f"| {row['pairs']:,} | {row['stage']} | {row['processor_seconds']:.1f} s "
        f"| {1000 * row['processor_seconds'] / row['pairs']:.1f} ms | {row['memory_mib']} MiB "
        f"| {row['reads']:,} | {row['bytes'] / 1e6:.1f}"
    )


def _shares(rows: list[dict[str, Any]]) -> list[str]:
    """What part of a real run it is."""
    taken: dict[int, float] = {}
    for row in rows:
        if row["stage"] != "again":
            own = row["processor_seconds"] + row["server_seconds"]
            taken[row["pairs"]] = taken.get(row["pairs"], 0.0) + own
    if not taken:
        return []
    shown = " | ".join(f"{seconds:g} s a pair" for seconds in SECONDS_A_PAIR)
    lines = [
        "",
        "What part of a run harvest and priors take, the server's time included, where the rest",
        f"takes {SECONDS_A_PAIR[0]:g} s a pair, as when this was first asked, and where it takes",
        f"{SECONDS_A_PAIR[1]:g} s, the prior alone as it is by default today:",
        "",
        f"| pairs | {shown} |",
        "|---|" + "---|" * len(SECONDS_A_PAIR),
    ]
    for pairs, own in taken.items():
        parts = [100 * own / (own + seconds * pairs) for seconds in SECONDS_A_PAIR]
        lines.append(f"| {pairs:,} | " + " | ".join(f"{part:.1f} %" for part in parts) + " |")
    return lines


def _growth(rows: list[dict[str, Any]]) -> list[str]:
    """How it grows from each number of pairs to the next."""
    by_size = {(row["pairs"], row["stage"]): row for row in rows}
    sizes = sorted({row["pairs"] for row in rows})
    lines = ["", "How often as much from one size to the next:", ""]
    lines += ["| pairs | stage | processor time | store reads | memory |"]
    lines += ["|---|---|---|---|---|"]
    names = ("processor_seconds", "reads", "memory_mib")
    for few, many in pairwise(sizes):
        for stage in STAGES:
            before, after = by_size.get((few, stage)), by_size.get((many, stage))
            if before is not None and after is not None:
                times = " | ".join(f"{after[name] / before[name]:.1f}" for name in names)
                lines.append(f"| {few:,} → {many:,} ({many / few:.3g} times) | {stage} | {times} |")
    return lines


def whole_city(pairs: int, folder: Path) -> dict[str, float]:
    """Processor seconds of what a harvest does with all of a city's captures at once."""
    plan = open_plan(write_catalog(folder, pairs), city="constant")
    listed = ConstantCity(pairs).captures()
    taken: dict[str, float] = {"pairs": pairs}

    def timed(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work gives
        began = time.process_time()
        made = work()
        taken[name] = round(time.process_time() - began, 2)
        return made

    rows = timed("rows", lambda: [capture_row(capture) for capture in listed])
    timed("digest", lambda: listing_digest(rows))
    made = timed("table", lambda: pa.Table.from_pylist(rows, schema=CAPTURES))
    rows = timed("read", made.to_pylist)
    table = timed("captures", lambda: capture_table([capture_of(row) for row in rows]))
    settings = pair_settings(plan.city("constant"))
    found = timed("pairs_chosen", lambda: make_pairs(table, **settings))
    if len(found) != pairs:
        raise RuntimeError(f"{len(found)} pairs were chosen of {pairs}")
    return taken


def report_whole_city(sizes: list[int]) -> None:
    """Measures and writes `whole_city` at each size."""
    rows = []
    for pairs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(whole_city(pairs, Path(folder)))
        print(json.dumps(rows[-1]), flush=True)
    names = [name for name in rows[0] if name != "pairs"]
    lines = [
        "# What a harvest does with all of a city at once",
        "",
        "`python benchmarks/orchestration.py --whole-city`: seconds of processor time, on cores",
        f"that were shared with other work (a load of {os.getloadavg()[0]:.0f}). All else is done",
        "shard by shard, and what a shard reads is the same at 10 and at 100 shards",
        "(`tests/tasks/test_slices.py`).",
        "",
        f"| pairs | {' | '.join(name.replace('_', ' ') for name in names)} | together |",
        f"|---|{'---|' * (len(names) + 1)}",
    ]
    for row in rows:
        cells = " | ".join(f"{row[name]:.2f}" for name in names)
        together = sum(row[name] for name in names)
        lines.append(f"| {row['pairs']:,} | {cells} | {together:.1f} |")
    write_json(RESULTS / "orchestration_whole_city.json", rows, indent=1)
    write_text(RESULTS / "orchestration_whole_city.md", "\n".join(lines) + "\n")


@contextmanager
def working_folder(given: Path | None) -> Iterator[Path]:
    """The folder to work in: one that stays, or one that goes."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Measures and writes the results."""
    if sys.argv[1:2] in (["stage"], ["plain"]):
        sys.meta_path.insert(0, WithoutPandas())
        run_stage(sys.argv[2], sys.argv[3], plain=sys.argv[1] == "plain")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", type=int, default=[1000, 1600, 10_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--plain", action="store_true", help="without a server")
    parser.add_argument("--whole-city", action="store_true", help="all of a city at once, alone")
    given = parser.parse_args()
    if given.whole_city:
        sys.meta_path.insert(0, WithoutPandas())
        report_whole_city(given.pairs)
        return
    results = given.results
    with working_folder(given.folder) as folder:
        noted = folder / "measured.json"
        rows = json.loads(noted.read_text()) if noted.exists() else []
        for pairs in given.pairs:
            there = {
                row["stage"]
                for row in rows
                if row["pairs"] == pairs and row.get("plain", False) == given.plain
            }
            home = folder / f"{'plain-' if given.plain else ''}{pairs}"
            home.mkdir(exist_ok=True)
            for row in measure(pairs, home, there, plain=given.plain):
                rows.append(row)
                print(json.dumps(row), flush=True)
                write_json(noted, rows)
                write_json(results / "orchestration.json", rows, indent=1)
                write_text(results / "orchestration.md", table(rows))
    if results != RESULTS:
        return
    costs = Path(__file__).with_name("costs.py")  # what follows from it in docs/scale.md
    subprocess.run([sys.executable, str(costs)], check=True)


if __name__ == "__main__":
    main()
