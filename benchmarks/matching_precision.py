"""What the correlation of matching would gain and lose in bf16 or int8, and how far its limit is.

    python benchmarks/matching_precision.py --out benchmarks/results/matching_precision

Three things in one run, one thread: products of the shapes that matching has, by numpy in float32
(what matching uses) and by torch in float32, bf16 and int8; what part of a pair's processor time
products are, and what a pair would take if they ran at the best rate; and whether the matches stay
if the operands are rounded: descriptors to bf16 with responses in bf16 (what torch returns), or to
eight bits with sums in full. Rounding is imitated in float32, so that times are of products alone.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.conditions import conditions
from benchmarks.matching import accuracy, by_matches, known_pair
from benchmarks.whole_files import write_json, write_text
from crosscity.matching import Matches, deep_matching
from crosscity.matching import correlation as correlation_module
from crosscity.matching import refining as refining_module
from crosscity.matching.correlation import BLOCK, TERMS, TILE

MATCHING = importlib.import_module("crosscity.matching.deep_matching")
Float = npt.NDArray[np.float32]
SETTINGS: dict[str, dict[str, Any]] = {
    "quartered, radius 128 (the default)": {"downscale": 4, "search_radius": 128},
    "halved, radius 128": {"downscale": 2, "search_radius": 128},
    "halved, radius 128, refined": {"downscale": 2, "search_radius": 128, "refine": True},
}
PADDED = (TERMS + 15) // 16 * 16
"""Terms of a product in bf16 or int8, filled up with zeros."""


def rates(repeats: int = 30) -> dict[str, float]:
    """Gigaoperations a second of one tile's product, and of a large one in float32."""
    random = np.random.default_rng(0)
    a, b = (random.random(shape, dtype=np.float32) for shape in ((BLOCK, TERMS), (TERMS, TILE)))
    out = np.empty((BLOCK, TILE), dtype=np.float32)
    large = random.random((2048, 2048), dtype=np.float32)
    more = PADDED - TERMS
    first = torch.nn.functional.pad(torch.from_numpy(a), (0, more))
    second = torch.nn.functional.pad(torch.from_numpy(b), (0, 0, 0, more))
    halves = first.bfloat16(), second.bfloat16()
    bytes_ = (127 * first).to(torch.int8), (127 * second).to(torch.int8)
    tile = 2.0 * BLOCK * TERMS * TILE
    return {
        "float32, numpy": tile / seconds(lambda: np.matmul(a, b, out=out), repeats),
        "float32, torch": tile / seconds(lambda: first @ second, repeats),
        "bf16, torch": tile / seconds(lambda: halves[0] @ halves[1], repeats),
        "int8, torch": tile / seconds(lambda: torch._int_mm(*bytes_), repeats),
        "float32, numpy, 2048 cubed": 2.0 * 2048**3 / seconds(lambda: large @ large, 5),
    }


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor seconds of this thread."""
    work()
    measured = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        measured.append(time.thread_time() - started)
    return statistics.median(measured)


class Clock:
    """Processor seconds in, and operations of, the products of matching."""

    def __init__(self) -> None:
        self.seconds = self.operations = 0.0

    def matmul(self, a: Float, b: Float, out: Float) -> None:
        """`np.matmul`, counted."""
        started = time.thread_time()
        np.matmul(a, b, out=out)
        self.seconds += time.thread_time() - started
        self.operations += 2.0 * len(a) * a.shape[1] * b.shape[1]

    def near(self, *arguments: Any) -> None:  # noqa: ANN401 - passed on
        """The products of refining, which are loops, with their pooling; only what is asked for."""
        started = time.thread_time()
        _NEAR(*arguments)
        self.seconds += time.thread_time() - started
        frames, begin, end = arguments[5], arguments[-2], arguments[-1]
        self.operations += 2.0 * TERMS * (end - begin) * frames[2] * frames[3]


_NEAR = refining_module._correlate_near


class _Numpy:
    """Numpy as the module of the correlation sees it, with another product."""

    def __init__(self, clock: Clock) -> None:
        self.matmul = clock.matmul

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - numpy's
        return getattr(np, name)


@contextmanager
def clocked() -> Iterator[Clock]:
    """Counts the products of matching inside."""
    clock = Clock()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(correlation_module, "np", _Numpy(clock)))
        stack.enter_context(mock.patch.object(refining_module, "_correlate_near", clock.near))
        yield clock


def in_bf16(values: Float) -> Float:
    """Rounded to bf16."""
    rounded: Float = torch.from_numpy(values).bfloat16().float().numpy()
    return rounded


@contextmanager
def rounded(precision: str) -> Iterator[None]:
    """Matching whose products are rounded as they would be in this precision."""
    made, finish = MATCHING.pixel_descriptors, correlation_module._Correlation._finish

    def of_descriptors(*arguments: Any) -> Float:  # noqa: ANN401 - passed on
        found = made(*arguments)
        if precision == "int8":
            found[:-1] = np.rint(found[:-1] * 255) / 255
            return np.asarray(found, dtype=np.float32)
        return in_bf16(found)

    def finish_rounded(self: Any, tile: Float, *rest: Any) -> None:  # noqa: ANN401 - passed on
        tile[...] = in_bf16(tile)
        finish(self, tile, *rest)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(MATCHING, "pixel_descriptors", of_descriptors))
        if precision == "bf16":
            stack.enter_context(
                mock.patch.object(correlation_module._Correlation, "_finish", finish_rounded)
            )
        yield


def agreement(ours: Matches, exact: Matches, cell: int) -> tuple[float, float]:
    """Percent of the exact matches that are the same, and that lie within a cell."""
    at = {(x, y): n for n, (x, y) in enumerate(zip(ours.x_a, ours.y_a, strict=True))}
    off = []
    for n, (x, y) in enumerate(zip(exact.x_a, exact.y_a, strict=True)):
        other = at.get((x, y))
        off.append(
            np.inf
            if other is None
            else max(
                abs(ours.x_b[other] - exact.x_b[n]), abs(ours.y_b[other] - exact.y_b[n])
            )
        )  # fmt: skip
    return 100 * float(np.mean(np.array(off) == 0)), 100 * float(np.mean(np.array(off) <= cell))


def measure(count: int) -> dict[str, Any]:
    """Everything, on so many pairs."""
    pairs = [known_pair(647, 1280, seed) for seed in range(count)]
    reached = rates()
    whole_rate = reached["float32, numpy"]
    rows: list[dict[str, Any]] = []
    for name, options in SETTINGS.items():
        settings = {**options, "threads": 1}
        deep_matching(*pairs[0][:2], **settings)
        used = []
        for a, b, _ in pairs:
            started = time.process_time()
            deep_matching(a, b, **settings)
            used.append(time.process_time() - started)
        with clocked() as clock:
            found = [deep_matching(a, b, **settings) for a, b, _ in pairs]
        total, products = statistics.mean(used), clock.seconds / count
        work = clock.operations / count
        row: dict[str, Any] = {
            "setting": name,
            "seconds": total,
            "products": products,
            "gigaoperations": work / 1e9,
            "of_the_rate": work / products / whole_rate,
            "limit_float32": work / whole_rate,
            "with_int8": total - products + work / reached["int8, torch"],
            "with_bf16": total - products + work / reached["bf16, torch"],
        }
        if not options.get("refine"):
            cell = 4 * options["downscale"]
            for precision in ("bf16", "int8"):
                with rounded(precision):
                    others = [deep_matching(a, b, **settings) for a, b, _ in pairs]
                shares = [agreement(o, f, cell) for o, f in zip(others, found, strict=True)]
                row[precision] = {
                    "same": statistics.mean(same for same, _ in shares),
                    "within_a_cell": statistics.mean(near for _, near in shares),
                    **_accuracy(others, pairs),
                }
            row["float32"] = _accuracy(found, pairs)
        rows.append(row)
        print(row, flush=True)
    return {"conditions": conditions(), "pairs": count, "rates": reached, "rows": rows}


def _accuracy(found: list[Matches], pairs: list[tuple[Any, ...]]) -> dict[str, float]:
    went = [
        by_matches((m.x_a, m.y_a, m.x_b, m.y_b), a.shape)
        for m, (a, _, _) in zip(found, pairs, strict=True)
    ]
    return accuracy(went, [truth for _, _, truth in pairs])


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    of_rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found["rates"].items())
    lines = [
        f"{found['pairs']} pairs of 1280×647, one thread, processor seconds a pair; "
        f"{found['conditions']['processor']}, BLAS kernel asked for: "
        f"{found['conditions']['blas_kernel_asked_for']}.",
        "",
        f"Gigaoperations a second of a tile's product ({BLOCK} × {TERMS} × {TILE}): {of_rates}.",
        "",
        "| setting | seconds | of it products | gigaoperations | of the tile's rate | "
        "products at the tile's rate | a pair, products in bf16 | … in int8 |",
        "|" + "---|" * 8,
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['setting']} | {row['seconds']:.2f} | {row['products']:.3f} | "
            f"{row['gigaoperations']:.1f} | {100 * row['of_the_rate']:.0f} % | "
            f"{row['limit_float32']:.3f} | {row['with_bf16']:.2f} | {row['with_int8']:.2f} |"
        )
    lines += [
        "",
        "The last two columns are bounds, not measured: products at torch's rate, nothing for "
        "rounding and copying. Those of refining are loops, timed with their pooling.",
        "",
        "| setting | products in | same match | within a cell | ≤ 3 px | ≤ 5 px | ≤ 10 px |",
        "|" + "---|" * 7,
    ]
    for row in found["rows"]:
        for name in ("float32", "bf16", "int8"):
            if name in row:
                part = row[name]
                kept = [f"{part[k]:.1f}" if k in part else "–" for k in ("same", "within_a_cell")]
                shares = [str(part[f"within_{n}"]) for n in (3, 5, 10)]
                lines.append(f"| {row['setting']} | {name} | {' | '.join(kept + shares)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True, help="path without suffix")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = measure(options.pairs)
    write_json(options.out.with_suffix(".json"), found, indent=1)
    write_text(options.out.with_suffix(".md"), table(found))


if __name__ == "__main__":
    main()
