"""Deployments follow from the catalog, and run on a real server with a real worker.

The versions that `pyproject.toml` excludes break exactly this: with newer FastAPI the server does
not start, with SQLAlchemy 2.1 it starts and no schedule ever fires.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from adapters.catalog import FlowName, load_catalog
from adapters.catalog.errors import CatalogError
from flows.deployments import CITY_FLOWS, deployment_entries, deployments_yaml, work_pools

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_prefect_yaml_follows_from_the_catalog(crosscity):
    catalog = load_catalog(ROOT / "data_catalog.yaml")
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    assert text == deployments_yaml(catalog, "data_catalog.yaml")
    checked = crosscity("catalog", "deployments", "--check", cwd=ROOT)
    assert checked.returncode == 0, checked.stderr


def test_flows_run_in_the_pools_that_the_catalog_names(write_catalog, tmp_path):
    plain = load_catalog(write_catalog(tmp_path / "plain"))
    assert work_pools(plain) == ["crosscity"]
    where = {
        "harvest-city": {"pool": "io"},
        "extract-priors": {"pool": "cpu"},
        "adapt-city": {"pool": "gpu", "compute": "cluster"},
        "readapt-city": {"pool": "waiting", "stages": "deployments"},
    }
    computes = {"laptop": {}, "cluster": {"device": "cpu", "workers": 4}}
    catalog = load_catalog(write_catalog(tmp_path / "pools", deployments=where, computes=computes))
    assert work_pools(catalog) == ["crosscity", "cpu", "gpu", "io", "waiting"]
    found, asked = {}, {}
    for entry in deployment_entries(catalog, "c.yaml"):
        flow = entry["entrypoint"].split(".")[1].replace("_", "-")
        found[flow] = (entry["work_pool"]["name"], entry["parameters"].get("compute"))
        asked[flow] = entry["parameters"].get("stages")
    wanted = {flow: (one["pool"], one.get("compute")) for flow, one in where.items()}
    assert {flow: place for flow, place in found.items() if flow in wanted} == wanted
    assert {place for flow, place in found.items() if flow not in wanted} == {("crosscity", None)}
    assert {flow: stages for flow, stages in asked.items() if stages} == {
        "readapt-city": "deployments"
    }
    # What can be named is what has deployments, no more and no less.
    assert set(found) | {"adapt-transfer"} == set(get_args(FlowName))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"adapt-city": {"compute": "cluster"}}, "has no entry 'cluster'"),
        ({"adapt": {"pool": "gpu"}}, "adapt"),
        ({"adapt-city": {"pool": "not a name"}}, "pool"),
        ({"adapt-city": {"stages": "deployments"}}, "only readapt-city has stages"),
        ({"readapt-city": {"stages": "deployments"}}, "in its own work pool 'crosscity'"),
        (
            {
                "readapt-city": {"stages": "deployments", "pool": "io"},
                "harvest-city": {"pool": "io"},
            },
            "waits for runs of harvest-city in its own work pool 'io'",
        ),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(write_catalog, tmp_path, entry, said):
    with pytest.raises(CatalogError, match=said):
        load_catalog(write_catalog(tmp_path, deployments=entry))


def test_every_city_has_every_flow():
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    found = {
        (entry["entrypoint"].split(".")[1].replace("_", "-"), entry["name"])
        for entry in document["deployments"]
    }
    for flow in (
        "harvest-city",
        "extract-priors",
        "adapt-city",
        "evaluate-city",
        "readapt-city",
        "predict-city",
    ):
        assert flow in CITY_FLOWS
        for city in ("rome", "rio", "tokyo", "taipei"):
            assert (flow, city) in found


def test_entrypoints_are_flows_of_the_names_that_are_reported():
    from importlib import import_module

    for name, entrypoint in CITY_FLOWS.items():
        module, _, attribute = entrypoint.rpartition(".")
        assert getattr(import_module(module), attribute).name == name


def test_a_city_with_a_schedule_is_readapted_by_it(write_catalog, tmp_path):
    catalog = load_catalog(write_catalog(tmp_path, city={"schedule": "0 3 * * 1"}))
    document = yaml.safe_load(deployments_yaml(catalog, "data_catalog.yaml"))
    scheduled = [entry for entry in document["deployments"] if entry.get("schedules")]
    assert [entry["entrypoint"] for entry in scheduled] == [CITY_FLOWS["readapt-city"]]
    assert scheduled[0]["schedules"][0]["cron"] == "0 3 * * 1"


@dataclass(frozen=True)
class Deployed:
    """A folder with the miniature catalog, deployed to a server of its own, and a worker."""

    folder: Path
    environment: dict[str, str]

    def prefect(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory, own_server, write_catalog, crosscity, module_launcher
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    write_catalog(folder, city={"places": 4, "test_places": 1})
    environment = {
        **own_server.environment,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    }
    written = crosscity("catalog", "deployments", cwd=folder)
    assert written.returncode == 0, written.stderr
    made = Deployed(folder, environment)
    made.prefect("work-pool", "create", "crosscity", "--type", "process")
    made.prefect("deploy", "--all")
    with (folder / "worker.log").open("w") as log:
        worker = module_launcher.start(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "crosscity"],
            cwd=tmp_path_factory.mktemp("elsewhere"),
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield made
    assert worker.poll() is None, (folder / "worker.log").read_text()
    module_launcher.end(worker, signal.SIGKILL)  # asked politely, it takes its time


def test_prefect_deployment_run_harvests_a_city(deployed, own_server, waiting):
    reported = deployed.prefect("deployment", "run", "harvest-city/tokyo")
    assert "harvest-city" in reported
    deployment = own_server.get("/deployments/name/harvest-city/tokyo")
    run = _finished(own_server, deployment, waiting)[0]
    assert run["state_type"] == "COMPLETED", (deployed.folder / "worker.log").read_text()
    (manifest,) = deployed.folder.glob("store/pairs/tokyo/*/artifact.json")
    assert json.loads(manifest.read_bytes())["summary"]["pairs"] == 4


@pytest.mark.slow
def test_a_schedule_fires_by_itself(deployed, own_server, waiting):
    deployment = own_server.get("/deployments/name/harvest-city/tokyo")
    before = {run["id"] for run in _runs(own_server, deployment)}
    deployed.prefect("deployment", "schedule", "create", "harvest-city/tokyo", "--interval", "20")

    def scheduled() -> list[dict[str, Any]]:
        runs = [run for run in _runs(own_server, deployment) if run["id"] not in before]
        return [run for run in runs if run["auto_scheduled"]]

    waiting(lambda: bool(scheduled()), "the server creates a scheduled run")
    waiting(
        lambda: any(run["state_type"] == "COMPLETED" for run in scheduled()),
        "a scheduled run completes",
    )
    deployed.prefect("deployment", "schedule", "clear", "harvest-city/tokyo", "--accept-yes")


def _runs(server, deployment) -> list[dict[str, Any]]:
    body = {
        "flow_runs": {"deployment_id": {"any_": [deployment["id"]]}},
        "sort": "START_TIME_DESC",
    }
    found: list[dict[str, Any]] = server.every("/flow_runs/filter", body)
    return found


def _finished(server, deployment, waiting) -> list[dict[str, Any]]:
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    def runs() -> list[dict[str, Any]]:
        return [run for run in _runs(server, deployment) if run["state_type"] in ended]

    waiting(lambda: bool(runs()), "the flow run ends")
    return runs()


def test_automations_are_compared_whatever_order_their_events_come_in():
    from flows.dead_runs import dead_run_automation
    from flows.reconciliation import _compared

    one, other = dead_run_automation(), dead_run_automation()
    events = sorted(other.trigger.expect)
    other.trigger.expect = set()
    for event in reversed(events):
        other.trigger.expect.add(event)
    assert _compared(one) == _compared(other)
    other.trigger.expect.discard(events[0])
    assert _compared(one) != _compared(other)
