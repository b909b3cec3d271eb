"""Runs that died without anybody acting on it are ended by the run that begins next."""

from __future__ import annotations

import ast
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

import flows
from flows.asking import impatient_client
from flows.beginning import BEGINNING
from flows.cli.deploy import _end_silent_runs
from flows.cli.doctor import _runs
from flows.dead_runs import HEARTBEAT, NAME, dead_after, dead_run_automation, too_short
from flows.runner import planned_flow
from flows.silent_runs import (
    FLOWS,
    QUIET_LABEL,
    end_runs,
    end_silent_runs,
    note_quiet_run,
    silent_runs,
)
from tasks.steps.errors import InputError

OURS = {"catalog": "data_catalog.yaml"}
WELL = "2001-02-03T04:05:06Z"
"""By the clock of a machine whose battery is empty."""


class Runs:
    """Runs on the session's server, in states that are set here."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def run(self, state: str, flow: str = "harvest-city", **more: Any) -> str:
        flow_id = self.server.post("/flows/", {"name": flow})["id"]
        body = {"flow_id": flow_id, "parameters": OURS, "state": {"type": "PENDING"}, **more}
        made = str(self.server.post("/flow_runs/", body)["id"])
        if state != "PENDING":
            self.put(made, state)
        return made

    def put(self, run: str, state: str) -> None:
        kind, _, name = state.partition("/")
        body = {"state": {"type": kind, "name": name or kind.capitalize()}, "force": True}
        self.server.post(f"/flow_runs/{run}/set_state", body)

    def state(self, run: str) -> str:
        return str(self.server.get(f"/flow_runs/{run}")["state_type"])

    def beat(self, *runs: str) -> None:
        """Sends a heartbeat of each, as the clock of a machine that is years behind has it."""
        with SyncPrefectClient(f"{self.server.address}/api") as client:
            events = [
                {
                    "occurred": WELL,
                    "event": HEARTBEAT,
                    "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
                    "id": str(uuid.uuid4()),
                }
                for run in runs
            ]
            client.request("POST", "/events", json=events).raise_for_status()

    def has_passed(self, moment: datetime) -> bool:
        """Whether the server's clock, in whole seconds and late where it is busy, is past this."""
        with urllib.request.urlopen(f"{self.server.address}/api/health") as answer:  # noqa: S310
            return parsedate_to_datetime(answer.headers["date"]) > moment

    def beaten(self, run: str) -> bool:
        wanted = {
            "event": {"name": [HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            "occurred": {"since": "2000-01-01T00:00:00Z"},
        }
        return bool(self.server.post("/events/filter", {"filter": wanted})["events"])


@pytest.fixture
def runs(prefect_server: Any) -> Iterator[Runs]:
    with temporary_settings({PREFECT_API_URL: f"{prefect_server.address}/api"}):
        yield Runs(prefect_server)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests of a client, as they come."""
    paths: list[str] = []
    really = SyncPrefectClient.request

    def request(self: SyncPrefectClient, method: Any, path: Any, *args: Any, **kw: Any) -> Any:
        paths.append(f"{method} {path}")
        return really(self, method, path, *args, **kw)

    monkeypatch.setattr(SyncPrefectClient, "request", request)
    return paths


def ended(before: datetime) -> list[str]:
    with impatient_client() as client:
        return end_runs(client, silent_runs(client, before))


def test_what_is_silent_is_ended_and_nothing_else(
    runs: Runs, waiting: Callable[..., None], asked: list[str]
) -> None:
    crashed = [
        runs.run("RUNNING"),
        runs.run("PENDING"),
        runs.run("RUNNING", "demo"),
        runs.run("RUNNING/Retrying", "readapt-city"),
    ]
    crashed.append(runs.run("RUNNING"))
    runs.beat(crashed[-1])
    cancelled = runs.run("CANCELLING")
    alive = {runs.run("RUNNING"): "RUNNING", runs.run("PENDING"): "PENDING"}
    theirs = {
        runs.run("RUNNING", "somebody-elses"): "RUNNING",
        runs.run("RUNNING", "demo", parameters={"city": "of another project"}): "RUNNING",
        runs.run("RUNNING", labels={QUIET_LABEL: "None"}): "RUNNING",
        runs.run("SCHEDULED"): "SCHEDULED",
        runs.run("SCHEDULED/AwaitingRetry"): "SCHEDULED",
        runs.run("SCHEDULED/AwaitingConcurrencySlot"): "SCHEDULED",
        runs.run("PAUSED"): "PAUSED",
        runs.run("COMPLETED"): "COMPLETED",
    }
    before = datetime.now(UTC)
    runs.beat(*alive)
    for run in [crashed[-1], *alive]:
        waiting(lambda run=run: runs.beaten(run), "the server has taken the heartbeats")
    late = runs.run("RUNNING")
    asked.clear()
    assert len(ended(before)) >= len(crashed) + 1  # the server may have some of other tests
    assert {runs.state(run) for run in crashed} == {"CRASHED"}
    assert runs.state(cancelled) == "CANCELLED", "who cancels a run wants it not to start again"
    stay = {**alive, **theirs, late: "RUNNING"}
    assert {run: runs.state(run) for run in stay} == stay
    message = runs.server.get(f"/flow_runs/{crashed[0]}")["state"]["message"]
    assert "no sign of life since 20" in message
    assert sum(path.startswith("POST /events/filter") for path in asked) <= 4
    asked.clear()
    assert ended(before) == []
    assert sorted(asked) == ["POST /events/filter", "POST /flow_runs/filter"]


def test_a_run_that_only_seemed_dead_ends_as_it_ends(runs: Runs) -> None:
    """A server may be away for longer than a run is waited for."""
    run = runs.run("RUNNING")
    ended(datetime.now(UTC))
    assert runs.state(run) == "CRASHED"
    runs.server.post(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
    assert runs.state(run) == "COMPLETED"


def test_what_has_gone_on_meanwhile_is_left_alone(runs: Runs) -> None:
    run = runs.run("RUNNING")
    with impatient_client() as client:
        silent = [one for one in silent_runs(client, datetime.now(UTC)) if one.id == run]
        assert len(silent) == 1
        runs.put(run, "SCHEDULED/AwaitingRetry")  # as the server does with one that crashed
        assert end_runs(client, silent) == []
    assert runs.state(run) == "SCHEDULED"


def test_a_run_that_begins_asks_little_and_waits_as_long_as_the_automations(
    runs: Runs, asked: list[str], waiting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.run("RUNNING")
    ended(datetime.now(UTC) - timedelta(minutes=1))  # what other tests left
    asked.clear()
    end_silent_runs(None, type("Run", (), {"id": run})(), None)
    assert asked == ["POST /flow_runs/filter", "POST /automations/filter"]
    made = dead_run_automation(30).model_dump(mode="json")
    automation = runs.server.post("/automations/", {**made, "enabled": False})["id"]
    try:
        monkeypatch.setenv("CROSSCITY_DEAD_AFTER", "0")
        end_silent_runs(None, None, None)
        assert runs.state(run) == "RUNNING", f"the operator has disabled {NAME!r}"
    finally:
        with SyncPrefectClient(f"{runs.server.address}/api") as client:
            client.delete_automation(uuid.UUID(automation))
    now = datetime.now(UTC)
    waiting(lambda: runs.has_passed(now), "the server's clock goes on")
    end_silent_runs(None, None, None)
    assert runs.state(run) == "CRASHED"


def test_doctor_counts_what_deploying_ends(
    runs: Runs, waiting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(datetime.now(UTC) - timedelta(minutes=1))  # what other tests left
    run = runs.run("RUNNING", name="readapt-lisbon")
    assert "heard of lately" in str(_runs(runs.server.address))
    monkeypatch.setenv("CROSSCITY_DEAD_AFTER", "0")
    now = datetime.now(UTC)
    waiting(lambda: runs.has_passed(now), "the server's clock goes on")
    found = _runs(runs.server.address)
    assert "whose process is gone" in found.found
    assert "crosscity deploy" in found.remedy
    assert runs.state(run) == "RUNNING"
    with impatient_client() as client:
        assert "readapt-lisbon" in _end_silent_runs(client)
    assert runs.state(run) == "CRASHED"
    assert not _runs(runs.server.address).remedy


def test_deploying_is_done_where_nobody_says_what_is_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Away(SyncPrefectClient):
        def request(self, *_: Any, **__: Any) -> Any:
            raise ConnectionError("nobody there")

    assert _end_silent_runs(Away("http://127.0.0.1:9/api")) == []
    assert "may still be shown as running: nobody there" in capsys.readouterr().err


def test_a_run_without_heartbeats_says_so(runs: Runs) -> None:
    run = runs.run("RUNNING")
    one = type("Run", (), {"id": uuid.UUID(run)})()
    for seconds in (180, None):
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: seconds}):
            note_quiet_run(None, one, None)
        labels = runs.server.get(f"/flow_runs/{run}")["labels"]
        assert (QUIET_LABEL in labels) is (seconds is None)


@pytest.mark.parametrize(("busy", "noted"), [(0, True), (2, True), (9, False)])
def test_a_server_that_is_busy_is_told_again(
    busy: int, noted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A server whose database is locked answers 503; the run would be shown as crashed."""
    asked: list[int] = []

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # a token against forged requests: this one gives none
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(503 if len(asked) < busy else 204)
            self.send_response(asked[-1])
            self.send_header("Retry-After", "0.01")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        PREFECT_API_URL: f"http://127.0.0.1:{server.server_address[1]}/api",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(settings):
        note_quiet_run(None, type("Run", (), {"id": uuid.uuid4()})(), None)
    server.shutdown()
    server.server_close()
    assert len(asked) == min(busy, 3) + 1
    assert ("may be shown as crashed" in caplog.text) is not noted


def test_a_server_that_does_not_answer_stops_no_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        end_silent_runs(None, None, None)
    assert "may still be shown as running" in caplog.text


def test_all_our_flows_look_and_are_looked_at() -> None:
    """Read, not imported: that takes half a minute on a busy machine."""
    outer: dict[str, bool] = {}
    inner = set()
    for path in Path(flows.__file__).parent.glob("*.py"):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            for call in getattr(function, "decorator_list", []):
                decorator, _, given = ast.unparse(call).partition("(")
                if decorator == "flow":
                    (name,) = (one.value.value for one in call.keywords if one.arg == "name")
                    outer[name] = "on_running=BEGINNING" in given
                elif decorator == "planned_flow":
                    inner.add(call.args[0].value)
    assert outer == dict.fromkeys(FLOWS, True)
    assert inner
    assert inner <= set(FLOWS)


def test_a_flow_inside_of_another_says_it_too() -> None:
    inner = planned_flow("harvest-city", "harvest-{city}")(lambda city: city)
    assert inner.on_running_hooks == [note_quiet_run]
    assert {end_silent_runs, note_quiet_run} < set(BEGINNING)


@pytest.mark.parametrize("given", ["ten minutes", "1e3", "-5"])
def test_a_patience_that_is_no_number_is_named(monkeypatch, given) -> None:
    monkeypatch.setenv("CROSSCITY_DEAD_AFTER", given)
    with pytest.raises(InputError, match=f"is a number of seconds, such as 600, not '{given}'"):
        dead_after()


@pytest.mark.parametrize(("seconds", "every"), [(600, 60), (180, 60), (90, 30), (15, None)])
def test_a_patience_of_three_heartbeats_takes_no_run_that_lives_for_dead(seconds, every) -> None:
    assert too_short(seconds, every) == ""


def test_a_patience_that_is_too_short_is_told_with_what_is_enough() -> None:
    said = too_short(100, 60)
    assert "every 60 seconds" in said
    assert "CROSSCITY_DEAD_AFTER is 100" in said
    assert said.endswith("give 180 at least")
