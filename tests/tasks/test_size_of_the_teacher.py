"""Another segmenter as teacher is shown the target's stored images at its own trained size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.store import ArtifactRef
from crosscity.adaptation import AdaptationSettings, TargetArrays, TargetImages
from crosscity.labels import CLASSES
from crosscity.resizing import resized_image
from tasks.steps.errors import StaleError
from tasks.steps.identity import make, required
from tasks.steps.plan import Plan, open_plan
from tasks.training.checkpoints import CheckpointPlace
from tasks.training.extras import Extras
from tasks.training.identities import adaptation_parameters, adapted_identity
from tasks.training.jobs import Job, SetTargets, carry_out
from tasks.training.segmenters import fresh_segmenter, write_segmenter

NAMES = [road_class.name for road_class in CLASSES]
MODEL = {"architecture": "compact", "options": {"width": 8, "class_names": NAMES}}
STORED, OF_STUDENT = (64, 128), (32, 64)
IMAGES = np.random.default_rng(1).integers(0, 256, (4, *STORED, 3), dtype=np.uint8)
KEYS = itertools.count()
SELF = {"objectives": [{"objective": "self_training", "weight": 1.0, "ramp": "constant"}]}


@dataclass(frozen=True)
class Images(SetTargets):
    """Images in memory, and at which sizes they were opened."""

    parts: tuple[Any, ...] = ()
    sizes: list[tuple[int, int] | None] = field(default_factory=list)

    def open(self, plan: Plan, size: tuple[int, int] | None) -> TargetImages:  # noqa: ARG002
        self.sizes.append(size)
        return TargetArrays(np.stack([resized_image(image, size) for image in IMAGES]))


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    entry = {"architecture": "compact", "source": "frankfurt"}
    recipes = {"own": SELF, "taught": {**SELF, "teacher": "heavy"}}
    return open_plan(write_catalog(tmp_path, segmenters={"heavy": entry}, recipes=recipes))


def stored(plan: Plan, size: tuple[int, int] | None, seed: int) -> ArtifactRef:
    made, key = fresh_segmenter(MODEL, seed), f"{next(KEYS):064x}"
    made.trained_size = size
    store = plan.open_store()
    with store.draft("segmenter", "x", key, inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, made, MODEL)
    return draft.ref


def trained(plan: Plan, of_teacher: tuple[int, int] | None) -> tuple[list[Any], Any]:
    """The sizes at which images were opened for steps, and the history."""
    target = Images()
    place = CheckpointPlace("adaptation", "tokyo", f"{next(KEYS):064x}", "adapt tokyo")
    settings = AdaptationSettings(steps=2, batch_size=2, learning_rate=1e-3)
    done = carry_out(
        Job(
            stored(plan, OF_STUDENT, 1),
            (),
            settings,
            seed=0,
            plan=plan,
            place=place,
            every=5,
            target=target,
            recipe="taught",
            extras=Extras(teacher=stored(plan, of_teacher, 2)),
        )
    )
    assert done.segmenter.trained_size == OF_STUDENT
    return [size for size in target.sizes if size], [row["total_loss"] for row in done.history]


def test_a_teacher_of_another_size_is_shown_what_is_stored_at_that_size(plan: Plan) -> None:
    sizes, losses = trained(plan, STORED)
    assert sorted(sizes) == [OF_STUDENT, STORED]
    alike = [trained(plan, size) for size in (OF_STUDENT, None)]
    assert [sizes for sizes, _ in alike] == [[OF_STUDENT], [OF_STUDENT]]
    assert alike[0][1] == alike[1][1] != losses


def test_what_a_teacher_taught_at_the_students_size_is_another_adaptation(plan: Plan) -> None:
    keys = {arm: adaptation_parameters("tokyo", arm, 0, plan) for arm in ("own", "taught", "ga")}
    assert [arm for arm, parameters in keys.items() if "taught" in parameters] == ["taught"]


def test_why_it_is_another_is_said_without_a_setting_that_no_catalog_has(plan: Plan) -> None:
    identity = adapted_identity({"segmenter": stored(plan, None, 1)}, "taught", 0, "tokyo", plan)
    before = {name: value for name, value in identity.parameters.items() if name != "taught"}
    store = plan.open_store()
    make(
        store,
        replace(identity, parameters=before),
        lambda draft, _: write_segmenter(draft, fresh_segmenter(MODEL, 1), MODEL),
    )
    said = "made of labels of a teacher that was shown images at its student's size: run `crosscity"
    with pytest.raises(StaleError, match=said):
        required(store, identity)
