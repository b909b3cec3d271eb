"""Times `entropy_rate_superpixels` and weighs its partitions.

    python benchmarks/superpixels.py [IMAGE ...] [--labels FOLDER]

Without images, a made-up picture is cut at several sizes. Every measurement runs in a process of
its own, so that the peak memory is that of one call. `--labels` names a folder of reference
partitions, `<image stem>_n<count>.npz` with `labels`, and compares objectives.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.superpixels import entropy_rate_superpixels, greedy_partition, partition_objective

SIZES = ((640, 320), (1280, 647), (2048, 1024), (4096, 2048))
COUNTS = (200, 1000)


def made_up_picture(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Blobs of colour at all scales under a little noise: as uneven as a photograph."""
    rng = np.random.default_rng(3)
    picture = np.zeros((height, width, 3))
    for cells in (4, 8, 16, 32, 64):
        coarse = rng.normal(0, 1, (cells // 2, cells, 3))
        picture += (
            cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST) * 120 / cells
        )
    return np.clip(110 + picture * 2 + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def read_picture(name: str) -> npt.NDArray[np.uint8]:
    """The picture of that file, or a made-up one for a name such as 640x320."""
    if "." not in name:
        width, height = (int(side) for side in name.split("x"))
        return made_up_picture(width, height)
    picture = cv2.imread(name, cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise SystemExit(f"{name} is not a picture that OpenCV reads")
    return np.asarray(picture, dtype=np.uint8)


def peak_mib() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib() -> float:
    """The memory of this process now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(name: str, n_superpixels: int, connectivity: int) -> None:
    """Prints one row of the table."""
    image = read_picture(name)
    entropy_rate_superpixels(image[:16, :16], 4, connectivity=connectivity)
    before = resident_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    entropy_rate_superpixels(image, n_superpixels, connectivity=connectivity)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n_pixels = image.shape[0] * image.shape[1]
    print(
        f"{Path(name).name:28} {n_superpixels:5} {connectivity} {wall:8.2f} {cpu:8.2f} "
        f"{cpu / n_pixels * 1e6:9.2f} {peak_mib() - before:9.0f} {peak_mib():8.0f}",
        flush=True,
    )


def compare(name: str, folder: Path) -> None:
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


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", nargs="*")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, n_superpixels, connectivity = arguments.measure
        measure(name, int(n_superpixels), int(connectivity))
        return
    print(f"{'picture':28}     n c   wall s    cpu s    µs/px  more MiB peak MiB")
    for name in arguments.images or [f"{width}x{height}" for width, height in SIZES]:
        for n_superpixels in COUNTS:
            for connectivity in (8, 4):
                row = [name, str(n_superpixels), str(connectivity)]
                subprocess.run([sys.executable, __file__, "--measure", *row], check=True)
        if arguments.labels:
            compare(name, arguments.labels)


if __name__ == "__main__":
    main()
