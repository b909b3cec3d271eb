"""Tasks of processes that were killed are not shown as running for ever."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.dead_tasks import end_dead_tasks, end_tasks_of


class Runs:
    """Runs and tasks on the session's server, in states that are set here."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.flow = server.post("/flows/", {"name": f"dead-tasks-{uuid.uuid4().hex}"})["id"]

    def run(self, state: str) -> str:
        made = self.server.post("/flow_runs/", {"flow_id": self.flow, "state": {"type": "PENDING"}})
        return self._in_state("flow_runs", made["id"], state)

    def task(self, run: str, state: str) -> str:
        name = uuid.uuid4().hex
        body = {"flow_run_id": run, "task_key": name, "dynamic_key": name, "name": name}
        made = self.server.post("/task_runs/", {**body, "state": {"type": "PENDING"}})
        return self._in_state("task_runs", made["id"], state)

    def state(self, task: str) -> str:
        return str(self.server.get(f"/task_runs/{task}")["state_type"])

    def _in_state(self, kind: str, one: str, state: str) -> str:
        body = {"state": {"type": state}, "force": True}
        self.server.post(f"/{kind}/{one}/set_state", body)
        return str(one)


@pytest.fixture
def runs(prefect_server: Any) -> Any:
    with temporary_settings({PREFECT_API_URL: f"{prefect_server.address}/api"}):
        yield Runs(prefect_server)


def test_a_run_that_begins_ends_the_tasks_of_dead_processes(
    runs: Runs, waiting: Callable[..., None]
) -> None:
    crashed, again, other = runs.run("CRASHED"), runs.run("RUNNING"), runs.run("RUNNING")
    dead = [runs.task(crashed, "RUNNING"), runs.task(again, "RUNNING"), runs.task(again, "PENDING")]
    stay = {
        runs.task(crashed, "COMPLETED"): "COMPLETED",
        runs.task(again, "FAILED"): "FAILED",
        runs.task(other, "RUNNING"): "RUNNING",
    }
    assert end_tasks_of(uuid.UUID(again)) >= len(dead)  # the server may have some of other tests
    assert {runs.state(task) for task in dead} == {"CRASHED"}
    assert {task: runs.state(task) for task in stay} == stay
    # What other tests have left arrives at the server when it comes to it.
    waiting(lambda: end_tasks_of(uuid.UUID(again)) == 0, "none is left to be ended")


def test_a_server_that_does_not_answer_stops_no_run(monkeypatch, caplog) -> None:
    def away(*_: object) -> int:
        raise ConnectionError("nobody there")

    monkeypatch.setattr("flows.dead_tasks.end_tasks_of", away)
    end_dead_tasks(None, type("Run", (), {"id": uuid.uuid4()})(), None)
    assert "nobody there" in caplog.text
