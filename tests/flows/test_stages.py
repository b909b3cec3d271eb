"""Stages of a readaptation that are runs of their own deployments, on a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Completed, Failed

from adapters.store import Store
from flows import stages
from flows.deployments import CITY_FLOWS
from flows.stages import StageFailedError, Stages, run_to_its_end
from tasks.steps.errors import InputError
from tasks.steps.looking import about_to_work, is_looking
from tasks.steps.plan import open_plan

NAME = "harvest-city/a-stage"


@pytest.fixture
def server(prefect_server, monkeypatch) -> Iterator[Any]:
    """A client of the session's server, on which a deployment of a stage waits for a worker."""
    monkeypatch.setattr(stages, "POLL", 0.05)
    settings = {
        PREFECT_API_URL: f"{prefect_server.address}/api",
        PREFECT_HOME: prefect_server.home,
    }
    with temporary_settings(settings), get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("harvest-city")
        made = client.create_deployment(flow_id=flow, name="a-stage")
        yield client
        client.delete_deployment(made)


def runs(client: Any) -> list[Any]:
    deployment = client.read_deployment_by_name(NAME)
    of_the_stage = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    found: list[Any] = client.read_flow_runs(deployment_filter=of_the_stage)
    return found


def ended_as(client: Any, state: Any, waiting: Any) -> threading.Thread:
    """Plays the worker: ends the run of the stage once there is one."""

    def work() -> None:
        waiting(lambda: runs(client), "the stage has a run")
        client.set_flow_run_state(runs(client)[0].id, state, force=True)

    worker = threading.Thread(target=work)
    worker.start()
    return worker


def test_a_stage_that_ends_well_is_waited_for(server, waiting):
    worker = ended_as(server, Completed(), waiting)
    run_to_its_end(NAME, {"arm": "full"}, patience=900)
    worker.join()
    (run,) = runs(server)
    assert run.parameters == {"arm": "full"}


def test_a_stage_that_fails_fails_the_run_with_its_words(server, waiting):
    worker = ended_as(server, Failed(message="no image could be read"), waiting)
    with pytest.raises(StageFailedError, match=r"harvest-city/a-stage.*Failed: no image could"):
        run_to_its_end(NAME, {}, patience=900)
    worker.join()


def test_a_run_that_is_interrupted_cancels_its_stage(server, monkeypatch):
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    # Of this module alone: Prefect's client sleeps, too, where its server is busy.
    clock = SimpleNamespace(sleep=interrupted, monotonic=time.monotonic)
    monkeypatch.setattr(stages, "time", clock)
    with pytest.raises(KeyboardInterrupt):
        run_to_its_end(NAME, {}, patience=900)
    (run,) = runs(server)
    assert run.state.is_cancelled() or run.state.is_cancelling()


@pytest.mark.usefixtures("server")
def test_a_stage_that_nobody_serves_is_told_once(waiting, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(stages, "UNSERVED", 0.2)
    monkeypatch.setattr(stages, "warn_user", said.append)

    def end() -> None:
        waiting(lambda: said, "it is said")
        client.set_flow_run_state(runs(client)[0].id, Completed(), force=True)

    with get_client(sync_client=True) as client:
        worker = threading.Thread(target=end)
        worker.start()
        run_to_its_end(NAME, {}, patience=900)
        worker.join()
    (sentence,) = said
    assert "no worker has begun it yet" in sentence


@pytest.mark.usefixtures("server")
def test_a_deployment_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"no deployment harvest-city/elsewhere.*crosscity deploy"):
        run_to_its_end("harvest-city/elsewhere", {}, patience=900)


@pytest.mark.usefixtures("server")
def test_a_server_that_stays_away_ends_the_wait(monkeypatch):
    monkeypatch.setattr(stages, "_looked_at", lambda *_: None)
    with pytest.raises(ConnectionError, match="has not answered"):
        run_to_its_end(NAME, {}, patience=0.2)


def test_what_is_there_needs_no_run_and_what_is_made_otherwise_is_told(
    write_catalog, tmp_path, monkeypatch
):
    started: list[str] = []
    made: list[str] = []
    monkeypatch.setattr(stages, "run_to_its_end", lambda name, *_: started.append(name))
    plan = open_plan(write_catalog(tmp_path), city="tokyo")
    elsewhere = Stages("deployments", "tokyo", plan)

    def there() -> str:
        assert is_looking()
        return "a reference"

    def makes() -> str:
        about_to_work()
        made.append("made")
        return "a reference"

    assert elsewhere.run("harvest-city", there) == "a reference"
    assert started == []
    assert elsewhere.run("harvest-city", makes, find=there) == "a reference"
    assert started == ["harvest-city/tokyo"]
    with pytest.raises(InputError, match=r"adapt-city/tokyo ended well, but .* not in the store"):
        elsewhere.run("adapt-city", makes)
    assert made == []  # the run that waits makes nothing itself
    assert Stages("here", "tokyo", plan).run("harvest-city", makes) == "a reference"
    assert made == ["made"]


@pytest.mark.slow
def test_a_readaptation_by_its_stages_ends_as_one_in_its_own_run(
    tmp_path, prefect_server, write_catalog, crosscity, launcher, waiting
):
    where = {
        "harvest-city": {"pool": "io"},
        "adapt-city": {"pool": "gpu", "compute": "other"},
        "readapt-city": {"pool": "waiting", "stages": "deployments"},
    }
    small = {"places": 4, "test_places": 1}
    computes = {"laptop": {}, "other": {"device": "cpu", "workers": 2}}
    catalog = write_catalog(tmp_path / "apart", city=small, deployments=where, computes=computes)
    done = crosscity("deploy", "--catalog", catalog, server=prefect_server, cwd=catalog.parent)
    assert done.returncode == 0, done.stderr
    environment = {
        **prefect_server.environment,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    }
    for pool in ("io", "gpu", "waiting", "crosscity"):
        launcher.start(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool],
            cwd=catalog.parent,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    deployments = {
        found["id"]: (found["work_pool_name"], found["name"])
        for found in prefect_server.every("/deployments/filter", {})
    }
    (readapt,) = (
        found["id"]
        for found in prefect_server.every("/deployments/filter", {})
        if found["entrypoint"] == CITY_FLOWS["readapt-city"] and found["name"] == "tokyo"
    )
    run = prefect_server.post(f"/deployments/{readapt}/create_flow_run", {})

    def ended() -> bool:
        state = prefect_server.get(f"/flow_runs/{run['id']}")["state"]
        assert state["type"] not in ("FAILED", "CRASHED"), state["message"]
        return bool(state["type"] == "COMPLETED")

    waiting(ended, "the readaptation has ended", every=1.0)
    children = [
        (one["name"].partition("-")[0], deployments[one["deployment_id"]][0])
        for one in prefect_server.every("/flow_runs/filter", {})
        if one["parent_task_run_id"] and one["deployment_id"] in deployments
    ]
    assert sorted(children) == [
        ("adapt", "gpu"),
        ("evaluate", "crosscity"),
        ("harvest", "io"),
        ("priors", "crosscity"),
    ]
    alone = write_catalog(tmp_path / "alone", city=small)
    done = crosscity("readapt", "tokyo", "--catalog", alone, server=prefect_server)
    assert done.returncode == 0, done.stderr
    kinds = ("imagery", "pairs", "static_prior", "adaptation", "evaluation", "safeguard")
    keys = [
        sorted(
            (ref.kind, ref.key)
            for ref in Store(str(path.parent / "store")).artifacts()
            if ref.kind in kinds
        )
        for path in (catalog, alone)
    ]
    assert keys[0] == keys[1]
