"""Progress on the terminal: stage, done/total, time left."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.cli.options import OPTIONS

_LINE_EVERY_SECONDS = 5.0
"""Where the output is not a terminal (a log file), a line every few seconds is enough."""


class TerminalProgress:
    """Shows the stages of a run; a bar on a terminal, lines anywhere else."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, quiet=OPTIONS.quiet)
        self._lock = threading.Lock()
        self._bars: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._said: dict[str, float] = {}
        self._finished: set[str] = set()
        self._rich = (
            Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Takes one step of a stage (a listener of `tasks.steps.progress`)."""
        with self._lock:
            if self._rich is None:
                self._line(stage, done, total)
                return
            if stage not in self._bars or self._rich.tasks[self._bars[stage]].finished:
                self._bars[stage] = self._rich.add_task(stage, total=total)
            self._rich.update(self._bars[stage], completed=done, total=total)

    def _line(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total and stage not in self._started:
            # Found in the store, or too quick to tell: said once, however often it is asked for.
            if stage not in self._finished:
                self._console.print(
                    f"{stage}: {done}/{total}", highlight=False, markup=False, soft_wrap=True
                )
            self._finished.add(stage)
            return
        started, first = self._started.setdefault(stage, (now, done))
        if done < total and now - self._said.get(stage, float("-inf")) < _LINE_EVERY_SECONDS:
            return
        self._said[stage] = now
        text = f"{stage}: {done}/{total}, {now - started:.0f} s"
        if first < done < total:
            text += f", about {(now - started) * (total - done) / (done - first):.0f} s left"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        if done >= total:
            del self._started[stage], self._said[stage]
            self._finished.add(stage)
