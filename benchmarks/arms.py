"""Every arm on every simulated city over several seeds, with paired differences and intervals.

    python benchmarks/arms.py --processes 2

The science alone, without server or store, so that a bare machine can run it: images and labels are
rendered, priors matched, a source segmenter is trained for every seed, and every arm adapts it to
every city with the catalog's settings. Finished work is found again in `--work`; kill it and start
it again at will. Nothing is chosen here, and every arm's last weights are scored once on the test
places. Writes `benchmarks/results/arms.json` and `arms.md`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final
from unittest.mock import patch

os.environ["OMP_NUM_THREADS"] = "1"  # a process works on one core; see --processes
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog.model import PriorSettings
from adapters.images import decode_image
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.paired import interval
from benchmarks.whole_files import write_json, write_text, written_whole
from crosscity.adaptation import (
    PRESETS,
    RECIPES,
    Adaptation,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
    TargetArrays,
)
from crosscity.adaptation.task_loss import class_pixels, class_weights
from crosscity.evaluation import evaluate, score
from crosscity.labels import CROSS_CITY_CLASSES
from crosscity.segmenters import Segmenter, build_segmenter, separate_tensors
from tasks.priors.pair_prior import extract_prior

RESULTS = Path(__file__).parent / "results"
SIZE: Final = (128, 256)
CITIES: Final = {"rome": 1, "rio": 2, "tokyo": 3, "taipei": 4}
"""Target styles and their seeds, as in the catalog."""
CHOSEN_ON: Final = "tokyo"
"""On validation places of this city, which nothing here uses, the settings were chosen."""
SOURCE, SOURCE_SEED, SOURCE_PLACES = "frankfurt", 11, 600
FIRST_TEST_PLACE: Final = 10_000
PRIOR: Final = PriorSettings(downscale=1, superpixels=100, superpixel_downscale=1, coverage=0.25)
ADAPTED: Final = ("control", "bn", "ga", "ga_ca", "full", "self_training")
WITHOUT_PRIOR: Final = "self_training_without_prior"
"""What the prior gives to self-training, seen by leaving it out."""
WITH_TRUTH: Final = "ga_ca_with_true_labels"
"""What predicted labels cost class-wise alignment: here it sees the target's true ones instead."""
BALANCED: Final = "pretrained_balanced"
"""What it costs when predictions keep the class weights of the loss: nothing else is changed."""
ARMS: Final = ("pretrained", BALANCED, *ADAPTED, WITHOUT_PRIOR, WITH_TRUTH, "fine_tuned")

Row = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = list(CITIES),  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Seeds of the trainings.")] = [0, 1, 2, 3, 4],  # noqa: B006
    pairs: Annotated[int, typer.Option(help="Training pairs a city.")] = 200,
    test: Annotated[int, typer.Option(help="Test images a city.")] = 400,
    truth: Annotated[int, typer.Option(help="Seeds, the first, of the arm with true labels.")] = 3,
    processes: Annotated[int, typer.Option(help="Each works on one core.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder of unfinished work.")] = Path(
        ".crosscity/arms"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Runs what is missing and reports."""
    work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:

        def run(calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            pending = [pool.submit(function, *arguments) for function, arguments in calls]
            for done in as_completed(pending):
                if done.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                done.result()
                print(f"{sum(f.done() for f in pending)} of {len(pending)} done", flush=True)

        data = [(_city_images, (work, name, pairs, test)) for name in city]
        run([(_source_images, (work,)), *data])
        run([(_pretrain, (work, one)) for one in seed])
        wanted = [
            (work, name, one, arm)
            for one in seed
            for name in city
            for arm in ARMS
            if arm != WITH_TRUTH or one in seed[:truth]
        ]
        run([(_adapt, call) for call in wanted])
    rows = [json.loads(row_path(*call).read_text(encoding="utf-8")) for call in wanted]
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "arms.json", rows, indent=1)
    text = report(rows)
    write_text(output / "arms.md", text)
    print(text)


def _source_images(work: Path) -> None:
    places = range(1_000_000, 1_000_000 + SOURCE_PLACES)
    once(work / "source.npz", lambda: rendered(SOURCE, SOURCE_SEED, places, (0,)))


def _city_images(work: Path, city: str, pairs: int, test: int) -> None:
    """Both images of the training places with priors, and the test images."""

    def training() -> Arrays:
        found = rendered(city, CITIES[city], range(pairs), (0, 1))
        images = found["images"]
        priors: list[npt.NDArray[np.bool_]] = []
        for first in range(0, len(images), 2):
            priors += extract_prior(images[first], images[first + 1], PRIOR).masks
        return {**found, "priors": np.stack(priors)}

    tested = range(FIRST_TEST_PLACE, FIRST_TEST_PLACE + test)
    once(work / f"{city}-train.npz", training)
    once(work / f"{city}-test.npz", lambda: rendered(city, CITIES[city], tested, (0,)))


def rendered(style: str, seed: int, places: Iterable[int], times: Sequence[int]) -> Arrays:
    """Images and labels of simulated places, those of one place after another."""
    city = SimulatedCity(find_style(style), seed, SIZE)
    images, labels = [], []
    for place in places:
        for time in times:
            rendering = city.render(place, time)
            images.append(decode_image(city.encode(rendering), f"{style} {place} {time}"))
            labels.append(rendering.train_ids)
    return {"images": np.stack(images), "labels": np.stack(labels)}


def _pretrain(work: Path, seed: int) -> None:
    torch.set_num_threads(1)
    path = work / f"pretrained-{seed}.safetensors"
    if path.exists():
        return
    segmenter = build_segmenter("compact", seed=seed)
    training = Pretraining(segmenter, labelled(work / "source.npz"), PretrainingSettings(), seed)
    training.advance(training.total_steps)
    save(segmenter, path)


def _adapt(work: Path, city: str, seed: int, arm: str) -> None:
    """One arm on one city: adapts, scores the test images, and writes a row."""
    torch.set_num_threads(1)
    path = row_path(work, city, seed, arm)
    if path.exists():
        return
    segmenter = build_segmenter("compact", seed=seed)
    segmenter.load_state_dict(load_file(work / f"pretrained-{seed}.safetensors"))
    _train(work, city, seed, arm, segmenter)
    # Before the row, which tells that all is done: benchmarks/safeguard.py judges these weights.
    save(segmenter, work / f"weights-{city}-{seed}-{arm}.safetensors")
    tested = labelled(work / f"{city}-test.npz")
    scores = score(evaluate(segmenter, tested), "score13")
    row = {
        "city": city,
        "seed": seed,
        "arm": arm,
        "miou": scores.miou,
        "per_class": scores.per_class,
        "images": len(tested),
    }
    write_json(path, row)


def _train(work: Path, city: str, seed: int, arm: str, segmenter: Segmenter) -> None:
    training: Adaptation | FineTuning
    if arm == "pretrained":
        return
    if arm == BALANCED:
        _keep_class_weights(segmenter, labelled(work / "source.npz"))
        return
    if arm == "fine_tuned":
        found = loaded(work / f"{city}-train.npz")
        chosen = slice(0, 180, 2)  # 90 places, at their first time
        images = LabelledArrays(found["images"][chosen], found["labels"][chosen])
        training = FineTuning(segmenter, images, FineTuningSettings(), seed)
    else:
        found = loaded(work / f"{city}-train.npz")
        source = labelled(work / "source.npz")
        if arm == WITH_TRUTH:
            _train_with_truth(segmenter, source, found, seed)
            return
        priors = found["priors"]
        if arm == WITHOUT_PRIOR:
            arm, priors = "self_training", np.zeros_like(priors)
        target = TargetArrays(found["images"], priors)
        settings = replace(PRESETS["demo"], arm=arm)  # type: ignore[arg-type]
        training = Adaptation(segmenter, source, target, settings, seed)
    training.advance(training.total_steps)


def _train_with_truth(
    segmenter: Segmenter, source: LabelledArrays, found: Arrays, seed: int
) -> None:
    """The arm `ga_ca` with labels in the place of predictions: they come as the probabilities."""
    target = TargetArrays(found["images"], all_probabilities=found["labels"])
    recipe = replace(RECIPES["full"], probability=True)
    settings = replace(PRESETS["demo"], arm="full")
    with patch("crosscity.adaptation.target_predictions.weigh_by_probability", _truth):
        training = Adaptation(segmenter, source, target, settings, seed, recipe=recipe)
        training.advance(training.total_steps)


def _keep_class_weights(segmenter: Segmenter, source: LabelledArrays) -> None:
    """Lets a segmenter predict what `balanced_predictions` would have made of it."""
    counts = class_pixels(source, segmenter.n_classes)
    weights = class_weights(counts, PretrainingSettings().class_balance)
    if weights is not None:
        with torch.no_grad():
            segmenter.get_parameter("classifier.bias").add_(weights.log())


def _truth(phi: Tensor, labels: Tensor, _static: Sequence[int], **_settings: object) -> Tensor:
    """One where a pixel is of a class, whatever was predicted.

    Args:
        phi: B×C×H×W.
        labels: B×H×W in [0, 1], the class over 255.
    """
    classes = torch.arange(phi.shape[1], device=phi.device).reshape(1, -1, 1, 1)
    return ((255 * labels).round().unsqueeze(1) == classes).to(phi.dtype)


def save(segmenter: Segmenter, path: Path) -> None:
    """Writes the weights, whole or not at all."""
    with written_whole(path) as unfinished:
        save_file(separate_tensors(segmenter), unfinished)


def labelled(path: Path) -> LabelledArrays:
    """The images and labels of a file."""
    found = loaded(path)
    return LabelledArrays(found["images"], found["labels"])


def loaded(path: Path) -> Arrays:
    """The arrays of a file by name."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def once(path: Path, make: Callable[[], Arrays]) -> None:
    """Writes what is not there yet, whole or not at all."""
    if path.exists():
        return
    arrays: Any = make()  # the stubs take a keyword for the option of the same function
    with written_whole(path) as unfinished:
        np.savez(unfinished, **arrays)


def row_path(work: Path, city: str, seed: int, arm: str) -> Path:
    """Where the scores of an arm are, once it has been scored."""
    return work / f"row-{city}-{seed}-{arm}.json"


def report(rows: Sequence[Row]) -> str:
    """Tables in Markdown, in percent."""
    cities = list(dict.fromkeys(row["city"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    others = [city for city in cities if city != CHOSEN_ON]
    columns = {city: [city] for city in cities}
    if len(cities) > 1:
        columns["all"] = cities
        if len(others) < len(cities):
            columns[f"without {CHOSEN_ON}"] = others
    images = sorted({row["images"] for row in rows})
    lines = [
        f"mIoU in percent (13 classes, `score13`, {images[0]} test images a city), mean ± standard "
        f"deviation over {len(seeds)} seeds ({len(_run(rows, seeds, WITH_TRUTH))} for {WITH_TRUTH}"
        "); columns of several cities are of the cities' mean.",
        "",
        *_table(
            columns,
            [[_spread(rows, cs, seeds, arm) for cs in columns.values()] for arm in ARMS],
            ARMS,
        ),
        "",
        "Paired differences, same seed and same images, with 95 % intervals (Student's t over the "
        "seeds):",
        "",
    ]
    compared = [(arm, "pretrained") for arm in ARMS[1:]]
    compared += [("ga", "control"), ("ga_ca", "ga"), ("full", "ga_ca"), ("self_training", "full")]
    compared += [("self_training", WITHOUT_PRIOR), (WITH_TRUTH, "ga")]
    names = [f"{arm} − {other}" for arm, other in compared]
    cells = [
        [_difference(rows, cs, seeds, arm, other) for cs in columns.values()]
        for arm, other in compared
    ]
    lines += _table(columns, cells, names)
    for city in cities:
        lines += ["", f"IoU by class in {city}, mean over seeds:", ""]
        classes = [c.short for c in CROSS_CITY_CLASSES]
        means = [[_class_iou(rows, city, arm, c.name) for c in CROSS_CITY_CLASSES] for arm in ARMS]
        lines += _table(classes, means, ARMS)
    return "\n".join(lines) + "\n"


def _table(
    columns: Iterable[str], cells: Sequence[Sequence[str]], names: Sequence[str]
) -> list[str]:
    heads = list(columns)
    lines = ["| arm | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    lines += [
        f"| {name} | " + " | ".join(row) + " |" for name, row in zip(names, cells, strict=True)
    ]
    return lines


def _scores(rows: Sequence[Row], arm: str) -> dict[tuple[str, int], float]:
    return {(row["city"], row["seed"]): row["miou"] for row in rows if row["arm"] == arm}


def _run(rows: Sequence[Row], seeds: Sequence[int], *arms: str) -> list[int]:
    """The seeds that all of these arms were run with."""
    runs = [{seed for _, seed in _scores(rows, arm)} for arm in arms]
    return [seed for seed in seeds if all(seed in found for found in runs)]


def _values(
    rows: Sequence[Row], cities: Sequence[str], seeds: Sequence[int], arm: str
) -> list[float]:
    """Of every seed, the mean over the cities, in percent."""
    found = _scores(rows, arm)
    return [100 * statistics.mean(found[city, seed] for city in cities) for seed in seeds]


def _spread(rows: Sequence[Row], cities: Sequence[str], seeds: Sequence[int], arm: str) -> str:
    values = _values(rows, cities, _run(rows, seeds, arm), arm)
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else "–"


def _difference(
    rows: Sequence[Row], cities: Sequence[str], seeds: Sequence[int], arm: str, other: str
) -> str:
    both = _run(rows, seeds, arm, other)
    one, two = (_values(rows, cities, both, name) for name in (arm, other))
    return interval([a - b for a, b in zip(one, two, strict=True)])


def _class_iou(rows: Sequence[Row], city: str, arm: str, name: str) -> str:
    chosen = [r["per_class"][name] for r in rows if (r["city"], r["arm"]) == (city, arm)]
    known = [100 * iou for iou in chosen if not math.isnan(iou)]
    return f"{statistics.mean(known):.1f}" if known else "–"


if __name__ == "__main__":
    typer.run(main)
