"""A training's history has the quantities that docs/architecture.md lists for it, and no others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapters.store import Store
from crosscity.adaptation import (
    ARMS,
    PRESETS,
    Adaptation,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
    SourceFree,
    SourceFreeSettings,
    TargetArrays,
)
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.segmenters import build_segmenter
from tasks.training.checkpoints import TAKEN
from tasks.training.trainings import write_history

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"
STEPS, CA_START = 4, 2
RANDOM = np.random.default_rng(3)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (3, 16, 24, 3), dtype=np.uint8),
    RANDOM.integers(0, 19, (3, 16, 24), dtype=np.uint8),
)
TARGET = TargetArrays(
    RANDOM.integers(0, 256, (3, 16, 24, 3), dtype=np.uint8), RANDOM.random((3, 16, 24)) < 0.5
)
RECIPES = "recipes that name these objectives"  # of the catalog; each objective's own test has them
PLATEAU = "pre-training until its plateau"
TRAININGS = ("pre-training", PLATEAU, "fine-tuning", *ARMS, "source_free", "source_free_looks")


def documented(training: str) -> set[str]:
    """The quantities that the table lists for a training."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("| quantity | in | what |")[2]
    table = text.strip().partition("\n\n")[0].splitlines()[1:]
    found: set[str] = set()
    for line in table:
        names, where, _ = (cell.strip() for cell in line.strip("| ").split(" | ", maxsplit=2))
        among, _, without = where.partition(" but ")
        listed = {word.strip("` ") for word in among.split(",")}
        if "all" in listed:
            listed = set(TRAININGS)
        elif "adaptation" in listed:
            listed = {*ARMS, "source_free", "source_free_looks"}
        if "pre-training" in listed:
            listed.add(PLATEAU)
        assert listed <= {*TRAININGS, RECIPES}
        if training in listed - set(re.findall(r"`(\w+)`", without)):
            found |= set(re.findall(r"`(\w+)`", names))
    return found


def history(training: str, store: Store) -> list[tuple[int, str, float]]:
    segmenter = build_segmenter("compact", {"width": 8}, seed=1)
    if training == "pre-training":
        trained = Pretraining(segmenter, SOURCE, PretrainingSettings(STEPS, 2), seed=0)
    elif training == PLATEAU:
        until = PretrainingSettings(STEPS, 2, until="plateau", validate_every=2)
        trained = Pretraining(segmenter, SOURCE, until, seed=0, home=SOURCE)
    elif training == "fine-tuning":
        trained = FineTuning(segmenter, SOURCE, FineTuningSettings(STEPS, 2), seed=0)
    elif training == "source_free":
        alone = SourceFreeSettings(steps=STEPS, batch_size=2)
        trained = SourceFree(segmenter, TARGET, alone, seed=0)
    elif training == "source_free_looks":
        looking = SourceFreeSettings(steps=STEPS, batch_size=2, looks=True)
        pair = TargetArrays(TARGET.all_images[:2], TARGET.all_priors[:2])
        fields = np.zeros((*pair.all_images.shape[:3], 2), np.float32)
        trained = SourceFree(segmenter, PairedArrays(pair, fields), looking, seed=0)
    else:
        settings = replace(
            PRESETS["demo"], arm=training, steps=STEPS, batch_size=2, ca_start=CA_START / STEPS
        )
        trained = Adaptation(segmenter, SOURCE, TARGET, settings, seed=0)
    rows = [dict(row) for row in trained.advance(STEPS)]
    with store.draft("a", "b", "c", inputs={}, parameters={}, version="1") as draft:
        write_history(draft, rows)
    table = pq.read_table(store.path(draft.ref, "history.parquet")).to_pylist()
    return [(row["step"], row["quantity"], row["value"]) for row in table]


@pytest.mark.parametrize("training", TRAININGS)
def test_a_history_is_what_the_document_says(training, tmp_path):
    rows = history(training, Store(tmp_path))
    assert {name for _, name, _ in rows} == documented(training) - set(TAKEN)
    assert all(value is not None for _, _, value in rows)


@pytest.mark.parametrize("arm", ["ga_ca", "full", "self_training"])
def test_before_ca_start_lambda_is_0_and_losses_have_no_row(arm, tmp_path):
    before = [row for row in history(arm, Store(tmp_path)) if row[0] < CA_START]
    by_class = {(name, value) for _, name, value in before if "class" in name}
    assert by_class == {("lambda_class", 0.0)}
