"""Trainings go on from their own checkpoints only, and load weights that fit only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapters.catalog import StoreEntry, load_catalog
from adapters.store import Store
from crosscity.adaptation import FineTuning, FineTuningSettings, Pretraining, PretrainingSettings
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.steps.settings import checked_settings
from tasks.training.checkpoints import CHECKPOINT, TAKEN, CheckpointPlace, run_resumably
from tasks.training.identities import fine_tuning_settings
from tasks.training.segmenters import fresh_segmenter, stored_segmenter, write_segmenter
from tasks.training.trainings import check_fine_tuning

SETTINGS = PretrainingSettings(steps=4, batch_size=2)
SMALL = {"architecture": "compact", "options": {"width": 8}}
LARGE = {"architecture": "compact", "options": {"width": 16}}
PLACE = CheckpointPlace("segmenter", "frankfurt", "akey", "pre-train compact")


class Labelled:
    """Four images whose halves are road and sky."""

    def __len__(self) -> int:
        return 4

    def images(self, indices):
        labels = self.labels(indices)
        return np.repeat(labels[..., None] * 20, 3, axis=-1).astype(np.uint8)

    def labels(self, indices):
        labels = np.zeros((len(indices), 32, 64), dtype=np.uint8)
        labels[:, :16] = 10
        return labels


@pytest.fixture
def plan(write_catalog, tmp_path) -> Plan:
    return open_plan(write_catalog(tmp_path))


def pretraining(model=SMALL, settings=SETTINGS, seed=0) -> Pretraining:
    return Pretraining(fresh_segmenter(model, seed), Labelled(), settings, seed=seed)


class Interrupted(Exception):  # noqa: N818 - it stands for a kill
    pass


def what_follows(history):
    """A history without what its steps took, which no two runs share."""
    return [{name: row[name] for name in row if name not in TAKEN} for row in history]


def interrupt(plan, training, *, after: int, monkeypatch) -> None:
    """Runs a training until so many checkpoints are saved."""
    from tasks.training import checkpoints as module

    saved, save = [], module._save

    def save_then_stop(*arguments):
        save(*arguments)
        saved.append(1)
        if len(saved) == after:
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(module, "_save", save_then_stop)
        with pytest.raises(Interrupted):
            run_resumably(training, plan, PLACE, every=1)


def test_a_training_resumed_anywhere_ends_with_the_same_weights(plan, monkeypatch):
    whole = pretraining()
    elsewhere = plan.model_copy(update={"store": StoreEntry(url=f"{plan.root}/b")})
    history = run_resumably(whole, elsewhere, PLACE, every=3)
    for after in (1, 3):
        plan.open_store().clear_progress("segmenter", "frankfurt", "akey")
        interrupt(plan, pretraining(), after=after, monkeypatch=monkeypatch)
        resumed = pretraining()
        again = run_resumably(resumed, plan, PLACE, every=2)
        assert what_follows(again) == what_follows(history)
        assert all(set(row) >= set(TAKEN) for row in again)
        for name, tensor in whole.segmenter.state_dict().items():
            assert torch.equal(tensor, resumed.segmenter.state_dict()[name])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: pretraining(model=LARGE), id="another architecture"),
        pytest.param(
            lambda: pretraining(settings=replace(SETTINGS, steps=9)), id="another number of steps"
        ),
        pytest.param(
            lambda: FineTuning(
                fresh_segmenter(SMALL, 0),
                Labelled(),
                FineTuningSettings(steps=4, batch_size=2),
                seed=0,
            ),
            id="another kind of training",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_reported_in_one_sentence(plan, monkeypatch, other):
    interrupt(plan, pretraining(), after=2, monkeypatch=monkeypatch)
    with pytest.raises(InputError) as caught:
        run_resumably(other(), plan, PLACE, every=1)
    text = str(caught.value)
    assert "does not fit this training" in text
    assert f"{plan.root}/store/.progress" in text
    assert text.endswith("delete it and run again")
    assert "\n" not in text


def test_a_checkpoint_that_is_none_is_reported_in_one_sentence(plan):
    plan.open_store().save_progress(
        "segmenter", "frankfurt", "akey", CHECKPOINT, b"not safetensors"
    )
    with pytest.raises(InputError, match="does not fit this training"):
        run_resumably(pretraining(), plan, PLACE, every=1)


def segmenter_artifact(store: Store, described: dict, weights_of: dict):
    with store.draft(
        "segmenter", "frankfurt", "akey", inputs={}, parameters={}, version="1"
    ) as draft:
        write_segmenter(draft, fresh_segmenter(weights_of, 0), described)
    return draft.ref


def test_a_segmenter_comes_back_as_it_was_written(plan):
    ref = segmenter_artifact(plan.open_store(), SMALL, SMALL)
    model, network = stored_segmenter(plan, ref)
    assert model == SMALL
    for name, tensor in fresh_segmenter(SMALL, 0).state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


def test_weights_of_another_architecture_are_reported_in_one_sentence(plan):
    ref = segmenter_artifact(plan.open_store(), LARGE, SMALL)
    with pytest.raises(InputError) as caught:
        stored_segmenter(plan, ref)
    assert "weights.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_no_segmenter_at_all_are_reported_in_one_sentence(plan):
    with plan.open_store().draft(
        "segmenter", "frankfurt", "akey", inputs={}, parameters={}, version="1"
    ) as draft:
        (draft.path / "model.json").write_text(json.dumps({**SMALL, "config": {}}))
        save_file({"weight": torch.zeros(3)}, draft.path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        stored_segmenter(plan, draft.ref)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"architecture": "hourglass", "options": {}}, "hourglass"),
        ({"architecture": "compact", "options": {"width": 7}}, "width"),
        ({"architecture": "compact", "options": {"depth": 3}}, "depth"),
    ],
)
def test_an_architecture_that_is_not_there_is_reported(model, said):
    with pytest.raises(InputError, match=said):
        fresh_segmenter(model, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stepps": 3}, "stepps"),
        ({"steps": "many"}, "steps"),
        ({"steps": 0}, "steps must be greater than 0"),
        ({"optimiser": "magic"}, "optimiser"),
    ],
)
def test_wrong_settings_in_the_catalog_are_reported_by_field(changes, said):
    with pytest.raises(InputError) as caught:
        checked_settings(PretrainingSettings(), changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_trainings_fine_tune_as_their_presets_do():
    """5e-6 where the network is the paper's; `compact` alone takes 1e-3."""
    trainings = load_catalog(Path(__file__).parents[2] / "data_catalog.yaml").trainings
    settings = {name: fine_tuning_settings(entry) for name, entry in trainings.items()}
    rates = {name: (one.steps, one.learning_rate) for name, one in settings.items()}
    assert rates == {
        "demo": (150, 1e-3),
        "street": (60, 3e-4),
        **dict.fromkeys(("lab", "paper"), (2000, 5e-6)),
    }
    changed = trainings["paper"].model_copy(update={"fine_tuning": {"steps": 7}})
    assert fine_tuning_settings(changed) == replace(settings["paper"], steps=7)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "cities.tokyo has no labels in the catalog"),
        ({"kind": "cross_city", "root": "none"}, "cities.tokyo.labels are of test places alone"),
        ({"kind": "simulated", "fine_tune_places": 0}, "labels.fine_tune_places is 0"),
    ],
)
def test_fine_tuning_without_labels_of_training_places_is_refused(
    write_catalog, tmp_path, labels, said
):
    good = open_plan(write_catalog(tmp_path / "good"))
    check_fine_tuning("tokyo", good)
    wrong = open_plan(write_catalog(tmp_path / "wrong", city={"labels": labels}))
    with pytest.raises(InputError, match=said) as caught:
        check_fine_tuning("tokyo", wrong)
    assert "fine_tuned" in str(caught.value)
