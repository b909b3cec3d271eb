"""Settings of trainings in the catalog: faults name file, line and key, before any work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.catalog import CatalogError
from tasks.steps.plan import open_plan
from tasks.steps.settings import open_catalog

SMALL = """\
version: 1
store: local
compute: laptop
stores:
  local: {url: store}
computes:
  laptop: {}
datasets:
  frankfurt: {kind: simulated, style: frankfurt, image_size: [64, 128], train: 4, val: 1, test: 2}
segmenters:
  compact:
    architecture: compact
    source: frankfurt
    pretraining: {steps: 7}
trainings:
  demo:
    preset: demo
    adaptation:
      steps: 3
      betas: [0.9, 0.99]
      discriminator_hidden: [32]
    fine_tuning: {class_balance: 0}
cities:
  tokyo:
    provider: {kind: simulated, style: tokyo}
    area: {bbox: [139.7, 35.6, 139.8, 35.7]}
    places: 4
    test_places: 1
"""
WRONG = [
    ("      steps: 3", "      stepz: 3", 19, "trainings.demo.adaptation.stepz",
     "no such setting; there are steps, batch_size"),
    ("      steps: 3", "      steps: many", 19, "trainings.demo.adaptation.steps", "'many'"),
    ("      steps: 3", "      steps: 0", 19, "trainings.demo.adaptation.steps",
     "must be greater than 0, not 0"),
    ("0.99]", "1.5]", 20, "trainings.demo.adaptation.betas", "two numbers in [0, 1)"),
    ("      steps: 3", "      arm: ga", 19, "trainings.demo.adaptation.arm", "`--arm`"),
    ("class_balance: 0", "lambda_class: 0", 22, "trainings.demo.fine_tuning.lambda_class",
     "there are steps, batch_size, learning_rate"),
    ("class_balance: 0", "optimiser: magic", 22, "trainings.demo.fine_tuning.optimiser", "'magic'"),
    ("{steps: 7}", "{step: 7}", 14, "segmenters.compact.pretraining.step", "no such setting"),
    ("{steps: 7}", "{momentum: 2}", 14, "segmenters.compact.pretraining.momentum",
     "must be in [0, 1), not 2"),
]  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "data_catalog.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good_settings_are_taken(tmp_path):
    assert open_catalog(write(tmp_path, SMALL)).trainings["demo"].adaptation["steps"] == 3


@pytest.mark.parametrize(("old", "new", "line", "key", "words"), WRONG)
def test_a_wrong_setting_is_reported_when_a_catalog_is_opened_for_work(
    tmp_path, old, new, line, key, words
):
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new))
    for opened in (lambda: open_catalog(path), lambda: open_plan(path)):
        with pytest.raises(CatalogError) as caught:
            opened()
        message = str(caught.value)
        assert message.startswith(f"{path}:{line}: {key}: ")
        assert words in message
        assert "\n" not in message
        assert "Settings" not in message
    assert "arm, " not in message


BALANCED = SMALL.replace("{steps: 7}", "{balanced_predictions: true}")
TRANSFER = """\
transfers:
  back: {segmenter: compact, target: frankfurt}
"""


def test_predictions_that_keep_other_class_weights_than_the_segmenter_are_reported(tmp_path):
    with pytest.raises(CatalogError) as caught:
        open_catalog(write(tmp_path, BALANCED + TRANSFER))
    city, transfer = str(caught.value).splitlines()
    assert (
        f":{len(SMALL[: SMALL.index('  tokyo')].splitlines()) + 1}: cities.tokyo.training: " in city
    )
    assert "transfers.back.training: " in transfer
    for reported in (city, transfer):
        assert "segmenters.compact.pretraining keeps class weights of exponent 0.5" in reported
        assert "trainings.demo.adaptation of 0: " in reported


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      steps: 3", "      balanced_predictions: true"),
        # Of weights from elsewhere it is not known.
        ("    pretraining: {balanced_predictions: true}", "    weights: my.safetensors"),
    ],
)
def test_predictions_that_agree_with_the_segmenter_are_taken(tmp_path, old, new):
    assert old in BALANCED
    open_catalog(write(tmp_path, BALANCED.replace(old, new)))


def test_all_wrong_settings_are_reported_at_once(tmp_path):
    text = SMALL
    for old, new, *_ in (WRONG[0], WRONG[5], WRONG[7]):
        text = text.replace(old, new)
    with pytest.raises(CatalogError) as caught:
        open_catalog(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 3


REFERRING = """\
version: 1
store: local
compute: laptop
stores:
  local: {url: store}
computes:
  laptop: {}
deployments:
  harvest-city: {compute: laptop}
datasets:
  frankfurt: {kind: simulated, style: frankfurt, image_size: [64, 128], train: 4, val: 1, test: 2}
segmenters:
  compact: {architecture: compact, source: frankfurt}
trainings:
  demo: {preset: demo}
recipes:
  mine:
    objectives: [{objective: source_task}, {objective: self_training}]
    prior: evidence
    flag_rates_of: tokyo
    teacher: compact
  few:
    objectives: [{objective: few_labels}]
    labels: {places: 1, chosen: random, dataset: frankfurt}
transfers:
  home: {segmenter: compact, target: frankfurt, training: demo, arm: mine}
accounts:
  paid: {requests_per_second: 1}
cities:
  tokyo:
    provider: {kind: simulated, style: tokyo}
    area: {bbox: [139.7, 35.6, 139.8, 35.7]}
    places: 4
    test_places: 1
    labels: {kind: simulated, fine_tune_places: 1}
    segmenter: compact
    training: demo
    arm: mine
  lisbon:
    provider: {kind: panoramax, account: paid}
    area: {bbox: [-9.2, 38.7, -9.1, 38.8]}
    segmenter: compact
    training: demo
    arm: teacher
"""
"""Each kind of name that points to another entry."""


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("store", "local"),
        ("compute", "laptop"),
        ("source", "frankfurt"),
        ("dataset", "frankfurt"),
        ("target", "frankfurt"),
        ("flag_rates_of", "tokyo"),
        ("teacher", "compact"),
        ("segmenter", "compact"),
        ("training", "demo"),
        ("arm", "mine"),
        ("account", "paid"),
    ],
)
def test_a_mistyped_name_is_told_with_its_line_whatever_else_reads_it(tmp_path, key, name):
    open_catalog(write(tmp_path, REFERRING))
    mistyped = REFERRING.replace(f"{key}: {name}", f"{key}: typo")
    path = write(tmp_path, mistyped)
    lines = [n for n, line in enumerate(mistyped.splitlines(), start=1) if "typo" in line]
    with pytest.raises(CatalogError) as caught:
        open_catalog(path)
    said = str(caught.value).splitlines()
    for line in lines:
        assert any(one.startswith(f"{path}:{line}: ") and "'typo'" in one for one in said), said


def test_a_catalog_without_changed_settings_is_checked_without_pytorch():
    """It is what every command does first; PyTorch would take longer than all the rest."""
    shipped = Path(__file__).parents[2] / "data_catalog.yaml"
    code = (
        "import sys; from pathlib import Path; from tasks.steps.settings import open_catalog;"
        f"open_catalog(Path({str(shipped)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_catalog_check_and_the_start_of_a_command_tell_it(many_commands, tmp_path):
    path = write(tmp_path, SMALL.replace("      steps: 3", "      stepz: 3"))
    words = [["catalog", "check"], *([verb, "tokyo"] for verb in ("adapt", "harvest"))]
    for line in [*words, ["pretrain", "compact"], ["paper-tables"]]:
        done = many_commands(*line, "--catalog", path)
        assert done["code"] == 2
        assert done["err"].startswith(f"crosscity: {path}:19: trainings.demo.adaptation.stepz: ")
        assert len(done["err"].splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_a_catalog_that_was_changed_prepares_no_kind_of_settings_again(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_catalog(write_catalog(tmp_path))
    monkeypatch.setattr("tasks.steps.settings.TypeAdapter", lambda kind: pytest.fail(str(kind)))
    changed = write_catalog(tmp_path, trainings={"demo": {"adaptation": {"steps": 7}}})
    assert open_catalog(changed).trainings["demo"].adaptation["steps"] == 7
