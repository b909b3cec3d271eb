"""Pre-training until its plateau: what it looks at, when it ends, and that it resumes anywhere."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from crosscity.adaptation import LabelledArrays, Pretraining, PretrainingSettings
from crosscity.adaptation.home_validation import HomeValidation, mean_iou
from crosscity.adaptation.photometric import sensor_noise
from crosscity.adaptation.training import TrainingState
from crosscity.evaluation import predict
from crosscity.segmenters import Segmenter, build_segmenter, in_train_ids, rule_offsets

NAMES = ["road", "sky", "car"]


def network(seed: int = 0) -> Segmenter:
    return build_segmenter("compact", {"width": 8, "class_names": NAMES}, seed=seed)


def scenes(count: int, seed: int) -> LabelledArrays:
    """Sky over road, of different heights, with a few pixels of a car: learned in some steps."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 40, (count, 32, 48, 3), dtype=np.uint8)
    labels = np.zeros((count, 32, 48), dtype=np.uint8)
    for index in range(count):
        horizon = int(random.integers(8, 24))
        labels[index, :horizon] = 1
        labels[index, 26:30, 8:14] = 2
    images += np.array([30, 120, 210], dtype=np.uint8)[labels][..., None]
    return LabelledArrays(images, labels)


def plateau(**changes: Any) -> PretrainingSettings:
    given: dict[str, Any] = {
        "steps": 60,
        "batch_size": 2,
        "learning_rate": 5e-3,
        "until": "plateau",
        "validate_every": 3,
        "patience": 2,
        "average": 0.8,
        **changes,
    }
    return PretrainingSettings(**given)


def pretraining(settings: PretrainingSettings) -> Pretraining:
    return Pretraining(network(), scenes(6, 1), settings, 3, home=scenes(4, 2))


def jsoned(state: TrainingState) -> TrainingState:
    return TrainingState(state.tensors, json.loads(json.dumps(state.meta)))


def test_it_ends_some_time_after_the_validation_stops_rising() -> None:
    training = pretraining(plateau(least_gain=0.5))
    rows = training.advance(60)
    # The first look has nothing before it; the next two gain less than half: step 9, and a quarter.
    assert training.step == 9 + math.ceil(9 / 4) == len(rows)
    assert training.outcome["ended"] == "plateau"
    looks = {row["step"] + 1: row["home_miou"] for row in rows if row["home_miou"] is not None}
    assert list(looks) == [3, 6, 9, 12]
    assert training.outcome["taken_from"] == max(looks, key=lambda step: looks[step])
    rates = [row["learning_rate"] for row in rows]
    assert rates[3:9] == [5e-3] * 6  # after the warm-up it stays
    falling = [5e-3 * 0.5 * (1 + math.cos(math.pi * k / 3)) for k in range(3)]
    assert rates[9:] == pytest.approx(falling)


def test_the_limit_holds_whatever_happens() -> None:
    settings = plateau(steps=11, patience=50)
    training = pretraining(settings)
    rows = training.advance(1000)
    assert len(rows) == 11
    assert training.outcome["ended"] == "limit"
    assert rows[-1]["learning_rate"] < rows[7]["learning_rate"]  # a last stretch fitted in


def test_what_validated_best_is_delivered() -> None:
    training = pretraining(plateau())
    rows = training.advance(1000)
    best = max(row["home_miou"] for row in rows if row["home_miou"] is not None)
    assert training.outcome["miou"]["plain"] == pytest.approx(best)
    home = HomeValidation(scenes(4, 2), training.class_pixels, 0.5, network_is_weighted=False)
    assert home.miou(training.segmenter, "plain") == pytest.approx(best)


@pytest.mark.parametrize("at", range(1, 12))
def test_resumed_at_any_step_it_ends_with_the_same_bits(at: int) -> None:
    settings = plateau(least_gain=0.5)
    whole = pretraining(settings)
    rows = whole.advance(1000)
    first = pretraining(settings)
    before = first.advance(at)
    second = pretraining(settings)
    second.restore(jsoned(first.state()))
    assert before + second.advance(1000) == rows
    assert second.outcome == whole.outcome
    assert second.total_steps == whole.total_steps
    ours, theirs = second.state().tensors, whole.state().tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(second.segmenter.prediction_offsets, whole.segmenter.prediction_offsets)


def test_the_average_of_the_weights_is_what_a_loop_gives() -> None:
    settings = PretrainingSettings(steps=4, batch_size=2, average=0.6)
    training = Pretraining(network(), scenes(6, 1), settings, 3)
    mean = {name: value.clone() for name, value in training.segmenter.state_dict().items()}
    for step in range(1, 5):
        plain = Pretraining(network(), scenes(6, 1), PretrainingSettings(steps=4, batch_size=2), 3)
        plain.advance(step)
        share = 1 - min(0.6, step / (step + 10))
        for name, value in plain.segmenter.state_dict().items():
            if value.is_floating_point():
                mean[name] = mean[name] * (1 - share) + value * share
    training.advance(4)
    for name, value in training.segmenter.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, mean[name])


def test_the_rule_is_the_best_at_home_and_nothing_else_changes() -> None:
    settings = PretrainingSettings(steps=12, batch_size=2)
    training = Pretraining(network(), scenes(6, 1), settings, 3, home=scenes(4, 2))
    training.advance(12)
    outcome = training.outcome
    assert outcome["ended"] == "steps"
    assert outcome["miou"][outcome["rule"]] == max(outcome["miou"].values())
    without = Pretraining(network(), scenes(6, 1), settings, 3)
    without.advance(12)
    assert without.outcome["rule"] == "plain"
    ours, theirs = training.segmenter.state_dict(), without.segmenter.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("rule", ["plain", "half_weighted", "weighted"])
def test_a_rule_predicts_as_the_plain_equation_does(rule: Any) -> None:
    counts = np.array([900, 90, 10], dtype=np.int64)
    segmenter = network().eval()
    images = scenes(3, 5).images([0, 1, 2])
    plain = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = segmenter(plain).numpy()
    strength = {"plain": 0, "half_weighted": 0.5, "weighted": 1}[rule]
    expected = logits - strength * 0.3 * np.log(counts / 1000).reshape(1, 3, 1, 1)
    segmenter.set_prediction_offsets(rule_offsets(rule, counts, 0.3))
    found = predict(segmenter, images)
    assert (found == expected.argmax(1)).mean() > 0.9999
    with torch.no_grad():
        assert np.array_equal(segmenter(plain).numpy(), logits)  # losses see no rule
    renamed = predict(in_train_ids(segmenter), images)
    assert np.array_equal(renamed, np.array([0, 10, 13], dtype=np.uint8)[found])


def test_a_network_trained_weighted_is_taken_back_by_the_plain_rule() -> None:
    counts = np.array([900, 90, 10], dtype=np.int64)
    assert rule_offsets("weighted", counts, 0.5, network_is_weighted=True) == (0.0, 0.0, 0.0)
    back = rule_offsets("plain", counts, 0.5, network_is_weighted=True)
    there = rule_offsets("weighted", counts, 0.5)
    assert np.allclose(np.add(back, there), 0)


def test_offsets_that_do_not_suit_are_refused() -> None:
    for wrong in ([0.0, 1.0], [0.0, math.nan, 0.0]):
        with pytest.raises(ValueError, match="one finite offset a class"):
            network().set_prediction_offsets(wrong)


def test_mean_iou_against_loops() -> None:
    random = np.random.default_rng(0)
    truth, seen = random.integers(0, 4, 500), random.integers(0, 5, 500)
    counts = np.zeros((5, 5), dtype=np.int64)
    np.add.at(counts, (truth, seen), 1)
    ious = [
        ((truth == c) & (seen == c)).sum() / ((truth == c) | (seen == c)).sum() for c in range(4)
    ]
    assert mean_iou(counts) == pytest.approx(np.mean(ious))
    assert mean_iou(np.zeros((2, 2), dtype=np.int64)) == 0


def test_without_validation_images_a_plateau_is_refused() -> None:
    with pytest.raises(ValueError, match="until: plateau looks at validation images"):
        Pretraining(network(), scenes(6, 1), plateau(), 3)


def test_jitter_is_the_seeds_and_off_is_off() -> None:
    def trained(jitter: float) -> dict[str, torch.Tensor]:
        settings = PretrainingSettings(steps=2, batch_size=2, jitter=jitter)
        training = Pretraining(network(), scenes(6, 1), settings, 3)
        training.advance(2)
        return training.segmenter.state_dict()

    one, again, off = trained(0.7), trained(0.7), trained(0.0)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], off[name]) for name in one)


def test_noise_is_of_half_of_the_images_and_of_the_size_that_is_said() -> None:
    grey = torch.full((400, 3, 8, 8), 0.5)
    noisy = sensor_noise(grey, np.random.default_rng(0), 1.0)
    deviations = (noisy - grey).flatten(1).std(1)
    assert 0.4 < (deviations > 0).float().mean() < 0.6
    assert deviations.max() < 1.3 * 8 / 255
    assert torch.equal(sensor_noise(grey, np.random.default_rng(0), 0.0), grey)


def test_it_says_the_size_that_it_was_trained_at() -> None:
    training = Pretraining(network(), scenes(3, 1), PretrainingSettings(steps=1, batch_size=1), 0)
    assert training.segmenter.trained_size == (32, 48)
