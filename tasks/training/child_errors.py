"""Errors of a training's processes, as the errors that they were."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_OURS: Final = ("adapters", "crosscity", "flows", "simcity", "tasks")
"""Packages whose errors are written for the user; another one stays the traceback it came in."""
_ENDING: Final = ".error"


@contextmanager
def errors_kept(folder: Path) -> Iterator[None]:
    """In a child: leaves an error of this program in a folder before the process ends with it.

    Args:
        folder: A folder of the parent's, which no other user can write to.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _OURS:
            # What cannot be written is still in the traceback that the parent gets.
            with suppress(OSError, pickle.PicklingError, TypeError, AttributeError):
                path = folder / f"{os.getpid()}{_ENDING}"
                path.write_bytes(pickle.dumps(error))
        raise


def kept_error(folder: Path) -> Exception | None:
    """In the parent: an error that a child left, ``None`` where none did.

    Of several, the one that was left first: the others may follow from it.
    """
    found = sorted(folder.glob(f"*{_ENDING}"), key=lambda path: (path.stat().st_mtime_ns, path))
    for path in found:
        with suppress(OSError, pickle.UnpicklingError, EOFError, TypeError, AttributeError):
            error = pickle.loads(path.read_bytes())  # noqa: S301 - written by our own child
            if isinstance(error, Exception):
                return error
    return None
