"""A training's history as others watch it, live; whatever fails here, the training goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from adapters.event_files import EventFiles
from adapters.mlflow_runs import MlflowRun
from tasks.steps.logs import log
from tasks.steps.plan import Plan

Rows = Sequence[Mapping[str, Any]]


class Watcher(Protocol):
    """Where a history is watched."""

    def write(self, rows: Rows) -> None:
        """Takes new rows."""
        ...

    def close(self, *, finished: bool) -> None:
        """Ends: with the training, or before it where it goes on another time."""
        ...


@contextmanager
def tracked(
    plan: Plan,
    kind: str,
    owner: str,
    key: str,
    first_step: int,
    is_finished: Callable[[], bool],
) -> Iterator[Callable[[Rows], None]]:
    """Gives a function that gets the new rows of a history.

    Args:
        plan: Says whether and where a history is tracked (`tracking` in the catalog).
        kind: Of the artifact that is made.
        owner: Its city or set.
        key: Its key.
        first_step: The first step of this process.
        is_finished: Whether the training has come to its end, asked when this is left.
    """
    tracker = _Tracker()
    if plan.tracking is not None:
        tracking, name = plan.tracking, f"{kind}-{key[:12]}"

        def opened() -> Watcher:
            place = plan.folder(tracking.place, key="tracking.folder")
            if tracking.kind == "mlflow":
                return MlflowRun(place, owner, name, first_step)
            return EventFiles(place / owner / name, first_step)

        tracker.open(opened)
    try:
        yield tracker.write
    finally:
        tracker.close(finished=is_finished())


class _Tracker:
    """Writes as long as it can."""

    def __init__(self) -> None:
        self._watcher: Watcher | None = None

    def open(self, opened: Callable[[], Watcher]) -> None:
        self._watcher = self._try(opened)

    def write(self, rows: Rows) -> None:
        watcher = self._watcher
        if watcher is not None and rows:
            self._try(lambda: watcher.write(rows))

    def close(self, *, finished: bool) -> None:
        watcher = self._watcher
        if watcher is not None:
            self._try(lambda: watcher.close(finished=finished))

    def _try(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work gives
        """Does it; what fails is said once, and ends the tracking alone."""
        try:
            return work()
        except Exception as error:  # a full disk, another version of a library: not the training's
            self._watcher = None
            reason = " ".join(str(error).split()) or type(error).__name__
            log(logging.WARNING, f"the training goes on without being tracked: {reason}")
            return None
