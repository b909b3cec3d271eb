"""Runs of MLflow, in a database of its own on this machine (the optional extra `[mlflow]`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

DATABASE: Final = "mlflow.db"
_KEY: Final = "crosscity.artifact"
"""The tag by which a training finds the run that it began."""
_AT_ONCE: Final = 1000
"""Metrics that MLflow takes in one batch."""


class MlflowRunsError(ValueError):
    """The library is missing, or the folder cannot be written; one sentence."""


class MlflowRun:
    """The run of one training.

    The database is SQLite, which MLflow recommends where there is no server; its folders of files
    are refused since MLflow 3.

    Args:
        folder: Of the database; made where it is not there.
        experiment: The experiment's name: the city or set.
        name: Of the run, which is this training's alone.
        first_step: The step that it begins with. A run that was begun goes on; if it has this or a
            later step, which a killed process wrote beyond its checkpoint, a run with what came
            before takes its place, and MLflow keeps the other as deleted.

    Raises:
        MlflowRunsError: mlflow is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, experiment: str, name: str, first_step: int) -> None:
        # Read when mlflow is imported: nothing is told to its makers, and only warnings to us.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        try:
            from mlflow.entities import Metric, RunStatus  # noqa: PLC0415 - an extra
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
            from mlflow.tracking import MlflowClient  # noqa: PLC0415
        except ImportError:
            raise MlflowRunsError("runs need mlflow: pip install 'crosscity[mlflow]'") from None
        self._metric: Any = Metric
        self._status: Any = RunStatus
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MlflowRunsError(
                f"{folder} cannot be written: {error.strerror or error}"
            ) from None
        try:
            self._client: Any = MlflowClient(
                tracking_uri=f"sqlite:///{(folder / DATABASE).as_posix()}"
            )
            self._run: str = self._opened(folder, experiment, name, first_step)
        except MlflowException as error:
            raise MlflowRunsError(f"{folder / DATABASE}: {error}") from error

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the numbers of history rows, each under the quantity's name."""
        now = round(1000 * time.time())
        metrics = [
            self._metric(name, float(value), now, row["step"])
            for row in rows
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float)
        ]
        self._log(self._run, metrics)

    def close(self, *, finished: bool) -> None:
        """Ends the run: as finished, or as killed where the training will go on another time."""
        ended = self._status.FINISHED if finished else self._status.KILLED
        self._client.set_terminated(self._run, self._status.to_string(ended))

    def _opened(self, folder: Path, experiment: str, name: str, first_step: int) -> str:
        experiment_id = self._experiment(folder, experiment)
        begun = self._client.search_runs([experiment_id], f"tags.`{_KEY}` = '{name}'")
        if not begun:
            return self._new(experiment_id, name)
        (run, *_) = begun
        points = [
            point
            for quantity in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, quantity)
        ]
        kept = [point for point in points if point.step < first_step]
        if len(kept) == len(points):
            running = self._status.to_string(self._status.RUNNING)
            self._client.update_run(run.info.run_id, status=running)
            return str(run.info.run_id)
        other = self._new(experiment_id, name)
        self._log(other, kept)
        for each in begun:
            self._client.delete_run(each.info.run_id)
        return other

    def _experiment(self, folder: Path, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = (folder / "artifacts").absolute().as_uri()
            return str(self._client.create_experiment(name, artifact_location=place))
        return str(found.experiment_id)

    def _new(self, experiment_id: str, name: str) -> str:
        run = self._client.create_run(experiment_id, run_name=name, tags={_KEY: name})
        return str(run.info.run_id)

    def _log(self, run: str, metrics: list[Any]) -> None:
        for first in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(run, metrics=metrics[first : first + _AT_ONCE])
