"""Times each export of a city of 1 600 pictures with their labels and priors.

    python benchmarks/exports.py [--pictures 1600] [--only coco]

The writers of `crosscity export` get the four pictures of `tests/data` (640×320) again and
again under names of their own. What reading a store and predicting take is not in
it. A row that is there stays where only some formats are measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adapters.exports import FORMATS, ExportItem, exporter  # noqa: E402
from adapters.images import decode_label_png  # noqa: E402
from benchmarks.conditions import conditions  # noqa: E402
from benchmarks.whole_files import write_json, write_text  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
PICTURES: Final = ROOT / "tests" / "data" / "time_pairs"
MOVING: Final = 11
"""From this trainId on classes move: what is below stands for a prior."""


def main(
    pictures: Annotated[int, typer.Option(min=4, help="How many are exported.")] = 1600,
    only: Annotated[list[str], typer.Option(help="Only these formats.")] = list(FORMATS),  # noqa: B006
    output: Annotated[Path, typer.Option(help="Figures; the table lies beside them.")] = RESULTS
    / "exports.json",
) -> None:
    """Exports in each format into a folder that is removed, and writes times and sizes."""
    found: dict[str, Any] = json.loads(output.read_text("utf-8")) if output.exists() else {}
    items = stored_items()
    for name in only:
        with tempfile.TemporaryDirectory() as place:
            found[name] = measured(name, Path(place) / "out", items, pictures)
        print(name, found[name], flush=True)
        write_json(output, found, indent=1)
    write_text(output.with_suffix(".md"), as_table(found))


def stored_items() -> list[ExportItem]:
    """The pictures of `tests/data` with their labels."""
    items = []
    for path in sorted(PICTURES.glob("*/Images/Train/*.jpg")):
        labelled = PICTURES / "labels" / path.parents[2].name / f"{path.stem}.png"
        labels = decode_label_png(labelled.read_bytes(), labelled.name)
        height, width = labels.shape
        items.append(
            ExportItem(
                image_id=path.stem,
                jpeg=path.read_bytes(),
                size=(height, width),
                labels=labels,
                static=labels < MOVING,
                lat=35.6,
                lon=139.7,
                heading=0.0,
                captured_at=datetime(2024, 5, 1, tzinfo=UTC),
                split="train",
                place_id="p",
                licence="CC0-1.0",
                attribution="CrossCity",
            )
        )
    return items


def measured(name: str, folder: Path, items: list[ExportItem], count: int) -> dict[str, Any]:
    """Writes a city; wall and processor time, and what lies on disk."""
    started, used = time.perf_counter(), time.process_time()
    writer = exporter(name)(folder, "tokyo")
    for number in range(count):
        item = items[number % len(items)]
        writer.add(
            replace(
                item,
                image_id=f"tokyo_{number:05d}_0",
                place_id=f"p{number // 2}",
                lat=35.6 + number / 1e5,
                captured_at=datetime(2024, 5, 1, tzinfo=UTC) + timedelta(hours=number),
            )
        )
    writer.finish()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "pictures": count,
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(time.process_time() - used, 1),
        "load": round(os.getloadavg()[0], 1),
        "mb": round(size / 1e6),
    }


def as_table(found: dict[str, Any]) -> str:
    """The table with the conditions that it was measured under."""
    under = conditions()
    lines = [
        "# Exports",
        "",
        "Pictures with labels and priors, by the writers of `crosscity export`",
        "(`benchmarks/exports.py`); four of them again and again, so that what stores equal ones",
        "once (hf-dataset) is smaller than it would be.",
        f"{under['processor']}, {under['cores']} cores, pictures of 640×320; wall time grows",
        "with the load beside it, processor time is what compares.",
        "",
        "| format | pictures | wall, s | processor, s | load | MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in sorted(found.items()):
        cells = (one[key] for key in ("pictures", "wall_s", "cpu_s", "load", "mb"))
        lines.append(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
