"""Would the demo gain more from the start that comes along (`street`), and what would it cost?

    python benchmarks/demo_start.py --work .crosscity/demo_start

Tokyo at 256×512, the size that `street` was trained at: pairs, priors from matching, source images,
and *validation* places that neither the demo trains on nor tests on. Each arm adapts the shipped
weights once, on one core; its score and the processor seconds of every stage are told, which say
what fits into ten minutes on two cores. Finished work is found again in `--work`. Writes
`benchmarks/results/demo_start.json`; what follows from it is in `demo_preset.md`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
import typer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog.model import PriorSettings
from adapters.images import decode_image
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.arms import Arrays, labelled, loaded, once
from benchmarks.whole_files import write_json
from crosscity.adaptation import (
    PRESETS,
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    TargetArrays,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.evaluation import evaluate, score
from crosscity.segmenters import Segmenter, build_segmenter
from tasks.priors.pair_prior import extract_prior

RESULTS: Final = Path(__file__).parent / "results" / "demo_start.json"
WEIGHTS: Final = Path(__file__).parents[1] / "crosscity" / "weights" / "street.safetensors"
SIZE: Final = (256, 512)
PAIRS, VALIDATION, SOURCE, LABELLED = 75, 60, 150, 45
FIRST_VALIDATION_PLACE: Final = 20_000
PRIOR: Final = PriorSettings(downscale=2, superpixels=100, superpixel_downscale=2, coverage=0.25)
STEPS: Final = 60
"""Of every arm that trains; a demo of six arms has no time for more."""
ADAPTED: Final = replace(PRESETS["demo"], steps=STEPS, learning_rate=1e-4)
SOURCE_FREE: Final = SourceFreeSettings(steps=STEPS)
FINE_TUNED: Final = FineTuningSettings(steps=STEPS, batch_size=4, learning_rate=3e-4)


def main(
    work: Annotated[Path, typer.Option(help="Folder of finished work.")] = Path(
        ".crosscity/demo_start"
    ),
    output: Annotated[Path, typer.Option(help="The results.")] = RESULTS,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
) -> None:
    """Runs what is missing and reports after every arm."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    data(work)
    for name, train in ARMS.items():
        if arm is None or name in arm:
            _score(work, name, train)
            _report(work, output)


def data(work: Path) -> None:
    """Draws the images that are not there yet, and matches the pairs."""
    stages: dict[str, tuple[Path, Callable[[], Arrays]]] = {
        f"render {2 * PAIRS} target images": (
            work / "pairs.npz",
            lambda: rendered("tokyo", 3, range(PAIRS), 2),
        ),
        f"{PAIRS} priors": (work / "priors.npz", lambda: _priors(work)),
        f"render {VALIDATION} validation images": (
            work / "validation.npz",
            lambda: rendered(
                "tokyo", 3, range(FIRST_VALIDATION_PLACE, FIRST_VALIDATION_PLACE + VALIDATION), 1
            ),
        ),
        f"render {SOURCE} source images": (
            work / "source.npz",
            lambda: rendered("frankfurt", 11, range(1_000_000, 1_000_000 + SOURCE), 1),
        ),
    }
    for name, (path, make) in stages.items():
        if not path.exists():
            began = time.process_time()
            once(path, make)
            _note(work, name, {"cpu_seconds": time.process_time() - began})


def rendered(style: str, seed: int, places: range, times: int) -> Arrays:
    """Images and labels of places at so many times each, those of one place after another."""
    city = SimulatedCity(find_style(style), seed, SIZE)
    city.render(places[0], 0)  # compiled code is not counted: it is kept between runs
    images, labels = [], []
    for place in places:
        for moment in range(times):
            rendering = city.render(place, moment)
            images.append(decode_image(city.encode(rendering), f"{style} {place} {moment}"))
            labels.append(rendering.train_ids)
    return {"images": np.stack(images), "labels": np.stack(labels)}


def _priors(work: Path) -> Arrays:
    images = loaded(work / "pairs.npz")["images"]
    masks: list[Any] = []
    for first in range(0, len(images), 2):
        masks += extract_prior(images[first], images[first + 1], PRIOR).masks
    return {"priors": np.stack(masks)}


def _target(work: Path) -> TargetArrays:
    return TargetArrays(loaded(work / "pairs.npz")["images"], loaded(work / "priors.npz")["priors"])


def by_arm(
    arm: Any,  # noqa: ANN401 - a name
    settings: AdaptationSettings = ADAPTED,
) -> Callable[[Path, Segmenter], Segmenter]:
    """An arm of the paper or ours, from the given network."""

    def train(work: Path, network: Segmenter) -> Segmenter:
        chosen = replace(settings, arm=arm)
        training = Adaptation(network, labelled(work / "source.npz"), _target(work), chosen, seed=0)
        training.advance(training.total_steps)
        return training.segmenter

    return train


def without_source(settings: SourceFreeSettings) -> Callable[[Path, Segmenter], Segmenter]:
    """The arm that reads no source image."""

    def train(work: Path, network: Segmenter) -> Segmenter:
        training = SourceFree(network, _target(work), settings, 0)
        training.advance(training.total_steps)
        return training.segmenter

    return train


def _fine_tuned(work: Path, network: Segmenter) -> Segmenter:
    pairs = loaded(work / "pairs.npz")
    first = slice(0, 2 * LABELLED, 2)
    images = LabelledArrays(pairs["images"][first], pairs["labels"][first])
    training = FineTuning(network, images, FINE_TUNED, 0)
    training.advance(training.total_steps)
    return training.segmenter


ARMS: Final[dict[str, Callable[[Path, Segmenter], Segmenter]]] = {
    "pretrained": lambda _, network: network,
    "bn": by_arm("bn"),
    "source_free": without_source(SOURCE_FREE),
    "full": by_arm("full"),
    "self_training": by_arm("self_training"),
    "control": by_arm("control"),
    "fine_tuned": _fine_tuned,
    "source_free teacher": without_source(replace(SOURCE_FREE, deliver="teacher")),
    "source_free faster": without_source(
        replace(SOURCE_FREE, teacher_momentum=0.97, deliver="teacher")
    ),
    "ga": by_arm("ga"),
    "ga_ca": by_arm("ga_ca"),
}


def start() -> Segmenter:
    """The segmenter that comes along."""
    network = build_segmenter("efficientnet_lite0", {}, seed=0)
    network.load_state_dict(load_file(WEIGHTS))
    return network


def _score(work: Path, name: str, train: Callable[[Path, Segmenter], Segmenter]) -> None:
    if (work / f"{name}.json").exists():
        return
    network = start()
    began = time.process_time()
    network = train(work, network)
    trained = time.process_time()
    found = score(evaluate(network, labelled(work / "validation.npz")), "score13")
    row = {
        "miou": found.miou,
        "per_class": found.per_class,
        "cpu_seconds": trained - began,
        "scoring_cpu_seconds": time.process_time() - trained,
    }
    _note(work, name, row)
    print(name, f"{100 * found.miou:.1f}", f"{row['cpu_seconds']:.0f} s", flush=True)


def _note(work: Path, name: str, content: dict[str, Any]) -> None:
    unfinished = work / "unfinished"
    unfinished.write_text(json.dumps({"name": name, **content}), encoding="utf-8")
    unfinished.replace(work / f"{name}.json")


def _report(work: Path, output: Path) -> None:
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*.json"))]
    content = {"size": list(SIZE), "validation_images": VALIDATION, "steps": STEPS, "rows": rows}
    write_json(output, content, indent=1)


if __name__ == "__main__":
    typer.run(main)
