"""How much of the bare network's throughput `crosscity predict` keeps.

    python benchmarks/predict.py [--device cuda] [--images 16] [--size 256x512] [--repeats 12]

The bare network has all images decoded in memory, in batches, and takes its classes and
confidences to the processor: what `predict_each` does and nothing else. `predict` reads JPEG files,
decodes, predicts, counts, encodes and writes label maps, rows and (with --overlays) overlays,
resumable shard by shard.

Both run in one process, `repeats` times in turns, and which of them comes first changes each time,
so that what else the machine does hits both alike. Reported are ratios of neighbours: of wall time,
and of processor time, which tells on a machine that others use too what it would be without them.
Of each there is the median with a 95 % interval (10 000 bootstrap samples of the ratios), and the
ratio of the sums. Writes `results/predict.json` (one entry a device and setting, others are kept)
with the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.simulated import SimulatedDataset
from adapters.images import encode_jpeg
from adapters.predictions import PredictionFolder, Wanted
from benchmarks.whole_files import write_text
from crosscity import load_segmenter
from crosscity.evaluation import predict_each
from crosscity.segmenters import Segmenter
from tasks.judging.predictions import found_in, predict_pictures

RESULTS = Path(__file__).parent / "results" / "predict.json"
BATCH_SIZE = 8

Image = npt.NDArray[np.uint8]


class Watch:
    """Wall and processor seconds since it was made; the latter of all threads."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def each(self, images: int) -> tuple[float, float]:
        """Seconds an image."""
        wall, processor = time.perf_counter() - self._wall, time.process_time() - self._processor
        return wall / images, processor / images


def bare(segmenter: Segmenter, images: list[Image]) -> tuple[float, float]:
    """Wall and processor seconds an image of the network alone."""
    watch = Watch()
    for _ in predict_each(segmenter, images, BATCH_SIZE):
        pass
    return watch.each(len(images))


def whole(segmenter: Segmenter, files: Path, wanted: Wanted, workers: int) -> tuple[float, float]:
    """Wall and processor seconds an image from files to files."""
    with tempfile.TemporaryDirectory() as out:
        watch = Watch()
        folder = PredictionFolder(Path(out), segmenter.class_names, wanted, {})
        done = predict_pictures(
            segmenter,
            found_in([files]).pictures,
            folder,
            batch_size=BATCH_SIZE,
            image_size=None,
            workers=workers,
        )
        return watch.each(done.images)


def pictures(count: int, size: tuple[int, int]) -> list[Image]:
    """Simulated streets; a few are drawn, and used again and again."""
    drawn = SimulatedDataset("rome", seed=5, image_size=size, splits={"val": min(16, count)})
    some = [drawn.read(name).image for name in drawn.samples("val")]
    return [some[index % len(some)] for index in range(count)]


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The throughputs of one setting."""
    height, width = (int(side) for side in options.size.split("x"))
    torch.set_num_threads(options.threads)
    segmenter = load_segmenter(device=options.device)
    images = pictures(options.images, (height, width))
    wanted = Wanted("labelIds", overlays=options.overlays, confidence=False)
    alone, everything = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(images):
            (Path(folder) / f"{index:05d}.jpg").write_bytes(encode_jpeg(image, 92))
        few = images[: 2 * BATCH_SIZE]
        bare(segmenter, few)  # what is only done once: kernels are chosen, memory is taken
        whole(segmenter, Path(folder), wanted, options.workers)
        for turn in range(options.repeats):
            if turn % 2:
                everything.append(whole(segmenter, Path(folder), wanted, options.workers))
            alone.append(bare(segmenter, images))
            if not turn % 2:
                everything.append(whole(segmenter, Path(folder), wanted, options.workers))
    return {
        "device": _device(options.device),
        "size": options.size,
        "images": options.images,
        "threads": options.threads,
        "workers": options.workers,
        "overlays": options.overlays,
        "load": round(os.getloadavg()[1], 1),
        "bare_images_per_second": round(1 / statistics.median(one[0] for one in alone), 2),
        "predict_images_per_second": round(1 / statistics.median(one[0] for one in everything), 2),
        "wall": compared([one[0] for one in alone], [one[0] for one in everything]),
        "processor": compared([one[1] for one in alone], [one[1] for one in everything]),
    }


def compared(alone: list[float], everything: list[float]) -> dict[str, Any]:
    """What share of the bare network's throughput is kept, of seconds an image in turns."""
    ratios = np.array(alone) / np.array(everything)
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return {
        "share": round(float(np.median(ratios)), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "share_of_sums": round(sum(alone) / sum(everything), 3),
        "shares": [round(float(ratio), 3) for ratio in ratios],
    }


def _device(name: str) -> str:
    """What the device is called, and how many cores there are."""
    if name != "cpu":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Measures one setting and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--overlays", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = measured(options)
    print(json.dumps(found, indent=1))
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    kept = json.loads(options.output.read_text()) if options.output.is_file() else []
    names = ("device", "size", "threads", "workers", "overlays")
    kept = [one for one in kept if [one[name] for name in names] != [found[name] for name in names]]
    kept.append(found)
    write_text(options.output, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
