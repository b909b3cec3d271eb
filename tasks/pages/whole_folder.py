"""A folder that a user gets whole or not at all."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.exports.files import UNFINISHED, unfinished_beside
from adapters.store.durable import sync, sync_tree
from adapters.unwritable import cannot_be_written, means_full
from tasks.steps.errors import InputError
from tasks.steps.logs import warn_user


def check_empty(output: Path) -> None:
    """`InputError` where a folder holds something, or is a file."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} holds something already: name an empty folder with -o")


def _tell_of_unfinished(output: Path) -> None:
    """Warns of what a killed run left beside a folder, or another one writes: none can tell."""
    for left in sorted(output.parent.glob(f".{glob.escape(output.name)}.*{UNFINISHED}")):
        warn_user(
            f"{left} is what a run that was killed has left, or what another one writes now: "
            "remove it in the first case"
        )


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """Gives an unfinished folder beside the wanted one, which takes its name when all went well.

    Args:
        output: Must not be there, or be empty.

    Raises:
        InputError: It holds something, or cannot be written.
    """
    check_empty(output)
    output = output if output.name else output.resolve()
    _tell_of_unfinished(output)
    unfinished = unfinished_beside(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        yield unfinished
        sync_tree(unfinished)
        if output.exists():
            output.rmdir()
        unfinished.rename(output)
        sync(output.parent)
    except Exception as error:
        # Libraries in other languages report a full disk as their own exception.
        if not isinstance(error, OSError) and not means_full(error):
            raise
        raise InputError(cannot_be_written(output, error)) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
