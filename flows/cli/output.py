"""Files that a command writes where its user asked for them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.steps.errors import InputError


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the final name and renames, so that nothing half-written carries it.

    Args:
        path: The final name.
        write: Writes the file that it is given.

    Raises:
        InputError: The file cannot be written there.
    """
    if path.is_dir() or not path.name or path.name == "..":
        raise InputError(f"{path} is a folder: name the file to write, as {path / 'name'}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # nothing to remove is the good case
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; `InputError` where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {path} cannot be made: {error.strerror or error}") from None


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Shows warnings of store and trainings in the terminal; the run's log has them too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("crosscity: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("crosscity", "crosscity_terminal")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
