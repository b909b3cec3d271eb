"""What a first run waits for, and what a pair in flight holds: compiling, loading, memory.

    python benchmarks/cold_start.py --out benchmarks/results/cold_start

Every figure is of processes of their own, that find no compiled function (an empty
`NUMBA_CACHE_DIR`) or all of them; seconds of processor and of wall clock, the least and the median
of several processes. *Until the first match* is from the start of Python to the first prior of a
small pair, without what the process spends on making that pair. Memory is the peak resident size
(`VmHWM`): of Python with the libraries and a small pair matched, and what pairs of 1280×647 at the
default add to that, one or several in flight, divided by their number.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.whole_files import write_json, write_text

GOAL_SECONDS: Final = 1.0
GOAL_MEBIBYTES: Final = 37.0
SIZE: Final = (647, 1280)
SMALL: Final = (96, 160)
IN_FLIGHT: Final = (1, 2, 4)
HERE: Final = Path(__file__).resolve()

Figures = dict[str, Any]


def first_match() -> Figures:
    """In a child: from the start of Python to the first prior of a small pair."""
    began = time.process_time(), time.perf_counter()
    import numpy as np  # noqa: PLC0415 - loading is what is measured

    pair = [np.random.default_rng(n).integers(0, 255, (*SMALL, 3)).astype(np.uint8) for n in (0, 1)]
    from adapters.catalog import PriorSettings  # noqa: PLC0415
    from tasks.priors.pair_prior import extract_prior  # noqa: PLC0415

    loaded = time.process_time(), time.perf_counter()
    settings = PriorSettings(downscale=1, superpixel_downscale=1, superpixels=20)
    extract_prior(pair[0], pair[1], settings)
    used = time.process_time()
    return {
        # The processor time of the process includes the start of Python itself.
        "processor_seconds": used,
        "importing": loaded[1] - began[1],
        "first_prior": time.perf_counter() - loaded[1],
    }


def memory(pairs: int) -> Figures:
    """In a child: the peak before and after so many pairs at once, each three times over."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from adapters.catalog import PriorSettings  # noqa: PLC0415
    from tasks.priors.pair_prior import extract_prior  # noqa: PLC0415

    cv2.setNumThreads(1)

    def noise(seed: int, size: tuple[int, int]) -> Any:  # noqa: ANN401
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 255, (size[0] // 4, size[1] // 4, 3)).astype(np.uint8)
        return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)

    extract_prior(noise(0, SMALL), noise(1, SMALL), PriorSettings(downscale=1))
    given = [(noise(2 * n, SIZE), noise(2 * n + 1, SIZE)) for n in range(pairs)]
    before = peak()
    with ThreadPoolExecutor(pairs) as pool:
        for _ in range(3):
            list(pool.map(lambda two: extract_prior(two[0], two[1], PriorSettings()), given))
    held = sum(a.nbytes + b.nbytes for a, b in given) / 2**20
    return {"before": before, "added_per_pair": (peak() - before + held) / pairs}


def peak() -> float:
    """Peak resident size of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(what: str, cache: Path, *words: str) -> tuple[Figures, float, float]:
    """What a child prints, and its seconds of processor and of wall clock."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    command = (
        [sys.executable, "-m", "flows.cli.main", "warm-up", "--json"]
        if what == "warm-up"
        else [sys.executable, str(HERE), "--child", what, *words]
    )
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), used, wall


def measured(repeats: int) -> Figures:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="crosscity-cold-") as folder:
        cache = Path(folder)
        first, processor, wall = child("warm-up", cache)
        again = [child("warm-up", cache) for _ in range(repeats)]
        seconds = [child("first-match", cache) for _ in range(repeats)]
        held = {n: [child("memory", cache, str(n))[0] for _ in range(3)] for n in IN_FLIGHT}
    return {
        "compiled": first["compiled"],
        "compiling": {"processor_seconds": round(processor, 1), "wall_seconds": round(wall, 1)},
        "warm_up_again": {
            "compiled": max(found["compiled"] for found, _, _ in again),
            "processor_seconds": spread([used for _, used, _ in again]),
            "wall_seconds": spread([wall for _, _, wall in again]),
        },
        "first_match": {
            "processor_seconds": spread([found["processor_seconds"] for found, _, _ in seconds]),
            "wall_seconds": spread([wall for _, _, wall in seconds]),
            "importing_seconds": spread([found["importing"] for found, _, _ in seconds]),
            "first_prior_seconds": spread([found["first_prior"] for found, _, _ in seconds]),
        },
        "python_and_libraries_mebibytes": round(
            statistics.median(each["before"] for each in held[1]), 1
        ),
        "mebibytes_per_pair_in_flight": {
            str(n): spread([each["added_per_pair"] for each in found]) for n, found in held.items()
        },
    }


def spread(values: list[float]) -> list[float]:
    """The least and the median."""
    return [round(min(values), 2), round(statistics.median(values), 2)]


def table(found: Figures) -> str:
    """The figures as Markdown, with the goals."""
    again, first = found["warm_up_again"], found["first_match"]
    held = found["mebibytes_per_pair_in_flight"]

    def two(values: list[float]) -> str:
        return f"{values[0]:g} / {values[1]:g}"

    compiling, until = found["compiling"]["processor_seconds"], two(first["processor_seconds"])
    rows = [
        ("`crosscity warm-up`, nothing compiled: processor s", compiling, ""),
        ("… functions compiled", found["compiled"], ""),
        ("`crosscity warm-up` again: processor s", two(again["processor_seconds"]), ""),
        ("… functions compiled", again["compiled"], "0"),
        ("a second process until its first match: processor s", until, f"{GOAL_SECONDS:g}"),
        ("… of it importing: wall s", two(first["importing_seconds"]), ""),
        ("… of it the first small pair: wall s", two(first["first_prior_seconds"]), ""),
        ("Python, libraries and a small pair: MiB", found["python_and_libraries_mebibytes"], ""),
        *(
            (f"a pair, {n} in flight: MiB", two(values), f"{GOAL_MEBIBYTES:g}")
            for n, values in held.items()
        ),
    ]  # fmt: skip
    load = ", ".join(f"{value:g}" for value in found["conditions"]["load_average"])
    lines = [
        f"Least / median of several processes; {found['conditions']['processor']}, "
        f"{found['conditions']['cores']} cores, load {load}. Pairs of {SIZE[1]}×{SIZE[0]} at the "
        "default, their own pixels counted.",
        "",
        "| what | measured | goal |",
        "|---|---|---|",
        *(f"| {what} | {value} | {goal} |" for what, value, goal in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, or is one of the processes that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="path without suffix")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *words = options.child
        print(json.dumps(first_match() if what == "first-match" else memory(int(words[0]))))
        return
    if options.out is None:
        parser.error("--out is missing: where to write the figures")
    from benchmarks.conditions import conditions  # noqa: PLC0415 - loads NumPy

    under = conditions()
    found = {"about": __doc__.split("\n")[0], "conditions": under, **measured(options.repeats)}
    write_json(options.out.with_suffix(".json"), found, indent=1)
    write_text(options.out.with_suffix(".md"), table(found))


if __name__ == "__main__":
    main()
