"""Files that a command writes where its user asked for them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.steps.errors import InputError


def check_file(path: Path | None, *inputs: Path) -> None:
    """Fails where no file can be written at a path; to be asked before any work.

    Args:
        path: The file to write; ``None``: none.
        inputs: Files that are read, which must not be written over.

    Raises:
        InputError: It is a folder, its folder is not there, or it is one of the inputs.
    """
    if path is None:
        return
    if path.is_dir() or not path.name or path.name == "..":
        raise InputError(f"{path} is a folder: name the file to write, as {path / 'name'}")
    if not path.parent.is_dir():
        raise InputError(
            f"{path} cannot be written: there is no folder {path.parent}; make it first"
        )
    if any(path.resolve() == one.resolve() for one in inputs):
        raise InputError(f"{path} is an image that is read here: name another file to write")


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the final name and renames, so that nothing half-written carries it.

    Args:
        path: The final name.
        write: Writes the file that it is given.

    Raises:
        InputError: The file cannot be written there.
    """
    check_file(path)
    from adapters.exports.files import write_whole  # noqa: PLC0415 - `--help` loads nothing that works
    from adapters.unwritable import cannot_be_written  # noqa: PLC0415

    try:
        write_whole(path, write)
    except OSError as error:
        raise InputError(cannot_be_written(path, error)) from None


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; `InputError` where that is impossible."""
    from adapters.unwritable import cannot_be_written  # noqa: PLC0415 - as above

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(cannot_be_written(path, error)) from None


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Shows warnings of store and trainings in the terminal; the run's log has them too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("crosscity: %(message)s"))
    with handled(handler):
        yield


@contextmanager
def handled(handler: logging.Handler) -> Iterator[None]:
    """Inside, a handler gets what the project's loggers say."""
    loggers = [logging.getLogger(name) for name in ("crosscity", "crosscity_terminal")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
