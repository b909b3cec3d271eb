"""A segmenter trained elsewhere, taken to CamVid without a source image and without a label.

    python benchmarks/source_free.py --camvid /path/to/CamVid --path /path/to/plug_in \
        --segmenter python:espnet_plugin:build

What is chosen is chosen on CamVid's validation images (one seed); what is reported is scored once
on its test images. Finished arms are found again in `--work`; kill it and start it again at will.
Writes `benchmarks/results/source_free.json` and `.md` after every arm (`source_free_x2` with
`--factor 2`, where all arms see the same small images enlarged twofold);
what the size of the images alone brings, without training, goes into `source_free_sizes`.

At a larger size every training learns from windows that are as large as the small images, so that
a step costs about what it costs there; what predicts labels, and all scores, see whole images.

Intervals resample seeds and test images together (percentile bootstrap of paired differences).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from benchmarks.entropy import minimise_entropy
from benchmarks.paired import Counts, resampled_difference, with_interval
from benchmarks.whole_files import write_text, written_whole
from crosscity.adaptation import FineTuning, FineTuningSettings, TargetArrays
from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.source_free import SourceFree
from crosscity.adaptation.source_free_settings import Deliver, SourceFreeSettings
from crosscity.adaptation.training import Training, TrainingState
from crosscity.evaluation import confusion_matrix, predict, score
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import Segmenter, build_segmenter, image_tensor

RESULTS: Final = Path(__file__).parent / "results"
SIZE: Final = (224, 288)
"""(height, width) at which images go through the network; labels are scored at their own."""
SHARES: Final = (0.1, 0.3, 0.5, 0.7, 1.0)
BOUND: Final = FineTuningSettings(
    steps=800, batch_size=4, learning_rate=1e-4, class_balance=0.0, freeze_batch_norm=True
)
"""On all labels of the training images."""
LONGER: Final = 1600
"""Steps of a bound with one seed, which tells whether `BOUND` has settled."""
STATISTICS: Final = 0.5
"""Share of the target's batch-norm statistics that all trainings begin with."""
RECIPE: Final = SourceFreeSettings(steps=250, statistics=STATISTICS, deliver="student")
RECIPES: Final = {
    "recipe": RECIPE,
    "gentle": replace(RECIPE, learning_rate=5e-5),
    "all_pixels": replace(RECIPE, kept=1.0),
    "fewer_statistics": replace(RECIPE, statistics=0.3),
    "own_statistics": replace(RECIPE, statistics=0.0),
}
"""Trained once each for the choice; what each could deliver is scored as well."""
WAYS: Final = get_args(Deliver)
SHIPPED: Final[tuple[str, Deliver]] = ("recipe", "averaged")
"""What `source_free` is, and delivers, by default."""
ENTROPY: Final = (1e-4, 1e-3)
ENLARGED: Final = (1.5, 2.0)
"""Sizes, against `SIZE`, to which the small images are enlarged before they go through the network:
no pixel is added, but things come nearer to the size at which the network has learned them."""
RESAMPLES: Final = 2000

CHECKPOINT: Final = 25
"""Steps after which a training that is killed can go on."""

Network = Callable[[int], Segmenter]


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
    factor: Annotated[float, typer.Option(help="Enlarges the images for all arms.")] = 1.0,
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    if path is not None:
        sys.path.insert(0, str(path))
    here = work if factor == 1 else work / f"x{factor:g}"
    here.mkdir(parents=True, exist_ok=True)
    bench = Bench(CamVidDataset(camvid), segmenter, here, factor)
    for split, arm, one, make in _arms(bench, seed):
        if only and arm not in only:
            continue
        bench.score(split, arm, one, make)
        report(bench, seed, output)
    if factor != 1:
        return
    for split, arm, one, make, enlarged in _enlarged_arms(bench):
        if only and arm not in only:
            continue
        bench.score(split, arm, one, make, enlarged)
        report_sizes(bench, output)


def _arms(bench: Bench, seeds: list[int]) -> Iterator[tuple[str, str, int, Network]]:
    """Split, arm, seed and how it is made, in the order of their worth."""

    def both(arm: str, make: Network, seed: int = 0) -> Any:  # noqa: ANN401
        return [(split, arm, seed, make) for split in ("val", "test")]

    yield from both("zero_shot", lambda _: bench.fresh())
    for share in SHARES:
        yield "val", f"bn_{share}", 0, bench.mixed(share)
    for name in RECIPES:
        for way in WAYS:
            yield "val", f"source_free_{name}_{way}", 0, bench.source_free(name, way)
    best = max(SHARES, key=lambda share: bench.miou("val", f"bn_{share}", 0))
    yield "test", "bn_best", 0, bench.mixed(best)
    name, way = bench.chosen()
    for one in seeds:
        yield "test", "source_free", one, bench.source_free(name, way)
        for split in ("val", "test"):
            yield split, "fine_tuned", one, bench.fine_tuned()
    yield from both(f"fine_tuned_{LONGER}", bench.fine_tuned(LONGER))
    for rate in ENTROPY:
        yield from both(f"entropy_{rate:g}", bench.entropy(rate))
    yield "test", "bn_1.0", 0, bench.mixed(1.0)


def _enlarged_arms(
    bench: Bench,
) -> Iterator[tuple[str, str, int, Network, float]]:
    """Split, arm, seed, how it is made, and the size that it is shown: all without training."""
    for split in ("val", "test"):
        for factor in ENLARGED:
            yield split, f"zero_shot_x{factor}", 0, lambda _: bench.fresh(), factor
            yield split, f"bn_0.3_x{factor}", 0, bench.mixed(0.3, factor), factor


class Bench:
    """The images, the start, and the arms with their scores.

    Args:
        dataset: Of the target.
        segmenter: Architecture, or python:module:function.
        work: Folder of finished arms.
        factor: Enlarges the images.
        size: (height, width) of the images before that, and of the windows that are learned from.
        start: Weights that the architecture begins with; ``None`` leaves its own.
    """

    def __init__(
        self,
        dataset: CamVidDataset,
        segmenter: str,
        work: Path,
        factor: float = 1.0,
        size: tuple[int, int] = SIZE,
        start: Path | None = None,
    ) -> None:
        self._dataset, self.segmenter, self._work = dataset, segmenter, work
        self.factor, self._size, self._start = factor, size, start
        self._sets: dict[str, tuple[list[Any], list[Any]]] = {}

    def fresh(self) -> Segmenter:
        """The start."""
        network = build_segmenter(self.segmenter, {}, seed=0)
        if self._start is not None:
            network.load_state_dict(torch.load(self._start, weights_only=True))
        return network

    def images(self, split: str) -> tuple[list[Any], list[Any]]:
        """Images at the network's size, and labels at their own."""
        if split not in self._sets:
            read = [self._dataset.read(name) for name in self._dataset.samples(split)]
            self._sets[split] = (
                [_enlarged(resized_image(each.image, self._size), self.factor) for each in read],
                [each.train_ids for each in read],
            )
        return self._sets[split]

    def target(self) -> TargetArrays:
        """The training images without their labels."""
        images = np.stack(self.images("train")[0])
        return TargetArrays(images)

    def mixed(self, share: float, enlarged: float = 1.0) -> Network:
        """The start with some of the target's batch-norm statistics, measured at a size."""

        def make(_seed: int) -> Segmenter:
            network = self.fresh()
            images = np.stack([_enlarged(each, enlarged) for each in self.images("train")[0][::4]])
            batches = (image_tensor(images[i : i + 4]) for i in range(0, len(images), 4))
            theirs = measure_statistics(network, batches)
            set_statistics(network, mix_statistics(statistics_of(network), theirs, share))
            return network

        return make

    def source_free(self, name: str, way: Deliver) -> Network:
        """What a recipe of self-training without a source delivers in one of the ways."""
        settings = replace(RECIPES[name], window=1 / max(1.0, self.factor))

        def make(seed: int) -> Segmenter:
            found = self._work / f"source_free_{name}-{seed}.pt"
            if not found.exists():
                training = SourceFree(self.fresh(), self.target(), settings, seed)
                trained(training, found.with_suffix(".unfinished"))
                stored({one: training.weights_of(one) for one in WAYS}, found)
            network = self.fresh()
            network.load_state_dict(torch.load(found, weights_only=True)[way])
            return network

        return make

    def fine_tuned(self, steps: int = BOUND.steps) -> Network:
        """The bound: all labels of the training images."""
        name = "fine_tuned" if steps == BOUND.steps else f"fine_tuned_{steps}"

        def make(seed: int) -> Segmenter:
            images, labels = self.images("train")
            size = images[0].shape[:2]
            small = [resized_map(each, size) for each in labels]
            source = Windows(np.stack(images), np.stack(small), self._size)
            settings = replace(BOUND, steps=steps)
            training = FineTuning(self.mixed(STATISTICS)(0), source, settings, seed)
            trained(training, self._work / f"{name}-{seed}.unfinished")
            return training.segmenter

        return make

    def entropy(self, rate: float) -> Network:
        """Entropy minimisation of batch norm's scale and shift, which is tempting and dangerous."""

        def make(seed: int) -> Segmenter:
            network = self.mixed(1.0)(0)
            images = np.stack(self.images("train")[0])
            windows = Windows(images, images[..., 0], self._size)
            random = np.random.default_rng(seed)
            chosen = (random.integers(0, len(windows), 4).tolist() for _ in range(RECIPE.steps))
            minimise_entropy(network, (image_tensor(windows.images(one)) for one in chosen), rate)
            return network

        return make

    def score(
        self,
        split: str,
        arm: str,
        seed: int,
        make: Network,
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
            stored(network.state_dict(), weights)
        pictures, labels = self.images(split)
        counts = []
        for picture, truth in zip(pictures, labels, strict=True):
            shown = _enlarged(picture, enlarged)
            seen = predict(network, shown, size=truth.shape, image_size=shown.shape[:2])
            counts.append(confusion_matrix(truth, seen, 19))
        with written_whole(path) as unfinished:
            np.savez_compressed(unfinished, counts=np.stack(counts).astype(np.int32))
        print(split, arm, seed, f"{100 * self.miou(split, arm, seed):.1f}", flush=True)

    def counts(self, split: str, arm: str, seed: int) -> Counts | None:
        """(N, 19, 19) confusion of each image, ``None`` where the arm has not run."""
        path = self._path(split, arm, seed)
        if not path.exists():
            return None
        with np.load(path) as content:
            return np.asarray(content["counts"], dtype=np.int64)

    def small(self) -> Bench:
        """The same with images that are not enlarged."""
        work = self._work if self.factor == 1 else self._work.parent
        return Bench(self._dataset, self.segmenter, work)

    def miou(self, split: str, arm: str, seed: int) -> float:
        """Mean IoU over CamVid's 11 classes; -1 where the arm has not run."""
        counts = self.counts(split, arm, seed)
        return -1.0 if counts is None else miou_of(counts.sum(0))

    def chosen(self) -> tuple[str, Deliver]:
        """The recipe, and what it delivers, with the best validation score."""
        every = [(name, way) for name in RECIPES for way in WAYS]
        return max(every, key=lambda one: self.miou("val", f"source_free_{one[0]}_{one[1]}", 0))

    def _path(self, split: str, arm: str, seed: int) -> Path:
        return self._work / f"{split}-{arm}-{seed}.npz"


class Windows:
    """Windows of one size out of larger labelled images: overlapping by half at least, in a grid.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N, H, W) uint8.
        size: (height, width) of a window, at most the images'.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], size: tuple[int, int]
    ) -> None:
        self._images, self._labels, self._size = images, labels, size
        corners = []
        for whole, part in zip(labels.shape[1:], size, strict=True):
            count = 1 if whole == part else round(2 * whole / part)
            corners.append(np.linspace(0, whole - part, count).round().astype(int).tolist())
        self._corners = [(top, left) for top in corners[0] for left in corners[1]]

    def __len__(self) -> int:
        return len(self._images) * len(self._corners)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return np.stack([self._cut(self._images, index) for index in indices])

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 class indices, 255 where void."""
        return np.stack([self._cut(self._labels, index) for index in indices])

    def _cut(self, arrays: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        image, corner = divmod(index, len(self._corners))
        top, left = self._corners[corner]
        return arrays[image, top : top + self._size[0], left : left + self._size[1]]


def trained(training: Training, state: Path, until: int | None = None) -> None:
    """Trains to the end, or to a step, from where the training was when it was killed."""
    last = training.total_steps if until is None else until
    if state.exists():
        training.restore(TrainingState(**torch.load(state, weights_only=True)))
    while training.step < last:
        rows = training.advance(min(CHECKPOINT, last - training.step))
        stored(vars(training.state()), state)
        print(state.stem, rows[-1], flush=True)


def stored(content: Any, path: Path) -> None:  # noqa: ANN401 - whatever torch can store
    """Writes a file that is whole whenever it exists."""
    unfinished = path.with_suffix(path.suffix + ".part")
    torch.save(content, unfinished)
    unfinished.replace(path)


def _enlarged(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """The small image at a larger size; the same image for 1."""
    if factor == 1:
        return image
    height, width = (round(factor * side) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def miou_of(counts: Counts) -> float:
    """Mean IoU over the classes of `camvid11`."""
    return score(counts, "camvid11").miou


def mious_of(runs: list[Counts]) -> list[float]:
    """Of each run, in percent."""
    return [100 * miou_of(run.sum(0)) for run in runs]


def row_of(arm: str, runs: list[Counts], zero: list[Counts]) -> dict[str, Any]:
    """What an arm's runs score, and by how much more than the network as it is."""
    per_class = score(np.sum([run.sum(0) for run in runs], axis=0), "camvid11").per_class
    return {
        "arm": arm,
        "each": mious_of(runs),
        "over_zero_shot": difference(runs, zero),
        "per_class": {name: 100 * iou for name, iou in per_class.items()},
    }


def difference(runs: list[Counts], others: list[Counts]) -> list[float]:
    """Mean difference in points, and its 95 % interval over seeds and images.

    Where some seeds have not run yet, of those that have.
    """
    if len(others) > 1:
        others = others[: len(runs)]
    return resampled_difference(
        [(runs, others)], lambda counts: 100 * miou_of(counts), RESAMPLES // 2
    )


def report(bench: Bench, seeds: list[int], output: Path) -> None:
    """Writes what is known so far."""
    rows: list[dict[str, Any]] = []
    zero = bench.counts("test", "zero_shot", 0)
    if zero is None:
        return
    for arm in ("zero_shot", "bn_best", "bn_1.0", "source_free", *_bounds(), *_entropies()):
        found = {seed: bench.counts("test", arm, seed) for seed in (*seeds, 0)}
        runs = [counts for counts in found.values() if counts is not None]
        if runs:
            row = _row(arm, runs, zero)
            better = bench.counts("test", "bn_best", 0)
            if arm == "source_free" and better is not None:
                row["over_bn_best"] = difference(runs, [better])
            if arm in ("bn_best", "source_free"):
                row["closed"] = _closed(bench, seeds, runs, zero)
            rows.append(row)
    validation = {
        arm: 100 * bench.miou("val", arm, 0)
        for arm in (
            "zero_shot",
            *(f"bn_{share}" for share in SHARES),
            *(f"source_free_{name}_{way}" for name in RECIPES for way in WAYS),
            *_bounds(),
            *_entropies(),
        )
        if bench.counts("val", arm, 0) is not None
    }
    content = {
        "segmenter": bench.segmenter.rpartition(":")[0] or bench.segmenter,
        "size": [round(bench.factor * side) for side in SIZE],
        "window": list(SIZE),
        "classes": 11,
        "test_images": len(zero),
        "steps": RECIPE.steps,
        "bound_steps": BOUND.steps,
        "chosen": "_".join(bench.chosen()),
        "validation": validation,
        "test": rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    name = "source_free" if bench.factor == 1 else f"source_free_x{bench.factor:g}"
    write_text(output / f"{name}.json", text)
    write_text(output / f"{name}.md", _markdown(content))


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
        lines.append(
            f"| {row['arm']} | {row['validation']:.1f} | {row['miou']:.1f} "
            f"| {with_interval(row['over_zero_shot'])} |"
        )
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    write_text(output / "source_free_sizes.json", text)
    write_text(output / "source_free_sizes.md", "\n".join(lines) + "\n")


def _bounds() -> tuple[str, str]:
    return "fine_tuned", f"fine_tuned_{LONGER}"


def _entropies() -> list[str]:
    return [f"entropy_{rate:g}" for rate in ENTROPY]


def _row(arm: str, runs: list[Counts], zero: Counts) -> dict[str, Any]:
    row = row_of(arm, runs, [zero])
    # The arm first, as results that are there have it.
    return {"arm": arm, "seeds": len(runs), "miou": float(np.mean(row["each"])), **row}


def _closed(
    bench: Bench, seeds: list[int], runs: list[Counts], zero: Counts
) -> dict[str, list[float]]:
    """Share of the gap to all labels that is closed, in percent, by bound and start."""
    bounds: dict[str, list[Counts]] = {}
    for name in _bounds():
        found = [bench.counts("test", name, seed) for seed in seeds]
        bounds[name] = [counts for counts in found if counts is not None]
    small = bench.small().counts("test", "zero_shot", 0)
    starts = {"the start": zero}
    if bench.factor != 1 and small is not None:
        starts = {"the start, images not enlarged": small, "the start, enlarged": zero}
    return {
        f"{bound}, from {name}": _share(runs, start, labelled)
        for name, start in starts.items()
        for bound, labelled in bounds.items()
        if labelled
    }


def _share(runs: list[Counts], start: Counts, bounds: list[Counts]) -> list[float]:
    """Percent of the way from a start to bounds, and its 95 % interval over seeds and images."""
    random = np.random.default_rng(0)
    images = len(start)

    def of(weights: npt.NDArray[np.int64], mine: list[int], theirs: list[int]) -> float:
        first = miou_of(np.tensordot(weights, start, 1))
        done = np.mean([miou_of(np.tensordot(weights, runs[one], 1)) for one in mine])
        most = np.mean([miou_of(np.tensordot(weights, bounds[one], 1)) for one in theirs])
        return float(100 * (done - first) / (most - first))

    whole = of(np.ones(images, dtype=np.int64), [*range(len(runs))], [*range(len(bounds))])
    drawn = []
    for _ in range(RESAMPLES // 2):
        weights = np.bincount(random.integers(0, images, images), minlength=images)
        mine = random.integers(0, len(runs), len(runs)).tolist()
        theirs = random.integers(0, len(bounds), len(bounds)).tolist()
        drawn.append(of(weights, mine, theirs))
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return [whole, low, high]


def _markdown(content: dict[str, Any]) -> str:
    lines = [
        f"Source-free, {content['segmenter']} → CamVid, {content['classes']} classes, "
        f"{content['test_images']} test images, images at "
        f"{content['size'][0]}×{content['size'][1]}; {content['steps']} steps of 4 images without "
        f"a label, {content['bound_steps']} with all labels, both from windows of "
        f"{content['window'][0]}×{content['window'][1]}. Chosen on validation: "
        f"{content['chosen']}.",
        "",
        "| arm | seeds | mIoU | over zero-shot (95 % over seeds and images) |",
        "|---|---|---|---|",
    ]
    for row in content["test"]:
        gain = "" if row["arm"] == "zero_shot" else with_interval(row["over_zero_shot"])
        lines.append(f"| {row['arm']} | {row['seeds']} | {row['miou']:.1f} | {gain} |")
        if "over_bn_best" in row:
            lines.append(f"| – over bn_best | | | {with_interval(row['over_bn_best'])} |")
    closed = [
        f"| {row['arm']} | {start} | {share:.0f} % ({low:.0f} … {high:.0f}) |"
        for row in content["test"]
        for start, (share, low, high) in row.get("closed", {}).items()
    ]
    if closed:
        head = "| arm | gap to | share that is closed (95 % over seeds and images) |"
        lines += ["", head, "|---|---|---|", *closed]
    lines += ["", "| validation (chosen on) | mIoU |", "|---|---|"]
    lines += [f"| {arm} | {value:.1f} |" for arm, value in content["validation"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
