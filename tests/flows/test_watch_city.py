"""watch-city on a real server: it adds, it emits its event, and the event starts readapt-city."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from adapters.catalog import load_catalog
from flows.deployments import deployments_yaml
from flows.readapt_city import readapt_city
from tasks.harvesting.current import current_harvest, is_here
from tasks.steps.announcing import send
from tasks.steps.looking import NotDoneError, only_looking
from tasks.steps.plan import open_plan


def test_readapt_city_is_triggered_by_new_imagery_of_its_own_city(write_catalog, tmp_path):
    catalog = load_catalog(write_catalog(tmp_path, city={"watch_schedule": "0 5 * * *"}))
    document = yaml.safe_load(deployments_yaml(catalog, "data_catalog.yaml"))
    by_flow = {entry["entrypoint"].rpartition(".")[2]: entry for entry in document["deployments"]}
    assert by_flow["watch_city"]["schedules"][0]["cron"] == "0 5 * * *"
    (trigger,) = by_flow["readapt_city"]["triggers"]
    assert trigger["expect"] == ["imagery.landed"]
    assert trigger["match"] == {"prefect.resource.id": "crosscity.city.tokyo"}
    assert trigger["parameters"]["harvest"] is False
    assert "event.payload.artifacts.imagery" in trigger["parameters"]["landed"]["template"]
    assert [name for name, entry in by_flow.items() if "triggers" in entry] == ["readapt_city"]


def test_new_imagery_is_added_announced_and_readapted_to(
    services, street_world, write_catalog, many_flows, prefect_server, waiting, tmp_path
):
    world = services.World(list(street_world.pictures))
    with services.PanoramaxServer(world) as server:
        provider = {
            "kind": "panoramax",
            "base_url": server.url,
            "requests_per_second": 100.0,
            "tile_metres": 5000.0,
        }
        city = {
            "provider": provider,
            "area": {"bbox": [139.699, 35.6595, 139.701, 35.663]},
            "places": 10,
            "test_places": 1,
            "labels": None,
        }
        catalog = write_catalog(tmp_path, city=city)
        _deploy(tmp_path, prefect_server)
        done = many_flows("harvest", "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        done = many_flows("watch", "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        assert "nothing new in tokyo" in done["out"]
        taken = datetime.now(UTC) + timedelta(hours=1)
        world.add(
            *(
                services.moved(p, 1000 + p.number, taken=taken, drive="drive-2")
                for p in street_world.pictures[1::2]
            )
        )
        done = many_flows("watch", "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]

    def landed() -> list[dict[str, Any]]:
        body = {"filter": {"event": {"name": ["imagery.landed"]}}}
        found: list[dict[str, Any]] = prefect_server.post("/events/filter", body)["events"]
        return found

    waiting(lambda: bool(landed()), "the event arrives")
    (event,) = landed()
    assert event["resource"]["prefect.resource.id"] == "crosscity.city.tokyo"
    assert event["payload"]["city"] == "tokyo"
    assert event["payload"]["count"] == 3
    keys = {path.name for path in (tmp_path / "store" / "pairs" / "tokyo").iterdir()}
    assert event["payload"]["artifacts"]["pairs"] in keys

    deployment = prefect_server.get("/deployments/name/readapt-city/tokyo")

    def triggered() -> list[dict[str, Any]]:
        body = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}, "limit": 10}
        found: list[dict[str, Any]] = prefect_server.post("/flow_runs/filter", body)
        return found

    waiting(lambda: bool(triggered()), "the event starts readapt-city")
    assert triggered()[0]["parameters"]["harvest"] is False
    assert triggered()[0]["parameters"]["city"] == "tokyo"
    images = {path.name for path in (tmp_path / "store" / "imagery" / "tokyo").iterdir()}
    assert triggered()[0]["parameters"]["landed"] in images

    with temporary_settings({PREFECT_API_URL: f"{prefect_server.address}/api"}):
        send({"event": "imagery.landed", "city": "tokyo", "payload": {"city": "tokyo"}})
    waiting(lambda: len(triggered()) == 2, "an event of somebody else starts readapt-city")
    assert sorted(run["parameters"]["landed"] for run in triggered())[0] == ""


def test_what_landed_in_another_catalogs_city_of_the_same_name_is_left_alone(
    write_catalog, tmp_path, many_flows
) -> None:
    """Told by the key of the imagery, as the event has it: both stores have a tokyo."""
    catalog = write_catalog(tmp_path)
    done = many_flows("harvest", "tokyo", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    plan = open_plan(catalog, city="tokyo")
    ours, theirs = current_harvest("tokyo", plan).imagery.key, "f" * 64
    assert is_here(ours, "tokyo", plan)
    given = {"city": "tokyo", "catalog": str(catalog), "harvest": False}
    before = {one.key for one in plan.open_store().artifacts()}
    with only_looking():
        assert readapt_city.fn(**given, landed=theirs) is None
        for landed in (ours, ""):
            with pytest.raises(NotDoneError):
                readapt_city.fn(**given, landed=landed)
    assert {one.key for one in plan.open_store().artifacts()} == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["panoramax", "mapillary", "google"])
def test_a_city_is_adapted_to_what_came_over_http(
    services, street_world, write_catalog, many_flows, tmp_path, kind
):
    with services.SERVERS[kind](street_world) as server:
        keys = {"mapillary": {"token": getattr(server, "token", "")}, "google": {
            "key": getattr(server, "key", ""), "agreement": "contract 4711"}}  # fmt: skip
        provider = {
            "kind": kind,
            "base_url": server.url,
            "requests_per_second": 100.0,
            "tile_metres": 5000.0,
            **keys.get(kind, {}),
        }
        city = {
            "provider": provider,
            "area": {"bbox": [139.699, 35.6595, 139.701, 35.663]},
            "places": 10,
            "test_places": 1,
            "labels": None,
        }
        catalog = write_catalog(tmp_path, city=city)
        done = many_flows("readapt", "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    assert list((tmp_path / "store" / "static_prior" / "tokyo").iterdir())
    (adapted,) = (tmp_path / "store" / "adaptation" / "tokyo").iterdir()
    assert (adapted / "weights.safetensors").is_file()


def _deploy(folder: Any, server: Any) -> None:
    catalog = load_catalog(folder / "data_catalog.yaml")
    (folder / "prefect.yaml").write_text(deployments_yaml(catalog, "data_catalog.yaml"))
    pool = ["work-pool", "create", "crosscity", "--type", "process", "--overwrite"]
    for words in (pool, ["deploy", "--all"]):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            cwd=folder,
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
