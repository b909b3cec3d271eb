"""Times `entropy_rate_superpixels`, weighs its partitions and compares them with other methods.

    python benchmarks/superpixels.py [IMAGE ...] [--camvid FOLDER] [--labels FOLDER]
        [--reference PROGRAM] [--out FOLDER] [--pictures N]

Speed and memory: every measurement runs in a process of its own, so that the peak memory is that
of one call. Without images, a made-up picture is cut at several sizes. `--reference` names an
executable that is called as PROGRAM IMAGE COUNT OUTPUT, a wrapper of the authors' program, whose
time is then printed beside ours. `--labels` names a folder of reference partitions, `<image
stem>_n<count>.npz` with `labels`, and compares objectives.

Quality: boundary recall within 2 pixels, undersegmentation error and achievable segmentation
accuracy against SLIC, SEEDS and LSC from OpenCV on simulated cities and, with `--camvid`, on
CamVid's test pictures. `--out` writes superpixels.json, .md and .png.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.whole_files import write_json, write_text
from crosscity.partitioning import (
    balance_weight_for,
    entropy_rate_superpixels,
    greedy_partition,
    partition_objective,
    superpixel_hierarchy,
    superpixel_quality,
)
from simcity import STYLES, render

SIZES = ("640x320", "1280x647", "2048x1024", "4096x2048")
SPEED_COUNTS = (200, 1000)
QUALITY_COUNTS = (100, 200, 500, 1000, 2000)
CAMVID_VOID = 11
HIERARCHY_COUNT = 500
MEASURES = {
    "boundary_recall": "boundary recall",
    "undersegmentation_error": "undersegmentation error",
    "achievable_accuracy": "achievable accuracy",
}
COLOURS = {
    "ERS": (30, 30, 200),
    "ERS cut": (120, 120, 240),
    "SLIC": (60, 160, 60),
    "SEEDS": (200, 120, 30),
    "LSC": (170, 60, 170),
}

Picture = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Row = dict[str, Any]


def made_up_picture(width: int, height: int) -> Picture:
    """Blobs of colour at all scales under a little noise: as uneven as a photograph."""
    rng = np.random.default_rng(3)
    picture = np.zeros((height, width, 3))
    for cells in (4, 8, 16, 32, 64):
        coarse = rng.normal(0, 1, (cells // 2, cells, 3))
        picture += (
            cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST) * 120 / cells
        )
    return np.clip(110 + picture * 2 + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def read_picture(name: str) -> Picture:
    """The picture of that file, or a made-up one for a name such as 640x320."""
    if "." not in name:
        width, height = (int(side) for side in name.split("x"))
        return made_up_picture(width, height)
    path, _, size = name.partition("@")
    picture = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise SystemExit(f"{path} is not a picture that OpenCV reads")
    if size:
        width, height = (int(side) for side in size.split("x"))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, dtype=np.uint8)


def peak_mib() -> float:
    """The largest memory of this process since `forget_peak`, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Gives freed memory back and lets the peak begin at the memory of now (Linux, glibc)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident_mib() -> float:
    """The memory of this process now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(name: str, n_superpixels: int, connectivity: int) -> Row:
    """Time and memory of one picture: the best time of three calls, the memory of the first."""
    image = read_picture(name)
    begin = time.process_time()
    entropy_rate_superpixels(image[:16, :16], 4, connectivity=connectivity)
    warm_up = time.process_time() - begin
    forget_peak()
    before = resident_mib()
    seconds = []
    more = 0.0
    n_pixels = image.shape[0] * image.shape[1]
    for _ in range(3 if n_pixels < 2**22 else 1):
        begin = time.process_time()
        entropy_rate_superpixels(image, n_superpixels, connectivity=connectivity)
        seconds.append(time.process_time() - begin)
        more = more or peak_mib() - before
    return {
        "picture": Path(name).name,
        "pixels": n_pixels,
        "n": n_superpixels,
        "connectivity": connectivity,
        "cpu_s": round(min(seconds), 3),
        "us_per_pixel": round(min(seconds) / n_pixels * 1e6, 3),
        "more_mib": round(more, 1),
        "warm_up_s": round(warm_up, 3),
    }


def time_reference(program: Path, name: str, n_superpixels: int) -> float:
    """Processor seconds of another program on the picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        cv2.imwrite(str(path), cv2.cvtColor(read_picture(name), cv2.COLOR_RGB2BGR))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = str(Path(folder) / "labels")
        subprocess.run([str(program), str(path), str(n_superpixels), output], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed(names: Iterable[str], reference: Path | None) -> list[Row]:
    """Prints and returns a row for each picture, number and connectivity."""
    rows = []
    print(f"{'picture':28}     n c    cpu s    µs/px  more MiB")
    for name in names:
        for n_superpixels in SPEED_COUNTS:
            for connectivity in (8, 4):
                call = [sys.executable, __file__, "--measure", name]
                done = subprocess.run(
                    [*call, str(n_superpixels), str(connectivity)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                row: Row = json.loads(done.stdout)
                text = (
                    f"{row['picture']:28} {n_superpixels:5} {connectivity} {row['cpu_s']:8.2f} "
                    f"{row['us_per_pixel']:8.2f} {row['more_mib']:9.0f}"
                )
                if reference and connectivity == 8:
                    row["reference_s"] = time_reference(reference, name, n_superpixels)
                    text += f"   {row['cpu_s'] / row['reference_s']:.2f} of the reference's time"
                rows.append(row)
                print(text, flush=True)
    return rows


def parallel(name: str, n_images: int = 4) -> list[Row]:
    """Wall time of several pictures with one and two threads."""
    images = [read_picture(name)] * n_images
    entropy_rate_superpixels(images[0][:99, :99], 9)
    rows = []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            begin = time.perf_counter()
            list(pool.map(lambda image: entropy_rate_superpixels(image, 200), images))
            rows.append({"threads": threads, "wall_s": round(time.perf_counter() - begin, 3)})
        print(
            f"{n_images} pictures, {threads} threads: {rows[-1]['wall_s']:.2f} s wall", flush=True
        )
    return rows


def compare_objectives(name: str, folder: Path) -> None:
    """Prints our objective beside that of the reference partitions of this picture."""
    image = read_picture(name)
    for file in sorted(folder.glob(f"{Path(name).stem}_n*.npz")):
        n_superpixels = int(file.stem.rsplit("_n", 1)[1])
        labels = np.load(file)["labels"].astype(np.int32)
        ours = greedy_partition(image, n_superpixels).objective
        theirs = partition_objective(image, labels, n_superpixels)
        print(
            f"{file.stem:28} ours {ours.value:.7f} reference {theirs.value:.7f} "
            f"difference {ours.value / theirs.value - 1:+.2e}"
        )


def slic(image: Picture, n_superpixels: int) -> Labels:
    """SLIC as OpenCV's example sets it up: Lab, ten iterations, small pieces joined."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_RGB2LAB)
    size = round((image.shape[0] * image.shape[1] / n_superpixels) ** 0.5)
    method = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, size, 10.0)
    method.iterate(10)
    method.enforceLabelConnectivity(25)
    return np.asarray(method.getLabels(), dtype=np.int32)


def seeds(image: Picture, n_superpixels: int) -> Labels:
    """SEEDS with four levels."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    height, width = image.shape[:2]
    method = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, n_superpixels, 4, 2, 5)
    method.iterate(lab, 10)
    return np.asarray(method.getLabels(), dtype=np.int32)


def lsc(image: Picture, n_superpixels: int) -> Labels:
    """LSC as OpenCV's example sets it up."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_RGB2LAB)
    size = round((image.shape[0] * image.shape[1] / n_superpixels) ** 0.5)
    method = cv2.ximgproc.createSuperpixelLSC(lab, size, 0.075)
    method.iterate(10)
    method.enforceLabelConnectivity(25)
    return np.asarray(method.getLabels(), dtype=np.int32)


def simulated(n_pictures: int) -> list[tuple[Picture, Labels, int]]:
    """Places of all simulated cities, 640 by 320."""
    names = ["frankfurt", "rome", "rio", "tokyo", "taipei"]
    pictures = []
    for number in range(n_pictures):
        style = STYLES[names[number % len(names)]]
        view = render(style, seed=1, place=number, time=number % 2, height=320, width=640)
        pictures.append((view.image, view.train_ids.astype(np.int32), 255))
    return pictures


def camvid(folder: Path, n_pictures: int) -> list[tuple[Picture, Labels, int]]:
    """Pictures of CamVid's test set, evenly spread."""
    files = sorted((folder / "test").glob("*.*"))
    if not files:
        raise SystemExit(f"{folder} has no pictures in its folder test")
    step = max(1, len(files) // n_pictures)
    pictures = []
    for file in files[::step][:n_pictures]:
        truth = cv2.imread(str(folder / "testannot" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if truth is None:
            raise SystemExit(f"{file.name} has no label map in {folder / 'testannot'}")
        pictures.append((read_picture(str(file)), truth.astype(np.int32), CAMVID_VOID))
    return pictures


def quality(title: str, pictures: list[tuple[Picture, Labels, int]]) -> list[Row]:
    """The mean of the three measures by method and asked number, with the number that came."""
    methods: dict[str, Callable[[Picture, int], Labels]] = {
        "ERS": entropy_rate_superpixels,
        "SLIC": slic,
        "SEEDS": seeds,
        "LSC": lsc,
    }
    sums: dict[tuple[str, int], list[list[float]]] = {}
    for image, truth, void in pictures:
        weight = balance_weight_for(image, HIERARCHY_COUNT)
        hierarchy = superpixel_hierarchy(image, weight)
        methods["ERS cut"] = lambda _, n, hierarchy=hierarchy: hierarchy.cut(n)  # type: ignore[misc]
        for name, method in methods.items():
            for n_superpixels in QUALITY_COUNTS:
                begin = time.thread_time()
                labels = method(image, n_superpixels)
                seconds = time.thread_time() - begin
                found = superpixel_quality(labels, truth, ignore=void)
                values = [float(getattr(found, measure)) for measure in MEASURES]
                count = float(np.unique(labels).size)
                sums.setdefault((name, n_superpixels), []).append([*values, count, seconds])
    rows = []
    for (name, n_superpixels), every in sums.items():
        values = np.mean(every, axis=0).tolist()
        row: Row = {"pictures": title, "method": name, "n": n_superpixels}
        row.update({key: round(v, 4) for key, v in zip(MEASURES, values[:3], strict=True)})
        row.update(got=round(values[3], 1), cpu_s=round(values[4], 4))
        rows.append(row)
        print(
            f"{title:10} {name:8} n {n_superpixels:5} got {row['got']:7.1f} "
            + " ".join(f"{text} {row[key]:.3f}" for key, text in MEASURES.items())
            + f" {row['cpu_s']:.3f} s",
            flush=True,
        )
    return rows


def draw_plot(rows: list[Row]) -> Picture:
    """One panel a measure and picture set: the measure over the number of superpixels that came."""
    titles = list(dict.fromkeys(row["pictures"] for row in rows))
    panels = [
        np.hstack([_panel([r for r in rows if r["pictures"] == title], title, m) for m in MEASURES])
        for title in titles
    ]
    return np.asarray(np.vstack(panels), dtype=np.uint8)


def _panel(rows: list[Row], title: str, measure_name: str) -> Picture:
    """Lines of all methods in one pair of axes."""
    width, height, left, low, top = 420, 330, 62, 44, 34
    panel = np.full((height, width, 3), 255, np.uint8)
    counts = np.log([row["got"] for row in rows])
    values = np.array([row[measure_name] for row in rows])
    x0, x1 = float(counts.min()), float(counts.max())
    y0, y1 = float(values.min()), float(values.max())

    def place(count: float, value: float) -> tuple[int, int]:
        x = left + (np.log(count) - x0) / (x1 - x0) * (width - left - 16)
        y = height - low - (value - y0) / max(y1 - y0, 1e-9) * (height - low - top)
        return round(x), round(y)

    def write(text: str, at: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(panel, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)

    write(f"{title}: {MEASURES[measure_name]}", (left, 18), (0, 0, 0))
    for value in np.linspace(y0, y1, 5):
        y = place(np.exp(x0), float(value))[1]
        cv2.line(panel, (left, y), (width - 12, y), (225, 225, 225), 1)
        write(f"{value:.3f}", (8, y + 4))
    for count in (100, 200, 500, 1000, 2000):
        if x0 - 0.05 <= np.log(count) <= x1 + 0.05:
            write(str(count), (place(count, y0)[0] - 10, height - low + 18))
    write("superpixels", (width // 2 - 30, height - 6))
    for number, (name, colour) in enumerate(COLOURS.items()):
        line = sorted((r["got"], r[measure_name]) for r in rows if r["method"] == name)
        points = [place(*point) for point in line]
        for first, second in itertools.pairwise(points):
            cv2.line(panel, first, second, colour, 2, cv2.LINE_AA)
        up = measure_name == "undersegmentation_error"
        y = (top + 16 + 15 * number) if up else (height - low - 78 + 15 * number)
        write(name, (width - 80, y), colour)
    return panel


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Writes the results as JSON, as tables, and as a plot."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "superpixels.json", report, indent=1)
    lines = ["# Superpixels: speed, memory and quality", ""]
    lines += [
        "Processor time of the best of three calls in a warm process; memory is the growth of its",
        "peak. Made by `python benchmarks/superpixels.py`. The published program, measured earlier",
        "on a like machine: 8.2 s and 220 MiB at 1280×647 (colour, 8-connected), 1.3 s and 57 MiB",
        "at 640×320; 5.3 s and 144 MiB at 1280×647 with four neighbours.",
        "",
        "| picture | n | neighbours | s | µs a pixel | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["speed"]:
        lines.append(
            f"| {row['picture']} | {row['n']} | {row['connectivity']} | {row['cpu_s']:.2f} | "
            f"{row['us_per_pixel']:.2f} | {row['more_mib']:.0f} |"
        )
    for row in report.get("parallel", []):
        lines += [
            "",
            f"Four pictures of 1280×647, {row['threads']} thread(s): {row['wall_s']:.2f} s wall.",
        ]
    for title in dict.fromkeys(row["pictures"] for row in report["quality"]):
        lines += ["", f"## {title}", ""]
        lines += [
            "| method | n asked | n got | " + " | ".join(MEASURES.values()) + " | s |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in report["quality"]:
            if row["pictures"] == title:
                values = " | ".join(f"{row[measure_name]:.3f}" for measure_name in MEASURES)
                counts = f"| {row['method']} | {row['n']} | {row['got']:.0f} "
                lines.append(f"{counts}| {values} | {row['cpu_s']:.3f} |")
    write_text(folder / "superpixels.md", "\n".join(lines) + "\n")
    if report["quality"]:
        plot = cv2.cvtColor(draw_plot(report["quality"]), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "superpixels.png"), plot)


def main() -> None:
    """Reads the command line, prints the tables and writes them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", nargs="*", help="files, FILE@WIDTHxHEIGHT, or WIDTHxHEIGHT")
    parser.add_argument("--camvid", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--pictures", type=int, default=12, help="of each labelled set")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, n_superpixels, connectivity = arguments.measure
        print(json.dumps(measure(name, int(n_superpixels), int(connectivity))))
        return
    names = arguments.images or SIZES
    report: dict[str, Any] = {"speed": speed(names, arguments.reference)}
    report["parallel"] = parallel("1280x647")
    if arguments.labels:
        for name in names:
            compare_objectives(name, arguments.labels)
    report["quality"] = quality("simulated", simulated(arguments.pictures))
    if arguments.camvid:
        report["quality"] += quality("CamVid", camvid(arguments.camvid, arguments.pictures))
    if arguments.out:
        write_report(arguments.out, report)


if __name__ == "__main__":
    main()
