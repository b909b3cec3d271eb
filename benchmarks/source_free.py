"""A segmenter trained elsewhere, taken to CamVid without a source image and without a label.

    python benchmarks/source_free.py --camvid /path/to/CamVid --path /path/to/plug_in \
        --segmenter python:espnet_plugin:build

What is chosen is chosen on CamVid's validation images (one seed); what is reported is scored once
on its test images. Finished arms are found again in `--work`; kill it and start it again at will.
Writes `benchmarks/results/source_free.json` and `.md` after every arm;
what the size of the images alone brings, without training, goes into `source_free_sizes`.

Intervals resample seeds and test images together (percentile bootstrap of paired differences).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from crosscity.adaptation import FineTuning, FineTuningSettings, LabelledArrays, TargetArrays
from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.training import batch_norms
from crosscity.evaluation import confusion_matrix, predict, score
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import Segmenter, build_segmenter, evaluating, image_tensor

RESULTS: Final = Path(__file__).parent / "results"
SIZE: Final = (224, 288)
"""(height, width) at which images go through the network; labels are scored at their own."""
SHARES: Final = (0.1, 0.3, 0.5, 1.0)
BOUND: Final = FineTuningSettings(
    steps=800, batch_size=4, learning_rate=1e-4, class_balance=0.0, freeze_batch_norm=True
)
"""On all labels of the training images; the validation score tells whether it has settled."""
RECIPE: Final = SourceFreeSettings(steps=250)
VARIANTS: Final = {
    "recipe": RECIPE,
    "all_pixels": replace(RECIPE, kept=1.0),
    "own_statistics": replace(RECIPE, statistics=0.0),
    "averaged": replace(RECIPE, deliver="averaged"),
    "student": replace(RECIPE, deliver="student"),
}
ENTROPY: Final = (1e-4, 1e-3)
ENLARGED: Final = (1.5, 2.0)
"""Sizes, against `SIZE`, to which the small images are enlarged before they go through the network:
no pixel is added, but things come nearer to the size at which the network has learned them."""
RESAMPLES: Final = 2000

Counts = npt.NDArray[np.int64]


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in SegNet's layout.")],
    segmenter: Annotated[str, typer.Option(help="Architecture, or python:module:function.")],
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-in's module.")] = None,
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0, 1, 2],  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/source_free"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    only: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    if path is not None:
        sys.path.insert(0, str(path))
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(CamVidDataset(camvid), segmenter, work)
    for split, arm, one, make in _arms(bench, seed):
        if only and arm not in only:
            continue
        bench.score(split, arm, one, make)
        report(bench, seed, output)
    for split, arm, one, make, factor in _enlarged_arms(bench):
        if only and arm not in only:
            continue
        bench.score(split, arm, one, make, factor)
        report_sizes(bench, output)


def _arms(
    bench: Bench, seeds: list[int]
) -> Iterator[tuple[str, str, int, Callable[[int], Segmenter]]]:
    """Split, arm, seed and how it is made, in the order of their worth."""

    def both(arm: str, make: Callable[[int], Segmenter], seed: int = 0) -> Any:  # noqa: ANN401
        return [(split, arm, seed, make) for split in ("val", "test")]

    yield from both("zero_shot", lambda _: bench.fresh())
    for share in SHARES:
        yield "val", f"bn_{share}", 0, bench.mixed(share)
    for name, settings in VARIANTS.items():
        yield "val", f"source_free_{name}", 0, bench.source_free(settings)
    best = max(SHARES, key=lambda share: bench.miou("val", f"bn_{share}", 0))
    yield "test", "bn_best", 0, bench.mixed(best)
    chosen = bench.chosen_variant()
    for one in seeds:
        yield "test", "source_free", one, bench.source_free(VARIANTS[chosen])
        yield "val", "fine_tuned", one, bench.fine_tuned()
        yield "test", "fine_tuned", one, bench.fine_tuned()
    for rate in ENTROPY:
        yield from both(f"entropy_{rate:g}", bench.entropy(rate))
    yield "test", "bn_1.0", 0, bench.mixed(1.0)


def _enlarged_arms(
    bench: Bench,
) -> Iterator[tuple[str, str, int, Callable[[int], Segmenter], float]]:
    """Split, arm, seed, how it is made, and the size that it is shown: all without training."""
    for split in ("val", "test"):
        for factor in ENLARGED:
            yield split, f"zero_shot_x{factor}", 0, lambda _: bench.fresh(), factor
            yield split, f"bn_0.3_x{factor}", 0, bench.mixed(0.3, factor), factor


class Bench:
    """The images, the start, and the arms with their scores."""

    def __init__(self, dataset: CamVidDataset, segmenter: str, work: Path) -> None:
        self._dataset, self.segmenter, self._work = dataset, segmenter, work
        self._sets: dict[str, tuple[list[Any], list[Any]]] = {}

    def fresh(self) -> Segmenter:
        """The start."""
        return build_segmenter(self.segmenter, {}, seed=0)

    def images(self, split: str) -> tuple[list[Any], list[Any]]:
        """Images at the network's size, and labels at their own."""
        if split not in self._sets:
            read = [self._dataset.read(name) for name in self._dataset.samples(split)]
            self._sets[split] = (
                [resized_image(each.image, SIZE) for each in read],
                [each.train_ids for each in read],
            )
        return self._sets[split]

    def target(self) -> TargetArrays:
        """The training images without their labels."""
        images = np.stack(self.images("train")[0])
        return TargetArrays(images)

    def mixed(self, share: float, enlarged: float = 1.0) -> Callable[[int], Segmenter]:
        """The start with some of the target's batch-norm statistics, measured at a size."""

        def make(_seed: int) -> Segmenter:
            network = self.fresh()
            images = np.stack([_enlarged(each, enlarged) for each in self.images("train")[0][::4]])
            batches = (image_tensor(images[i : i + 4]) for i in range(0, len(images), 4))
            theirs = measure_statistics(network, batches)
            set_statistics(network, mix_statistics(statistics_of(network), theirs, share))
            return network

        return make

    def source_free(self, settings: SourceFreeSettings) -> Callable[[int], Segmenter]:
        """Self-training without a source."""

        def make(seed: int) -> Segmenter:
            training = SourceFree(self.fresh(), self.target(), settings, seed)
            training.advance(training.total_steps)
            return training.segmenter

        return make

    def fine_tuned(self) -> Callable[[int], Segmenter]:
        """The bound: all labels of the training images."""

        def make(seed: int) -> Segmenter:
            images, labels = self.images("train")
            small = np.stack([resized_map(each, SIZE) for each in labels])
            source = LabelledArrays(np.stack(images), small)
            training = FineTuning(self.fresh(), source, BOUND, seed)
            training.advance(training.total_steps)
            return training.segmenter

        return make

    def entropy(self, rate: float) -> Callable[[int], Segmenter]:
        """Entropy minimisation of batch norm's scale and shift, which is tempting and dangerous."""

        def make(seed: int) -> Segmenter:
            network = self.mixed(1.0)(0)
            moved = [p for layer in batch_norms(network) for p in (layer.weight, layer.bias)]
            optimiser = torch.optim.Adam(moved, lr=rate)
            images = np.stack(self.images("train")[0])
            random = np.random.default_rng(seed)
            for _ in range(RECIPE.steps):
                batch = image_tensor(images[random.integers(0, len(images), 4)])
                with evaluating(network):
                    logits = network(batch)
                entropy = -(functional.softmax(logits, 1) * functional.log_softmax(logits, 1))
                optimiser.zero_grad()
                entropy.sum(1).mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            return network

        return make

    def score(
        self,
        split: str,
        arm: str,
        seed: int,
        make: Callable[[int], Segmenter],
        enlarged: float = 1.0,
    ) -> None:
        """Scores an arm, image by image; its network is made once for both splits."""
        path = self._path(split, arm, seed)
        if path.exists():
            return
        weights = self._work / f"{arm}-{seed}.pt"
        network = self.fresh()
        if weights.exists():
            network.load_state_dict(torch.load(weights, weights_only=True))
        else:
            network = make(seed)
            torch.save(network.state_dict(), weights)
        pictures, labels = self.images(split)
        counts = [
            confusion_matrix(
                truth, predict(network, _enlarged(picture, enlarged)[None], size=truth.shape)[0], 19
            )
            for picture, truth in zip(pictures, labels, strict=True)
        ]
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, counts=np.stack(counts).astype(np.int32))
        unfinished.replace(path)
        print(split, arm, seed, f"{100 * self.miou(split, arm, seed):.1f}", flush=True)

    def counts(self, split: str, arm: str, seed: int) -> Counts | None:
        """(N, 19, 19) confusion of each image, ``None`` where the arm has not run."""
        path = self._path(split, arm, seed)
        if not path.exists():
            return None
        with np.load(path) as content:
            return np.asarray(content["counts"], dtype=np.int64)

    def miou(self, split: str, arm: str, seed: int) -> float:
        """Mean IoU over CamVid's 11 classes; -1 where the arm has not run."""
        counts = self.counts(split, arm, seed)
        return -1.0 if counts is None else miou_of(counts.sum(0))

    def chosen_variant(self) -> str:
        """The variant with the best validation score."""
        return max(VARIANTS, key=lambda name: self.miou("val", f"source_free_{name}", 0))

    def _path(self, split: str, arm: str, seed: int) -> Path:
        return self._work / f"{split}-{arm}-{seed}.npz"


def _enlarged(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """The small image at a larger size; the same image for 1."""
    if factor == 1:
        return image
    height, width = (round(factor * side) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def miou_of(counts: Counts) -> float:
    """Mean IoU over the classes of `camvid11`."""
    return score(counts, "camvid11").miou


def report(bench: Bench, seeds: list[int], output: Path) -> None:
    """Writes what is known so far."""
    rows: list[dict[str, Any]] = []
    zero = bench.counts("test", "zero_shot", 0)
    if zero is None:
        return
    for arm in ("zero_shot", "bn_best", "bn_1.0", "source_free", "fine_tuned", *_entropies()):
        found = {seed: bench.counts("test", arm, seed) for seed in (*seeds, 0)}
        runs = [counts for counts in found.values() if counts is not None]
        if runs:
            row = _row(arm, runs, zero)
            better = bench.counts("test", "bn_best", 0)
            if arm == "source_free" and better is not None:
                row["over_bn_best"] = _difference(runs, [better])
            rows.append(row)
    validation = {
        arm: 100 * bench.miou("val", arm, 0)
        for arm in (
            "zero_shot",
            *(f"bn_{share}" for share in SHARES),
            *(f"source_free_{name}" for name in VARIANTS),
            "fine_tuned",
            *_entropies(),
        )
        if bench.counts("val", arm, 0) is not None
    }
    content = {
        "segmenter": bench.segmenter.rpartition(":")[0] or bench.segmenter,
        "size": list(SIZE),
        "classes": 11,
        "test_images": len(zero),
        "steps": RECIPE.steps,
        "bound_steps": BOUND.steps,
        "chosen": bench.chosen_variant(),
        "validation": validation,
        "test": rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (output / "source_free.json").write_text(text, encoding="utf-8")
    (output / "source_free.md").write_text(_markdown(content), encoding="utf-8")


def report_sizes(bench: Bench, output: Path) -> None:
    """Writes what showing the same small images larger brings, without any training."""
    zero = bench.counts("test", "zero_shot", 0)
    if zero is None:
        return
    rows = []
    for arm in ("zero_shot", "bn_0.3"):
        for name in (arm, *(f"{arm}_x{factor}" for factor in ENLARGED)):
            test, val = bench.counts("test", name, 0), bench.miou("val", name, 0)
            if test is not None and val >= 0:
                rows.append({**_row(name, [test], zero), "validation": 100 * val})
    lines = [
        f"{bench.segmenter} → CamVid, 11 classes, {len(zero)} test images of {SIZE[0]}×{SIZE[1]}, "
        "enlarged by bicubic interpolation before they go through the network; nothing is trained.",
        "",
        "| arm | validation | test | over zero-shot (95 % over images) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        mean, low, high = row["over_zero_shot"]
        lines.append(
            f"| {row['arm']} | {row['validation']:.1f} | {row['miou']:.1f} "
            f"| {mean:+.1f} ({low:+.1f} … {high:+.1f}) |"
        )
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    (output / "source_free_sizes.json").write_text(text, encoding="utf-8")
    (output / "source_free_sizes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _entropies() -> list[str]:
    return [f"entropy_{rate:g}" for rate in ENTROPY]


def _row(arm: str, runs: list[Counts], zero: Counts) -> dict[str, Any]:
    scores = [100 * miou_of(run.sum(0)) for run in runs]
    per_class = score(np.sum([run.sum(0) for run in runs], axis=0), "camvid11").per_class
    return {
        "arm": arm,
        "seeds": len(runs),
        "miou": float(np.mean(scores)),
        "each": scores,
        "over_zero_shot": _difference(runs, [zero]),
        "per_class": {name: 100 * iou for name, iou in per_class.items()},
    }


def _difference(runs: list[Counts], others: list[Counts]) -> list[float]:
    """Mean difference in points, and its 95 % interval over seeds and images."""
    random = np.random.default_rng(0)
    images = len(runs[0])

    def of(arm: list[Counts], weights: npt.NDArray[np.int64], seeds: list[int]) -> float:
        chosen = [arm[seed % len(arm)] for seed in seeds]
        return float(np.mean([miou_of(np.tensordot(weights, run, 1)) for run in chosen]))

    whole = np.ones(images, dtype=np.int64)
    every = list(range(len(runs)))
    mean = 100 * (of(runs, whole, every) - of(others, whole, every))
    drawn = []
    for _ in range(RESAMPLES if len(runs) > 1 else RESAMPLES // 2):
        weights = np.bincount(random.integers(0, images, images), minlength=images)
        seeds = random.integers(0, len(runs), len(runs)).tolist()
        drawn.append(100 * (of(runs, weights, seeds) - of(others, weights, seeds)))
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return [mean, low, high]


def _markdown(content: dict[str, Any]) -> str:
    lines = [
        f"Source-free, {content['segmenter']} → CamVid, {content['classes']} classes, "
        f"{content['test_images']} test images, images at "
        f"{content['size'][0]}×{content['size'][1]}; {content['steps']} steps of 4 images without "
        f"a label, {content['bound_steps']} with all labels. Chosen on validation: "
        f"{content['chosen']}.",
        "",
        "| arm | seeds | mIoU | over zero-shot (95 % over seeds and images) |",
        "|---|---|---|---|",
    ]
    for row in content["test"]:
        mean, low, high = row["over_zero_shot"]
        gain = "" if row["arm"] == "zero_shot" else f"{mean:+.1f} ({low:+.1f} … {high:+.1f})"
        lines.append(f"| {row['arm']} | {row['seeds']} | {row['miou']:.1f} | {gain} |")
        if "over_bn_best" in row:
            mean, low, high = row["over_bn_best"]
            lines.append(f"| – over bn_best | | | {mean:+.1f} ({low:+.1f} … {high:+.1f}) |")
    lines += ["", "| validation (chosen on) | mIoU |", "|---|---|"]
    lines += [f"| {arm} | {value:.1f} |" for arm, value in content["validation"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
