"""Draws the pictures of the README and the documents, of simulated streets at full size.

    python benchmarks/pictures.py --work .crosscity/demo_start

The segmenter that comes along is adapted to tokyo by 30 steps of `self_training`, on the images of
`benchmarks/demo_start.py`; twelve places that it has not seen are predicted before and after, and
the one whose share of right pixels rises most is shown; its gain and the mean of all twelve are
told. Writes `docs/images/street.webp`, `pair.webp` and `prior.webp`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog.model import PriorSettings
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.arms import save
from benchmarks.demo_start import ADAPTED, SIZE, by_arm, data, start
from crosscity.evaluation import predict
from crosscity.illustrations import before_after_panel, draw_prior, prior_figure
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter
from tasks.priors.pair_prior import extract_prior

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
FULL: Final = (640, 1280)
FIRST_PLACE, PLACES = 25_000, 12
PAIR: Final = 30_005
STEPS: Final = 30
GAP: Final = 8
QUALITY: Final = 82
"""Of the WebP files; all of them together are to stay below 500 kB."""

Picture = npt.NDArray[np.uint8]


def main(
    work: Annotated[Path, typer.Option(help="Folder of benchmarks/demo_start.py.")] = Path(
        ".crosscity/demo_start"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the pictures.")] = IMAGES,
) -> None:
    """Draws what is asked for."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    draw_pair(output)
    data(work)
    draw_street(start(), adapted(work), output)


def adapted(work: Path) -> Segmenter:
    """The start after `self_training`; trained once."""
    path = work / "self_training.safetensors"
    network = start()
    if path.exists():
        network.load_state_dict(load_file(path))
    else:
        settings = replace(ADAPTED, steps=STEPS)
        network = by_arm("self_training", settings)(work, network)
        save(network, path)
    return network


def draw_street(before: Segmenter, after: Segmenter, output: Path) -> None:
    """The place of twelve that gains most, before and after."""
    city = SimulatedCity(find_style("tokyo"), 3, FULL)
    gains: list[float] = []
    best: tuple[Any, ...] = ()
    for place in range(FIRST_PLACE, FIRST_PLACE + PLACES):
        rendering = city.render(place, 0)
        small = resized_image(rendering.image, SIZE)[None]
        maps = [
            predict(network, small, size=FULL, image_size=SIZE)[0] for network in (before, after)
        ]
        labels = rendering.train_ids
        right = [float((found == labels)[labels < 255].mean()) for found in maps]
        gains.append(right[1] - right[0])
        if gains[-1] == max(gains):
            best = (rendering.image, labels, *maps)
    print(f"right pixels: {100 * np.mean(gains):+.1f} in the mean, {100 * max(gains):+.1f} here")
    _write(before_after_panel(*best, width=1200), output / "street.webp")


def draw_pair(output: Path) -> None:
    """A place at two times with its static prior; and how that comes about."""
    city = SimulatedCity(find_style("tokyo"), 3, FULL)
    a, b = (city.render(PAIR, time).image for time in (0, 1))
    found = extract_prior(a, b, PriorSettings())
    halves = [
        [a, draw_prior(a, found.masks[0], width=FULL[1])],
        [b, draw_prior(b, found.masks[1], width=FULL[1])],
    ]
    gap = np.full((2 * FULL[0] + GAP, GAP, 3), 255, dtype=np.uint8)
    row = np.full((GAP, FULL[1], 3), 255, dtype=np.uint8)
    columns = [np.concatenate([top, row, bottom]) for top, bottom in halves]
    whole = np.concatenate([columns[0], gap, columns[1]], axis=1)
    _write(resized_image(whole, (whole.shape[0] // 2, whole.shape[1] // 2)), output / "pair.webp")
    figure = prior_figure(a, b, found.matches, *found.superpixels, *found.masks)
    _write(figure, output / "prior.webp")


def _write(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, quality=QUALITY, method=6)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    typer.run(main)
