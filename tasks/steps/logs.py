"""Lines of the run's log, from wherever in the project they come."""

from __future__ import annotations

import logging
from typing import Final

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

PROJECT: Final = "crosscity"
"""Logger under which the layers below, which know no Prefect, say what an operator should know."""
TERMINAL: Final = "crosscity_terminal"
"""Logger whose lines the command line shows; they stand in the run's log anyway."""
logging.getLogger(TERMINAL).addHandler(logging.NullHandler())
logging.getLogger(TERMINAL).propagate = False


def log(level: int, message: str) -> None:
    """Writes a line into the log of the run that is under way; outside a run, into `PROJECT`."""
    try:
        get_run_logger().log(level, message)
    except MissingContextError:
        logging.getLogger(PROJECT).log(level, message)


def warn_user(message: str) -> None:
    """Warns whoever started the run: in its log, and on the terminal of the command line.

    For what a person should know of a result, a sentence at a time; what can come by the thousand
    is for `log`.
    """
    log(logging.WARNING, message)
    if in_a_run():  # else the command line shows what the line above has said
        logging.getLogger(TERMINAL).warning(message)


def in_a_run() -> bool:
    """Whether a flow or task runs here; a step called as a plain function is none."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


class _ToTheRun(logging.Handler):
    """Hands lines of the layers below to the run that is under way, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_run_logger().log(record.levelno, record.getMessage())
        except MissingContextError:
            return


def hand_to_runs() -> None:
    """From now on, warnings of the project's own loggers stand in the log of the run as well."""
    logger = logging.getLogger(PROJECT)
    if not any(isinstance(handler, _ToTheRun) for handler in logger.handlers):
        logger.addHandler(_ToTheRun(logging.WARNING))
