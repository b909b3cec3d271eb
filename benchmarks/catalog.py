"""Processor time of opening a catalog, beside the way that it was opened before.

    python benchmarks/catalog.py            # writes benchmarks/results/catalog.{json,md}

Before: PyYAML's parser in Python, once for the lines and once for the values, in every task. Now:
libyaml's parser, once, and the validated catalog is remembered while the bytes of its files stay
the same. Ratios are what carries over to another machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import Catalog, load_catalog
from adapters.catalog.loading import _load_sources, _patterns
from benchmarks.whole_files import write_json, write_text

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parents[1]
SIZES = (4, 100, 1000, 2000)
REPEATS = 3

HEAD = """\
version: 1
store: local
stores:
  local: {url: store}
datasets:
  frankfurt: {kind: simulated, style: frankfurt, image_size: [64, 128], train: 4, val: 1, test: 2}
segmenters:
  compact: {architecture: compact, source: frankfurt}
trainings:
  demo: {preset: demo}
"""
CITY = """\
  city-{n}:
    provider: {{kind: panoramax, licences: [CC-BY-SA-4.0], headings: [0, 180]}}
    area:
      bbox: [{west}, 48.80, {east}, 48.90]
    places: 1600
    test_places: 100
    seed: {n}
    image_size: [512, 1024]
    prior: {{downscale: 4, k: 3}}
    segmenter: compact
    training: demo
    schedule: "0 3 * * 1"
"""


def _city(number: int) -> str:
    west = -170 + number * 0.1
    return CITY.format(n=number, west=round(west, 2), east=round(west + 0.08, 2))


def _one_file(folder: Path, cities: int) -> Path:
    path = folder / "catalog.yaml"
    path.write_text(HEAD + "cities:\n" + "".join(map(_city, range(cities))), encoding="utf-8")
    return path


def _a_file_a_city(folder: Path, cities: int) -> Path:
    (folder / "cities").mkdir()
    for number in range(cities):
        text = "cities:\n" + _city(number)
        (folder / "cities" / f"city-{number}.yaml").write_text(text, encoding="utf-8")
    path = folder / "catalog.yaml"
    path.write_text(HEAD + "include: cities/*.yaml\n", encoding="utf-8")
    return path


def _as_before(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    yaml.compose(text, Loader=yaml.SafeLoader)
    Catalog.model_validate(yaml.safe_load(text))


def _first(path: Path) -> None:
    _load_sources.cache_clear()
    _patterns.cache_clear()
    load_catalog(path)


def _seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median processor time."""
    measured = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        measured.append(time.process_time() - start)
    return statistics.median(measured)


def measure(cities: int) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
        path, split = _one_file(Path(one), cities), _a_file_a_city(Path(many), cities)
        before = _seconds(lambda: _as_before(path))
        first = _seconds(lambda: _first(path))
        again = _seconds(lambda: load_catalog(path), 20)
        split_first = _seconds(lambda: _first(split))
        split_again = _seconds(lambda: load_catalog(split), 20)
    return {
        "cities": cities,
        "before_s": before,
        "first_s": first,
        "again_s": again,
        "split_first_s": split_first,
        "split_again_s": split_again,
        "first_ratio": before / first,
        "again_ratio": before / again,
    }


def main() -> None:
    """Measures and writes the results."""
    measure(SIZES[0])  # imports and pydantic's first use are not the catalog's
    rows = [measure(cities) for cities in SIZES]
    lines = [
        "# Opening the catalog",
        "",
        "Processor seconds of one process (`python benchmarks/catalog.py`). “Before”: both parsers",
        "in Python, in every task. “First”: libyaml, parsed and validated. “Again”: the same",
        "process, the files unchanged. “Split”: a file a city, by `include`.",
        "",
        "| cities | before, every time | first | again | first is faster by | again is faster by "
        "| split, first | split, again |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row['cities']} | {row['before_s']:.3f} | {row['first_s']:.3f} "
            f"| {row['again_s']:.5f} | {row['first_ratio']:.1f} × | {row['again_ratio']:.0f} × "
            f"| {row['split_first_s']:.3f} | {row['split_again_s']:.4f} |"
            for row in rows
        ),
    ]
    write_json(RESULTS / "catalog.json", rows, indent=2)
    write_text(RESULTS / "catalog.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
