"""How much of the bare network's throughput `crosscity predict` keeps.

    python benchmarks/predict.py [--device cuda] [--images 128] [--size 512x1024] [--repeats 5]

The bare network has all images decoded in memory, in batches, and takes its classes and
confidences to the processor: what `predict_each` does and nothing else. `predict` reads JPEG files,
decodes, predicts, counts, encodes and writes label maps, rows and (with --overlays) overlays,
resumable shard by shard. Both run in one process one after the other, `repeats` times in turns, and
what is reported is the median of the ratios of neighbours: of wall time, and of processor time,
which tells on a machine that others use too what it would be without them. Writes
`results/predict.json` (one entry a device and setting, others are kept).
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
from crosscity import load_segmenter
from crosscity.evaluation import predict_each
from crosscity.segmenters import Segmenter
from tasks.judging.predictions import pictures_of_paths, predict_pictures

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
            pictures_of_paths([files]),
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
        for _ in range(options.repeats):
            alone.append(bare(segmenter, images))
            everything.append(whole(segmenter, Path(folder), wanted, options.workers))
    pairs = list(zip(alone, everything, strict=True))
    shares, processor = ([one[what] / other[what] for one, other in pairs] for what in (0, 1))
    return {
        "device": _device(options.device),
        "size": options.size,
        "images": options.images,
        "threads": options.threads,
        "workers": options.workers,
        "overlays": options.overlays,
        "bare_images_per_second": round(1 / statistics.median(one[0] for one in alone), 2),
        "predict_images_per_second": round(1 / statistics.median(one[0] for one in everything), 2),
        "share": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
        "processor_share": round(statistics.median(processor), 3),
        "processor_shares": [round(share, 3) for share in processor],
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
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--overlays", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = measured(options)
    print(json.dumps(found, indent=1))
    kept = json.loads(options.output.read_text()) if options.output.is_file() else []
    names = ("device", "size", "threads", "workers", "overlays")
    kept = [one for one in kept if [one[name] for name in names] != [found[name] for name in names]]
    kept.append(found)
    options.output.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
