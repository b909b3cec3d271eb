"""Runs whose process is gone: what tells the server so, as Prefect leaves that to its user.

A run sends a heartbeat while it lives. An automation marks as crashed what has sent none for a
while, so that the dashboard is true and the deployment's slot is free for the next run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

DEAD_AFTER: Final = 600
"""Seconds without a heartbeat; a server that is away loses them, and may be away for minutes."""
NAME: Final = "crosscity: runs without a heartbeat have crashed"

_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")


def dead_run_automation(seconds: int = DEAD_AFTER) -> AutomationCore:
    """The automation that marks dead runs as crashed.

    Args:
        seconds: How long a run may be without a heartbeat; three times their interval at least.
    """
    return AutomationCore(
        name=NAME,
        description="Made by `crosscity deploy`; disable it here if it is not wanted.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{name}" for name in _ENDS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {seconds} seconds: the process of the run is gone",
            )
        ],
    )
