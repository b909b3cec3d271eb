"""A run whose process was killed with nobody to tell: the server finds out by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from flows.cli.server import server_command, server_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, write_catalog):
    """One for the module's server, which refuses a second one with the same city."""
    return write_catalog(tmp_path_factory.mktemp("dead"), city={"places": 4000, "test_places": 2})


def test_a_killed_command_line_does_not_stay_running(
    own_server, catalog, crosscity, launcher, waiting, tmp_path
):
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
    own_server, catalog, crosscity, waiting
):
    deployed = crosscity(
        *("deploy", "--catalog", catalog),
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

    theirs, cancelled, ours = begun("somebody-elses"), begun("watch-city"), begun("watch-city")
    own_server.post(f"/flow_runs/{cancelled}/set_state", {"state": {"type": "CANCELLING"}})
    waiting(lambda: state(ours) == "CRASHED", "the server marks the run as crashed")
    assert state(cancelled) == "CANCELLING", "a crashed run of a deployment would start again"
    assert state(theirs) == "RUNNING", "other flows may send no heartbeats"


def test_what_died_with_the_server_is_ended_by_the_command_that_begins_next(
    prefect_servers, write_catalog, crosscity, launcher, waiting, tmp_path
):
    """The server that comes back waits for nobody: here it has no automations at all."""
    server, start = prefect_servers
    path = write_catalog(tmp_path, city={"places": 4000, "test_places": 2})
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    tokyo = document["cities"].pop("tokyo")
    document["cities"] = {
        "killed": tokyo,
        "alive": {**tokyo, "seed": 2},
        "next": {**tokyo, "places": 4},
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    short = {"CROSSCITY_DEAD_AFTER": "15", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}

    def command(city: str) -> subprocess.Popen[str]:
        with (tmp_path / f"{city}.log").open("w") as output:
            return launcher.start(
                [sys.executable, "-m", "flows.cli.main", "harvest", city, "--catalog", path],
                env={**server.environment, **short},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(city: str) -> dict[str, str]:
        found = [one for one in server.flow_runs(path) if one["parameters"].get("city") == city]
        return found[0] if found else {}

    def beats(city: str) -> int:
        ids = [f"prefect.flow-run.{run(city).get('id')}"]
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": ids}}
        return int(server.post("/events/filter", {"filter": wanted})["total"])

    process = start()
    killed, _ = command("killed"), command("alive")
    waiting(lambda: beats("killed") > 0 < beats("alive"), "both runs send heartbeats")
    os.killpg(killed.pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    killed.wait()
    process.wait()
    start()
    before = beats("alive")
    flow = server.post("/flows/", {"name": "watch-city"})["id"]
    body = {"flow_id": flow, "state": {"type": "PENDING"}, "parameters": {"catalog": str(path)}}
    pending = server.post("/flow_runs/", body)["id"]
    time.sleep(3 * 15 + 2)
    waiting(lambda: beats("alive") > before, "the server hears of the run that lives")
    assert run("killed")["state_type"] == "RUNNING", "nobody acts on it"
    seen = crosscity("doctor", "--catalog", path, server=server, environment=short)
    assert "2 runs are shown as under way whose process is gone" in seen.stdout
    assert command("next").wait() == 0, (tmp_path / "next.log").read_text()
    ended = server.get(f"/flow_runs/{run('killed')['id']}")["state"]
    assert ended["type"] == "CRASHED"
    assert "no sign of life since" in ended["message"]
    assert server.get(f"/flow_runs/{pending}")["state_type"] == "CRASHED"
    assert run("alive")["state_type"] == "RUNNING"
    assert run("next")["state_type"] == "COMPLETED"
    seen = crosscity("doctor", "--catalog", path, server=server, environment=short)
    assert "all that are shown as under way have been heard of lately" in seen.stdout


@pytest.fixture
def prefect_servers(load_module, launcher, waiting, tmp_path):
    """A server that can be killed, and what starts it, again too, at its address."""
    home = tmp_path / "prefect"
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = load_module("tests/conftest.py").PrefectServer(f"http://127.0.0.1:{port}", home)

    def answers() -> bool:
        try:
            return server.get("/health") is True
        except OSError:
            return False

    def start() -> subprocess.Popen[str]:
        with (home / "server.log").open("a") as output:
            process = launcher.start(
                server_command(port),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=server_environment(home, port),
            )
        waiting(answers, "the server is up")
        return process

    return server, start
