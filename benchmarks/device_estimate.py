"""What matching one pair asks of an accelerator, counted and not measured.

    python benchmarks/device_estimate.py --out benchmarks/results/device_estimate

Floating-point operations of the products, bytes that must go through the memory, and launches, from
the sizes of the maps and blocks that the library itself computes; how many cells backtracking
reaches is counted on a pair of a simulated city where that does not take too long. Divided by what
a device can do, each gives a time below which no program of this kind comes; their sum, where
nothing overlaps, is the estimate. Measured figures come from `benchmarks/on_gpu.sh`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.whole_files import write_json, write_text
from crosscity.matching.correlation import PATCH
from crosscity.matching.descriptors import ORIENTATIONS, grey_image
from crosscity.matching.device_operands import operands_of
from crosscity.matching.device_stages import Level, Reached
from crosscity.matching.on_device import matched
from crosscity.matching.pyramid import level_count
from crosscity.matching.tensor_stages import TensorStages
from crosscity.matching.triton_blocks import block_shape, blocks_of
from crosscity.matching.windows import windows_of_level
from simcity import STYLES, render

SIZE: Final = (647, 1280)
SETTINGS: Final = {
    "default (quartered, radius 128)": (4, 128),
    "halved, radius 128": (2, 128),
    "halved, full": (2, None),
}
TERMS: Final = 144
"""Of a product: 129, filled up."""
FILTER_PASSES: Final = 60
"""Times that a value of a full-size orientation map is read or written while descriptors are made:
two smoothings of ten multiply-adds along each of two axes, three numbers each."""
LAUNCHES: Final = {"once": 337, "a level": 29}
"""Operations of torch and copies to the device, of two images and of each level;
`tests/crosscity/matching/test_kernels.py` holds them."""
DEVICES: Final = {
    "H100 SXM (data sheet)": {"flops": 989e12, "bytes": 3.35e12, "launch": 5e-6},
}


@dataclass
class Work:
    """What a pair asks for.

    Attributes:
        flops: Of the products.
        bytes: By stage; of what the stage below wrote, each cell counts once a parent.
        launches: Of operations and kernels.
    """

    flops: float = 0.0
    bytes: dict[str, float] = field(default_factory=dict)
    launches: int = 0


class Counting(TensorStages):
    """Stages that note how many cells were reached."""

    seen: list[int]

    def descend(self, level: Level, reached: Reached) -> Reached:
        """As in `Stages`."""
        self.seen.append(len(reached.patch))
        return super().descend(level, reached)

    def reciprocal(self, level: Level, reached: Reached) -> Any:  # noqa: ANN401 - `AtomicMatches`
        """As in `Stages`."""
        self.seen.append(len(reached.patch))
        return super().reciprocal(level, reached)


def reached_cells(downscale: int, radius: int) -> list[int]:
    """Cells that backtracking goes on from, by level from the top."""
    scale = {1: 0, 2: 1, 4: 2}[downscale]
    grid = PATCH * downscale
    height, width = (side // grid * grid for side in SIZE)
    a, b = (
        grey_image(
            render(
                STYLES["tokyo"], seed=0, place=7000, time=when, height=SIZE[0], width=SIZE[1]
            ).image
        )
        for when in (0, 1)
    )
    stages = Counting(2**24)
    object.__setattr__(stages, "seen", [])
    with torch.inference_mode():
        operands = operands_of(a[:height, :width], b, scale, torch.device("cpu"))
        matched(operands, stages, 1.4, -(-radius // downscale))
    return stages.seen


def work_of(downscale: int, radius: int | None, reached: list[int]) -> Work:
    """Everything of one pair but, without `reached`, backtracking."""
    rows, columns = (side // (PATCH * downscale) for side in SIZE)
    whole = (SIZE[0] // downscale + 1, SIZE[1] // downscale + 1)
    cells = None if radius is None else -(-radius // downscale)
    made = Work()
    full = float(np.prod(SIZE))
    made.bytes["descriptors"] = 2 * full * ORIENTATIONS * 4 * FILTER_PASSES
    windows = windows_of_level(0, rows, columns, whole, cells)
    size, tile = block_shape(windows)
    blocks = blocks_of(windows, columns, size)
    tiles = [-(-int(most.max()) // by) for most, by in zip(blocks.extent, tile, strict=True)]
    programs = len(blocks.first) * tiles[0] * tiles[1]
    made.flops = programs * 9.0 * 2 * TERMS * size * tile[0] * tile[1]
    in_windows = float(np.prod(whole)) * TERMS
    stored = 2.0 * len(windows) * ((windows.height + 1) // 2) * ((windows.width + 1) // 2)
    # Cut out in floats, put into half floats, and read by the kernel at least once.
    made.bytes["correlation"] = in_windows * (4 + 4 + 2 + 2) + stored
    levels = level_count(PATCH * rows, PATCH * columns)
    for number in range(1, levels):
        above = windows_of_level(number, rows, columns, whole, cells)
        read, below = 4 * stored, stored
        stored = 2.0 * len(above) * ((above.height + 1) // 2) * ((above.width + 1) // 2)
        # Of the four parents that read a map, neighbours find it in the cache, or none does.
        made.bytes[f"level {number}, at least"] = below + stored
        made.bytes[f"level {number}, at most"] = read + stored
    if reached:
        # Key, score and entry of four ways each, sorted: some ten passes over 16 bytes.
        made.bytes["backtracking"] = sum(4.0 * count * 16 * 10 for count in reached)
    made.launches = LAUNCHES["once"] + LAUNCHES["a level"] * levels + 2 * levels + 1
    return made


def estimate(work: Work, device: dict[str, float]) -> dict[str, float]:
    """Milliseconds of each, and pairs a second where nothing overlaps."""
    least = sum(v for name, v in work.bytes.items() if not name.endswith("at most"))
    most = sum(v for name, v in work.bytes.items() if not name.endswith("at least"))
    parts = {
        "products_ms": 1e3 * work.flops / device["flops"],
        "memory_ms_at_least": 1e3 * least / device["bytes"],
        "memory_ms_at_most": 1e3 * most / device["bytes"],
        "launches_ms": 1e3 * work.launches * device["launch"],
    }
    bound = max(parts["products_ms"], parts["memory_ms_at_least"])
    whole = parts["products_ms"] + parts["memory_ms_at_most"] + parts["launches_ms"]
    return {
        **{name: round(value, 3) for name, value in parts.items()},
        "roofline_pairs_per_second": round(1e3 / bound, 1),
        "estimated_pairs_per_second": round(1e3 / whole, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        f"Matching of one pair of {SIZE[1]}×{SIZE[0]} by the kernels: counted, not measured. "
        "Memory: if every parent of a map finds it in the cache, or none. The roofline is the "
        "larger of products and memory at least; the estimate adds products, memory at most and "
        "launches, as if nothing overlapped.",
        "",
        "| setting | device | Tflop | GB | launches | products ms | memory ms | launches ms | "
        "roofline pairs/s | estimate pairs/s |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        least, most = row["gigabytes"]
        cells = [
            row["setting"],
            row["device"],
            f"{row['teraflop']:.2f}",
            f"{least:.1f} … {most:.1f}",
            str(row["launches"]),
            f"{row['products_ms']:.2f}",
            f"{row['memory_ms_at_least']:.2f} … {row['memory_ms_at_most']:.2f}",
            f"{row['launches_ms']:.2f}",
            f"{row['roofline_pairs_per_second']:.0f}",
            f"{row['estimated_pairs_per_second']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the estimate as JSON and Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="path without suffix")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for setting, (downscale, radius) in SETTINGS.items():
        reached = [] if radius is None else reached_cells(downscale, radius)
        work = work_of(downscale, radius, reached)
        ends = ("at most", "at least")
        sums = [
            sum(v for name, v in work.bytes.items() if not name.endswith(end)) / 1e9 for end in ends
        ]
        for device, abilities in DEVICES.items():
            rows.append(
                {
                    "setting": setting,
                    "device": device,
                    "teraflop": round(work.flops / 1e12, 4),
                    "gigabytes": [round(value, 3) for value in sums],
                    "bytes": work.bytes,
                    "reached": reached,
                    "launches": work.launches,
                    **estimate(work, abilities),
                }
            )
            print(rows[-1], flush=True)
    kept = {"size": SIZE, "devices": DEVICES, "rows": rows}
    write_json(options.out.with_suffix(".json"), kept, indent=1)
    write_text(options.out.with_suffix(".md"), table(rows))


if __name__ == "__main__":
    main()
