"""Whether source images are better stored as PNG or as JPEG of quality 95.

    OMP_NUM_THREADS=1 python benchmarks/stored_format.py --camvid /path/to/CamVid

What it takes to decode them (processor time, one thread) and their bytes, at the sizes of
Cityscapes and of CamVid; and what a segmenter scores on CamVid's test images (as they come, 11
classes) that was trained on the training images from either, with the same seeds, batches and
labels. Finished trainings are found again in `--work`. Writes
`benchmarks/results/stored_format.json` and `.md`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from adapters.images import STORED_QUALITY, decode_image, encode_jpeg, encode_png
from benchmarks.paired import interval
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation import FineTuning, FineTuningSettings, LabelledArrays
from crosscity.evaluation import confusion_matrix, predict, score
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import build_segmenter

RESULTS: Final = Path(__file__).parent / "results"
SIZE: Final = (96, 128)
"""(height, width) at which images are stored and trained on."""
SETTINGS: Final = FineTuningSettings(steps=150, batch_size=4, learning_rate=1e-3, class_balance=0.0)
TIMED: Final = ((512, 1024), (360, 480))
REPEATS: Final = 9

Image = npt.NDArray[np.uint8]
FORMATS: Final[dict[str, Callable[[Image], bytes]]] = {
    "png": encode_png,
    "jpeg": lambda image: encode_jpeg(image, STORED_QUALITY),
}


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in SegNet's layout.")],
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0, 1, 2],  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of finished trainings.")] = Path(
        ".crosscity/stored_format"
    ),
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    dataset = CamVidDataset(camvid)
    first = dataset.read(dataset.samples("train")[0]).image
    timed = [decoding(resized_image(first, size)) for size in TIMED]
    scores: dict[str, list[float]] = {name: [] for name in FORMATS}
    for one in seed:
        for name in FORMATS:
            path = work / f"{name}-{one}.json"
            if not path.exists():
                write_json(path, trained_miou(dataset, name, one))
            scores[name].append(json.loads(path.read_text()))
            print(name, one, f"{scores[name][-1]:.2f}", flush=True)
    content = {"size": list(SIZE), "steps": SETTINGS.steps, "decoding": timed, "miou": scores}
    write_json(RESULTS / "stored_format.json", content, indent=1)
    write_text(RESULTS / "stored_format.md", page(content))


def decoding(image: Image) -> dict[str, Any]:
    """Bytes of a picture, and milliseconds of processor time to decode it, by format."""
    row: dict[str, Any] = {"size": list(image.shape[:2])}
    for name, encode in FORMATS.items():
        data, taken = encode(image), []
        for _ in range(REPEATS):
            began = time.process_time()
            decode_image(data, name)
            taken.append(1000 * (time.process_time() - began))
        row[name] = {"bytes": len(data), "milliseconds": round(statistics.median(taken), 1)}
    return row


def trained_miou(dataset: CamVidDataset, name: str, seed: int) -> float:
    """MIoU in percent of a segmenter that was trained on images stored in a format."""
    read = [dataset.read(sample) for sample in dataset.samples("train")]
    small = [resized_image(each.image, SIZE) for each in read]
    images = [decode_image(FORMATS[name](image), name) for image in small]
    labels = [resized_map(each.train_ids, SIZE) for each in read]
    segmenter = build_segmenter("compact", {"width": 16}, seed=seed)
    source = LabelledArrays(np.stack(images), np.stack(labels))
    training = FineTuning(segmenter, source, SETTINGS, seed)
    training.advance(training.total_steps)
    counts = np.zeros((19, 19), np.int64)
    for sample in dataset.samples("test"):
        tested = dataset.read(sample)
        shown, truth = resized_image(tested.image, SIZE), tested.train_ids
        seen = predict(training.segmenter, shown[None], size=truth.shape, image_size=SIZE)[0]
        counts += confusion_matrix(truth, seen, 19)
    return 100 * score(counts, "camvid11").miou


def page(content: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# PNG or JPEG for stored source images",
        "",
        f"`python benchmarks/stored_format.py`; JPEG of quality {STORED_QUALITY}. Processor time",
        "of one thread on cores that were shared with other work.",
        "",
        "| size | PNG | JPEG |",
        "|---|---|---|",
    ]
    for row in content["decoding"]:
        cells = [
            f"{row[name]['milliseconds']:.1f} ms, {row[name]['bytes'] / 1000:.0f} kB"
            for name in FORMATS
        ]
        lines.append(f"| {row['size'][0]}×{row['size'][1]} | {' | '.join(cells)} |")
    scores = content["miou"]
    png, jpeg = (statistics.mean(scores[name]) for name in FORMATS)
    gains = [theirs - ours for ours, theirs in zip(scores["png"], scores["jpeg"], strict=True)]
    lines += [
        "",
        f"The compact segmenter (width 16) after {content['steps']} steps on CamVid's training",
        f"images at {content['size'][0]}×{content['size'][1]}, on its test images as they come,",
        f"mIoU over 11 classes in percent, {len(gains)} seeds: PNG {png:.1f}, JPEG {jpeg:.1f};",
        f"JPEG − PNG, paired, {interval(gains)} with the 95 % interval over seeds.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
