"""SHA-256 of files of others, computed once while a file stays as it is.

A key depends on what is in files and not on when they were written, so whoever looks for an
artifact needs the digests of gigabytes. They are remembered in the user's cache folder, as git
remembers those of a work tree: by path, size, inode, and the times of the last change of content
and of metadata, of which no program can set back the second. The cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from adapters.store.durable import make_folders
from adapters.store.opening import cache_folder

SETTLED_SECONDS: Final = 2.0
"""A file that changed so recently may change again within one tick of its file system's clock."""
_WRITE_EVERY: Final = 30.0
"""Seconds of work that a kill can lose."""
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"
)
_LOG = logging.getLogger("crosscity.files")


class UnreadableFileError(Exception):
    """A file of others cannot be read now; the message is one sentence with the reason.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read: {error.strerror or error}.")
        self.path, self._error = path, error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._error)


def file_digests(files: Mapping[str, Path]) -> dict[str, str | None]:
    """SHA-256 (hexadecimal) of the content of files.

    Args:
        files: By any name.

    Returns:
        By the same names, in their order; ``None`` for a file that cannot be read.
    """
    remembered = _Remembered(cache_folder() / "file-digests.sqlite")
    try:
        return {name: remembered.digest(path) for name, path in files.items()}
    finally:
        remembered.close()


class _Remembered:
    """Digests of earlier runs; where the cache cannot be used, there are none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new: list[tuple[str, str, str]] = []
        self._written_at = time.monotonic()
        self._database = self._open_database()

    def digest(self, path: Path) -> str | None:
        try:
            # A name that is not text in its file system's encoding stays a name of its own.
            name = os.fsencode(path.absolute()).hex()
            before = path.stat()
            known = self._known_digest(name, _file_state(before))
            if known is not None:
                return known
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            after = path.stat()
        except OSError:
            return None
        settled = time.time() - max(after.st_mtime, after.st_ctime) > SETTLED_SECONDS
        if settled and _file_state(before) == _file_state(after):
            self._new.append((name, _file_state(after), found))
        if time.monotonic() - self._written_at > _WRITE_EVERY:
            self._write()
        return found

    def close(self) -> None:
        self._write()
        if self._database is not None:
            self._database.close()

    def _known_digest(self, name: str, state: str) -> str | None:
        if self._database is None:
            return None
        try:
            row = self._database.execute(
                "SELECT sha256 FROM digests WHERE path = ? AND state = ?", (name, state)
            ).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else str(row[0])

    def _write(self) -> None:
        new, self._new, self._written_at = self._new, [], time.monotonic()
        if self._database is None or not new:
            return
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", new)
        except sqlite3.Error as error:
            _LOG.info("digests of files are not remembered in %s: %s", self._path, error)

    def _open_database(self) -> sqlite3.Connection | None:
        database = None
        try:
            make_folders(self._path.parent)
            database = sqlite3.connect(self._path, timeout=10.0)
            database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            _LOG.info("digests of files are not remembered in %s: %s", self._path, error)
            if database is not None:
                database.close()
            if type(error) is sqlite3.DatabaseError:  # not a database: the next run makes one
                with suppress(OSError):
                    self._path.unlink()
            return None
        return database


def _file_state(status: os.stat_result) -> str:
    """What changes with a file."""
    numbers = status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return " ".join(map(str, numbers))
