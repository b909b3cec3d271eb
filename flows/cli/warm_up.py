"""`crosscity warm-up`: compiles once, at install or when an image is built."""

from __future__ import annotations

import time

import typer

from flows.cli.outcome import JsonOption, ended, note


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("warm-up")(warm_up)


def warm_up(_as_json: JsonOption = False) -> None:
    """Compile the inner loops now, so that no run waits for it."""
    from crosscity.compiling import notice_of_compiling  # noqa: PLC0415 - loads late
    from tasks.priors.warm_up import warm_up as compile_all  # noqa: PLC0415

    started = time.monotonic()
    with notice_of_compiling(note) as compiled:
        compile_all()
    seconds = time.monotonic() - started
    said = "everything was compiled already"
    if compiled:
        said = f"{len(compiled)} functions compiled in {seconds:.0f} s"
    step = "`crosscity try A.jpg B.jpg`, or `crosscity harvest CITY`: they start at once now"
    ended("compiled functions", "", said=said, next_step=step, compiled=len(compiled))
