"""What each flow does before its work: state hooks of flows that begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flows.dead_tasks import end_dead_tasks
from flows.ending import end_promptly
from flows.silent_runs import end_silent_runs, note_quiet_run

# Runs before tasks: those of a run that has just been found dead are ended with it.
BEGINNING: Final[list[Callable[..., Any]]] = [
    end_promptly,
    note_quiet_run,
    end_silent_runs,
    end_dead_tasks,
]
"""Hooks of all flows that people, schedules and events start."""
