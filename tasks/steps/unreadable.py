"""Files that cannot be read: a row that failed, or the end of the run."""

from __future__ import annotations

from collections.abc import Callable

from adapters.file_digests import UnreadableFileError, file_digests
from tasks.steps.errors import InputError


def check_stays_unreadable(error: UnreadableFileError, is_same_key: Callable[[], bool]) -> None:
    """Lets a file become a row that failed only where the artifact's key has it as unreadable.

    A key has the digests of all files, and of one that cannot be read, that it cannot. So a row of
    such a file goes when the file can be read. One that could be read when the key was made, and
    cannot now, as its disk or mount is away, has the same key once it is back: its row would stay.

    Args:
        error: What reading it met.
        is_same_key: Whether the files give the key now that the artifact is made under.

    Raises:
        InputError: The file could be read.
    """
    if file_digests({"it": error.path})["it"] is None and is_same_key():
        return
    raise InputError(
        f"{str(error).rstrip('.')}, and could be before: see that the disk or mount behind it is "
        "there, or take the file away, and run again"
    )
