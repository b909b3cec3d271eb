"""What a prediction costs with memory that is kept from image to image, and with glibc as it is.

    python benchmarks/freed_memory.py [--rounds 6]

`street`'s network predicts images of 256×512 and of 512×1024 one by one on one thread of a
processor, in processes of their own in turns: one as `crosscity predict`, evaluations and
judgements do (`crosscity.freed_memory`), one without. Reported are seconds of processor time and
page faults an image, and by how much the former differs between neighbours, with a 95 % interval
(Student's t over rounds). What a fault costs depends on the machine. Writes
`benchmarks/results/freed_memory.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.paired import interval
from benchmarks.whole_files import write_json, write_text
from crosscity.evaluation import predict
from crosscity.freed_memory import keep_freed_memory
from crosscity.segmenters import build_segmenter

RESULTS: Final = Path(__file__).parent / "results"
SIZES: Final = ((256, 512), (512, 1024))
IMAGES: Final = 16
WAYS: Final = ("kept", "handed back")


def main(rounds: Annotated[int, typer.Option(min=2, help="Of each way and size.")] = 6) -> None:
    """Runs the comparison and writes the results."""
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for size in SIZES:
            for way in WAYS if number % 2 else reversed(WAYS):
                rows.append(_in_a_process(way, size))
    measured = {"rounds": rounds, "images": IMAGES, "load": round(load, 1), "runs": rows}
    write_json(RESULTS / "freed_memory.json", measured, indent=1)
    write_text(RESULTS / "freed_memory.md", page(measured))
    print(page(measured))


def page(measured: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Predictions in memory that is kept",
        "",
        f"`python benchmarks/freed_memory.py --rounds {measured['rounds']}`: `street`'s network on",
        f"one thread, {measured['images']} images a process; the machine's load was "
        f"{measured['load']} before.",
        "",
        "| image | memory | processor time an image | page faults an image | processor time |",
        "|---|---|---|---|---|",
    ]
    for height, width in SIZES:
        rows = {way: _rows(measured, way, (height, width)) for way in WAYS}
        ratios = [
            kept["seconds"] / other["seconds"]
            for kept, other in zip(rows["kept"], rows["handed back"], strict=True)
        ]
        for way in WAYS:
            seconds = statistics.median(row["seconds"] for row in rows[way])
            faults = statistics.median(row["faults"] for row in rows[way])
            ratio = _with_interval(ratios) if way == "kept" else ""
            lines.append(
                f"| {height}×{width} | {way} | {1000 * seconds:.0f} ms | {faults:,.0f} | {ratio} |"
            )
    return "\n".join(lines) + "\n"


def _with_interval(ratios: list[float]) -> str:
    """By how many percent the time differs, and the interval."""
    return interval([100 * (ratio - 1) for ratio in ratios]) + " %"


def _rows(measured: dict[str, Any], way: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    return [row for row in measured["runs"] if (row["way"], tuple(row["size"])) == (way, size)]


def _in_a_process(way: str, size: tuple[int, int]) -> dict[str, Any]:
    command = [sys.executable, __file__, "run", way, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def _run(way: str, size: tuple[int, int]) -> None:
    torch.set_num_threads(1)
    if way == "kept":
        keep_freed_memory()
    network = build_segmenter("efficientnet_lite0", {}, seed=0)
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (IMAGES, *size, 3), dtype=np.uint8)
    predict(network, images[0], image_size=size)
    faults, started = _faults(), time.process_time()
    for image in images:
        predict(network, image, image_size=size)
    row = {
        "way": way,
        "size": size,
        "seconds": (time.process_time() - started) / IMAGES,
        "faults": (_faults() - faults) / IMAGES,
    }
    print(json.dumps(row))


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:  # one of the processes that are compared
        _run(sys.argv[2], (int(sys.argv[3]), int(sys.argv[4])))
    else:
        typer.run(main)
