"""Dense matching: time, memory, matches and accuracy, as ratios in one run.

python benchmarks/matching.py --out benchmarks/results/matching    # .json, .md and .png
    --reference /path/to/deepmatching    also the authors' program
    --device cuda                        also pairs per second on a device, and its roofline
    --throughput-only                    nothing but that (benchmarks/on_gpu.sh)

Pictures are views of the simulated cities, warped by a known homography and a known bend, and given
another light; so every pixel's partner is known. Against OpenCV's DIS and DeepFlow, which are dense
flows (DeepFlow contains no DeepMatching). Every row is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.conditions import conditions
from benchmarks.whole_files import write_json, write_text

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

SIZES = ((320, 640), (647, 1280))
SETTINGS: dict[str, dict[str, float | None]] = {
    "quarter": {"downscale": 4, "search_radius": None},
    "quarter, radius 128": {"downscale": 4, "search_radius": 128},
    "half, radius 128": {"downscale": 2, "search_radius": 128},
    "half, radius 128, refined": {"downscale": 2, "search_radius": 128, "refine": True},
    "half, refined": {"downscale": 2, "search_radius": None, "refine": True},
    "half": {"downscale": 2, "search_radius": None},
}
FLOWS = ("DIS", "DeepFlow")
PIXELS = (3, 5, 10)
CHANGE = 0.12
"""By how much of the sides a corner moves, at most."""
GRID = 8
"""Pixels between the places at which all methods are compared."""


def known_pair(height: int, width: int, seed: int) -> tuple[Image, Image, Float]:
    """Two pictures and, for each pixel of the first, where it went: (H, W, 2) float32 (x, y)."""
    from simcity import STYLES, render  # noqa: PLC0415 - not in the measured process

    random = np.random.default_rng(seed)
    style = STYLES[("rome", "rio", "tokyo", "taipei")[seed % 4]]
    view = render(style, seed=0, place=7000 + seed, time=0, height=height, width=width).image
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    moved = corners + random.uniform(-CHANGE, CHANGE, (4, 2)).astype(np.float32) * (width, height)
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bend = [
        cv2.resize(random.normal(size=(4, 6)).astype(np.float32), (width, height), None, 0, 0, 2)
        for _ in range(2)
    ]
    bent = np.stack([x + bend[0] * width / 160, y + bend[1] * width / 160], axis=-1)
    # The second picture is looked up in the first; where a pixel of the first went is its inverse.
    back = cv2.perspectiveTransform(bent.reshape(-1, 1, 2), homography).reshape(height, width, 2)
    second = _looked_up(view.astype(np.float32), back.astype(np.float32))
    light = np.clip(second**0.9 * 1.3 + 12, 0, 255)
    light += random.normal(0, 2, light.shape)
    return view, np.clip(light, 0, 255).astype(np.uint8), _inverse(back.astype(np.float32))


def _looked_up(values: Float, where: Float) -> Float:
    """Values at (x, y) of each pixel; beyond the border those of the border."""
    found = cv2.remap(
        values,
        np.ascontiguousarray(where[..., 0]),
        np.ascontiguousarray(where[..., 1]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(found, dtype=np.float32)


def _inverse(back: Float) -> Float:
    """The inverse of a smooth map by fixed-point iteration; NaN where it leaves the picture."""
    height, width = back.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    target = np.stack([x, y], axis=-1)
    guess = target.copy()
    for _ in range(60):
        there = _looked_up(back, guess)
        guess += 0.7 * (target - there)
    there = _looked_up(back, guess)
    inside = (guess >= 0).all(axis=-1) & (guess[..., 0] < width) & (guess[..., 1] < height)
    inside &= np.abs(there - target).max(axis=-1) < 0.2
    guess[~inside] = np.nan
    return guess


def by_matches(found: tuple[Float, ...], shape: tuple[int, ...]) -> Float:
    """Where each place of the grid goes by its nearest match: (h, w, 2)."""
    x_a, y_a, x_b, y_b = found
    height, width = shape[:2]
    seeds = np.full((height, width), 255, dtype=np.uint8)
    seeds[y_a.astype(int), x_a.astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    at = np.zeros((labels.max() + 1, 2), dtype=np.float32)
    at[labels[y_a.astype(int), x_a.astype(int)]] = np.stack([x_b - x_a, y_b - y_a], axis=1)
    y, x = np.mgrid[GRID // 2 : height : GRID, GRID // 2 : width : GRID]
    went: Float = at[labels[y, x]] + np.stack([x, y], axis=-1).astype(np.float32)
    return went


def by_flow(flow: Float) -> Float:
    """Where each place of the grid goes by a dense flow."""
    y, x = np.mgrid[GRID // 2 : flow.shape[0] : GRID, GRID // 2 : flow.shape[1] : GRID]
    went: Float = flow[y, x] + np.stack([x, y], axis=-1).astype(np.float32)
    return went


def run_method(method: str, setting: str, threads: int) -> Callable[[Image, Image], Float]:
    """What to call on a pair; the result is compared outside the measured time."""
    if method == "crosscity":
        from crosscity.matching import deep_matching  # noqa: PLC0415

        options = SETTINGS[setting]

        def ours(a: Image, b: Image) -> Float:
            found = deep_matching(a, b, **options, threads=threads)  # type: ignore[arg-type]
            return np.stack([found.x_a, found.y_a, found.x_b, found.y_b])

        return ours
    cv2.setNumThreads(threads)
    flow: Any = (
        cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if method == "DIS"
        else cv2.optflow.createOptFlow_DeepFlow()
    )

    def theirs(a: Image, b: Image) -> Float:
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (a, b)]
        return np.asarray(flow.calc(grey[0], grey[1], None), dtype=np.float32)

    return theirs


def peak_mib(process: int | str) -> float:
    """Peak resident memory of a running process; `getrusage` would count its parent's as well."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def measure_here(method: str, setting: str, folder: Path, threads: int) -> dict[str, object]:
    """One row: all pairs of a folder, in this process."""
    paths = sorted(folder.glob("*.npz"))
    run = run_method(method, setting, threads)
    with np.load(paths[0]) as pair:
        run(pair["a"][:128, :160].copy(), pair["b"][:128, :160].copy())  # loads the compiled code
    results, wall, processor = [], 0.0, 0.0
    for path in paths:
        with np.load(path) as pair:
            a, b = pair["a"], pair["b"]
        started, used = time.perf_counter(), time.process_time()
        results.append(run(a, b))
        wall += time.perf_counter() - started
        processor += time.process_time() - used
    peak = peak_mib("self")
    pairs = [dict(np.load(path)) for path in paths]
    went = [
        by_matches(tuple(result), pair["a"].shape) if method == "crosscity" else by_flow(result)
        for result, pair in zip(results, pairs, strict=True)
    ]
    matches = [len(result[0]) for result in results] if method == "crosscity" else [0]
    return {
        "seconds": wall / len(pairs),
        "processor_seconds": processor / len(pairs),
        "peak_mib": peak,
        "matches": float(np.mean(matches)),
        **accuracy(went, [pair["truth"] for pair in pairs]),
    }


def accuracy(went: list[Float], truths: list[Float]) -> dict[str, float]:
    """Percent of the grid's places, where the partner is known, within so many pixels of it."""
    errors = []
    for found, truth in zip(went, truths, strict=True):
        at = truth[GRID // 2 :: GRID, GRID // 2 :: GRID]
        error = np.hypot(*(found - at).transpose(2, 0, 1))
        errors.append(error[~np.isnan(error)])
    together = np.concatenate(errors)
    return {f"within_{n}": round(100 * float((together <= n).mean()), 1) for n in PIXELS}


def measure_apart(method: str, setting: str, folder: Path, threads: int) -> dict[str, object]:
    """`measure_here` in a process of its own, so that peak memory is that row's."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--row", method, setting, str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} {setting}: {done.stderr.strip().splitlines()[-1]}")
    row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure_reference(program: Path, setting: str, folder: Path, threads: int) -> dict[str, object]:
    """The authors' program on the same pairs."""
    options = SETTINGS[setting]
    halvings = {1: 0, 2: 1, 4: 2}[int(options["downscale"] or 2)]
    went, truths, matches, wall, processor, peak = [], [], [], 0.0, 0.0, 0.0
    for path in sorted(folder.glob("*.npz")):
        pair = np.load(path)
        with tempfile.TemporaryDirectory() as room:
            names = [str(Path(room) / f"{side}.png") for side in "ab"]
            for name, side in zip(names, "ab", strict=True):
                cv2.imwrite(name, pair[side][:, :, ::-1])
            out = Path(room) / "matches.txt"
            command = [str(program), *names, "-downscale", str(halvings), "-nt", str(threads)]
            if options["search_radius"]:
                command += ["-ngh_rad", str(int(options["search_radius"]))]
            started = time.perf_counter()
            child = subprocess.Popen([*command, "-out", str(out)], stdout=subprocess.DEVNULL)
            while True:
                peak = max(peak, peak_mib(child.pid))
                ended, status, usage = os.wait4(child.pid, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.005)
            if status:
                raise RuntimeError(f"{program} ended with status {status}")
            wall += time.perf_counter() - started
            processor += usage.ru_utime + usage.ru_stime
            found = np.loadtxt(out, ndmin=2)[:, :4].T.astype(np.float32)
        matches.append(found.shape[1])
        went.append(by_matches(tuple(found), pair["a"].shape))
        truths.append(pair["truth"])
    return {
        "seconds": wall / len(went),
        "processor_seconds": processor / len(went),
        "peak_mib": peak,
        "matches": float(np.mean(matches)),
        **accuracy(went, truths),
    }


def pairs_per_second(device: str, setting: str, folder: Path, in_flight: int) -> dict[str, object]:
    """Throughput on an accelerator: decoding, copies and matching of several pairs overlap.

    The roofline: the floating-point operations of the correlation at the device's measured matrix
    product rate, and one reading and one writing of the pooled maps at its measured copy rate.

    Raises:
        SystemExit: A pair was matched on the processor instead.
    """
    import torch  # noqa: PLC0415

    # Torch is large, and would count in the memory of the rows.
    from benchmarks import device_rates, on_a_device  # noqa: PLC0415
    from crosscity.matching import deep_matching  # noqa: PLC0415

    pairs = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    encoded = [[cv2.imencode(".jpg", pair[side])[1] for side in "ab"] for pair in pairs]
    options = SETTINGS[setting]

    def work(number: int) -> int:
        a, b = (cv2.imdecode(data, cv2.IMREAD_COLOR) for data in encoded[number % len(encoded)])
        first, second = np.asarray(a, dtype=np.uint8), np.asarray(b, dtype=np.uint8)
        return len(deep_matching(first, second, **options, device=device, threads=1))  # type: ignore[arg-type]

    flight = on_a_device.timed_in_flight(work, range(8 * in_flight), in_flight)
    height, width = pairs[0]["a"].shape[:2]
    operations, stored = _work_of(height, width, options)
    half = torch.float16 if device.startswith("cuda") else torch.float32
    products, copies = device_rates.product_rate(device, half), device_rates.copy_rate(device)
    roof = max(operations / products, 2 * stored / copies)
    return {
        **on_a_device.ran_on(device),
        "setting": setting,
        "in_flight": in_flight,
        "pairs": flight.items,
        "warned": flight.warned,
        "pairs_per_second": flight.items / flight.wall,
        "roofline_pairs_per_second": 1 / roof,
        "matrix_products_per_second": products,
        "copied_bytes_per_second": copies,
    }


def _work_of(height: int, width: int, options: dict[str, float | None]) -> tuple[float, float]:
    """Operations of the correlation, and bytes of the pooled maps of the atomic patches."""
    scale = int(options["downscale"] or 2)
    rows, columns = height // (4 * scale), width // (4 * scale)
    map_height, map_width = height // scale + 1, width // scale + 1
    if options["search_radius"]:
        side = 2 * int(options["search_radius"]) // scale + 1
        map_height, map_width = min(map_height, side), min(map_width, side)
    cells = rows * columns * map_height * map_width
    return 2.0 * 129 * cells, 2.0 * cells / 4


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown, with times and memory against ours at the same size and setting."""
    lines = [
        "| size | method | setting | processor s | of the authors' | peak MiB | matches |"
        " ≤ 3 px % | ≤ 5 px % | ≤ 10 px % |",
        "|" + "---|" * 10,
    ]
    base = {
        (row["size"], row["setting"]): float(str(row["processor_seconds"]))
        for row in rows
        if row["method"] == "authors"
    }
    for row in rows:
        seconds = float(str(row["processor_seconds"]))
        authors = base.get((row["size"], row["setting"]))
        ratio = f"{seconds / authors:.2f}" if authors else "–"
        lines.append(
            f"| {row['size']} | {row['method']} | {row['setting']} | {seconds:.2f} | {ratio} |"
            f" {float(str(row['peak_mib'])):.0f} | {float(str(row['matches'])):.0f} |"
            f" {row['within_3']} | {row['within_5']} | {row['within_10']} |"
        )
    return "\n".join(lines) + "\n"


def throughput_table(rows: list[dict[str, object]]) -> str:
    """Pairs per second on a device, and what its roofline allows, as Markdown."""
    if not rows:
        return ""
    lines = [
        "| size | device | kernels | setting | in flight | pairs/s | roofline | of it |",
        "|" + "---|" * 8,
    ]
    for row in rows:
        reached, roof = (
            float(str(row[name])) for name in ("pairs_per_second", "roofline_pairs_per_second")
        )
        lines.append(
            f"| {row['size']} | {row['device']} | {_with_kernels(row)} | {row['setting']} |"
            f" {row['in_flight']} | {reached:.1f} | {roof:.0f} | {100 * reached / roof:.1f} % |"
        )
    return "\n" + "\n".join(lines) + "\n"


def _with_kernels(row: dict[str, object]) -> str:
    """Whether kernels ran on the device, or tensor operations; they are of CUDA alone."""
    return {True: "yes", False: "no"}[bool(row["kernels"])] if "kernels" in row else "–"


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Accuracy against time, one panel a size."""
    import matplotlib as mpl  # noqa: PLC0415 - only for the plot

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    sizes = list(dict.fromkeys(str(row["size"]) for row in rows))
    figure, axes = plt.subplots(1, len(sizes), figsize=(6 * len(sizes), 4.5), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        for row in (row for row in rows if row["size"] == size):
            seconds, share = float(str(row["processor_seconds"])), float(str(row["within_5"]))
            axis.scatter(seconds, share, s=float(str(row["peak_mib"])) / 5, alpha=0.5)
            axis.annotate(f"{row['method']} {row['setting']}", (seconds, share), fontsize=7)
        axis.set(
            xscale="log", xlabel="processor seconds a pair", ylabel="within 5 px, %", title=size
        )
        axis.grid(alpha=0.3)
    figure.suptitle("Dense matching; the area of a dot is peak memory")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measures everything, or one row for itself."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reference", type=Path, help="the authors' `deepmatching` program")
    parser.add_argument("--device", help="also measure throughput there, e.g. cuda")
    parser.add_argument("--throughput-only", action="store_true")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--out", type=Path, help="path without suffix")
    options = parser.parse_args()
    if options.row:
        method, setting, folder, threads = options.row
        print(json.dumps(measure_here(method, setting, Path(folder), int(threads))))
        return
    rows: list[dict[str, object]] = []
    throughput: list[dict[str, object]] = []
    for height, width in SIZES:
        with tempfile.TemporaryDirectory() as room:
            folder = Path(room)
            for seed in range(options.pairs):
                a, b, truth = known_pair(height, width, seed)
                np.savez(folder / f"{seed}.npz", a=a, b=b, truth=truth)
            methods = (
                []
                if options.throughput_only
                else [
                    *((name, "") for name in FLOWS),
                    *(("crosscity", name) for name in SETTINGS),
                    *(("authors", name) for name in SETTINGS if options.reference),
                ]
            )
            for method, setting in methods:
                row = (
                    measure_reference(options.reference, setting, folder, options.threads)
                    if method == "authors"
                    else measure_apart(method, setting, folder, options.threads)
                )
                rows.append(
                    {"size": f"{width}×{height}", "method": method, "setting": setting, **row}
                )
                print(rows[-1], flush=True)
                report(options, rows, throughput)
            if options.device:
                for setting in ("half", "half, radius 128"):
                    row = pairs_per_second(options.device, setting, folder, options.in_flight)
                    throughput.append({"size": f"{width}×{height}", **row})
                    print(throughput[-1], flush=True)
                    report(options, rows, throughput)
    if options.out and rows:
        plot(rows, options.out.with_suffix(".png"))


def report(
    options: argparse.Namespace,
    rows: list[dict[str, object]],
    throughput: list[dict[str, object]],
) -> None:
    """Writes what is known so far: a run that is stopped leaves the rows that it had."""
    if not options.out:
        return
    made = {
        "conditions": conditions(),
        "threads": options.threads,
        "pairs": options.pairs,
        "rows": rows,
        "throughput": throughput,
    }
    write_json(options.out.with_suffix(".json"), made, indent=1)
    write_text(options.out.with_suffix(".md"), table(rows) + throughput_table(throughput))


if __name__ == "__main__":
    main()
