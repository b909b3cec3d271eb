"""Stopping after any step and resuming gives the very weights of not stopping."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from crosscity.adaptation import (
    ARMS,
    Adaptation,
    AdaptationSettings,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
    StateError,
    TargetArrays,
    Training,
    TrainingState,
)
from crosscity.segmenters import build_segmenter

STEPS = 7
"""With batches of 2 from 5 source and 3 target images, epochs end within batches."""
OPTIONS = {"width": 8, "dilations": [1], "dropout": 0.4}

RANDOM = np.random.default_rng(11)
LABELS = RANDOM.integers(0, 19, (5, 20, 28), dtype=np.uint8)
LABELS[RANDOM.random(LABELS.shape) < 0.1] = 255
SOURCE = LabelledArrays(RANDOM.integers(0, 256, (5, 20, 28, 3), dtype=np.uint8), LABELS)
TARGET = TargetArrays(
    RANDOM.integers(0, 256, (3, 20, 28, 3), dtype=np.uint8), RANDOM.random((3, 20, 28)) < 0.5
)
ADAPTATION = AdaptationSettings(
    steps=STEPS,
    batch_size=2,
    learning_rate=1e-3,
    ca_start=0.4,
    phi_floor=0.02,
    discriminator_hidden=(6, 6),
    discriminator_dropout=0.4,
    class_balance=0.5,
    flip=True,
)
SUPERVISED = {"steps": STEPS, "batch_size": 2, "smallest_crop": 0.6, "class_balance": 0.3}


def pretrained() -> torch.nn.Module:
    return build_segmenter("compact", OPTIONS, seed=1)


def adaptation(**changes: object) -> Callable[[], Training]:
    settings = replace(ADAPTATION, **changes)  # type: ignore[arg-type]
    return lambda: Adaptation(pretrained(), SOURCE, TARGET, settings, seed=5)


TRAININGS: dict[str, Callable[[], Training]] = {
    "pretraining": lambda: Pretraining(
        pretrained(), SOURCE, PretrainingSettings(**SUPERVISED), seed=5
    ),
    "pretraining with SGD": lambda: Pretraining(
        pretrained(),
        SOURCE,
        PretrainingSettings(**SUPERVISED, optimiser="sgd", schedule="poly"),
        seed=5,
    ),
    "fine-tuning": lambda: FineTuning(
        pretrained(), SOURCE, FineTuningSettings(**SUPERVISED, freeze_batch_norm=True), seed=5
    ),
    **{arm: adaptation(arm=arm) for arm in ARMS},
    "accumulated": adaptation(accumulation=2, class_feature_loss="confusion"),
    "slow teacher": adaptation(arm="self_training", teacher_momentum=0.9, label_shift=True),
    "separate means": adaptation(domain_means=True, class_reduction="sum"),
}


@pytest.fixture(params=TRAININGS, name="make")
def make_training(request: pytest.FixtureRequest) -> Callable[[], Training]:
    return TRAININGS[request.param]


def stored(state: TrainingState) -> TrainingState:
    """Through the file formats of the store: safetensors and JSON, no pickle."""
    return TrainingState(load(save(state.tensors)), json.loads(json.dumps(state.meta)))


def assert_equal(one: TrainingState, other: TrainingState) -> None:
    assert one.meta == other.meta
    assert set(one.tensors) == set(other.tensors)
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def test_resuming_at_any_step_changes_no_bit(make: Callable[[], Training]) -> None:
    whole = make()
    expected_rows = whole.advance(STEPS)
    assert whole.finished
    expected = stored(whole.state())
    stepwise, states, rows = make(), [], []
    for _ in range(STEPS):
        states.append(stepwise.state())
        rows += stepwise.advance(1)
        torch.rand(3)  # others draw too
    assert rows == expected_rows
    assert_equal(stored(stepwise.state()), expected)
    for stop, state in enumerate(states):
        resumed = make()
        resumed.restore(stored(state))
        assert resumed.step == stop
        assert resumed.advance(STEPS) == expected_rows[stop:]
        assert_equal(stored(resumed.state()), expected)


def test_a_used_training_can_go_back(make: Callable[[], Training]) -> None:
    training = make()
    training.advance(2)
    state = training.state()
    rows = training.advance(3)
    training.restore(state)
    assert training.step == 2
    assert training.advance(3) == rows


def test_states_are_not_changed_by_later_steps(make: Callable[[], Training]) -> None:
    training = make()
    training.advance(2)
    state = training.state()
    kept = copy.deepcopy(state)
    training.advance(2)
    assert_equal(state, kept)


def test_randomness_outside_is_left_alone(make: Callable[[], Training]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    make().advance(2)
    assert torch.equal(torch.rand(4), expected)


def test_trainings_in_threads_do_not_disturb_each_other() -> None:
    names = ["full", "pretraining", "ga_ca", "fine-tuning"]
    alone = [TRAININGS[name]() for name in names]
    for training in alone:
        training.advance(STEPS)
    together = [TRAININGS[name]() for name in names]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda training: training.advance(STEPS), together))
    for one, other in zip(alone, together, strict=True):
        assert_equal(one.state(), other.state())


def test_seeds_differ() -> None:
    one = Adaptation(pretrained(), SOURCE, TARGET, ADAPTATION, seed=5)
    other = Adaptation(pretrained(), SOURCE, TARGET, ADAPTATION, seed=6)
    assert one.advance(3) != other.advance(3)


def test_history_has_the_same_columns_in_every_row(make: Callable[[], Training]) -> None:
    rows = make().advance(STEPS)
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert len({tuple(row) for row in rows}) == 1
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        ("pretraining", "its kind is 'pretraining' instead of 'adaptation'"),
        ("ga", "its settings is arm 'ga' instead of 'full'"),
    ],
)
def test_states_of_other_trainings_are_refused(other: str, fault: str) -> None:
    training = TRAININGS["full"]()
    before = training.state()
    with pytest.raises(StateError, match=fault):
        training.restore(TRAININGS[other]().state())
    assert_equal(training.state(), before)


def test_states_of_other_seeds_and_networks_are_refused() -> None:
    training = TRAININGS["full"]()
    with pytest.raises(StateError, match="its seed is 6 instead of 5"):
        training.restore(Adaptation(pretrained(), SOURCE, TARGET, ADAPTATION, seed=6).state())
    wider = build_segmenter("compact", {**OPTIONS, "width": 12})
    with pytest.raises(StateError, match="its segmenter is options"):
        training.restore(Adaptation(wider, SOURCE, TARGET, ADAPTATION, seed=5).state())
    state = training.state()
    state.tensors.pop("global_discriminator.layers.0.weight")
    with pytest.raises(StateError, match=r"lacks global_discriminator\.layers\.0\.weight"):
        training.restore(state)
