"""Worker and run killed together, in whatever state: the next run starts without a hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from flows.dead_runs import FAILURES_NAME, NAME, PENDING_NAME, REJECTED_NAME, RESTART_NAME, RUNS
from flows.silent_runs import end_runs, silent_runs

DEAD_AFTER = "45"
"""Seconds; a heartbeat comes every 30 at the most often."""
MOMENTS = ["PENDING", "RUNNING", "RETRY"]


class Site:
    """A deployment of harvest-city, and its worker with all that it starts."""

    def __init__(self, server: Any, folder: Path, launcher: Any) -> None:
        self.server, self.folder, self._launcher = server, folder, launcher
        self._home = folder / "worker-home"

    def start_worker(self) -> None:
        environment = {
            **self.server.environment,
            "PREFECT_HOME": str(self._home),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "crosscity"]
        with (self.folder / "worker.log").open("a") as log:
            self._launcher.start(
                [*command, "--type", "process"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill_all(self) -> None:
        """The worker, and the runs that it started, at one moment."""
        wanted = f"PREFECT_HOME={self._home}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
            except OSError:
                continue

    def run(self, city: str) -> str:
        deployment = self.server.get(f"/deployments/name/harvest-city/{city}")
        body = {"state": {"type": "SCHEDULED"}}
        made = self.server.post(f"/deployments/{deployment['id']}/create_flow_run", body)
        return str(made["id"])

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.get(f"/flow_runs/{run}")
        return found


@pytest.fixture(scope="module")
def site(own_server, write_catalog, module_launcher, tmp_path_factory) -> Site:
    """A city a moment, so that each has a harvest to make."""
    folder = tmp_path_factory.mktemp("dead")
    path = write_catalog(folder, city={"places": 40, "test_places": 2})
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    tokyo = document["cities"].pop("tokyo")
    document["cities"] = {moment.lower(): tokyo for moment in MOMENTS}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return Site(own_server, folder, module_launcher)


@pytest.fixture
def deploy(site: Site, crosscity: Any) -> Callable[..., str]:
    def deployed(**environment: str) -> str:
        done = crosscity(
            *("deploy", "--catalog", "data_catalog.yaml"),
            server=site.server,
            cwd=site.folder,
            environment={"CROSSCITY_DEAD_AFTER": DEAD_AFTER, **environment},
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)

    return deployed


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_run_starts_after_worker_and_run_were_killed(
    site: Site, deploy: Callable[..., str], waiting: Callable[..., None], moment: str
) -> None:
    city = moment.lower()
    deploy()
    site.start_worker()
    first = site.run(city)
    wanted = "PENDING" if moment == "PENDING" else "RUNNING"
    waiting(lambda: site.state(first)["state_type"] == wanted, f"it is {wanted}", every=0.02)
    site.kill_all()
    if moment == "RETRY":
        site.start_worker()
        waiting(
            lambda: (
                (site.state(first)["run_count"], site.state(first)["state_type"]) == (2, "RUNNING")
            ),
            "it is run again",
        )
        site.kill_all()
    following = site.run(city)
    site.start_worker()
    waiting(
        lambda: site.state(following)["state_type"] == "COMPLETED",
        f"the next run ends well; {(site.folder / 'worker.log').read_text()[-2000:]}",
    )
    waiting(
        lambda: site.state(first)["state_type"] in ("COMPLETED", "CRASHED"), "the first has ended"
    )
    ended = site.state(first)
    if moment == "PENDING":
        assert ended["state_type"] == "CRASHED"
        assert "no sign of life" in ended["state"]["message"]
    else:
        assert ended["state_type"] == "COMPLETED"
        assert ended["run_count"] == {"RUNNING": 2, "RETRY": 3}[moment] <= RUNS
    site.kill_all()


@pytest.mark.slow
def test_a_silent_run_of_a_deployment_frees_its_slot_and_starts_again(
    site: Site, deploy: Callable[..., str], waiting: Callable[..., None]
) -> None:
    """As one that the automations mark; here a run that begins, or `crosscity deploy`, did."""
    deploy()
    first, second = site.run("pending"), site.run("pending")  # no worker: states are set here

    def put(run: str, kind: str) -> str:
        body = {"state": {"type": kind, "name": kind.capitalize()}}
        return str(site.server.post(f"/flow_runs/{run}/set_state", body)["status"])

    assert put(first, "PENDING") == "ACCEPT"
    assert put(first, "RUNNING") == "ACCEPT"
    assert put(second, "PENDING") == "REJECT", "a deployment runs once at a time"
    with SyncPrefectClient(f"{site.server.address}/api") as client:
        silent = [one for one in silent_runs(client, datetime.now(UTC)) if one.id == first]
        assert len(end_runs(client, silent)) == 1
    waiting(
        lambda: any(
            state["name"] == "AwaitingRetry"
            for state in site.server.get(f"/flow_run_states/?flow_run_id={first}")
        ),
        "it is run again",
    )
    assert put(second, "PENDING") == "ACCEPT"
    for one in (first, second):
        site.server.post(
            f"/flow_runs/{one}/set_state", {"state": {"type": "CANCELLED"}, "force": True}
        )


@pytest.mark.slow
def test_each_beginning_counts_for_one_crash(
    site: Site, deploy: Callable[..., str], waiting: Callable[..., None]
) -> None:
    """No loop of runs that never begin again, and no second restart by an event seen twice."""
    deploy()
    run = site.run("retry")  # no worker: its states are set here

    def put(kind: str, *, force: bool = False) -> None:
        state = {"state": {"type": kind, "name": kind.capitalize()}, "force": force}
        site.server.post(f"/flow_runs/{run}/set_state", state)

    def restarts() -> int:
        states = site.server.get(f"/flow_run_states/?flow_run_id={run}")
        return sum(state["name"] == "AwaitingRetry" for state in states)

    for kind in ("PENDING", "RUNNING", "CRASHED"):
        put(kind)
    waiting(lambda: restarts() == 1, "it is run again")

    def crashes() -> list[dict[str, Any]]:
        crashed = {"filter": {"event": {"name": ["prefect.flow-run.Crashed"]}}}
        events = site.server.post("/events/filter", crashed)["events"]
        return [one for one in events if one["resource"]["prefect.resource.id"].endswith(run)]

    waiting(crashes, "the crash is written down, which comes after what it sets off")
    (event,) = crashes()
    put("PENDING")
    twice = {**event, "id": str(uuid.uuid4()), "follows": None}  # as if seen twice
    site.server.request("POST", "/events", [twice])
    put("CRASHED")
    # Events of a server are looked at one after the other: this one comes after all of those.
    other = site.run("running")
    for kind in ("PENDING", "RUNNING", "CRASHED"):
        state = {"state": {"type": kind, "name": kind.capitalize()}}
        site.server.post(f"/flow_runs/{other}/set_state", state)
    waiting(
        lambda: site.state(other)["state_name"] in ("AwaitingRetry", "Late"), "the other runs again"
    )
    assert restarts() == 1
    assert site.state(run)["state_type"] == "CRASHED"
    for one in (run, other):
        site.server.post(
            f"/flow_runs/{one}/set_state", {"state": {"type": "CANCELLED"}, "force": True}
        )


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.heard.append(self.rfile.read(length))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.slow
def test_crashes_and_rejections_are_reported_to_a_web_hook(own_server, deploy, waiting):
    hook = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    hook.heard = []  # type: ignore[attr-defined]
    Thread(target=hook.serve_forever, daemon=True).start()
    told_of = {"CROSSCITY_WEBHOOK": f"http://127.0.0.1:{hook.server_port}/token-4711"}
    assert "token-4711" not in deploy(**told_of)
    assert "created 0, changed 0, removed 0" in deploy(**told_of)
    names = {one["name"] for one in own_server.every("/automations/filter", {})}
    assert {NAME, PENDING_NAME, RESTART_NAME, FAILURES_NAME, REJECTED_NAME} <= names

    deployment = own_server.get("/deployments/name/readapt-city/pending")
    made = own_server.post(f"/deployments/{deployment['id']}/create_flow_run", {})
    crashed = {"type": "CRASHED", "name": "Crashed", "message": 'the "worker" is gone'}
    own_server.post(f"/flow_runs/{made['id']}/set_state", {"state": crashed, "force": True})
    event = {
        "event": "adaptation.rejected",
        "occurred": "2026-11-28T05:00:00Z",
        "resource": {"prefect.resource.id": "crosscity.city.tokyo"},
        "payload": {"city": "tokyo", "reasons": ["kappa fell", "drift"]},
        "id": "00000000-0000-4000-8000-000000004711",
    }
    own_server.request("POST", "/events", [event])
    heard = hook.heard  # type: ignore[attr-defined]
    waiting(lambda: len(heard) >= 2, "the hook has heard of both")
    reported = sorted(json.loads(body)["text"] for body in heard)
    assert any('Crashed, the "worker" is gone' in text for text in reported)
    assert "tokyo: the adaptation was not promoted: kappa fell; drift" in reported
    hook.shutdown()
