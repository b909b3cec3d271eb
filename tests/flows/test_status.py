"""`crosscity status`: what it tells of a city before, during and after its first promotion."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adapters.store import (
    SINGLE,
    Selection,
    Store,
    StoreAwayError,
    StoreRefusesError,
    artifact_key,
)
from flows.cli import status
from tasks.harvesting.current import HARVEST
from tasks.judging import promotion
from tasks.steps.plan import open_plan


def made(store, kind, number=1, inputs=None, summary=None):
    about = {"inputs": inputs or {}, "parameters": {"a": number}, "version": "1"}
    with store.draft(kind, "tokyo", artifact_key(kind, **about), **about) as draft:
        (draft.path / "file.bin").write_bytes(b"content%d" % number)
        draft.summary = summary or {}
    return draft.ref


def test_status_of_a_city_that_has_nothing_and_of_one_in_use(
    write_catalog, many_commands, tmp_path, monkeypatch
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
    since = promotion.promotion_log(store, "tokyo")[0]["at"]
    monkeypatch.setattr(promotion, "_now", lambda: "2200-01-01T00:00:00+00:00")
    promotion.pin(store, "tokyo", "an exhibition")
    found = json.loads(reported("tokyo", "--json"))["cities"]["tokyo"]
    assert found["in_use"]["uri"] == segmenter.uri
    assert found["in_use"]["since"] == since, "a pin leaves it in use since then"
    assert found["harvest"][SINGLE]["uri"] == pairs.uri
    assert found["pinned"]["reason"] == "an exhibition"
    assert found["bytes"] == {"adaptation": 8, "pairs": 8}
    assert found["unused"] is None
    words = reported("tokyo")
    assert "disk: 0.0 MB (" in words
    assert re.search(rf"in use: {re.escape(segmenter.uri)} \(\d+ minutes? old\)", words)
    assert "pinned since" in words

    manifest = tmp_path / "store" / segmenter.kind / "tokyo" / segmenter.key / "artifact.json"
    manifest.chmod(0o600)
    manifest.write_text("{")
    assert "DAMAGED" in reported()
    assert "is gone or in quarantine: run `crosscity readapt tokyo`, which" in reported("tokyo")
    another = made(store, "adaptation", 2)
    promotion.put_in_use(store, "tokyo", another)
    promotion.put_in_use(store, "tokyo", segmenter)
    assert "run `crosscity rollback tokyo`, or `crosscity readapt tokyo`" in reported("tokyo")

    unknown = many_commands("status", "atlantis", "--catalog", catalog)
    assert unknown["code"] == 2


def test_an_adaptation_that_was_rejected_in_the_night_is_told_in_the_morning(
    write_catalog, many_commands, tmp_path
):
    """The segmenter in use stays as it was, so nothing else of the status told it."""
    catalog = write_catalog(tmp_path)
    store = Store(tmp_path / "store")
    before = made(store, "adaptation", 1)
    promotion.put_in_use(store, "tokyo", before)

    def told():
        done = many_commands("status", "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return done["out"]

    assert "not promoted" not in told()
    rejected = made(store, "adaptation", 2)
    assert f"not promoted: {rejected.uri} (pretrained, " in told()
    judged = {"adaptation": rejected.digest, "before": before.digest}
    sentence = "The adaptation looks harmful without any label."
    made(store, "safeguard", 3, judged, {"keep": "before", "sentence": sentence})
    assert f"rejected: {rejected.uri} (" in told()
    assert sentence in told()
    # What was kept in its place may be written after it, as a start at another size is.
    promotion.put_in_use(store, "tokyo", made(store, "segmenter", 4))
    assert f"rejected: {rejected.uri} (" in told()
    promotion.put_in_use(store, "tokyo", made(store, "adaptation", 5))
    assert rejected.uri not in told(), "a newer one is in use"


@pytest.fixture
def refusing():
    """Address of an S3 server that admits nobody."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_GET  # noqa: N815 - as the server calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucketless():
    """Address of a real S3 server (moto) without any bucket."""
    pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_store_that_admits_nobody_is_not_called_damaged(
    refusing, write_catalog, many_commands, tmp_path
):
    pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
    options = {
        "key": "a-wrong-key",
        "secret": "a-secret-word",
        "client_kwargs": {"endpoint_url": refusing, "region_name": "us-east-1"},
    }
    catalog = write_catalog(
        tmp_path, stores={"local": {"url": "s3://bucket/store", "options": options}}
    )
    done = many_commands("status", "--catalog", catalog)
    assert done["code"] == 2
    assert "s3://bucket/store does not admit these credentials" in done["err"]
    assert "DAMAGED" not in done["out"]
    assert "not harvested" not in done["out"], "nobody knows"
    assert "a-secret-word" not in done["out"] + done["err"]


@pytest.mark.parametrize("words", [["status"], ["store", "verify"], ["promotions", "tokyo"]])
def test_a_bucket_that_is_not_there_is_not_an_empty_store(
    bucketless, write_catalog, many_commands, tmp_path, words
):
    options = {
        "key": "a-key",
        "secret": "a-secret-word",
        "client_kwargs": {"endpoint_url": bucketless, "region_name": "us-east-1"},
    }
    catalog = write_catalog(
        tmp_path, stores={"local": {"url": "s3://mistyped/store", "options": options}}
    )
    done = many_commands(*words, "--catalog", catalog)
    assert done["code"] == 2, done["out"]
    assert "the store at s3://mistyped/store has no bucket: make it, or correct" in done["err"]


@pytest.mark.parametrize("fault", [StoreAwayError("it is away"), StoreRefusesError("no entry")])
def test_what_keeps_us_from_the_store_ends_the_status(write_catalog, tmp_path, monkeypatch, fault):
    plan = open_plan(write_catalog(tmp_path))

    def fails(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Store, "selected", fails)
    with pytest.raises(type(fault)):
        status._of_store(plan, "tokyo")


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


@pytest.mark.parametrize("level", [["--log-level", "warning"], ["--log-level=warning"]])
def test_global_options_are_understood_behind_the_verb(
    write_catalog, many_commands, tmp_path, level
):
    catalog = write_catalog(tmp_path)
    for words in (["status", *level], [*level, "status"], ["status", "--quiet", *level]):
        done = many_commands(*words, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        assert "tokyo:" in done["out"]
    assert many_commands("status", "--log-level", "--catalog", catalog)["code"] == 2
