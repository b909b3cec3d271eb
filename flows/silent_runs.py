"""Runs that died without anybody acting on it are no longer shown as running.

The automations of `flows.dead_runs` see most that die, but not all: a server that is killed itself
may lose what it was waiting for, a command that dies before its flow begins has sent nothing that
anybody waits for, and a server that nobody has deployed to has no automations. So each run that
begins looks at all that are shown as under way, and ends those that nobody has heard of for long.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, get_args

from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import get_current_settings

from adapters.catalog import FlowName
from flows.asking import impatient_client
from flows.dead_runs import DEAD_AFTER, HEARTBEAT, NAME, dead_after

FLOWS: Final = (
    *get_args(FlowName),
    *("compare-segmenters", "demo", "report-city", "report-transfer"),
)
"""Names of all our flows, those without deployments too."""
TIMES: Final = 3
"""So many times as long as the automations wait: they come first, and what a server that is away
for a quarter of an hour has not heard, it has heard a while after it is back."""
MOST: Final = 200
"""Runs that are looked at, those that were due first; the next run sees the rest."""
QUIET_LABEL: Final = "crosscity.quiet"
"""Of a run that sends no heartbeats, or too few: its silence says nothing."""
_PAGE: Final = 50
"""The most events that a server gives at once."""
_UNDER_WAY: Final = ("PENDING", "RUNNING", "CANCELLING")
_ANY_TIME: Final = {"since": "1970-01-01T00:00:00Z", "until": "2200-01-01T00:00:00Z"}
"""By default, what was sent by a clock that is ahead, or half a year back, is left out."""
_LOG = logging.getLogger("crosscity.flows")


@dataclass(frozen=True)
class SilentRun:
    """A run that is shown as under way, and that nobody has heard of for long.

    Attributes:
        id: Of the run.
        name: Of the run.
        state_id: The state in which it was found.
        state_type: The type of that state.
        heard: When the server heard of it last, by the server's clock.
    """

    id: str
    name: str
    state_id: str
    state_type: str
    heard: datetime


def end_silent_runs(flow: object, flow_run: Any, state: object) -> None:  # noqa: ANN401, ARG001
    """Marks runs as crashed that have long been silent (a state hook of flows that begin)."""
    try:
        with impatient_client() as client:
            ended = end_runs(client, silent_runs(client))
    except Exception as error:  # it is for the dashboard: the work goes on without
        _LOG.warning("runs of dead processes may still be shown as running: %s", error)
        return
    if ended:
        _LOG.info("marked as crashed, as nobody has heard of them for long: %s", ", ".join(ended))


def note_quiet_run(flow: object, flow_run: Any, state: object) -> None:  # noqa: ANN401, ARG001
    """Notes at a run that its silence says nothing, where that is so (a state hook of flows)."""
    seconds = get_current_settings().flows.heartbeat_frequency
    if seconds is not None and seconds < DEAD_AFTER:
        return
    try:
        # A run that lives and is marked as crashed is worse than a second's wait.
        with impatient_client(again=3) as client:
            client.update_flow_run_labels(flow_run.id, {QUIET_LABEL: str(seconds)})
    except Exception as error:
        _LOG.warning("this run may be shown as crashed while it goes on: %s", error)


def silent_runs(client: SyncPrefectClient, before: datetime | None = None) -> list[SilentRun]:
    """Runs of our flows that are shown as under way, and that nobody has heard of for long.

    One request where nothing is under way, two where nothing has been for long, and one more for
    each 50 runs that have. All times are by the server's clock: when it took a heartbeat, not when
    that was sent.

    Args:
        client: Of the server.
        before: They were not heard of since then; default: since `TIMES` as long as the server's
            automation waits, `DEAD_AFTER` where it has none.
    """
    body = {
        "flows": {"name": {"any_": list(FLOWS)}},
        "flow_runs": {"state": {"type": {"any_": list(_UNDER_WAY)}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": MOST,
    }
    answer = client.request("POST", "/flow_runs/filter", json=body)
    runs = [run for run in answer.json() if _is_ours(run)]
    if before is None:
        seconds = _patience(client) if runs else None
        if seconds is None:
            return []
        now = parsedate_to_datetime(answer.headers["date"])
        before = now - TIMES * timedelta(seconds=seconds)
    long = [run for run in map(_found, runs) if run.heard < before]
    heartbeats = dict(_last_heartbeats(client, [run.id for run in long]))
    found = [replace(run, heard=max(run.heard, heartbeats.get(run.id, run.heard))) for run in long]
    return [run for run in found if run.heard < before]


def end_runs(client: SyncPrefectClient, silent: Sequence[SilentRun]) -> list[str]:
    """Marks runs as crashed, and as cancelled those that were to be; the names of those it did.

    Two requests a run. What has gone on meanwhile is left alone: another run that begins may have
    marked it, and the server may have put it back in line.
    """
    ended = []
    for run in silent:
        path = {"id": run.id}
        now = client.request("GET", "/flow_runs/{id}", path_params=path).json()
        if now["state_id"] != run.state_id:
            continue
        # A crashed run would be started again, which is not what whoever cancelled it wants.
        state = "Cancelled" if run.state_type == "CANCELLING" else "Crashed"
        said = f"no sign of life since {run.heard:%Y-%m-%d %H:%M} UTC: its process is gone"
        body = {"state": {"type": state.upper(), "name": state, "message": said}}
        answer = client.request("POST", "/flow_runs/{id}/set_state", path_params=path, json=body)
        if answer.json()["status"] == "ACCEPT":
            ended.append(run.name)
    return ended


def _is_ours(run: Mapping[str, Any]) -> bool:
    """Not by the flow's name alone: others may have a flow `demo`, which sends no heartbeats."""
    return "catalog" in run["parameters"] and QUIET_LABEL not in (run.get("labels") or {})


def _patience(client: SyncPrefectClient) -> float | None:
    """Seconds that the automation waits for a heartbeat; ``None`` where an operator disabled it."""
    body = {"automations": {"name": {"any_": [NAME]}}}
    found = client.request("POST", "/automations/filter", json=body).json()
    if not found:
        return dead_after()
    enabled = [one for one in found if one["enabled"]]
    return max((float(one["trigger"]["within"]) for one in enabled), default=None)


def _found(run: Mapping[str, Any]) -> SilentRun:
    moments = [run["state"]["timestamp"], run["created"], run["updated"]]
    return SilentRun(
        str(run["id"]),
        str(run["name"]),
        str(run["state_id"]),
        str(run["state_type"]),
        max(_moment(one) for one in moments if one),
    )


def _last_heartbeats(
    client: SyncPrefectClient, runs: Sequence[str]
) -> Iterator[tuple[str, datetime]]:
    """When the server took the last heartbeat of each run that it remembers one of."""
    for first in range(0, len(runs), _PAGE):
        ids = [f"prefect.flow-run.{run}" for run in runs[first : first + _PAGE]]
        wanted = {
            "event": {"name": [HEARTBEAT]},
            "resource": {"id": ids, "distinct": True},
            "occurred": _ANY_TIME,
            "order": "DESC",
        }
        answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": _PAGE})
        for event in answer.json()["events"]:
            run = event["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run.")
            yield run, _moment(event["received"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
