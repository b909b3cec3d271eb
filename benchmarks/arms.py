"""Every arm on every city over several seeds: mIoU mean and standard deviation.

    python benchmarks/arms.py --city tokyo --seed 0 --seed 1 --seed 2

Runs the same flows as `crosscity demo` (finished parts are found in the store) plus the two cheap
baselines, and writes `arms.json` and `arms.md` into benchmarks/results. Nothing is chosen here:
settings come from the catalog, and the test split is scored once per arm and seed.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from crosscity.labels import CROSS_CITY_CLASSES
from flows.cli.progress import TerminalProgress
from flows.cli.server import quieten, running_server

ARMS = ("pretrained", "control", "bn", "ga", "ga_ca", "full", "fine_tuned")
RESULTS = Path(__file__).parent / "results"


def main(
    city: Annotated[list[str], typer.Option(help="Cities of the catalog.")],
    seed: Annotated[list[int], typer.Option(help="Seeds of the trainings.")],
    catalog: Annotated[Path, typer.Option()] = Path("data_catalog.yaml"),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Runs and reports the arms."""
    quieten(verbose=False)
    with running_server(catalog.absolute().parent):
        from tasks import progress  # noqa: PLC0415 - Prefect reads its settings at import

        with TerminalProgress() as shown:
            progress.listen(shown)
            rows = [row for name in city for one in seed for row in _run(name, one, str(catalog))]
    output.mkdir(parents=True, exist_ok=True)
    (output / "arms.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = _markdown(rows)
    (output / "arms.md").write_text(text, encoding="utf-8")
    print(text)


def _run(city: str, seed: int, catalog: str) -> list[dict[str, Any]]:
    from flows.adapt_city import adapt_city  # noqa: PLC0415
    from flows.demo import demo  # noqa: PLC0415
    from flows.evaluate_city import evaluate_city  # noqa: PLC0415
    from tasks.evaluation import read_evaluation  # noqa: PLC0415
    from tasks.workspace import open_workspace  # noqa: PLC0415

    started = time.monotonic()
    demo(city=city, seed=seed, catalog=catalog)
    seconds = time.monotonic() - started
    store = open_workspace(catalog).store
    rows = []
    for arm in ARMS:
        if arm in {"control", "bn"}:
            adapt_city(city=city, arm=arm, seed=seed, catalog=catalog)
        evaluated = read_evaluation(
            store, evaluate_city(city=city, arm=arm, seed=seed, catalog=catalog)
        )
        rows.append(
            {
                "city": city,
                "seed": seed,
                "arm": arm,
                "miou": evaluated.miou,
                "per_class": evaluated.per_class,
                "images": evaluated.images,
                "demo_seconds": round(seconds, 1),
            }
        )
    return rows


def _markdown(rows: list[dict[str, Any]]) -> str:
    """Tables of mean ± standard deviation over seeds, in percent."""
    cities = list(dict.fromkeys(row["city"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        f"mIoU in percent (13 classes, `score13`), mean ± standard deviation over seeds "
        f"{', '.join(map(str, seeds))}; in brackets the paired gain over pre-trained.",
        "",
        "| arm | " + " | ".join(cities) + " |",
        "|---|" + "---|" * len(cities),
    ]
    for arm in ARMS:
        cells = []
        for city in cities:
            values = _values(rows, city, arm)
            gains = [v - b for v, b in zip(values, _values(rows, city, "pretrained"), strict=True)]
            gain = "" if arm == "pretrained" else f" ({statistics.mean(gains):+.1f})"
            cells.append(f"{_spread(values)}{gain}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    for city in cities:
        lines += ["", f"IoU by class in {city}, mean over seeds:", ""]
        lines.append("| arm | " + " | ".join(c.short for c in CROSS_CITY_CLASSES) + " |")
        lines.append("|---|" + "---|" * len(CROSS_CITY_CLASSES))
        for arm in ARMS:
            means = [_mean_iou(rows, city, arm, c.name) for c in CROSS_CITY_CLASSES]
            lines.append(f"| {arm} | " + " | ".join(means) + " |")
    return "\n".join(lines) + "\n"


def _values(rows: list[dict[str, Any]], city: str, arm: str) -> list[float]:
    return [100 * row["miou"] for row in rows if (row["city"], row["arm"]) == (city, arm)]


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def _mean_iou(rows: list[dict[str, Any]], city: str, arm: str, name: str) -> str:
    chosen = [r["per_class"][name] for r in rows if (r["city"], r["arm"]) == (city, arm)]
    known = [100 * iou for iou in chosen if iou == iou]  # noqa: PLR0124 - NaN is unequal to itself
    return f"{statistics.mean(known):.1f}" if known else "–"


if __name__ == "__main__":
    typer.run(main)
