"""Digests of what every training gives on tiny data: whether a change of the code changes a byte.

    python benchmarks/digests.py > before.json      # on the code as it was
    python benchmarks/digests.py --against before.json

Weights, histories and stored states after a few steps of every preset and arm. Digests of one
machine are compared with one another only: another processor rounds differently.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crosscity.adaptation import (
    ARMS,
    PRESETS,
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
    TargetArrays,
    Training,
)
from crosscity.segmenters import build_segmenter

STEPS: Final = 6
SIZE: Final = (32, 48)


def main(
    against: Annotated[Path | None, typer.Option(help="Digests of earlier code.")] = None,
) -> None:
    """Prints the digests, or what differs from earlier ones."""
    torch.set_num_threads(1)
    found = {name: digest(training) for name, training in trainings()}
    if against is None:
        print(json.dumps(found, indent=1))
        return
    earlier = json.loads(against.read_text(encoding="utf-8"))
    differing = [name for name, value in earlier.items() if found.get(name) != value]
    print(f"{len(earlier) - len(differing)} of {len(earlier)} trainings give the same bytes")
    for name in differing:
        print(f"differs: {name}")
    raise typer.Exit(bool(differing))


def trainings() -> Iterator[tuple[str, Training]]:
    """Every training on the same tiny data, each from the same start."""
    for name, settings in variants():
        segmenter = build_segmenter("compact", {"width": 16, "dilations": [1, 2]}, seed=5)
        yield name, Adaptation(segmenter, source(), target(), settings, 3)
    labelled: dict[str, Any] = {"steps": STEPS, "batch_size": 2, "smallest_crop": 0.7}
    segmenter = build_segmenter("compact", {"width": 16, "dilations": [1, 2]}, seed=5)
    yield "pretraining", Pretraining(segmenter, source(), PretrainingSettings(**labelled), 3)
    segmenter = build_segmenter("compact", {"width": 16, "dilations": [1, 2]}, seed=5)
    yield "fine_tuning", FineTuning(segmenter, source(), FineTuningSettings(**labelled), 3)


def variants() -> Iterator[tuple[str, AdaptationSettings]]:
    """Every preset and arm, and the settings that no preset has."""
    small: dict[str, Any] = {"steps": STEPS, "batch_size": 2, "discriminator_hidden": (8,)}
    for preset, settings in PRESETS.items():
        if preset not in ("paper", "lab", "demo"):
            continue
        for arm in ARMS:
            yield f"{preset} {arm}", replace(settings, **small, arm=arm, learning_rate=1e-3)
    lab = replace(PRESETS["lab"], **small, learning_rate=1e-3, domain_means=False)
    for arm in ARMS:
        yield f"lab without means {arm}", replace(lab, arm=arm)
    demo = replace(PRESETS["demo"], **small)
    yield "demo accumulated", replace(demo, arm="self_training", accumulation=2)
    yield "demo without teacher", replace(demo, arm="self_training", teacher_momentum=0.0)


def source() -> LabelledArrays:
    """Labelled noise."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (7, *SIZE, 3), dtype=np.uint8)
    labels = random.integers(0, 17, (7, SIZE[0] // 8, SIZE[1] // 8), dtype=np.uint8)
    labels = labels.repeat(8, axis=1).repeat(8, axis=2)
    labels[:, :4, :4] = 255
    return LabelledArrays(images, labels)


def target() -> TargetArrays:
    """Noise with static priors."""
    random = np.random.default_rng(2)
    images = random.integers(0, 200, (5, *SIZE, 3), dtype=np.uint8)
    return TargetArrays(images, random.random((5, *SIZE)) < 0.4)


def digest(training: Training) -> str:
    """Of all rows, and of the tensors after the first and the last steps."""
    found = hashlib.sha256()
    for steps in (2, training.total_steps - 2):
        rows = training.advance(steps)
        found.update(json.dumps(rows, sort_keys=True).encode())
        for name, tensor in sorted(training.state().tensors.items()):
            found.update(name.encode())
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    typer.run(main)
