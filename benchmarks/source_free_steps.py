"""`source_free` for more steps, and with other shares of the start in what is delivered.

    python benchmarks/source_free_steps.py --camvid /path/to/CamVid --path /path/to/plug_in \
        --segmenter python:espnet_plugin:build

As `source_free.py --factor 2`: the same network, images and recipe, whose learning rate is
constant, so that one training of the most steps passes through what shorter ones end with. What is
delivered is a mean of the teacher's weights and the first ones; `SHARES` are those of the first
ones, of which 0.5 ships. All are scored on CamVid's validation images; the one that is best there
and the one that ships are scored on its test images, once.

Finished parts are found again in `--work`; kill it and start it again at will. Writes
`benchmarks/results/source_free_steps.json` and `.md` after every score. Intervals resample seeds
and images together (percentile bootstrap of paired differences).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
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
    RECIPE,
    RESULTS,
    SIZE,
    Bench,
    Network,
    difference,
    mious_of,
    stored,
    trained,
)
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation.source_free import SourceFree
from crosscity.freed_memory import keep_freed_memory
from crosscity.segmenters import Segmenter

FACTOR: Final = 2
STEPS: Final = (RECIPE.steps, 500, 1000)
SHARES: Final = (0.0, 0.25, 0.5, 0.75)
"""Of the first weights in what is delivered; batch-norm statistics are the teacher's throughout."""
SHIPPED: Final = (RECIPE.steps, 0.5)

Arm = tuple[int, float]
ARMS: Final[tuple[Arm, ...]] = tuple((steps, share) for steps in STEPS for share in SHARES)


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in either layout.")],
    segmenter: Annotated[str, typer.Option(help="Architecture, or python:module:function.")],
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-in's module.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of the trainings, from 0.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder of finished parts.")] = Path(
        ".crosscity/source_free_steps"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if path is not None:
        sys.path.insert(0, str(path))
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(CamVidDataset(camvid), segmenter, work, FACTOR)
    every = list(range(seeds))
    for split in ("val", "test"):
        bench.score(split, "zero_shot", 0, lambda _: bench.fresh())
    for arm in ARMS:
        for seed in every:
            _train(bench, work, seed, arm[0])
            bench.score("val", _name(arm), seed, _delivered(bench, work, arm))
            report(bench, every, output)
    for arm in dict.fromkeys((SHIPPED, _best(bench, every))):
        for seed in every:
            bench.score("test", _name(arm), seed, _delivered(bench, work, arm))
            report(bench, every, output)


def _name(arm: Arm) -> str:
    return f"{arm[0]}_steps_{arm[1]:g}_of_start"


def _train(bench: Bench, work: Path, seed: int, steps: int) -> None:
    """Trains on to so many steps, and keeps the teacher that is there then."""
    kept = _teacher(work, seed, steps)
    if kept.exists():
        return
    settings = replace(RECIPE, steps=max(STEPS), window=1 / FACTOR)
    training = SourceFree(bench.fresh(), bench.target(), settings, seed)
    trained(training, work / f"training-{seed}.unfinished", until=steps)
    stored(training.weights_of("teacher"), kept)


def _teacher(work: Path, seed: int, steps: int) -> Path:
    return work / f"teacher-{seed}-{steps}.pt"


def _delivered(bench: Bench, work: Path, arm: Arm) -> Network:
    """The teacher's weights, of which a share is moved back to the first ones."""
    steps, share = arm

    def make(seed: int) -> Segmenter:
        first, network = bench.fresh(), bench.fresh()
        network.load_state_dict(torch.load(_teacher(work, seed, steps), weights_only=True))
        with torch.no_grad():
            for mine, began in zip(network.parameters(), first.parameters(), strict=True):
                mine.lerp_(began, share)
        return network

    return make


def _best(bench: Bench, seeds: list[int]) -> Arm:
    """The arm with the best mean score on the validation images."""
    return max(ARMS, key=lambda arm: np.mean([bench.miou("val", _name(arm), s) for s in seeds]))


def _runs(bench: Bench, split: str, arm: Arm, seeds: list[int]) -> list[Counts]:
    found = [bench.counts(split, _name(arm), seed) for seed in seeds]
    return [counts for counts in found if counts is not None]


def report(bench: Bench, seeds: list[int], output: Path) -> None:
    """Writes what is known so far."""
    content: dict[str, Any] = {}
    for split in ("val", "test"):
        zero = bench.counts(split, "zero_shot", 0)
        shipped = _runs(bench, split, SHIPPED, seeds)
        if zero is None or not shipped:
            continue
        rows: list[dict[str, Any]] = [{"arm": "zero_shot", "each": mious_of([zero])}]
        for arm in ARMS:
            if runs := _runs(bench, split, arm, seeds):
                rows.append(
                    {
                        "arm": _name(arm),
                        "steps": arm[0],
                        "share": arm[1],
                        "each": mious_of(runs),
                        "over_zero_shot": difference(runs, [zero]),
                        "over_shipped": difference(runs, shipped),
                    }
                )
        content[split] = {"images": len(zero), "rows": rows}
    write_json(output / "source_free_steps.json", content, indent=1)
    write_text(output / "source_free_steps.md", _markdown(content))


def _markdown(content: dict[str, Any]) -> str:
    height, width = (FACTOR * side for side in SIZE)
    lines = [
        f"`source_free` for more steps of {RECIPE.batch_size} images, CamVid's training images "
        f"without labels, at {height}×{width}, 11 classes; what is delivered has a share of the "
        f"first weights. {SHIPPED[0]} steps and {SHIPPED[1]:g} ship. On the test images: that, "
        "and what is best on the validation images.",
        "",
    ]
    for split, found in content.items():
        lines += [
            f"## {'Validation' if split == 'val' else 'Test'}, {found['images']} images",
            "",
            "| steps | share of the first weights | seeds | mIoU "
            "| over zero-shot | over what ships |",
            "|---|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            mean = f"{np.mean(row['each']):.1f}"
            if row["arm"] == "zero_shot":
                lines.append(f"| 0 | | | {mean} | | |")
                continue
            same = (row["steps"], row["share"]) == SHIPPED
            lines.append(
                f"| {row['steps']} | {row['share']:g} | {len(row['each'])} | {mean} "
                f"| {with_interval(row['over_zero_shot'])} "
                f"| {'' if same else with_interval(row['over_shipped'])} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
