"""What the safeguard says of segmenters that were taken to CamVid without a source.

    python benchmarks/source_free_safeguard.py --camvid … --path … --segmenter … --work …

Judges the networks that `source_free.py --factor 2` left in `--work`, each against the start as
the product shows it: the start sees the small images, what was adapted sees them enlarged. CamVid
has no second time of a place, so there is no static point, and the signs that need none decide:
drift, information and vanished classes on 48 training images. The verdict stands beside the true
change on the test images. Writes `benchmarks/results/source_free_safeguard.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from benchmarks.source_free import RESULTS, Bench, miou_of
from crosscity.adaptation.spread import spread_indices
from crosscity.safeguard import PairSigns, compare, pair_signs, verdict
from crosscity.segmenters import Segmenter

IMAGES: Final = 48
FACTOR: Final = 2.0


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in SegNet's layout.")],
    segmenter: Annotated[str, typer.Option(help="Architecture, or python:module:function.")],
    work: Annotated[Path, typer.Option(help="Folder that source_free.py worked in.")],
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-in's module.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Judges what is there and reports."""
    torch.set_num_threads(1)
    if path is not None:
        sys.path.insert(0, str(path))
    dataset = CamVidDataset(camvid)
    small = Bench(dataset, segmenter, work)
    large = Bench(dataset, segmenter, work / f"x{FACTOR:g}", FACTOR)
    start = small.fresh()
    before = list(_signs(start, small))
    zero = small.counts("test", "zero_shot", 0)
    if zero is None:
        raise SystemExit("score zero_shot first: source_free.py --only zero_shot")
    lines = [
        f"The safeguard without static points on {IMAGES} training images of CamVid: the start at "
        "224×288 against each network at 448×576; true change on the 233 test images.",
        "",
        "| adapted | true change | drift (limit 0.1) | information before → after | verdict |",
        "|---|---|---|---|---|",
    ]
    for name, arm, seed in _adapted():
        counts = large.counts("test", arm, seed)
        if counts is None:
            continue
        weights = torch.load(work / f"x{FACTOR:g}" / f"{arm}-{seed}.pt", weights_only=True)
        network = large.fresh()
        network.load_state_dict(weights)
        signals = compare(before, list(_signs(network, large)), start.class_names)
        found = verdict(signals)
        change = 100 * (miou_of(counts.sum(0)) - miou_of(zero.sum(0)))
        said = "taken" if found.keep == "after" else "refused: " + " ".join(found.reasons)
        lines.append(
            f"| {name} | {change:+.1f} | {signals.drift:.3f} | {signals.information.before:.2f} → "
            f"{signals.information.after:.2f} | {said} |"
        )
        print(lines[-1], flush=True)
    output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (output / "source_free_safeguard.md").write_text(text, encoding="utf-8")


def _adapted() -> Iterator[tuple[str, str, int]]:
    yield "nothing: enlarged alone", "zero_shot", 0
    yield "statistics, the best share", "bn_best", 0
    yield "statistics replaced (1.0)", "bn_1.0", 0
    for seed in range(3):
        yield f"source_free, seed {seed}", "source_free", seed
    for rate in (1e-4, 1e-3):
        yield f"entropy minimised, rate {rate:g}", f"entropy_{rate:g}", 0
    yield "fine-tuned on all labels", "fine_tuned", 0


def _signs(network: Segmenter, bench: Bench) -> Iterator[PairSigns]:
    """Signs of pairs of images that are not of one place: no point is the same in both."""
    images: list[Any] = bench.images("train")[0]
    chosen = spread_indices(len(images), IMAGES)
    none = np.zeros((0, 2), dtype=np.int64)
    for first, second in zip(chosen[::2], chosen[1::2], strict=True):
        yield pair_signs(network, (images[first], images[second]), (none, none))


if __name__ == "__main__":
    typer.run(main)
