"""How fast `crosscity store verify` reads a whole store again: bytes a second of one core.

    python benchmarks/store_verify.py            # 2 GB: half in large files, half in small ones

A store on a disk of its own folder with artifacts of random bytes: some of large files (weights),
some packed of many small ones (a shard's pictures), some of many small files as they are. The
command line is run as a user runs it, on the whole store; its processor seconds are those of the
process, Python's start counted. Beside it stands what SHA-256 alone takes for as many bytes in
memory, the bound. Writes `benchmarks/results/store_verify.md`.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import Store
from benchmarks.whole_files import write_text

RESULTS: Final = Path(__file__).parent / "results"
GOAL: Final = 300
"""Megabytes a second of a core."""
MEGABYTE: Final = 1_000_000
LARGE: Final = 50 * MEGABYTE
SMALL: Final = MEGABYTE // 5


def main(
    megabytes: Annotated[int, typer.Option(help="Of artifacts in the store.")] = 2000,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Makes the store, verifies it three times, and writes what that took."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="crosscity-verify-") as folder:
        catalog = _catalog(Path(folder))
        _fill(Store(Path(folder) / "store"), megabytes)
        start = min(_taken(["--version"]) for _ in range(3))
        whole = min(_taken(["store", "verify", "--catalog", str(catalog)]) for _ in range(3))
    bound = _hashed(megabytes)
    table = [
        "# Verifying a whole store",
        "",
        f"`python benchmarks/store_verify.py --megabytes {megabytes}`: half of the bytes in files",
        f"of {LARGE // MEGABYTE} MB, half in files of {SMALL / MEGABYTE:g} MB, read from a local",
        "disk (cached); least processor time of three runs of the command line, on one core.",
        "",
        "| what | processor s | MB a second of a core | goal |",
        "|---|---|---|---|",
        f"| `crosscity --version`: what a start takes | {start:.2f} | | |",
        f"| `crosscity store verify` | {whole:.2f} | {megabytes / whole:.0f} | {GOAL} |",
        f"| SHA-256 of as many bytes in memory | {bound:.2f} | {megabytes / bound:.0f} | |",
    ]
    write_text(output / "store_verify.md", "\n".join(table) + "\n")
    typer.echo("\n".join(table))


def _catalog(folder: Path) -> Path:
    path = folder / "data_catalog.yaml"
    catalog = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "cities": {},
    }
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    return path


def _fill(store: Store, megabytes: int) -> None:
    random = np.random.default_rng(0)
    half = megabytes * MEGABYTE // 2
    for size in (LARGE, SMALL):
        files = half // size
        each = max(1, files // 10)  # ten artifacts of either kind
        for first in range(0, files, each):
            key = f"{size}-{first}"
            with store.draft(
                "segmenter", "tokyo", key, inputs=[], parameters={}, version="1"
            ) as draft:
                for number in range(first, min(files, first + each)):
                    draft.file(f"{number}.bin").write_bytes(random.bytes(size))


def _taken(words: list[str]) -> float:
    """Processor seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "flows.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or ("verify" in words and "and 0 are not" not in done.stdout):
        raise RuntimeError(f"the command failed: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _hashed(megabytes: int) -> float:
    content = np.random.default_rng(1).bytes(MEGABYTE)
    return _busy(lambda: [hashlib.sha256(content) for _ in range(megabytes)])


def _busy(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    typer.run(main)
