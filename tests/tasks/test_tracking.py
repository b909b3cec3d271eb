"""Histories as event files: live, true after a kill, and never a training's end."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from adapters.event_files import EventFiles, EventFilesError
from adapters.mlflow_runs import DATABASE, MlflowRun, MlflowRunsError
from tasks.steps.plan import open_plan
from tasks.training.tracking import tracked

tensorboard = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="tensorboard, which reads the files back, is not installed",
)
tracking = pytest.importorskip(
    "mlflow.tracking", reason="mlflow, which reads the runs back, is not installed"
)
STOP_AT = Path(__file__).parents[1] / "flows" / "stop_at.py"


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by quantity, as TensorBoard's own reader gives them."""
    found = tensorboard.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def ended() -> bool:
    """Of a training that has come to its end."""
    return True


def runs(folder: Path, experiment: str) -> list[tuple[str, str, dict[str, list[Any]]]]:
    """Name, status and (step, value) by quantity of an experiment's runs, by MLflow's client."""
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return [
        (
            run.info.run_name,
            run.info.status,
            {
                name: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
        )
        for run in found
    ]


def test_rows_can_be_read_while_the_training_goes_on(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "run", 0)
    files.write([{"step": 0, "task_loss": 2.5, "warning": "odd", "phase": None}])
    files.write([{"step": 1, "task_loss": 1.25, "lambda_global": 0}])
    assert read(tmp_path / "run") == {
        "task_loss": [(0, 2.5), (1, 1.25)],
        "lambda_global": [(1, 0.0)],
    }
    files.close()


def test_what_a_killed_process_wrote_beyond_its_checkpoint_does_not_count(tmp_path: Path) -> None:
    first = EventFiles(tmp_path, 0)
    first.write([{"step": step, "loss": float(step)} for step in range(5)])
    second = EventFiles(tmp_path, 3)
    second.write([{"step": step, "loss": 10.0 * step} for step in (3, 4, 5)])
    second.close()
    assert read(tmp_path)["loss"] == [(0, 0), (1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]


def test_runs_of_mlflow_are_live_and_true_after_a_kill(tmp_path: Path) -> None:
    first = MlflowRun(tmp_path, "tokyo", "adaptation-1", 0)
    first.write([{"step": 0, "task_loss": 2.5, "warning": "odd", "phase": None}])
    assert runs(tmp_path, "tokyo") == [("adaptation-1", "RUNNING", {"task_loss": [(0, 2.5)]})]
    first.write([{"step": step, "task_loss": float(step)} for step in range(1, 5)])
    # Killed: steps 3 and 4 are beyond its checkpoint, and are made and told again.
    second = MlflowRun(tmp_path, "tokyo", "adaptation-1", 3)
    second.write([{"step": step, "task_loss": 10.0 * step} for step in (3, 4, 5)])
    second.close(finished=False)
    kept = [(0, 2.5), (1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 50.0)]
    assert runs(tmp_path, "tokyo") == [("adaptation-1", "KILLED", {"task_loss": kept})]
    third = MlflowRun(tmp_path, "tokyo", "adaptation-1", 6)
    third.write([{"step": 6, "task_loss": 60.0}])
    third.close(finished=True)
    other = MlflowRun(tmp_path, "tokyo", "adaptation-2", 0)
    other.close(finished=True)
    assert sorted(runs(tmp_path, "tokyo")) == [
        ("adaptation-1", "FINISHED", {"task_loss": [*kept, (6, 60.0)]}),
        ("adaptation-2", "FINISHED", {}),
    ]


def test_the_catalog_chooses_mlflow(
    write_catalog: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = open_plan(write_catalog(tmp_path, tracking={"kind": "mlflow"}))
    with tracked(plan, "segmenter", "frankfurt", "0" * 24, 0, lambda: False) as tell:
        tell([{"step": 0, "loss": 1.0}])
    place = tmp_path / ".crosscity" / "mlflow"
    assert runs(place, "frankfurt") == [("segmenter-" + "0" * 12, "KILLED", {"loss": [(0, 1.0)]})]
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(MlflowRunsError, match=r"crosscity\[mlflow\]"):
        MlflowRun(place, "frankfurt", "x", 0)
    with (
        caplog.at_level(logging.WARNING, logger="crosscity"),
        tracked(plan, "segmenter", "frankfurt", "1" * 24, 0, ended) as tell,
    ):
        tell([{"step": 0, "loss": 1.0}])
    assert "pip install 'crosscity[mlflow]'" in caplog.text


def test_what_cannot_be_written_is_said_once_and_the_training_goes_on(
    write_catalog: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, logged_here: Any
) -> None:
    (tmp_path / "taken").write_text("a file")
    plan = open_plan(write_catalog(tmp_path, tracking={"kind": "tensorboard", "folder": "taken"}))
    with (
        caplog.at_level(logging.WARNING, logger="crosscity"),
        tracked(plan, "adaptation", "tokyo", "0" * 24, 0, ended) as tell,
    ):
        tell([{"step": 0, "loss": 1.0}])
        tell([{"step": 1, "loss": 1.0}])
    said = [record.getMessage() for record in logged_here()]
    assert len(said) == 1
    assert said[0].startswith("the training goes on without being tracked: ")
    assert "taken" in said[0]


def test_a_missing_library_is_said_once(
    write_catalog: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(EventFilesError, match=r"crosscity\[tensorboard\]"):
        EventFiles(tmp_path, 0)
    plan = open_plan(write_catalog(tmp_path, tracking={"kind": "tensorboard"}))
    with (
        caplog.at_level(logging.WARNING, logger="crosscity"),
        tracked(plan, "segmenter", "frankfurt", "0" * 24, 0, ended) as tell,
    ):
        tell([{"step": 0, "loss": 1.0}])
    assert "pip install 'crosscity[tensorboard]'" in caplog.text


@pytest.mark.slow
def test_a_training_that_was_killed_is_tracked_as_its_history_says(
    write_catalog: Any,
    many_flows: Any,
    prefect_server: Any,
    launcher: Any,
    waiting: Any,
    tmp_path: Path,
) -> None:
    catalog = write_catalog(
        tmp_path,
        tracking={"kind": "tensorboard", "folder": "events"},
        segmenters={"compact": {"pretraining": {"steps": 250, "batch_size": 1}}},
    )
    marker = tmp_path / "marker"
    process = launcher.start(
        [
            *(sys.executable, STOP_AT, "after a checkpoint", marker),
            *("pretrain", "compact", "--catalog", catalog),
        ],
        env=prefect_server.environment,
    )
    waiting(lambda: marker.exists() or process.poll() is not None, "it stands still", every=0.02)
    (run,) = (tmp_path / "events" / "frankfurt").iterdir()
    # The second checkpoint is not saved yet, and what leads up to it can be seen.
    assert max(step for step, _ in read(run)["task_loss"]) >= 99
    launcher.end(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = many_flows("pretrain", "compact", "--catalog", catalog)
    assert done["code"] == 0, done
    (artifact,) = (tmp_path / "store" / "segmenter" / "frankfurt").iterdir()
    assert run.name == f"segmenter-{artifact.name[:12]}"
    history: dict[str, list[tuple[int, float]]] = {}
    for row in pq.read_table(artifact / "history.parquet").to_pylist():
        history.setdefault(row["quantity"], []).append((row["step"], row["value"]))
    found = read(run)
    assert found.keys() == history.keys()
    for quantity, points in history.items():
        assert [step for step, _ in found[quantity]] == [step for step, _ in points]
        expected = pytest.approx([value for _, value in points], rel=1e-5)
        assert [value for _, value in found[quantity]] == expected
    # Tracking is not a part of what decides a segmenter.
    parameters = json.loads((artifact / "artifact.json").read_text())["parameters"]
    assert not any("track" in name for name in parameters)
