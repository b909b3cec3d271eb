"""What the safeguard says of segmenters that were taken to CamVid without a source.

    python benchmarks/source_free_safeguard.py --camvid … --path … --segmenter … --work …

Judges the networks that `source_free.py --factor 2` left in `--work`, each against the start at the
same enlarged size, as the product does, and in CamVid's 11 classes. CamVid
has no second time of a place, so images and copies of them are compared
(`crosscity/second_looks.py`), beside drift, information and vanished classes, on training images.
The verdict stands beside the true change on the test images. Nothing was chosen on these figures:
the copies were chosen on simulated tokyo. Writes
`benchmarks/results/source_free_safeguard.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from benchmarks.paired import with_interval
from benchmarks.source_free import RESULTS, Bench, miou_of
from benchmarks.whole_files import write_text
from crosscity.adaptation.spread import spread_indices
from crosscity.evaluation import PROTOCOLS, predicted_groups
from crosscity.pair_signs import compare_pair
from crosscity.safeguard import Signals, compare_pairs, verdict
from crosscity.second_looks import LOOKS, Copy
from crosscity.segmenters import Segmenter

IMAGES: Final = 32
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
    bench = Bench(CamVidDataset(camvid), segmenter, work / f"x{FACTOR:g}", FACTOR)
    start = bench.fresh()
    zero = bench.counts("test", "zero_shot", 0)
    if zero is None:
        raise SystemExit("score zero_shot first: source_free.py --factor 2 --only zero_shot")
    lines = [
        f"The safeguard on {IMAGES} training images of CamVid and copies of them, in the 11 "
        "classes that are scored: the start at 448×576 against each network at 448×576; change of "
        "mIoU on the 233 test images, and of kappa by copy (95 % over images).",
        "",
        "| adapted | mIoU | " + " | ".join(LOOKS) + " | drift | information | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arm, seed in _adapted():
        counts = bench.counts("test", arm, seed)
        if counts is None:
            continue
        network = bench.fresh()
        weights = torch.load(work / f"x{FACTOR:g}" / f"{arm}-{seed}.pt", weights_only=True)
        network.load_state_dict(weights)
        found = {look: _signals(start, network, bench, LOOKS[look][0]) for look in LOOKS}
        said = {look: verdict(each, looks=LOOKS[look][1]) for look, each in found.items()}
        change = 100 * (miou_of(counts.sum(0)) - miou_of(zero.sum(0)))
        by = [look for look, each in said.items() if each.keep == "before"]
        cells = [with_interval((one.kappa_change, *one.interval), 3) for one in found.values()]
        first = found["smaller"]
        lines.append(
            f"| {name} | {change:+.1f} | {' | '.join(cells)} | {first.drift:.3f} | "
            f"{first.information.before:.2f} → {first.information.after:.2f} | "
            + (f"refused ({', '.join(by)}) |" if by else "taken |")
        )
        print(lines[-1], flush=True)
    output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    write_text(output / "source_free_safeguard.md", text)


def _adapted() -> Iterator[tuple[str, str, int]]:
    yield "statistics, the best share", "bn_best", 0
    yield "statistics replaced (1.0)", "bn_1.0", 0
    for seed in range(3):
        yield f"source_free, seed {seed}", "source_free", seed
    for rate in (1e-4, 1e-3):
        yield f"entropy minimised, rate {rate:g}", f"entropy_{rate:g}", 0
    yield "fine-tuned on all labels", "fine_tuned", 0


def _signals(start: Segmenter, network: Segmenter, bench: Bench, copied: Copy) -> Signals:
    images: list[Any] = bench.images("train")[0]
    groups = predicted_groups(PROTOCOLS["camvid11"], start.class_names)
    pairs = []
    for index in spread_indices(len(images), IMAGES):
        copy, points = copied(images[index])
        pairs.append(compare_pair((start, network), (images[index], copy), points, groups=groups))
    return compare_pairs(pairs, groups.names)


if __name__ == "__main__":
    typer.run(main)
