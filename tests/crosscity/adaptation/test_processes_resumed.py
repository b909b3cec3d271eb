"""Several processes that go on from a checkpoint, of which the first saved one for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosscity.adaptation import LabelledArrays, Pretraining, PretrainingSettings, TargetArrays
from crosscity.adaptation.engine import Engine
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.segmenters import build_segmenter

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import torch
import {module} as here
from crosscity.adaptation import on_all_devices

if __name__ == "__main__":
    torch.set_num_threads(1)
    on_all_devices(here.train_and_save, *sys.argv[1:], device="cpu", devices=2)
"""
STEPS = 6


def arrays(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 255, (count, 32, 64, 3)).astype(np.uint8)
    return images, random.integers(0, 19, (count, 32, 64)).astype(np.uint8)


def source_free(engine: Engine) -> SourceFree:
    images, _ = arrays(0, 9)
    settings = SourceFreeSettings(steps=STEPS, batch_size=2)
    network = build_segmenter("compact", {"width": 8, "dropout": 0.0}, seed=1)
    return SourceFree(network, TargetArrays(images), settings, seed=0, engine=engine)


def pretraining(engine: Engine) -> Pretraining:
    settings = PretrainingSettings(
        steps=STEPS, batch_size=2, until="plateau", validate_every=1, patience=20
    )
    network = build_segmenter("compact", {"width": 8, "dropout": 0.0}, seed=1)
    source, home = (LabelledArrays(*arrays(seed, 9)) for seed in (1, 2))
    return Pretraining(network, source, settings, seed=0, engine=engine, home=home)


TRAININGS = {"source_free": source_free, "pretraining": pretraining}


def train_and_save(engine: Engine, kind: str, path: str) -> None:
    """What each process does: all steps at once, and again from the state after two of them."""
    torch.set_num_threads(1)
    whole = TRAININGS[kind](engine)
    rows = whole.advance(2)
    state = Path(f"{path}.state")
    if engine.rank == 0:
        torch.save(whole.state(), state)
    engine.mean(torch.zeros(1))  # all wait for it
    rows += whole.advance(STEPS)
    resumed = TRAININGS[kind](engine)
    resumed.restore(torch.load(state, weights_only=False))
    later = resumed.advance(STEPS)
    if engine.rank == 0:
        saved = {"rows": rows[2:], "tensors": whole.segmenter.state_dict()}
        again = {"rows": later, "tensors": resumed.segmenter.state_dict()}
        torch.save([saved, again], path)


@pytest.mark.parametrize("kind", TRAININGS)
def test_processes_that_go_on_make_the_same_steps(kind: str, tmp_path: Path) -> None:
    here = Path(__file__)
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(folder=str(here.parent), module=here.stem))
    made = tmp_path / "both.pt"
    done = subprocess.run(
        [sys.executable, script, kind, made],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole, resumed = torch.load(made, weights_only=False)
    measured: list[dict[str, Any]] = whole["rows"]
    assert resumed["rows"] == measured
    for name, value in whole["tensors"].items():
        assert torch.equal(value, resumed["tensors"][name]), name
