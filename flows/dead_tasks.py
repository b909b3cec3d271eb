"""Tasks whose process was killed are no longer shown as running.

Prefect's tasks tell the server of their states themselves, so that one whose process was killed
stays `Running` for ever, also where its run is known to have crashed, and where that run was run
again and ended well. No automation of the server can change it; so each run that begins does, for
all.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed

from flows.asking import impatient_client

MOST: Final = 200
"""Tasks that one beginning run looks at; the next one sees the rest."""
_LOG = logging.getLogger("crosscity.flows")
_ALIVE: Final = TaskRunFilter(
    state=TaskRunFilterState(
        type=TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
    )
)
_CRASHED: Final = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
)


def end_dead_tasks(flow: object, flow_run: Any, state: object) -> None:  # noqa: ANN401, ARG001
    """Marks tasks as crashed whose process is gone (a state hook of flows that begin).

    Those are the tasks of this run that an earlier process has left, as this one has begun none
    yet, and those of crashed runs. A run that only seemed dead tells of its tasks itself as it
    goes on.
    """
    try:
        end_tasks_of(flow_run.id)
    except Exception as error:  # it is for the dashboard: the work goes on without
        _LOG.warning("tasks of dead processes may still be shown as running: %s", error)


def end_tasks_of(flow_run_id: UUID) -> int:
    """Marks the tasks of a run that begins anew, and of crashed runs, as crashed; how many."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with impatient_client() as client:
        dead = {
            task.id: task
            for runs in (this, _CRASHED)
            for task in client.read_task_runs(
                flow_run_filter=runs, task_run_filter=_ALIVE, limit=MOST
            )
        }
        for one in dead:
            gone: State[Any] = Crashed(message="the process of the task is gone")
            client.set_task_run_state(one, gone, force=True)
    return len(dead)
