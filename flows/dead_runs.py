"""What Prefect's server leaves to its user: runs whose process is gone, and telling somebody.

A run sends a heartbeat while it lives. Automations mark as crashed what has sent none for a while,
and what was handed to a worker and never began, so that the dashboard is true and the deployment's
slot is free for the next run; they start a crashed run again, but not for ever; and where there is
a web hook, they tell it of failures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, get_args
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from adapters.catalog import FlowName
from tasks.steps.errors import InputError

DEAD_AFTER: Final = 600
"""Seconds without a heartbeat; a server that is away loses them, and may be away for minutes."""
DEAD_AFTER_VARIABLE: Final = "CROSSCITY_DEAD_AFTER"
"""Names another figure than `DEAD_AFTER`."""
HEARTBEAT: Final = "prefect.flow-run.heartbeat"
"""The event that a run sends while it lives."""
HEARTBEATS: Final = 3
"""Of so many that are due, none came from a run that is dead; one may be late, and one be lost."""
RUNS: Final = 3
"""How often a run that crashes is run in all."""
LONGEST_RUN: Final = timedelta(days=60)
"""A run that crashes later than this after it began is not run again."""
NAME: Final = "crosscity: runs without a heartbeat have crashed"
PENDING_NAME: Final = "crosscity: runs that never begin have crashed"
BEGAN_NAME: Final = "crosscity: runs that die as they begin have crashed"
RESTART_NAME: Final = "crosscity: crashed runs start again"
FAILURES_NAME: Final = "crosscity: tell of failures"
REJECTED_NAME: Final = "crosscity: tell of rejected adaptations"
BLOCK: Final = "crosscity"
"""Name of the web-hook block that is told."""

_MADE: Final = "Made by `crosscity deploy`; disable it here if it is not wanted."
_PENDING: Final = "prefect.flow-run.Pending"
_RUNNING: Final = "prefect.flow-run.Running"
_CRASHED: Final = "prefect.flow-run.Crashed"
_ENDS: Final = (
    *("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended"),
    # Whoever cancels a run does not want it to be started again, as a crashed one is.
    "Cancelling",
)
_BACK_IN_LINE: Final = ("Scheduled", "AwaitingConcurrencySlot", "AwaitingRetry")
_OURS: Final = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.crosscity"}
_OUR_FLOWS: Final = {
    "prefect.resource.role": "flow",
    "prefect.resource.name": list(get_args(FlowName)),
}
_DEPLOYED: Final = {
    "prefect.resource.role": "deployment",
    "prefect.resource.id": "prefect.deployment.*",
}
_TEXT: Final = (
    '{"text": {{ (event.resource["prefect.resource.name"] ~ ": " ~ '
    'event.resource["prefect.state-name"] ~ ", " ~ event.resource["prefect.state-message"]) '
    "| tojson }}}"
)
_REJECTED_TEXT: Final = (
    '{"text": {{ (event.payload.city ~ ": the adaptation was not promoted: " ~ '
    '(event.payload.reasons | join("; "))) | tojson }}}'
)


def dead_after() -> int:
    """How long a run may be without a heartbeat, in seconds.

    Raises:
        InputError: `DEAD_AFTER_VARIABLE` is no such number.
    """
    given = os.environ.get(DEAD_AFTER_VARIABLE)
    if not given:
        return DEAD_AFTER
    if re.fullmatch(r"[0-9]{1,8}", given) is None:
        raise InputError(
            f"{DEAD_AFTER_VARIABLE} is a number of seconds, such as 600, not {given!r}"
        )
    return int(given)


def too_short(seconds: int, every: float | None) -> str:
    """What to say where a run that lives may be taken for dead; else empty.

    Args:
        seconds: How long a run may be without a heartbeat.
        every: Seconds between two of them; ``None``: none are sent.
    """
    if every is None or seconds >= HEARTBEATS * every:
        return ""
    return (
        f"runs send a heartbeat every {every:g} seconds, and {DEAD_AFTER_VARIABLE} is {seconds}: "
        "runs that live may be marked as crashed and be started a second time; give "
        f"{HEARTBEATS * every:g} at least"
    )


def server_automations(
    seconds: int = DEAD_AFTER, webhook: UUID | None = None
) -> list[AutomationCore]:
    """All automations that a server has once, whatever catalogs are on it.

    Args:
        seconds: How long a run may be without a heartbeat, or wait to begin.
        webhook: The block document of the web hook that is told of failures.
    """
    made = [
        dead_run_automation(seconds),
        pending_automation(seconds),
        began_automation(seconds),
        restart_automation(),
    ]
    return made if webhook is None else [*made, *_webhook_automations(webhook)]


def dead_run_automation(seconds: int = DEAD_AFTER) -> AutomationCore:
    """The automation that marks dead runs as crashed.

    Args:
        seconds: How long a run may be without a heartbeat; three times their interval at least.
    """
    return _crashes_silent(
        NAME,
        f"no heartbeat for {seconds} seconds: the process of the run is gone",
        after=HEARTBEAT,
        states=_ENDS,
        seconds=seconds,
    )


def pending_automation(seconds: int = DEAD_AFTER) -> AutomationCore:
    """The automation that marks as crashed what a worker took and never showed a sign of life.

    Such a run holds its deployment's slot for ever.

    Args:
        seconds: How long the process of a run may take to start.
    """
    return _crashes_silent(
        PENDING_NAME,
        f"no sign of life within {seconds} seconds: its worker is gone",
        after=_PENDING,
        # Not Running: it may die between that and its first heartbeat, which comes at once.
        states=(*_BACK_IN_LINE, *_ENDS),
        seconds=seconds,
        related=[_OURS, _DEPLOYED],
    )


def began_automation(seconds: int = DEAD_AFTER) -> AutomationCore:
    """The automation that marks as crashed what died between its beginning and its first heartbeat.

    A run sends its first heartbeat at once, and what dies before that no other sees: a command has
    no worker that waits for it. Of our flows alone, as others may send no heartbeats.

    Args:
        seconds: How long the first heartbeat may take.
    """
    return _crashes_silent(
        BEGAN_NAME,
        f"no heartbeat within {seconds} seconds of its beginning: the process of the run is gone",
        after=_RUNNING,
        states=(*_BACK_IN_LINE, *_ENDS),
        seconds=seconds,
        related=[_OUR_FLOWS],
    )


def _crashes_silent(
    name: str,
    message: str,
    *,
    after: str,
    states: Sequence[str],
    seconds: int,
    related: list[dict[str, Any]] | None = None,
) -> AutomationCore:
    """Marks a run as crashed that, after an event, sends no heartbeat and comes to no state.

    Args:
        name: Of the automation.
        message: Of the state that the run gets.
        after: The event.
        states: Any of them ends the waiting, as a heartbeat does.
        seconds: How long is waited.
        related: What else the run must be related to.
    """
    return AutomationCore(
        name=name,
        description=_MADE,
        trigger=EventTrigger(
            after={after},
            expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in states)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=related or {},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def restart_automation() -> AutomationCore:
    """The automation that starts crashed runs of deployments again: `RUNS` times in all.

    What never began, or never began again, is not started again: the next run of the schedule does
    its work, and it would go on for ever, as only what began is counted. Each beginning counts for
    one crash, so that an event that the server looks at twice, as it does where its database was
    locked meanwhile, changes nothing: it would put a run back in line that is under way again.
    """
    again = [str(number) for number in range(RUNS)]
    return AutomationCore(
        name=RESTART_NAME,
        description=_MADE,
        trigger=EventTrigger(
            after={_RUNNING},
            expect={_CRASHED},
            match={"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": again},
            match_related=[_OURS, _DEPLOYED],
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=LONGEST_RUN,
        ),
        actions=[
            ChangeFlowRunState(
                name="AwaitingRetry",
                state=StateType.SCHEDULED,
                message=f"it crashed and is run again, at most {RUNS} times",
                force=True,  # a crashed run is finished, and would stay so
            )
        ],
    )


def _webhook_automations(webhook: UUID) -> list[AutomationCore]:
    def telling(name: str, trigger: EventTrigger, payload: str) -> AutomationCore:
        action = CallWebhook(block_document_id=webhook, payload=payload)
        return AutomationCore(name=name, description=_MADE, trigger=trigger, actions=[action])

    failed = EventTrigger(
        expect={"prefect.flow-run.Failed", _CRASHED},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=[_OURS, _DEPLOYED],
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    rejected = EventTrigger(
        expect={"adaptation.rejected"},
        match={"prefect.resource.id": "crosscity.city.*"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    return [
        telling(FAILURES_NAME, failed, _TEXT),
        telling(REJECTED_NAME, rejected, _REJECTED_TEXT),
    ]
