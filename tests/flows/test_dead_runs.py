"""A run whose process was killed with nobody to tell: the server finds out by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_a_killed_command_line_does_not_stay_running(
    own_server, write_catalog, crosscity, launcher, waiting, tmp_path
):
    catalog = write_catalog(tmp_path, city={"places": 4000, "test_places": 2})
    deployed = crosscity(
        *("deploy", "--catalog", catalog),
        server=own_server,
        environment={"CROSSCITY_DEAD_AFTER": "40"},
    )
    assert deployed.returncode == 0, deployed.stderr
    log = tmp_path / "run.log"
    with log.open("w") as output:
        process = launcher.start(
            [sys.executable, "-m", "flows.cli.main", "harvest", "tokyo", "--catalog", catalog],
            env={**own_server.environment, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def beaten() -> bool:
        body = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        return bool(own_server.post("/events/filter", body)["events"])

    waiting(beaten, "the run sends a heartbeat")
    (run,) = own_server.flow_runs(catalog)
    assert run["state_type"] == "RUNNING"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    waiting(
        lambda: own_server.flow_runs(catalog)[0]["state_type"] == "CRASHED",
        "the server marks the run as crashed",
    )
    state = own_server.get(f"/flow_runs/{run['id']}")["state"]
    assert "no heartbeat for 40 seconds" in state["message"]


def test_a_run_that_dies_before_its_first_heartbeat_does_not_stay_running(
    own_server, write_catalog, crosscity, waiting, tmp_path
):
    deployed = crosscity(
        *("deploy", "--catalog", write_catalog(tmp_path)),
        server=own_server,
        environment={"CROSSCITY_DEAD_AFTER": "20"},
    )
    assert deployed.returncode == 0, deployed.stderr

    def begun(flow: str) -> str:
        made = own_server.post("/flows/", {"name": flow})
        run = own_server.post("/flow_runs/", {"flow_id": made["id"], "state": {"type": "PENDING"}})
        body = {"state": {"type": "RUNNING"}, "force": True}
        own_server.post(f"/flow_runs/{run['id']}/set_state", body)
        return str(run["id"])

    def state(run: str) -> str:
        return str(own_server.get(f"/flow_runs/{run}")["state_type"])

    theirs, ours = begun("somebody-elses"), begun("watch-city")
    waiting(lambda: state(ours) == "CRASHED", "the server marks the run as crashed")
    assert state(theirs) == "RUNNING", "other flows may send no heartbeats"
