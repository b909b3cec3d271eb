"""Whether the size that is chosen without a label is the one at which labels score best.

    python benchmarks/shown_size.py [--camvid /path/to/CamVid --path /path/to/plug_ins \
        --segmenter python:plug_in:espnetv2 --segmenter python:plug_in:dicenet]

Simulated cities are rendered at several sizes and shown to the segmenter that comes along, which
was trained at 256×512; every fourth of CamVid's validation images is given at 360×480 and 224×288
to networks with public Cityscapes weights. Every size is scored, also such as are not chosen from;
the choice (`choose_size`) sees the images alone, as if nobody knew what the segmenter was trained
at.

Entropy alone, with a fall of 2 %, was chosen first on tokyo, rome and one network on CamVid. Six
more networks at 360×480 showed that it may choose sizes at which thin things are gone; the sum with
diversity and its weight were chosen on five of them and on the rows that were there. The others
were looked at afterwards. A row that is there is chosen anew from what was seen then, and not
predicted again. Writes `benchmarks/results/shown_size.json` and `.md`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from adapters.datasets.simulated import SimulatedDataset
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation import LabelledArrays
from crosscity.adaptation.shown_size import MOST_PIXELS, TriedSize, best_size, choose_size
from crosscity.evaluation import ProtocolName, evaluate, score
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, build_segmenter
from crosscity.segmenters.delivered import load_segmenter

RESULTS: Final = Path(__file__).parent / "results"
CITIES: Final = ("tokyo", "rome", "rio", "taipei")
SIZES: Final = ((96, 192), (128, 256), (192, 384), (256, 512), (384, 768), (512, 1024))
CAMVID: Final = ((360, 480), (224, 288))
EVERY: Final = 4
FACTORS: Final = (0.5, 0.75, 1.0, 1.5, 2.0)

Row = dict[str, Any]


def main(
    places: Annotated[int, typer.Option(help="Test places a city.")] = 24,
    city: Annotated[list[str], typer.Option(help="Simulated cities.")] = list(CITIES),  # noqa: B006
    camvid: Annotated[Path | None, typer.Option(help="CamVid in SegNet's layout.")] = None,
    segmenter: Annotated[list[str] | None, typer.Option(help="For CamVid.")] = None,
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-ins' module.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Scores and chooses, and writes after every row; rows that are there are not made again."""
    torch.set_num_threads(1)
    table = output / "shown_size.json"
    rows: list[Row] = json.loads(table.read_text()) if table.exists() else []
    rows = [chosen_anew(one) for one in rows]
    write(rows, output)
    there = {(row["images"], tuple(row["own"]), row["segmenter"]) for row in rows}
    if path is not None:
        sys.path.insert(0, str(path))
    for size in CAMVID:
        for one in segmenter or []:
            if camvid and ("CamVid, val", size, one.rpartition(":")[2]) not in there:
                rows.append(real(CamVidDataset(camvid), size, one))
                write(rows, output)
    street = load_segmenter()
    for name in city:
        for size in SIZES:
            if (name, size, "street") not in there:
                rows.append(simulated(name, size, places, street))
                write(rows, output)


class Shown:
    """Images of one size with labels that may have another.

    Args:
        pictures: (N, H, W, 3) uint8 RGB.
        labels: (N, H', W') uint8.
    """

    def __init__(self, pictures: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self._pictures, self._labels = pictures, labels

    def __len__(self) -> int:
        return len(self._pictures)

    def images(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        """(N, H, W, 3) uint8 RGB."""
        return self._pictures[list(indices)]

    def labels(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        """(N, H', W') uint8."""
        return self._labels[list(indices)]


def real(camvid: CamVidDataset, size: tuple[int, int], segmenter: str) -> Row:
    """Some of CamVid's validation images at a size."""
    read = [camvid.read(name) for name in camvid.samples("val")[::EVERY]]
    pictures = np.stack([resized_image(one.image, size) for one in read])
    labels = np.stack([one.train_ids for one in read])
    network = build_segmenter(segmenter, {}, seed=0)
    found = row("CamVid, val", Shown(pictures, labels), network, "camvid11")
    return {**found, "segmenter": segmenter.rpartition(":")[2]}


def chosen_anew(row: Row) -> Row:
    """What is chosen now of what was tried then."""
    then = row["shown_size"]
    tried = [
        TriedSize(tuple(one["size"]), one["entropy"], one["diversity"]) for one in then["tried"]
    ]
    size = best_size(tried)
    shown = {**then, "chosen": list(size)}
    return {**row, "chosen": f"{size[0] / row['own'][0]:g}", "shown_size": shown}


def simulated(name: str, size: tuple[int, int], places: int, network: Segmenter) -> Row:
    """A simulated city rendered at a size."""
    found = SimulatedDataset(name, seed=0, image_size=size, splits={"test": places})
    read = [found.read(sample) for sample in found.samples("test")]
    images = LabelledArrays(
        np.stack([one.image for one in read]), np.stack([one.train_ids for one in read])
    )
    return {**row(name, images, network, "score13"), "segmenter": "street"}


def row(
    name: str, images: LabelledArrays | Shown, network: Segmenter, protocol: ProtocolName
) -> Row:
    """Scores every size, and chooses without the labels."""
    height, width = images.images([0]).shape[1:3]
    scores = {}
    for factor in FACTORS:
        size = (round(factor * height), round(factor * width))
        if math.prod(size) > MOST_PIXELS:
            continue
        counts = evaluate(network, images, 1, image_size=size)
        scores[f"{factor:g}"] = 100 * score(counts, protocol).miou
    shown = choose_size(network, images)
    if shown is None:
        raise ValueError(f"{name}: images of several sizes")
    made = {
        "images": name,
        "own": [height, width],
        "count": len(images),
        "miou": scores,
        "chosen": f"{shown.chosen[0] / height:g}",
        **{"shown_size": shown.fields()},
    }
    print(made, flush=True)
    return made


def cell(row: Row, factor: str) -> str:
    """What a row scores at a size; bold where it was chosen, empty where it was not tried."""
    if factor not in row["miou"]:
        return ""
    value = f"{row['miou'][factor]:.1f}"
    return f"**{value}**" if factor == row["chosen"] else value


def write(rows: Sequence[Row], output: Path) -> None:
    """The table."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "shown_size.json", rows, indent=1)
    lines = [
        "mIoU of images shown at 0.5 to 2 times their size; the size in bold was chosen by how",
        "sure and how varied predictions are on some of the images, without a label, from those",
        "between 256×256 and 1024×2048 pixels and the images' own. `against the best` is of all",
        "sizes of the row.",
        "",
        "| images | segmenter | their size | "
        + " | ".join(f"×{factor:g}" for factor in FACTORS)
        + " | against the own | against the best |",
        "|---|---|---|" + "---|" * (len(FACTORS) + 2),
    ]
    for one in rows:
        cells = [cell(one, f"{factor:g}") for factor in FACTORS]
        reached = one["miou"][one["chosen"]]
        gained, lost = reached - one["miou"]["1"], reached - max(one["miou"].values())
        size = "×".join(str(side) for side in one["own"])
        count = f"{one['images']} ({one['count']})"
        lines.append(
            f"| {count} | {one['segmenter']} | {size} | {' | '.join(cells)} "
            f"| {gained:+.1f} | {lost:+.1f} |"
        )
    write_text(output / "shown_size.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
