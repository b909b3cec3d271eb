"""What `crosscity` is made of, and how it ends.

Exit code 0 when done, 1 when it failed, 2 when the input was wrong, 75 when a store, a service or a
server was away for too long or a device failed (the same command may succeed later), 130 when it
was interrupted.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from enum import StrEnum
from importlib.metadata import version
from itertools import islice
from typing import Annotated, Final

import typer

from flows.cli import (
    ahead,
    catalog,
    check,
    city,
    compare,
    deploy,
    doctor,
    export,
    first_look,
    init,
    paper,
    pictures,
    predict,
    promotion,
    report,
    segmenter,
    services,
    status,
    store,
    suggest,
    warm_up,
)
from flows.cli.errors import exit_code, is_interrupt, is_termination, one_sentence
from flows.cli.options import OPTIONS
from flows.cli.server import quieten
from flows.ending import (
    GOES_ON,
    INTERRUPTED,
    end_at_once,
    ends_with,
    interrupted_by_signals,
    waits_no_more,
)

app = typer.Typer(
    name="crosscity",
    help="Adapt a road-scene segmenter to a new city without a single label.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog.app, name="catalog")
app.add_typer(store.app, name="store")
app.add_typer(segmenter.app, name="segmenter")
city.register(app)
report.register(app)
ahead.register(app)
paper.register(app)
pictures.register(app)
first_look.register(app)
init.register(app)
deploy.register(app)
services.register(app)
promotion.register(app)
check.register(app)
compare.register(app)
status.register(app)
doctor.register(app)
predict.register(app)
export.register(app)
suggest.register(app)
warm_up.register(app)


_LEVEL: Final = "--log-level"


class LogLevel(StrEnum):
    """Levels of log lines."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crosscity {version('crosscity')}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's log.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Say nothing but results, warnings and errors.")
    ] = False,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            "--log-level", envvar="CROSSCITY_LOG_LEVEL", help="Show the log from this level on."
        ),
    ] = None,
    log_json: Annotated[
        bool,
        typer.Option(
            "--log-json", envvar="CROSSCITY_LOG_JSON", help="Show the log, a JSON object a line."
        ),
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    OPTIONS.debug, OPTIONS.quiet, OPTIONS.json = debug, quiet, False
    level = None if log_level is None else log_level.value
    quieten(verbose=verbose, level=level, as_json=log_json)


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: Instead of the process's own, which then goes on.
    """
    if arguments is None:
        atexit.register(end_at_once)  # the first that is registered comes last
    try:
        # From the first moment on: imports take seconds, before a flow handles it.
        with interrupted_by_signals():
            try:
                _run(arguments)
            except (SystemExit, KeyboardInterrupt) as ending:  # the latter: a second signal
                code = _code_of(ending)
                if arguments is None:
                    ends_with(code)
                raise SystemExit(code) from None
    except SystemExit as ending:
        if not waits_no_more():
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_code_of(ending))


def _global_options_first(words: list[str]) -> list[str]:
    """The words with global options first, wherever they stand: people write them last."""
    flags = ("--debug", "--verbose", "--quiet", "--log-json")
    first, rest = [], []
    coming = iter(words)
    for word in coming:
        if word in flags or word.startswith(f"{_LEVEL}="):
            first.append(word)
        elif word == _LEVEL:
            first += [word, *islice(coming, 1)]
        else:
            rest.append(word)
    return first + rest


def _is_of_an_interrupt(ending: SystemExit) -> bool:
    """Whether Typer made it of a `KeyboardInterrupt`, which it does without a word."""
    made_of = ending.__context__
    return made_of is not None and isinstance(made_of.__cause__, KeyboardInterrupt)


def _code_of(ending: SystemExit | KeyboardInterrupt) -> int:
    if isinstance(ending, KeyboardInterrupt):
        return INTERRUPTED
    return ending.code if isinstance(ending.code, int) else int(ending.code is not None)


def _run(arguments: list[str] | None) -> None:
    words = _global_options_first(list(sys.argv[1:] if arguments is None else arguments))
    try:
        app(words, standalone_mode=True)
    except KeyboardInterrupt:
        typer.echo(GOES_ON, err=True)
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as ending:
        if not _is_of_an_interrupt(ending):
            raise
        typer.echo(GOES_ON, err=True)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if OPTIONS.debug:
            traceback.print_exc()
        if is_interrupt(error):
            typer.echo(GOES_ON, err=True)
            raise SystemExit(INTERRUPTED) from None
        typer.echo(f"crosscity: {one_sentence(error)}", err=True)
        raise SystemExit(exit_code(error)) from None
    except BaseException as error:
        if not is_termination(error):
            raise
        typer.echo("ended by a signal; run the same command again to go on", err=True)
        raise SystemExit(INTERRUPTED) from None
