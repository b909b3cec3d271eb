"""Progress on the terminal: stage, done/total, time left."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cli import progress as module
from flows.cli.progress import TerminalProgress


class Shown:
    """A log file with a clock that the test winds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 50.0
        self._file = io.StringIO()
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.progress = TerminalProgress(Console(file=self._file, width=40))

    @property
    def lines(self) -> list[str]:
        return self._file.getvalue().splitlines()

    def step(self, stage: str, done: int, total: int, *, after: float = 0.0) -> None:
        self.now += after
        self.progress(stage, done, total)


@pytest.fixture
def shown(monkeypatch) -> Shown:
    return Shown(monkeypatch)


def test_a_log_gets_the_first_line_some_between_and_the_last(shown):
    for done in range(1, 21):
        shown.step("harvest tokyo", done, 20, after=1.0)
    assert shown.lines[0] == "harvest tokyo: 1/20, 0 s"
    assert shown.lines[-1] == "harvest tokyo: 20/20, 19 s"
    assert len(shown.lines) == 5
    assert shown.lines[1] == "harvest tokyo: 6/20, 5 s, about 14 s left"


def test_a_stage_that_was_found_is_said_once(shown):
    for _ in range(3):
        shown.step("labelled frankfurt train", 600, 600)
    assert shown.lines == ["labelled frankfurt train: 600/600"]


def test_stages_do_not_mix(shown):
    shown.step("a", 1, 10)
    shown.step("b", 1, 4)
    shown.step("a", 10, 10, after=2.0)
    shown.step("b", 4, 4, after=2.0)
    assert shown.lines == ["a: 1/10, 0 s", "b: 1/4, 0 s", "a: 10/10, 2 s", "b: 4/4, 4 s"]


def test_names_are_not_markup_and_long_ones_stay_on_their_line(shown):
    name = "[bold]adapt[/bold] " + "x" * 60
    shown.step(name, 1, 2)
    assert len(shown.lines) == 1
    assert "x" * 60 in shown.lines[0]
    assert "[bold]" in shown.lines[0]


def test_a_terminal_gets_a_bar():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    with TerminalProgress(console) as progress:
        progress("harvest tokyo", 3, 10)
        progress("harvest tokyo", 10, 10)
        progress("harvest tokyo", 10, 10)
    assert "harvest tokyo" in file.getvalue()
    assert "10/10" in file.getvalue()
