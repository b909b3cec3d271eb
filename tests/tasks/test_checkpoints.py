"""Stopping by signal loses nothing; several devices make one training; faults are one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from adapters.catalog import StoreEntry
from adapters.images import encode_label_png, encode_png
from adapters.store import ArtifactRef, Store
from crosscity.adaptation import (
    AdaptationSettings,
    FineTuningSettings,
    LabelledArrays,
    Pretraining,
    PretrainingSettings,
)
from crosscity.segmenters import build_segmenter
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import HISTORY, LABELLED, OK
from tasks.steps.tables import part_name, read_rows, write_rows
from tasks.training import checkpoints
from tasks.training import history as history_module
from tasks.training.checkpoints import CHECKPOINT, TAKEN, CheckpointPlace, Measured, run_resumably
from tasks.training.history import History
from tasks.training.identities import adaptation_parameters
from tasks.training.jobs import Job, SetTargets, carry_out
from tasks.training.tensor_files import write_tensors
from tasks.training.trainings import train, write_history

PLACE = CheckpointPlace("segmenter", "frankfurt", "akey", "pre-train compact")
RANDOM = np.random.default_rng(2)
IMAGES = RANDOM.integers(0, 256, (6, 32, 64, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 19, (6, 32, 64), dtype=np.uint8)
SETTINGS = PretrainingSettings(steps=6, batch_size=2)


@pytest.fixture
def plan(write_catalog, tmp_path) -> Plan:
    return open_plan(write_catalog(tmp_path))


class Terminated(Exception):  # noqa: N818 - it stands for the end of a process
    pass


class SignalledAt(Pretraining):
    """A training whose process is asked to end in the middle of some steps."""

    at: tuple[int, ...] = ()

    def _update(self):
        if self.step in self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super()._update()


def pretraining(at: tuple[int, ...] = ()) -> Pretraining:
    segmenter = build_segmenter("compact", {"width": 8}, seed=0)
    training = SignalledAt(segmenter, LabelledArrays(IMAGES, LABELS), SETTINGS, seed=0)
    training.at = at
    return training


def elsewhere(plan: Plan, folder: str) -> Plan:
    """The same plan with another store."""
    return plan.model_copy(update={"store": StoreEntry(url=f"{plan.root}/{folder}")})


def saved_step(plan: Plan) -> int:
    path = plan.open_store().load_progress(PLACE.kind, PLACE.city, PLACE.key, CHECKPOINT)
    with safe_open(path, framework="pt") as opened:
        return opened.get_tensor("history").numpy().tobytes().count(b'"step"')


def what_follows(history: list[dict[str, object]]) -> list[dict[str, object]]:
    """A history without what its steps took, which must be in every row."""
    for row in history:
        assert all(0 < float(row[name]) < float("inf") for name in TAKEN)  # type: ignore[arg-type]
    return [{name: row[name] for name in row if name not in TAKEN} for row in history]


def test_sigterm_saves_after_the_step_under_way_and_is_passed_on(plan):
    whole = pretraining()
    other = elsewhere(plan, "b")
    history = run_resumably(whole, other, PLACE, every=4)

    def end(_number, _frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        for at, saved in ((1, 2), (4, 5)):
            with pytest.raises(Terminated):
                run_resumably(pretraining(at=(at,)), plan, PLACE, every=4)
            assert saved_step(plan) == saved
            assert signal.getsignal(signal.SIGTERM) is end
        resumed = pretraining()
        again = run_resumably(resumed, plan, PLACE, every=4)
        assert what_follows(again) == what_follows(history)
    finally:
        signal.signal(signal.SIGTERM, before)
    for name, tensor in whole.segmenter.state_dict().items():
        assert torch.equal(tensor, resumed.segmenter.state_dict()[name])


def test_a_history_of_any_length_is_kept(plan):
    """Of 300 000 steps it takes more than the 100 MB that the header of such a file may have."""
    training, store = pretraining(), plan.open_store()
    history = [{"step": 0, "warning": "w" * 101_000_000}]
    checkpoints._save(training, History(history), store, PLACE)
    assert list(checkpoints._restore(pretraining(), store, PLACE)) == history


def rows_in_checkpoint(plan: Plan) -> int:
    path = plan.open_store().load_progress(PLACE.kind, PLACE.city, PLACE.key, CHECKPOINT)
    with safe_open(path, framework="pt") as opened:
        (name,) = (one for one in opened.keys() if one.startswith("history"))  # noqa: SIM118
        return opened.get_tensor(name).numpy().tobytes().count(b'"step"')


def test_a_checkpoint_has_the_last_rows_alone_and_is_gone_on_from_anywhere(plan, monkeypatch):
    monkeypatch.setattr(history_module, "ROWS_A_STRETCH", 2)
    whole = run_resumably(pretraining(), elsewhere(plan, "b"), PLACE, every=4)
    written, store = [], plan.open_store()
    before = signal.signal(signal.SIGTERM, lambda *_: 1 / 0)
    try:
        for at in range(5):
            with pytest.raises(ZeroDivisionError):
                run_resumably(pretraining(at=(at,)), plan, PLACE, every=4)
            written.append(rows_in_checkpoint(plan))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert written == [1, 0, 1, 0, 1]
    there = store.list_progress(PLACE.kind, PLACE.city, PLACE.key)
    assert there == [CHECKPOINT, "history-00000", "history-00001"]
    again = run_resumably(pretraining(), plan, PLACE, every=4)
    assert what_follows(again) == what_follows(whole)
    assert what_follows(again[1:6:2]) == what_follows(list(whole)[1:6:2])
    assert [again[0], again[-1]] == list(again)[::5]


def test_a_training_whose_history_is_lost_begins_anew(plan, monkeypatch, caplog):
    for module in (history_module, checkpoints):
        monkeypatch.setattr(module, "ROWS_A_STRETCH", 2)
    run_resumably(pretraining(), plan, PLACE, every=4)
    (lost,) = Path(plan.root).glob("store/.progress/**/history-00001/*-history-00001")
    lost.write_bytes(b"torn")
    assert len(run_resumably(pretraining(), plan, PLACE, every=4)) == 6
    assert "begins anew: the history of its steps from 2 on is lost" in caplog.text


def test_a_history_takes_a_tenth_of_its_rows_and_is_written_as_these_were(plan):
    rows = [
        {"step": step, "task_loss": 1 / (step + 1), "learning_rate": 1e-4, "kept": True}
        | {f"loss_{one}": float(np.sin(step + one)) for one in range(4)}
        | ({"warning": "nearly lost"} if step % 999 == 0 else {})
        for step in range(10_002)
    ]
    tracemalloc.start()
    history = History(row.copy() for row in rows)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(history.last) == 2
    assert held < 10_002 * 150  # as rows 700 bytes each
    assert list(history) == rows
    assert history[4_998:5_003] == rows[4_998:5_003]
    long = [
        {"step": row["step"], "quantity": name, "value": float(value)}
        for row in rows
        for name, value in row.items()
        if name not in {"step", "warning"}
    ]
    store = plan.open_store()
    with store.draft("a", "b", "ckey", inputs={}, parameters={}, version="1") as draft:
        write_rows(draft, "rows.parquet", long, HISTORY)
        write_history(draft, history)
        files = [draft.path / name for name in ("rows.parquet", "history.parquet")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_of_an_earlier_release_is_gone_on_from(plan):
    training, store, history = pretraining(), plan.open_store(), [{"step": 0, "loss": 1.5}]
    state = training.state()
    notes = {"meta": json.dumps(state.meta), "history": json.dumps(history)}
    store.save_progress(
        PLACE.kind, PLACE.city, PLACE.key, CHECKPOINT,
        lambda path: write_tensors(state.tensors, path, notes),
    )  # fmt: skip
    assert list(checkpoints._restore(pretraining(), store, PLACE)) == history


def test_who_ignores_sigterm_trains_to_the_end(plan):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        training = pretraining(at=(2,))
        assert len(run_resumably(training, plan, PLACE, every=4)) == 6
    finally:
        signal.signal(signal.SIGTERM, before)


def test_speed_and_memory_are_measured(plan):
    measured = Measured()
    run_resumably(pretraining(), plan, PLACE, every=2, measured=measured)
    assert [interval["step"] for interval in measured.intervals] == [2, 4, 6]
    summary = measured.summary()
    assert summary["images_per_second"] > 0
    assert 0 <= summary["waiting_share"] <= 1
    assert summary["peak_memory_bytes"] > 10**7
    assert summary["peak_memory_bytes"] == measured.intervals[-1]["peak_memory_bytes"]
    assert Measured().summary() == {}


def labelled(store: Store, kind: str = "labelled", number: int = 6) -> ArtifactRef:
    rows = [
        {
            "sample": f"image_{i}",
            "image": encode_png(IMAGES[i]),
            "labels": encode_label_png(LABELS[i]) if kind == "labelled" else None,
            "status": OK,
            "reason": None,
        }
        for i in range(number)
    ]
    with store.draft(
        kind, "frankfurt", "akey", inputs={}, parameters={"n": number}, version="1"
    ) as draft:
        write_rows(draft, part_name(0), rows, LABELLED)
    return draft.ref


def job(plan: Plan, **changes: object) -> Job:
    made = Job(
        start="compact",
        source=(labelled(plan.open_store()),),
        settings=SETTINGS,
        seed=1,
        plan=plan,
        place=PLACE,
        every=3,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_job_leaves_the_segmenter_its_history_and_what_it_took(plan):
    trained = carry_out(job(plan))
    assert [row["step"] for row in trained.history] == list(range(6))
    assert trained.model["architecture"] == "compact"
    assert trained.summary["steps"] == 6
    assert trained.summary["speed"]["images_per_second"] > 0
    assert trained.summary["warnings"]["count"] == 0
    assert trained.summary["remarks"] == []


def test_the_history_has_speed_and_memory_beside_the_losses(plan):
    digests = set()
    for number in range(2):
        again = elsewhere(plan, str(number))
        with again.open_store().draft(
            "segmenter", "frankfurt", "akey", inputs={}, parameters={}, version="1"
        ) as draft:
            train(job(again), draft)
        table = {
            (row["step"], row["quantity"]): row["value"]
            for row in read_rows(again.open_store(), draft.ref, "history.parquet", HISTORY)
        }
        for step in range(6):
            for name in ("task_loss", "learning_rate", "images_per_second", "peak_memory_mib"):
                assert table[step, name] > 0
        # A process with PyTorch in it; and a mistake of 1024 either way would be seen.
        assert 100 < table[5, "peak_memory_mib"] < 100_000
        digests.add(draft.ref.digest)
    # What is made from the weights is found again, however fast they came.
    assert len(digests) == 1


def test_the_speed_of_a_step_is_that_of_its_images(plan, monkeypatch):
    from tasks.training import checkpoints as module

    ticks = iter(range(1000))
    clock = SimpleNamespace(perf_counter=lambda: 0.25 * next(ticks))
    monkeypatch.setattr(module, "time", clock)
    history = run_resumably(pretraining(), plan, PLACE, every=6)
    assert [row["images_per_second"] for row in history] == [8.0] * 6  # 2 images in 0.25 s


def test_images_go_through_the_network_at_the_size_asked_for(plan, monkeypatch):
    seen = set()
    from crosscity.segmenters import CompactSegmenter

    extract = CompactSegmenter.extract

    def spied(self, images):
        if images.std() > 0:  # a grey square is what the outcome is checked with
            seen.add(tuple(images.shape[-2:]))
        return extract(self, images)

    monkeypatch.setattr(CompactSegmenter, "extract", spied)
    target = SetTargets((labelled(plan.open_store(), "unlabelled"),))
    settings = AdaptationSettings(arm="ga", steps=1, batch_size=2, discriminator_hidden=(4,))
    adapting = job(plan, settings=settings, target=target, image_size=(48, 40))
    assert len(carry_out(adapting).history) == 1
    assert seen == {(48, 40)}


def test_folds_are_trained_on_what_they_are_not_tested_on(plan, monkeypatch):
    from tasks.training import jobs as training_jobs
    from tasks.training.folds import outside

    asked = []
    original = training_jobs.StoredLabelled

    class Spied(original):
        def images(self, indices):
            asked.extend(self.name(index) for index in indices)
            return super().images(indices)

    monkeypatch.setattr(training_jobs, "StoredLabelled", Spied)
    carry_out(job(plan, chosen=outside((1, 3), "abcdef")))
    assert set(asked) == {"image_0", "image_2", "image_3", "image_5"}


def test_too_little_memory_is_the_inputs_fault(plan, monkeypatch):
    from crosscity.segmenters import CompactSegmenter

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(CompactSegmenter, "extract", full)
    monkeypatch.setattr(
        "crosscity.adaptation.engine.MemoryProbe.peak_of", lambda _, action: action()
    )
    with pytest.raises(InputError, match="pre-train compact: cpu ran out of memory in step 0"):
        carry_out(job(plan))


def test_a_source_without_pixels_of_a_class_is_reported(plan, monkeypatch):
    without = np.where(LABELS == 15, 255, LABELS).astype(np.uint8)
    monkeypatch.setattr(sys.modules[__name__], "LABELS", without)
    trained = carry_out(job(plan))
    (said,) = trained.summary["remarks"]
    assert said.startswith("the source set has no pixel of bus:")


@pytest.mark.parametrize("knows", [False, True])
def test_classes_that_the_trained_segmenter_does_not_know_at_home_are_reported(
    plan, monkeypatch, knows
):
    def counted(_segmenter, images, _batch_size):
        assert len(images) == 6
        counts = np.zeros((19, 19), dtype=np.int64)
        counts[0, 0] = 900
        counts[5, 5 if knows else 0] = 100
        return counts

    monkeypatch.setattr("tasks.training.at_home.evaluate", counted)
    with plan.open_store().draft(
        "segmenter", "frankfurt", "anotherkey", inputs={}, parameters={}, version="1"
    ) as draft:
        train(job(plan), draft)
    said = plan.open_store().manifest(draft.ref).summary["remarks"]
    if knows:
        assert said == []
    else:
        assert said[0].startswith("hardly a pixel is recognised of pole (10.0% of the pixels) on")


def test_a_segmenter_that_learned_nothing_is_reported(plan):
    slow = replace(SETTINGS, steps=1, learning_rate=1e-9)
    with plan.open_store().draft(
        "segmenter", "frankfurt", "anotherkey", inputs={}, parameters={}, version="1"
    ) as draft:
        train(job(plan, settings=slow), draft)
    (said,) = plan.open_store().manifest(draft.ref).summary["remarks"]
    assert "another prediction_rule (docs/segmenters.md, Rare classes)" in said


def test_an_empty_source_set_is_reported(plan):
    empty = (labelled(plan.open_store(), number=0),)
    with pytest.raises(InputError, match="there is no labelled image"):
        carry_out(job(plan, source=empty))


def test_an_empty_target_set_is_reported(plan):
    settings = AdaptationSettings(arm="ga", steps=1, batch_size=2)
    target = SetTargets((labelled(plan.open_store(), "unlabelled", 0),))
    with pytest.raises(InputError, match="the target set is empty"):
        carry_out(job(plan, settings=settings, target=target))


def test_a_device_that_is_not_there_is_reported(plan):
    compute = plan.compute.model_copy(update={"device": "cuda:7"})
    with pytest.raises(InputError, match=r"device 'cuda:7' .* cannot be used"):
        carry_out(job(plan.model_copy(update={"compute": compute})))


TWO_DEVICES = """
import pickle, sys
from pathlib import Path

if __name__ == "__main__":
    from tasks.training.jobs import carry_out

    trained = carry_out(pickle.loads(Path(sys.argv[1]).read_bytes()))
    print(trained.segmenter.trained_size)
    print(len(trained.history), trained.history[-1]["task_loss"])
"""


def test_what_processes_share_is_in_the_keys_of_those_that_share_it(write_catalog, tmp_path):
    """Not of one process, nor where no process decides for the others."""
    shared = {}
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        path = write_catalog(
            tmp_path / str(devices), computes={"laptop": {"devices": devices, "threads": 1}}
        )
        made = {
            arm: adaptation_parameters("tokyo", arm, 0, open_plan(path))
            for arm in ("source_free", "source_free_looks", "full", "fine_tuned")
        }
        shared[devices] = {arm for arm, found in made.items() if "together" in found}
    assert shared == {1: set(), 2: {"source_free", "source_free_looks"}}


@pytest.mark.slow
def test_two_devices_train_as_one_and_leave_one_segmenter(write_catalog, tmp_path):
    """On two CPU processes, in the profile's bf16; 3 images a process are 6 a step."""
    import pickle

    pytest.importorskip("lightning_fabric", reason="Lightning Fabric is not installed")
    compute = {"device": "cpu", "devices": 2, "threads": 1, "precision": "bf16"}
    path = write_catalog(tmp_path, computes={"laptop": compute})
    plan = open_plan(path)
    tuned = job(plan, settings=FineTuningSettings(6, 2), image_size=(24, 32))
    (tmp_path / "job").write_bytes(pickle.dumps(tuned))
    script = tmp_path / "two.py"
    script.write_text(TWO_DEVICES)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "job"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0, done.stderr
    steps, loss = done.stdout.split()[-2:]
    assert steps == "6"
    assert 0 < float(loss) < 10
    assert "(24, 32)" in done.stdout
    assert saved_step(plan) == 6


@pytest.mark.slow
def test_a_fault_in_one_of_several_processes_is_one_sentence(write_catalog, tmp_path):
    import pickle

    pytest.importorskip("lightning_fabric", reason="Lightning Fabric is not installed")
    path = write_catalog(tmp_path, computes={"laptop": {"devices": 2, "threads": 1}})
    plan = open_plan(path)
    empty = job(plan, source=(labelled(plan.open_store(), number=0),))
    (tmp_path / "job").write_bytes(pickle.dumps(empty))
    script = tmp_path / "two.py"
    script.write_text(TWO_DEVICES)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "job"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("InputError: there is no labelled image to work on")
