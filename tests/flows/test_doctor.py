"""`crosscity doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import socket

import pytest

from flows.cli import doctor


def lines(many_commands, catalog):
    done = many_commands("doctor", "--catalog", catalog)
    found = {}
    for line in done["out"].splitlines():
        mark, _, rest = line.partition("  ")
        found[rest.partition(":")[0].strip()] = (mark.strip(), rest)
    return done["code"], found


def test_a_machine_on_which_all_is_well(many_commands, write_catalog, tmp_path):
    code, found = lines(many_commands, write_catalog(tmp_path))
    assert code == 0
    assert {"Python", "packages", "catalog", "store", "disk", "device", "server"} <= set(found)
    for subject in ("Python", "packages", "catalog", "store", "device"):
        assert found[subject][0] == "ok", found[subject]


def test_what_is_wrong_is_reported_with_its_remedy(many_commands, write_catalog, tmp_path):
    provider = {"kind": "mapillary", "token": "${CROSSCITY_TEST_TOKEN_4711}"}
    catalog = write_catalog(
        tmp_path,
        city={"provider": provider, "labels": None},
        computes={"laptop": {"device": "cuda:7"}},
    )
    (tmp_path / "store").write_text("a file where the store should be")
    code, found = lines(many_commands, catalog)
    assert code == 1
    assert found["cities.tokyo"][0] == "note"
    assert "export CROSSCITY_TEST_TOKEN_4711, which cities.tokyo needs" in found["cities.tokyo"][1]
    assert found["store"][0] == "FAIL"
    assert found["device"][0] == "FAIL"
    assert "choose another profile" in found["device"][1]


def test_a_catalog_that_is_not_there_can_be_written(many_commands, tmp_path):
    code, found = lines(many_commands, tmp_path / "data_catalog.yaml")
    assert code == 1
    assert found["catalog"][0] == "FAIL"
    assert found["catalog"][-1].endswith("`crosscity init` writes one")


def test_a_wrong_catalog_is_reported_and_the_rest_is_looked_at(many_commands, tmp_path):
    (tmp_path / "data_catalog.yaml").write_text("version: 1\nstore: nowhere\nstores: {}\n")
    code, found = lines(many_commands, tmp_path / "data_catalog.yaml")
    assert code == 1
    assert found["catalog"][0] == "FAIL"
    assert "server" in found


@pytest.fixture
def no_server(monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("no_server")
def test_a_taken_port_and_a_server_that_is_away(monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(doctor, "DASHBOARD_PORT", port)
        found = doctor._server(tmp_path)
        assert "is taken" in found.found
        assert "PORT=0" in found.remedy
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    found = doctor._server(tmp_path)
    assert found.is_fatal
    assert "does not answer" in found.found


@pytest.mark.usefixtures("no_server")
def test_the_server_that_runs_is_reported_with_its_version(monkeypatch, prefect_server):
    monkeypatch.setenv("PREFECT_API_URL", f"{prefect_server.address}/api")
    found = doctor._server(prefect_server.home)
    assert found.remedy == ""
    assert found.found.startswith(prefect_server.address)


def test_a_missing_package_is_reported(monkeypatch):
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda _: ["no-such-package-4711>=2", "numpy>=999"]
    )
    found = doctor._packages()
    assert found.is_fatal
    assert "no-such-package-4711 is missing" in found.found
    assert "numpy is" in found.found


def test_every_entry_that_needs_a_variable_is_named_where_it_is_unset_or_empty(
    write_catalog, tmp_path, monkeypatch
):
    names = ("SCHEDULER", "EVENTS")
    for name in names:
        monkeypatch.delenv(f"CROSSCITY_TEST_{name}", raising=False)
    monkeypatch.setenv("CROSSCITY_TEST_STORE", "")
    catalog = write_catalog(
        tmp_path,
        stores={"local": {"url": "${CROSSCITY_TEST_STORE}"}},
        computes={"laptop": {"runner": "dask", "address": "${CROSSCITY_TEST_SCHEDULER}"}},
        tracking={"folder": "${CROSSCITY_TEST_EVENTS}"},
    )
    subjects = {one.subject: one for one in doctor.diagnosis(catalog)}
    assert "CROSSCITY_TEST_STORE is not set" in subjects["stores.local"].found
    assert "CROSSCITY_TEST_SCHEDULER is not set" in subjects["compute"].found
    assert "CROSSCITY_TEST_EVENTS is not set" in subjects["tracking"].found


@pytest.mark.parametrize("url", ["${CROSSCITY_TEST_STORE}", "file://${CROSSCITY_TEST_STORE}"])
def test_the_disk_that_is_looked_at_is_that_of_the_store(write_catalog, tmp_path, monkeypatch, url):
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.setenv("CROSSCITY_TEST_STORE", str(place))
    monkeypatch.chdir(tmp_path)
    catalog = write_catalog(tmp_path, stores={"local": {"url": url}})
    (found,) = (one for one in doctor.diagnosis(catalog) if one.subject == "disk")
    assert found.found.endswith(f"GB free at {place}")
