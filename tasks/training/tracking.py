"""A training's history as others watch it, live; whatever fails here, the training goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from adapters.event_files import EventFiles
from tasks.steps.logs import log
from tasks.steps.plan import Plan

Rows = Sequence[Mapping[str, Any]]


@contextmanager
def tracked(
    plan: Plan, kind: str, owner: str, key: str, first_step: int
) -> Iterator[Callable[[Rows], None]]:
    """Gives a function that is told of new rows of a history.

    Args:
        plan: Says whether and where a history is tracked (`tracking` in the catalog).
        kind: Of the artifact that is made.
        owner: Its city or set.
        key: Its key.
        first_step: The first step of this process.
    """
    tracker = _Tracker()
    if plan.tracking is not None:
        folder = plan.tracking.folder

        def opened() -> EventFiles:
            place = plan.folder(folder, key="tracking.folder")
            return EventFiles(place / owner / f"{kind}-{key[:12]}", first_step)

        tracker.open(opened)
    try:
        yield tracker.write
    finally:
        tracker.close()


class _Tracker:
    """Writes as long as it can."""

    def __init__(self) -> None:
        self._files: EventFiles | None = None

    def open(self, opened: Callable[[], EventFiles]) -> None:
        self._files = self._tried(opened)

    def write(self, rows: Rows) -> None:
        files = self._files
        if files is not None and rows:
            self._tried(lambda: files.write(rows))

    def close(self) -> None:
        files = self._files
        if files is not None:
            self._tried(files.close)

    def _tried(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work gives
        """Does it; what fails is said once, and ends the tracking alone."""
        try:
            return work()
        except Exception as error:  # a full disk, another version of a library: not the training's
            self._files = None
            told = " ".join(str(error).split()) or type(error).__name__
            log(logging.WARNING, f"the training goes on without being tracked: {told}")
            return None
