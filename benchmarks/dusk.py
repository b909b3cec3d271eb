"""Segmenters that know the day taken to CamVid's dusk, without a label of it.

    python benchmarks/dusk.py --camvid /path/to/CamVid [--path /path/to/plug_in
        --segmenter python:plug_in:build --name "what it is"]

The 62 frames of the drive at dusk that are in "train" are the target, those in "test" are scored.
Two starts: EfficientNet-Lite0 from ImageNet weights, trained here by day (305 frames, until the
plateau on the day's validation frames), and, where a plug-in is given, that as it is, on images
enlarged twofold as in `source_free.py --factor 2`.

Nothing is chosen here: `source_free` is as it ships, and has no source image. No validation frames
at dusk exist, so batch-norm statistics are shown with every share, and `source_free` is compared
with that share which is best on the test frames: an advantage that it has not itself. Finished arms
are found again in `--work`; kill it and start it again at will. Writes
`benchmarks/results/dusk.json` and `.md` after every arm. Intervals resample seeds and images
together.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from benchmarks.paired import Counts, with_interval
from benchmarks.source_free import (
    BOUND,
    RECIPE,
    RESULTS,
    SHARES,
    SHIPPED,
    SIZE,
    Bench,
    Network,
    difference,
    mious_of,
    row_of,
    stored,
    trained,
)
from benchmarks.street_weights import imagenet_weights
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation import LabelledArrays, Pretraining, PretrainingSettings
from crosscity.freed_memory import keep_freed_memory
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import build_segmenter

DAY, DUSK = ("0006R0", "0016E5"), ("0001TP",)
DAY_SIZE: Final = (240, 320)
"""(height, width) at which the segmenter that is trained here sees images."""
LITE: Final = "efficientnet_lite0"
BY_DAY: Final = PretrainingSettings(
    steps=2000,
    batch_size=4,
    learning_rate=1e-3,
    until="plateau",
    jitter=0.6,
    average=0.99,
    prediction_rule="plain",
)
ENLARGED: Final = 2


@dataclass(frozen=True)
class Start:
    """Networks that adaptation begins with: one, or several that the seeds take in turn."""

    name: str
    size: tuple[int, int]
    benches: tuple[Bench, ...]

    def counts(self, arm: str, seeds: list[int]) -> list[Counts]:
        """Of the seeds whose run is there, in their order."""
        found = [self.bench(seed).counts("test", arm, seed) for seed in seeds]
        return [counts for counts in found if counts is not None]

    def bench(self, seed: int) -> Bench:
        """That of a seed."""
        return self.benches[seed % len(self.benches)]

    def seeds_of(self, arm: str, seeds: list[int]) -> list[int]:
        """What is trained has a seed; what is not has that of its start."""
        trains = arm in ("source_free", "fine_tuned")
        return seeds if trains or len(self.benches) > 1 else seeds[:1]


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in either layout.")],
    segmenter: Annotated[str | None, typer.Option(help="python:module:function.")] = None,
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-in's module.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What the plug-in is called on the page.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of the adaptations, from 0.")] = 3,
    days: Annotated[int, typer.Option(min=1, help="Trainings by day, of seeds from 0.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(".crosscity/dusk"),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    bound: Annotated[bool, typer.Option(help="Whether to fine-tune on the labels too.")] = True,
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if path is not None:
        sys.path.insert(0, str(path))
    every = list(range(seeds))
    dusk = CamVidDataset(camvid, sequences=DUSK)
    starts = [_by_day(camvid, dusk, work, days)]
    if segmenter is not None:
        folder = _made(work / "plug_in")
        bench = Bench(dusk, segmenter, folder, ENLARGED)
        starts.append(Start(name or segmenter, (ENLARGED * SIZE[0], ENLARGED * SIZE[1]), (bench,)))
    for arm in ("zero_shot", *(f"bn_{share}" for share in SHARES), "source_free", "fine_tuned"):
        for start in starts if bound or arm != "fine_tuned" else ():
            for seed in start.seeds_of(arm, every):
                start.bench(seed).score("test", arm, seed, _made_by(start.bench(seed), arm))
                report(starts, every, output)


def _made_by(bench: Bench, arm: str) -> Network:
    if arm == "source_free":
        return bench.source_free(*SHIPPED)
    if arm == "fine_tuned":
        return bench.fine_tuned()
    if arm == "zero_shot":
        return lambda _: bench.fresh()
    return bench.mixed(float(arm.removeprefix("bn_")))


def _by_day(camvid: Path, dusk: CamVidDataset, work: Path, days: int) -> Start:
    """EfficientNet-Lite0 trained by day, so many times."""
    benches = []
    for seed in range(days):
        folder = _made(work / f"by_day-{seed}")
        weights = folder / "start.pt"
        if not weights.exists():
            _train_by_day(camvid, seed, weights)
        benches.append(Bench(dusk, LITE, folder, size=DAY_SIZE, start=weights))
    return Start(f"{LITE}, trained by day ({days} of them)", DAY_SIZE, tuple(benches))


def _train_by_day(camvid: Path, seed: int, weights: Path) -> None:
    day = CamVidDataset(camvid, sequences=DAY)
    network = build_segmenter(LITE, {}, seed=seed)
    network.load_backbone(torch.load(imagenet_weights(), map_location="cpu", weights_only=True))
    sets = [_labelled(day, split) for split in ("train", "val")]
    training = Pretraining(network, sets[0], BY_DAY, seed, home=sets[1])
    trained(training, weights.with_name("start.unfinished"))
    write_json(weights.with_name("home.json"), training.outcome, indent=1)
    stored(training.segmenter.state_dict(), weights)


def _labelled(dataset: CamVidDataset, split: str) -> LabelledArrays:
    read = [dataset.read(name) for name in dataset.samples(split)]
    return LabelledArrays(
        np.stack([resized_image(each.image, DAY_SIZE) for each in read]),
        np.stack([resized_map(each.train_ids, DAY_SIZE) for each in read]),
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(starts: list[Start], seeds: list[int], output: Path) -> None:
    """Writes what is known so far."""
    content = [found for start in starts if (found := _of_start(start, seeds))]
    write_json(output / "dusk.json", content, indent=1)
    write_text(output / "dusk.md", _markdown(content))


def _of_start(start: Start, seeds: list[int]) -> dict[str, Any]:
    zero = start.counts("zero_shot", start.seeds_of("zero_shot", seeds))
    if not zero:
        return {}
    shares = {f"bn_{share}": start.counts(f"bn_{share}", seeds) for share in SHARES}
    shares = {arm: runs for arm, runs in shares.items() if runs}
    best = max(shares, key=lambda arm: np.mean(mious_of(shares[arm])), default=None)
    rows = [_row("zero_shot", zero, zero, None)]
    rows += [_row(arm, runs, zero, None) for arm, runs in shares.items()]
    for arm in ("source_free", "fine_tuned"):
        if runs := start.counts(arm, seeds):
            rows.append(_row(arm, runs, zero, shares[best] if best else None))
    return {
        "start": start.name,
        "size": list(start.size),
        "images": len(zero[0]),
        "steps": RECIPE.steps,
        "bound_steps": BOUND.steps,
        "best_share": best,
        "rows": rows,
    }


def _row(
    arm: str, runs: list[Counts], zero: list[Counts], best: list[Counts] | None
) -> dict[str, Any]:
    row = row_of(arm, runs, zero)
    return row if best is None else {**row, "over_best_share": difference(runs, best)}


def _markdown(content: list[dict[str, Any]]) -> str:
    lines = ["# From day to dusk, without a label and without a source image", ""]
    for found in content:
        height, width = found["size"]
        lines += [
            f"## {found['start']}",
            "",
            f"{found['images']} test frames of CamVid's drive at dusk, images at {height}×{width}, "
            f"11 classes. `source_free` learns for {found['steps']} steps from the other 62 frames "
            f"without their labels, `fine_tuned`, where it is shown, for {found['bound_steps']} "
            "steps with them.",
            "",
            "| arm | seeds | mIoU | over zero-shot | over the best share of statistics |",
            "|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            same = row["arm"] == "zero_shot"
            over, best = (row["over_zero_shot"], row.get("over_best_share"))
            lines.append(
                f"| {row['arm']} | {len(row['each'])} | {np.mean(row['each']):.1f} "
                f"| {'' if same else with_interval(over)} "
                f"| {with_interval(best) if best else ''} |"
            )
        names = list(found["rows"][0]["per_class"])
        lines += ["", "| IoU by class | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for row in found["rows"]:
            ious = [f"{row['per_class'][name]:.1f}" for name in names]
            lines.append(f"| {row['arm']} | " + " | ".join(ious) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
