"""`crosscity deploy` on a real server: what is missing, differs, or is gone; what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from flows import reconciliation
from flows.cli.deploy import deploy_catalog
from flows.cli.server import ServerError
from flows.dead_runs import FAILURES_NAME, REJECTED_NAME
from flows.deployments import CITY_FLOWS
from tasks.steps.errors import InputError

MONDAY, TUESDAY = "0 3 * * 1", "0 3 * * 2"
CITY_DEPLOYMENTS = len(CITY_FLOWS)
_TELLING = (FAILURES_NAME, REJECTED_NAME)


class Site:
    """A folder with a catalog of cities, and a server."""

    def __init__(self, folder: Path, server: Any, write_catalog: Any, commands: Any) -> None:
        self.folder = folder.resolve()
        self.server = server
        self._write_catalog = write_catalog
        self._commands = commands

    def catalog(self, name: str | None = None, **cities: dict[str, Any]) -> None:
        """Writes a catalog of these cities, all like tokyo."""
        path = self._write_catalog(self.folder, **({} if name is None else {"name": name}))
        import yaml

        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        tokyo = document["cities"].pop("tokyo")
        document["cities"] = {name: {**tokyo, **entry} for name, entry in cities.items()}
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def deploy(self, *words: object) -> dict[str, Any]:
        catalog = self.folder / "data_catalog.yaml"
        outcome: dict[str, Any] = self._commands("deploy", "--catalog", catalog, *words)
        return outcome

    def deployed(self, *words: object) -> list[str]:
        """The lines of a deploying that went well."""
        done = self.deploy(*words)
        assert done["code"] == 0, done["err"]
        lines: list[str] = done["out"].splitlines()
        return [line for line in lines if "work pool" not in line]

    def find(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.get(f"/deployments/name/{name}")
        return found

    def is_there(self, name: str) -> bool:
        try:
            self.find(name)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def automations(self, city: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.every("/automations/filter", {})
        return [one for one in found if city in one["name"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("site")


@pytest.fixture
def site(folder, own_server, write_catalog, own_server_commands):
    made = Site(folder, own_server, write_catalog, own_server_commands)
    yield made
    made.catalog()
    made.deployed()


@pytest.fixture
def each_site(folder, each_server, write_catalog, commands_of):
    """On SQLite, then on PostgreSQL."""
    made = Site(folder, each_server, write_catalog, commands_of(each_server))
    yield made
    made.catalog()
    made.deployed()


def test_a_catalog_is_deployed_and_deployed_again_without_a_change(site):
    site.catalog(lima={"schedule": MONDAY}, oslo={})
    asked = site.deploy("--dry-run")
    planned = asked["out"].splitlines()
    assert "next: the same without --dry-run makes these changes" in asked["err"]
    assert "+ readapt-city/lima" in planned
    assert planned[-1].startswith("would be created ")
    assert not site.is_there("readapt-city/lima")

    assert "+ readapt-city/lima" in site.deployed()
    found = site.find("readapt-city/lima")
    assert found["entrypoint"] == "flows.readapt_city.readapt_city"
    assert found["parameters"] == {"city": "lima", "catalog": "data_catalog.yaml"}
    assert found["pull_steps"][0]["prefect.deployments.steps.set_working_directory"] == {
        "directory": str(site.folder)
    }
    assert [one["schedule"]["cron"] for one in found["schedules"]] == [MONDAY]
    assert found["global_concurrency_limit"]["limit"] == 1
    assert "harvest" in found["parameter_openapi_schema"]["properties"]
    assert len(site.automations("lima")) == 1

    again = site.deployed()
    assert len(again) == 1, again
    unchanged = 2 * CITY_DEPLOYMENTS + 2  # the segmenter and the paper's tables
    assert again[0].startswith(f"created 0, changed 0, removed 0; unchanged {unchanged}")
    assert "next:" not in site.deploy("--dry-run")["err"], "there is nothing to make"
    assert site.find("readapt-city/lima")["updated"] == found["updated"], "nothing was written"


def test_what_has_not_changed_costs_the_same_requests_however_many_cities_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    original = httpx.Client.send

    def send(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = original(self, request, **options)
        if answer.status_code != 503:  # where its database is locked, a server is asked again
            sent.append(f"{request.method} {request.url.path}")
        return answer

    def requests() -> list[str]:
        sent.clear()
        done = deploy_catalog(site.folder / "data_catalog.yaml", f"{site.server.address}/api")
        assert done["changes"] == []
        assert done["unchanged"] > 2
        return sorted(sent)

    with monkeypatch.context() as patch:
        patch.setattr(httpx.Client, "send", send)
        counted = []
        for cities in (("lima",), ("lima", "oslo", "quito")):
            site.catalog(**{name: {} for name in cities})
            site.deployed()
            counted.append(requests())
    few, more = counted
    assert few == more
    assert len(more) <= 10, more  # listings, 200 a page; nothing of each deployment


def test_what_the_catalog_no_longer_has_goes(site):
    site.catalog(lima={"schedule": MONDAY}, oslo={})
    site.deployed()
    site.catalog(oslo={"schedule": TUESDAY})
    reported = site.deployed()
    assert sum(line.startswith("- ") for line in reported) == CITY_DEPLOYMENTS
    assert f"~ readapt-city/oslo: schedule {TUESDAY!r} added" in reported
    assert not site.is_there("harvest-city/lima")
    assert not site.automations("lima")
    assert len(site.automations("oslo")) == 1
    site.catalog(oslo={})
    assert f"~ readapt-city/oslo: schedule {TUESDAY!r} removed" in site.deployed()
    assert site.find("readapt-city/oslo")["schedules"] == []


def test_what_an_operator_set_stays(site):
    site.catalog(lima={"schedule": MONDAY})
    site.deployed()
    found = site.find("readapt-city/lima")
    (schedule,) = found["schedules"]
    (automation,) = site.automations("lima")
    path = f"/deployments/{found['id']}"
    site.server.request("PATCH", f"{path}/schedules/{schedule['id']}", {"active": False})
    extra = {"schedule": {"interval": 3600}, "active": True}
    site.server.request("POST", f"{path}/schedules", [extra])
    parameters = {**found["parameters"], "arm": "ga_ca"}
    site.server.request(
        "PATCH", path, {"parameters": parameters, "tags": [*found["tags"], "night"]}
    )
    site.server.request("PATCH", f"/automations/{automation['id']}", {"enabled": False})
    site.server.request("PATCH", "/work_pools/crosscity", {"concurrency_limit": 3})

    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")
    site.catalog(lima={"schedule": TUESDAY})
    (reported, _) = site.deployed()
    assert reported == f"~ readapt-city/lima: schedule {MONDAY!r} → {TUESDAY!r} (stays paused)"
    kept = site.find("readapt-city/lima")
    crons = {one["schedule"].get("cron"): one["active"] for one in kept["schedules"]}
    assert crons == {TUESDAY: False, None: True}
    assert kept["parameters"]["arm"] == "ga_ca"
    assert "night" in kept["tags"]
    assert not site.automations("lima")[0]["enabled"]
    assert site.server.get("/work_pools/crosscity")["concurrency_limit"] == 3
    site.server.request("PATCH", "/work_pools/crosscity", {"concurrency_limit": None})


def test_what_the_catalog_does_not_name_any_more_is_no_parameter_any_more(site):
    def named(**where: dict[str, str]) -> None:
        site.catalog(lima={})
        path = site.folder / "data_catalog.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        document["computes"] = {name: {"device": "cpu"} for name in ("laptop", "large")}
        document["deployments"] = where
        path.write_text(yaml.safe_dump(document), encoding="utf-8")

    def compute(flow: str) -> str | None:
        found = site.find(f"{flow}/lima")
        value: str | None = found["parameters"].get("compute")
        assert [tag for tag in found["tags"] if "compute" in tag] == (
            [] if value in (None, "mine") else [f"catalog:compute={value}"]
        )
        return value

    both = {"compute": "large"}
    named(**{"adapt-city": both, "evaluate-city": both, "extract-priors": both})
    site.deployed()
    for flow in ("evaluate-city", "predict-city"):  # an operator's own, on the dashboard
        found = site.find(f"{flow}/lima")
        mine = {"parameters": {**found["parameters"], "compute": "mine"}}
        site.server.request("PATCH", f"/deployments/{found['id']}", mine)
    named(**{"extract-priors": {"compute": "laptop"}})
    lines = site.deployed()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "~ extract-priors/lima",
        "~ adapt-city/lima",
        "~ evaluate-city/lima",
    ]
    assert compute("adapt-city") is None
    assert compute("extract-priors") == "laptop"
    assert compute("evaluate-city") == compute("predict-city") == "mine"
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")


def test_what_was_changed_on_the_server_is_changed_back(site):
    site.catalog(lima={})
    site.deployed()
    found = site.find("adapt-city/lima")
    changed = {
        "parameters": {"city": "oslo", "catalog": "data_catalog.yaml"},
        "concurrency_limit": None,
        "description": "mine",
    }
    site.server.request("PATCH", f"/deployments/{found['id']}", changed)
    (automation,) = site.automations("lima")
    trigger = {**automation["trigger"], "match": {"prefect.resource.id": "crosscity.city.oslo"}}
    core = {name: automation[name] for name in ("name", "actions")}
    site.server.request("PUT", f"/automations/{automation['id']}", {**core, "trigger": trigger})
    reported = site.deployed()
    assert [line.split(":")[0] for line in reported[:-1]] == [
        "~ adapt-city/lima",
        "~ readapt-city/lima",
    ]
    assert site.find("adapt-city/lima")["parameters"]["city"] == "lima"
    assert site.find("adapt-city/lima")["global_concurrency_limit"]["limit"] == 1
    (restored,) = site.automations("lima")
    assert restored["trigger"]["match"] == {"prefect.resource.id": "crosscity.city.lima"}
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")


def test_prefect_deploy_and_crosscity_deploy_agree(site):
    """Both ways make the same, and a schedule without a slug, as earlier versions made it, goes."""
    site.catalog(lima={"schedule": MONDAY})
    written = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "catalog", "deployments"],
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode == 0, written.stderr
    site.deployed()  # makes the work pool
    site.catalog()
    site.deployed()
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=site.folder,
        env=site.server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site.catalog(lima={"schedule": MONDAY})
    (reported,) = site.deployed()
    assert reported.startswith("created 0, changed 0, removed 0; unchanged 9")

    found = site.find("readapt-city/lima")
    path = f"/deployments/{found['id']}"
    site.server.request("PATCH", path, {"tags": ["lima"]})
    site.server.request("DELETE", f"{path}/schedules/{found['schedules'][0]['id']}", {})
    old = {"schedule": {"cron": MONDAY, "timezone": "UTC"}, "active": True}
    site.server.request("POST", f"{path}/schedules", [old])
    site.catalog(lima={})
    assert f"schedule {MONDAY!r} removed" in site.deployed()[0]
    assert site.find("readapt-city/lima")["schedules"] == []


def test_two_catalogs_on_one_server_do_not_touch_each_other(
    site, tmp_path_factory, own_server, write_catalog, own_server_commands
):
    site.catalog(lima={})
    site.deployed()
    folder = tmp_path_factory.mktemp("moved")
    other = Site(folder, own_server, write_catalog, own_server_commands)
    other.catalog(lima={})
    refused = other.deploy()
    assert refused["code"] == 2
    assert str(site.folder) in refused["err"]
    assert "--moved-from" in refused["err"]
    reported = other.deployed("--moved-from", site.folder)
    assert any(f"folder {site.folder} → {other.folder}" in line for line in reported)
    assert other.deployed()[0].startswith("created 0, changed 0, removed 0")
    assert "rename lima" in refused["err"]
    site.catalog(oslo={})
    refused = site.deploy()
    assert refused["code"] == 2, "the deployments of no city are the other catalog's now"
    assert "(name: ...)" in refused["err"]
    site.deployed("--moved-from", other.folder)
    assert not site.is_there("harvest-city/lima")


def test_two_catalogs_with_names_stand_side_by_side(
    site, tmp_path_factory, own_server, write_catalog, own_server_commands
):
    site.catalog(lima={"schedule": MONDAY})
    site.deployed()
    other = Site(tmp_path_factory.mktemp("south"), own_server, write_catalog, own_server_commands)
    other.catalog("south", quito={"schedule": MONDAY})
    theirs = site.find("paper-tables/all")["updated"]
    for dry_run in (["--dry-run"], []):
        reported = other.deployed(*dry_run)
        names = {line[2:] for line in reported if line.startswith("+ ")}
        assert {"paper-tables/south", "pretrain-segmenter/south-compact"} <= names
        assert "harvest-city/quito" in names
        assert not [line for line in reported if line[:2] in ("- ", "~ ")]
    for one in (site, other):
        assert one.deployed()[0].startswith("created 0, changed 0, removed 0"), "both are whole"
    assert site.find("paper-tables/all")["updated"] == theirs
    tables = other.find("paper-tables/south")
    assert other.folder.name in json.dumps(tables["pull_steps"])
    segmenter = other.find("pretrain-segmenter/south-compact")["parameters"]["segmenter"]
    assert segmenter == "compact", "the name is the deployment's alone"
    assert [len(site.automations(city)) for city in ("lima", "quito")] == [1, 1]

    third = Site(tmp_path_factory.mktemp("third"), own_server, write_catalog, own_server_commands)
    third.catalog("south", cusco={})
    before = own_server.every("/deployments/filter", {})
    refused = third.deploy()
    assert refused["code"] == 2
    assert "give this catalog another name" in refused["err"]
    assert str(other.folder) in refused["err"]
    assert own_server.every("/deployments/filter", {}) == before, "nothing was changed"

    other.catalog("south")  # its city is gone: nothing of the first one's goes
    other.deployed()
    assert not other.is_there("harvest-city/quito")
    assert site.is_there("harvest-city/lima")
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")
    other.catalog("east")  # another name: the old deployments go
    reported = other.deployed()
    assert "- paper-tables/south" in reported
    assert "+ paper-tables/east" in reported


def on_the_server(site: Site, catalog: str) -> dict[str, tuple[str, str]]:
    """Ids and times of change of the deployments of a catalog file of a site."""
    return {
        one["id"]: (one["name"], one["updated"])
        for one in site.server.every("/deployments/filter", {})
        if one["parameters"].get("catalog") == catalog
        and str(site.folder) in json.dumps(one["pull_steps"])
    }


def test_a_catalog_is_removed_and_its_neighbour_in_the_same_folder_stays(site: Site) -> None:
    site.catalog("south", quito={"schedule": MONDAY})
    south = (site.folder / "data_catalog.yaml").rename(site.folder / "south.yaml")
    site.catalog(lima={"schedule": MONDAY})
    site.deployed()
    site.deployed("--catalog", south)
    site.deployed()
    link = site.folder.parent / "linked"
    link.symlink_to(site.folder)
    linked = site.deployed("--catalog", link / south.name, "--dry-run")
    link.unlink()
    assert not [line for line in linked if line[:2] in ("+ ", "- ")], "it is the same catalog"
    neighbours = on_the_server(site, "data_catalog.yaml")
    automations = site.automations("lima")

    taken = site.deploy("--catalog", south, "--remove", "--dry-run")
    assert "- paper-tables/south" in taken["out"]
    assert site.is_there("paper-tables/south")
    south.unlink()  # it may be gone
    detour = site.folder / "missing" / ".." / south.name
    reported = site.deployed("--catalog", detour, "--remove")
    assert sum(line.startswith("- ") for line in reported) == CITY_DEPLOYMENTS + 2
    assert not [line for line in reported if line[:2] in ("+ ", "~ ")]
    assert on_the_server(site, south.name) == {}
    assert site.automations("quito") == []
    assert on_the_server(site, "data_catalog.yaml") == neighbours
    assert site.automations("lima") == automations
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")


def test_an_automation_goes_with_its_own_deployment_and_never_with_one_not_listed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.reconciliation import Reconciler

    site.catalog("south", quito={})
    south = (site.folder / "data_catalog.yaml").rename(site.folder / "south.yaml")
    site.deployed("--catalog", south)
    site.catalog(lima={})
    listed = Reconciler._present

    def before_the_other(self: Reconciler) -> dict[str, Any]:
        """What the server had before the other catalog was deployed, a moment ago."""
        present = listed(self)
        return {name: one for name, one in present.items() if "quito" not in name}

    with monkeypatch.context() as patch:
        patch.setattr(Reconciler, "_present", before_the_other)
        deploy_catalog(site.folder / "data_catalog.yaml", f"{site.server.address}/api")
    assert len(site.automations("quito")) == 1

    site.server.request("DELETE", f"/deployments/{site.find('readapt-city/quito')['id']}", {})
    reported = site.deployed()
    assert [line for line in reported if "of a removed deployment" in line]
    assert site.automations("quito") == []
    site.deployed("--catalog", south, "--remove")
    south.unlink()


def test_an_automation_of_the_server_is_there_once_and_what_is_disabled_stays_so(
    site: Site,
) -> None:
    from flows.dead_runs import RESTART_NAME

    def restarting() -> list[dict[str, Any]]:
        return site.automations(RESTART_NAME)

    site.catalog(lima={})
    site.deployed()
    (first,) = restarting()
    core = {name: first[name] for name in ("name", "description", "trigger", "actions")}
    for enabled in (False, True):  # as when another catalog was deployed at the same time
        site.server.request("POST", "/automations/", {**core, "enabled": enabled})
    disabled = next(one for one in restarting() if not one["enabled"])
    assert len(restarting()) == 3
    reported = site.deployed()
    assert sum("more than once" in line for line in reported) == 2
    assert [one["id"] for one in restarting()] == [disabled["id"]]
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0")
    site.server.request("PATCH", f"/automations/{disabled['id']}", {"enabled": True})


class _Front(BaseHTTPRequestHandler):
    """Stands in front of a server, and hands requests on to it."""

    server_behind: Any
    api = "/api"

    def _hand_on(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        writes = self.command != "GET" and not self.path.endswith("/filter")
        if writes and not self.before_a_write(data):
            self.close_connection = True
            self.connection.close()
            return
        status, answer = self.answer_of_the_server(data)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _hand_on  # noqa: N815

    def before_a_write(self, _data: bytes | None) -> bool:
        """Whether the request is handed on; if not, the connection breaks off."""
        return True

    def answer_of_the_server(self, data: bytes | None) -> tuple[int, bytes]:
        """Status and text of the server's own answer, whatever it is."""
        path = self.path.removeprefix(self.api)
        try:
            answer: tuple[int, bytes] = self.server_behind.answer(self.command, path, data)
        except urllib.error.HTTPError as error:
            answer = error.code, error.read()
        return answer

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def in_front_of(server: Any, front: type[_Front], **more: object) -> Iterator[str]:
    """The address of the API of such a front, which has more attributes."""
    handler = type(front.__name__, (front,), {"server_behind": server, **more})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}{front.api}"
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Flaky(_Front):
    """Breaks off from the ninth request on that would write."""

    writes = 0

    def before_a_write(self, _data: bytes | None) -> bool:
        type(self).writes += 1
        return self.writes < 9


def test_a_deploying_that_broke_off_is_finished_by_the_next(site, crosscity):
    site.catalog(lima={"schedule": MONDAY}, oslo={})
    with in_front_of(site.server, _Flaky) as api:
        broken = crosscity(
            *("deploy", "--catalog", site.folder / "data_catalog.yaml"),
            server=site.server,
            environment={"PREFECT_API_URL": api, "PREFECT_CLIENT_MAX_RETRIES": "0"},
        )
    assert broken.returncode != 0
    assert len(broken.stderr.strip().splitlines()) == 1, broken.stderr
    assert "does not answer" in broken.stderr
    there = [line for line in site.deployed("--dry-run") if line.startswith("+")]
    assert 0 < len(there) < 16, "some of 16 were made, whatever other tests had made before"
    site.deployed()
    assert site.deployed()[0].startswith("created 0, changed 0, removed 0; unchanged 16")
    assert len(site.automations("lima")) == 1


class _OneAhead(_Front):
    """Another deploying of the same catalog is a moment ahead: it has done each write already."""

    refused: list[tuple[str, int, bytes]]

    def before_a_write(self, data: bytes | None) -> bool:
        self.answer_of_the_server(data)
        return True

    def answer_of_the_server(self, data: bytes | None) -> tuple[int, bytes]:
        status, answer = super().answer_of_the_server(data)
        if status >= 400:
            self.refused.append((self.command, status, answer))
        return status, answer


def created(lines: Iterable[str]) -> list[str]:
    """Deployments that are reported as made, automations of the server left out."""
    return [line[2:] for line in lines if line.startswith("+ ") and "/" in line]


def nothing_is_left_to_do(site: Site) -> bool:
    automations = Counter(one["name"] for one in site.server.every("/automations/filter", {}))
    assert set(automations.values()) <= {1}, automations
    return site.deployed("--dry-run")[0].startswith(
        "would be created 0, changed 0, removed 0; unchanged 16"
    )


def test_what_another_deploying_did_a_moment_before_is_compared_again(
    each_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.reconciliation._WAITS", (0.01, 0.02, 0.05))
    site, refused = each_site, list[tuple[str, int, bytes]]()
    catalog = site.folder / "data_catalog.yaml"
    with in_front_of(site.server, _OneAhead, refused=refused) as api:
        site.catalog(lima={"schedule": MONDAY}, oslo={})
        planned = created(site.deployed("--dry-run"))
        made = deploy_catalog(catalog, api)
        assert created(made["changes"]) == planned != []
        assert nothing_is_left_to_do(site)

        site.catalog(lima={"schedule": TUESDAY}, oslo={"schedule": MONDAY})
        added = deploy_catalog(catalog, api)
        (lima,) = added["changes"]
        assert lima.startswith("~ readapt-city/lima: schedule")
        assert added["unchanged"] == 15, "the other one has added the schedule of oslo"
        assert nothing_is_left_to_do(site)
        assert len(site.find("readapt-city/oslo")["schedules"]) == 1
        conflicts = {answer for method, status, answer in refused if (method, status) == _TAKEN}
        assert conflicts - {_POOL} in ({_INTEGRITY}, {_SLUGS})

        site.catalog(lima={}, oslo={"schedule": MONDAY})
        deploy_catalog(catalog, api)
        assert nothing_is_left_to_do(site)
        assert site.find("readapt-city/lima")["schedules"] == []
        site.catalog(oslo={"schedule": MONDAY})
        deploy_catalog(catalog, api)
        assert not site.is_there("readapt-city/lima")
        removed = deploy_catalog(catalog, api, remove=True)
        assert removed["remove"] == 9
        assert on_the_server(site, catalog.name) == {}
    assert {status for method, status, _ in refused if method != "GET"} == {404, 409}
    assert ("DELETE", 404) in {(method, status) for method, status, _ in refused}


_TAKEN = ("POST", 409)
_POOL = b'{"detail":"A work pool with this name already exists."}'
_INTEGRITY = (
    b'{"detail":"Data integrity conflict. This usually means a unique or foreign key constraint '
    b'was violated. See server logs for details."}'
)
"""What the server answers where two have made the same; on PostgreSQL, of schedules, the next."""
_SLUGS = b'{"detail":"Schedule slugs must be unique within a deployment."}'


class _Taken(_Front):
    """Its first deployments are made by another, whose transaction ends a moment before ours."""

    taken = 1
    asked: list[str]

    def answer_of_the_server(self, data: bytes | None) -> tuple[int, bytes]:
        answer = super().answer_of_the_server(data)
        if (self.command, self.path) != ("POST", f"{self.api}/deployments/"):
            return answer
        self.asked.append(json.loads(data or b"")["name"])
        return answer if len(self.asked) > self.taken else (409, _INTEGRITY)


def test_a_deployment_that_another_has_made_is_not_reported_as_ours(site: Site) -> None:
    site.catalog(lima={"schedule": MONDAY}, oslo={})
    planned = created(site.deployed("--dry-run"))
    with in_front_of(site.server, _Taken, asked=[]) as api:
        made = deploy_catalog(site.folder / "data_catalog.yaml", api)
    assert created(made["changes"]) == planned[1:] != []
    assert made["unchanged"] == 16 - len(planned) + 1
    assert nothing_is_left_to_do(site)


def test_a_conflict_that_stays_is_said_in_a_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.reconciliation._WAITS", (0.01, 0.02, 0.05))
    site.catalog(lima={"schedule": MONDAY}, oslo={})
    asked: list[str] = []
    with (
        in_front_of(site.server, _Taken, asked=asked, taken=99) as api,
        pytest.raises(ServerError, match=r"answered 409 to POST /api/deployments/: .*integrity"),
    ):
        deploy_catalog(site.folder / "data_catalog.yaml", api)
    assert len(asked) == 4


def test_parameters_that_the_flow_does_not_take_are_named_and_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.catalog(lima={})
    site.deployed()
    found = site.find("adapt-city/lima")
    parameters = {**found["parameters"], "seed": "many"}
    changed = {"parameters": parameters, "enforce_parameter_schema": False}
    site.server.request("PATCH", f"/deployments/{found['id']}", changed)
    # Of this module alone: threads of others sleep, and Prefect's client where its server is busy.
    waits = SimpleNamespace(sleep=lambda seconds: pytest.fail(f"it waits {seconds} s"))
    monkeypatch.setattr(reconciliation, "time", waits)
    with pytest.raises(InputError, match=r"parameters of adapt-city/lima .*many.*dashboard"):
        deploy_catalog(site.folder / "data_catalog.yaml", f"{site.server.address}/api")


def test_a_dry_run_says_of_a_web_hook_what_is_then_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.catalog(lima={})
    site.deployed()

    def changes(address: str, *, dry_run: bool = False) -> list[str]:
        monkeypatch.setenv("CROSSCITY_WEBHOOK", address)
        catalog, api = site.folder / "data_catalog.yaml", f"{site.server.address}/api"
        return list(deploy_catalog(catalog, api, dry_run=dry_run)["changes"])

    first, second = (f"http://127.0.0.1:9/token-{number}" for number in (4711, 4712))
    made = ["+ web-hook block crosscity", *(f"+ automation {name!r}" for name in _TELLING)]
    try:
        for address, expected in ((first, made), (second, ["~ web-hook block crosscity"])):
            assert changes(address, dry_run=True) == expected
            assert changes(address) == expected
            assert changes(address, dry_run=True) == [], "it is there"
        for wrong in ("hooks.example/token-4711", "https:///token-4711", "ftp://host/token-4711"):
            with pytest.raises(InputError, match="CROSSCITY_WEBHOOK is not the address") as caught:
                changes(wrong, dry_run=True)
            assert "4711" not in str(caught.value)
    finally:
        for one in site.server.every("/automations/filter", {}):
            if one["name"] in _TELLING:
                site.server.request("DELETE", f"/automations/{one['id']}")
        blocks = site.server.post("/block_documents/filter", {})
        for one in (one for one in blocks if one["name"] == "crosscity"):
            site.server.request("DELETE", f"/block_documents/{one['id']}")


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_what_an_automation_expects_is_not_a_difference(seed: int) -> None:
    """What it expects is a set, and a process has an order of its own for it (PYTHONHASHSEED)."""
    from prefect.events.schemas.automations import AutomationCore

    from flows.dead_runs import dead_run_automation
    from flows.reconciliation import _compared

    program = (
        "from flows.dead_runs import dead_run_automation\n"
        "print(dead_run_automation().model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    stored = AutomationCore.model_validate_json(done.stdout)
    assert _compared(stored) == _compared(dead_run_automation())
    assert _compared(stored) != _compared(dead_run_automation(60))
