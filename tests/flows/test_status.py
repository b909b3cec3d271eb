"""`crosscity status`: what it tells of a city before, during and after its first promotion."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from adapters.store import SINGLE, Selection, Store, artifact_key
from flows.cli import status
from tasks.harvesting.current import HARVEST
from tasks.judging import promotion


def made(store, kind):
    key = artifact_key(kind, inputs={}, parameters={"a": 1}, version="1")
    with store.draft(kind, "tokyo", key, inputs={}, parameters={"a": 1}, version="1") as draft:
        (draft.path / "file.bin").write_bytes(b"content")
    return draft.ref


def test_status_of_a_city_that_has_nothing_and_of_one_in_use(
    write_catalog, many_commands, tmp_path
):
    catalog = write_catalog(tmp_path)

    def reported(*words):
        done = many_commands("status", *words, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return done["out"]

    assert "not harvested yet" in reported()
    assert json.loads(reported("--json"))["cities"]["tokyo"]["in_use"] is None

    store = Store(tmp_path / "store")
    segmenter = made(store, "adaptation")
    pairs = made(store, "pairs")
    store.switch(HARVEST, "tokyo", Selection({SINGLE: pairs}))
    promotion.put_in_use(store, "tokyo", segmenter)
    promotion.pin(store, "tokyo", "an exhibition")
    found = json.loads(reported("tokyo", "--json"))["cities"]["tokyo"]
    assert found["in_use"]["uri"] == segmenter.uri
    assert found["harvest"][SINGLE]["uri"] == pairs.uri
    assert found["pinned"]["reason"] == "an exhibition"
    assert found["bytes"] == {"adaptation": 7, "pairs": 7}
    words = reported("tokyo")
    assert "disk: 0.0 MB (" in words
    assert re.search(rf"in use: {re.escape(segmenter.uri)} \(\d+ minutes? old\)", words)
    assert "pinned since" in words

    manifest = tmp_path / "store" / segmenter.kind / "tokyo" / segmenter.key / "artifact.json"
    manifest.chmod(0o600)
    manifest.write_text("{")
    assert "DAMAGED" in reported()

    unknown = many_commands("status", "atlantis", "--catalog", catalog)
    assert unknown["code"] == 2


def test_the_next_run_is_reported(
    own_server, own_server_commands, write_catalog, waiting, tmp_path
):
    catalog = write_catalog(tmp_path, city={"schedule": "0 3 * * 1"})
    deployed = own_server_commands("deploy", "--catalog", catalog)
    assert deployed["code"] == 0, deployed["err"]
    deployment = own_server.get("/deployments/name/readapt-city/tokyo")
    own_server.request("POST", f"/deployments/{deployment['id']}/schedule", {})

    def coming():
        done = own_server_commands("status", "--json", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return json.loads(done["out"])["cities"]["tokyo"]["next_run"]

    waiting(lambda: coming() is not None, "the schedule has made runs", every=1)
    assert "T03:00:00" in coming()["at"]
    assert coming()["deployed_from"] is None, "it is this catalog's own"

    namesake = tmp_path / "namesake"
    namesake.mkdir()
    other = write_catalog(namesake)
    told = own_server_commands("status", "--catalog", other)
    assert f"(deployed from {tmp_path})" in told["out"], "another catalog's run is told as such"


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=5), "0 minutes old"),
        (timedelta(seconds=62), "1 minute old"),
        (timedelta(minutes=100), "100 minutes old"),
        (timedelta(hours=2, minutes=10), "2 hours old"),
        (timedelta(hours=71), "71 hours old"),
        (timedelta(days=9), "9 days old"),
    ],
)
def test_an_age_is_said_in_a_unit_that_fits(age, said) -> None:
    assert status._age(datetime.now(UTC) - age) == said
