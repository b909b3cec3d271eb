"""How far a run is: one count a stage, shown in the dashboard and to whoever listens here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

from tasks.steps.dashboard import WAITS, only_shown, post, shown_key
from tasks.steps.outbox import OUTBOX

Listener = Callable[[str, int, int], None]
"""Called with the stage, how many are done and how many there are."""

_PUBLISH_EVERY_SECONDS = 1.0
"""Each update costs the server a request and a row, so it gets one a second at most."""


@dataclass
class _Stage:
    total: int
    done: int = 0
    artifact: UUID | None = None
    published_at: float = field(default=float("-inf"))
    waiting: bool = False


class _Board:
    """The stages under way in this process, by flow run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, str], _Stage] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)

    def advance(self, stage: str, count: int, total: int) -> None:
        run = _flow_run_id()
        with self._lock:
            entry = self._stages.setdefault((run, stage), _Stage(total))
            entry.total = total
            entry.done = min(entry.done + count, total)
            for listener in self._listeners:
                only_shown(listener)(stage, entry.done, total)
            ended = entry.done >= total
            percent = 100.0 * entry.done / total if total else 100.0
            item = None
            if run and _is_due(entry, ended=ended):
                item = OUTBOX.add(lambda: _post(stage, entry, percent, ended=ended))
            if ended:
                del self._stages[run, stage]
        # All threads of the work come through here, as often as once an image: the last step alone
        # is waited for, and outside of the lock.
        if item is not None and ended:
            OUTBOX.wait_for(item)


def _flow_run_id() -> str:
    task_run = TaskRunContext.get()
    if task_run is not None:
        return str(task_run.task_run.flow_run_id or "")
    flow_run = FlowRunContext.get()
    if flow_run is not None and flow_run.flow_run is not None:
        return str(flow_run.flow_run.id)
    return ""


def _is_due(entry: _Stage, *, ended: bool) -> bool:
    """Whether the server gets this step, which is noted then."""
    now = time.monotonic()
    if not ended and (entry.waiting or now - entry.published_at < _PUBLISH_EVERY_SECONDS):
        return False
    entry.published_at = now
    entry.waiting = True
    return True


def _post(stage: str, entry: _Stage, percent: float, *, ended: bool) -> None:
    # The next second brings the next update: only the last one is worth a second try.
    waits = WAITS if ended else ()
    entry.waiting = False
    artifact = entry.artifact
    if artifact is not None:
        post(
            f"the progress of {stage}",
            lambda: update_progress_artifact(artifact_id=artifact, progress=percent),
            waits,
        )
        return
    created = post(
        f"the progress of {stage}",
        lambda: create_progress_artifact(
            progress=percent, key=shown_key(stage), description=f"{stage}: {entry.total}"
        ),
        waits,
    )
    entry.artifact = created if isinstance(created, UUID) else None


_board = _Board()


def listen(listener: Listener) -> None:
    """Has a function called at every step of every stage in this process (the command line)."""
    _board.listen(listener)


def advance(stage: str, count: int, total: int) -> None:
    """Counts work that is done, found or failed alike.

    Args:
        stage: Name of the stage: lower-case words.
        count: How many more are done.
        total: How many there are in the whole stage.
    """
    _board.advance(stage, count, total)
