from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from crosscity.adaptation import (
    ARMS,
    FINE_TUNING_PRESETS,
    PRESETS,
    AdaptationSettings,
    FineTuningSettings,
    PretrainingSettings,
)


def test_presets_are_the_papers_and_the_labs() -> None:
    assert set(PRESETS) == {"paper", "lab", "demo", "best"}
    paper = PRESETS["paper"]
    assert (paper.learning_rate, paper.betas, paper.batch_size) == (5e-6, (0.9, 0.999), 16)
    assert (paper.lambda_global, paper.lambda_class) == (0.1, 0.5)
    assert (paper.phi_floor, paper.class_reduction, paper.ca_start) == (0, "sum", 0)
    lab = PRESETS["lab"]
    assert (lab.batch_size, lab.accumulation, lab.steps) == (4, 4, 750)
    assert lab.discriminator_hidden == (1024, 1024)
    assert lab.discriminator_dropout == 0.5
    assert (lab.global_discriminator_rate, lab.class_discriminator_rate) == (10, 20)
    assert lab.ca_start == pytest.approx(2 / 3)
    assert lab.class_feature_loss == "confusion"
    assert lab.domain_means


def test_every_preset_fine_tunes_with_the_adaptations_optimiser() -> None:
    assert set(FINE_TUNING_PRESETS) == set(PRESETS)
    for name in ("paper", "lab"):
        adaptation, tuned = PRESETS[name], FINE_TUNING_PRESETS[name]
        assert tuned.steps == 2000
        assert (tuned.optimiser, tuned.weight_decay) == ("adam", 0)  # Adam without decay
        assert (tuned.schedule, tuned.warm_up) == (adaptation.schedule, 0)
        for same in (
            "learning_rate",
            "batch_size",
            "accumulation",
            "class_balance",
            "balanced_predictions",
            "flip",
        ):
            assert getattr(tuned, same) == getattr(adaptation, same)
        assert tuned.learning_rate == 5e-6
        assert tuned.batch_size * tuned.accumulation == 16


def test_the_demos_fine_tuning_is_that_of_its_finished_artifacts() -> None:
    assert asdict(FINE_TUNING_PRESETS["demo"]) == {
        "steps": 150,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "accumulation": 1,
        "optimiser": "adam",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "warm_up": 0.05,
        "class_balance": 0.5,
        "balanced_predictions": False,
        "flip": True,
        "smallest_crop": 1.0,
        "freeze_batch_norm": False,
    }


def test_settings_survive_json() -> None:
    for preset in PRESETS.values():
        assert AdaptationSettings(**json.loads(json.dumps(asdict(preset)))) == preset


def test_every_arm_is_accepted() -> None:
    assert ARMS == ("control", "bn", "ga", "ga_ca", "full", "self_training")
    for arm in ARMS:
        assert replace(PRESETS["demo"], arm=arm).arm == arm


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arm": "magic"}, "arm must be one of control, bn, ga, .*self_training, not 'magic'"),
        ({"class_reduction": "max"}, "class_reduction must be one of mean, sum"),
        ({"class_feature_loss": "reversal"}, "class_feature_loss must be one of"),
        ({"steps": 0}, "steps must be greater than 0"),
        ({"learning_rate": -1.0}, "learning_rate must be greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be greater than 0"),
        ({"lambda_class": -0.1}, "lambda_class must be at least 0"),
        ({"phi_floor": 1.0}, r"phi_floor must be in \[0, 1\)"),
        ({"ca_start": 1.0}, r"ca_start must be in \[0, 1\)"),
        ({"discriminator_dropout": 1.0}, "discriminator_dropout"),
        ({"discriminator_hidden": [0]}, "positive numbers of channels"),
        ({"betas": [0.9, 1.0]}, "betas must be"),
        ({"betas": [0.9]}, "betas must be"),
    ],
)
def test_wrong_adaptation_settings_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptationSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"optimiser": "lion"}, "optimiser must be one of adam, sgd"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"smallest_crop": 0.0}, "smallest_crop"),
        ({"warm_up": 1.0}, "warm_up"),
        ({"momentum": 1.0}, "momentum"),
        ({"class_balance": 2.0}, "class_balance"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ],
)
@pytest.mark.parametrize("settings", [PretrainingSettings, FineTuningSettings])
def test_wrong_supervised_settings_are_named(
    settings: type, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**wrong)
