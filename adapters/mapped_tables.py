"""Tables that stay on disk while their cells are used, shared by all processes of a machine.

A Parquet file has to be decompressed to be read. What training reads again and again is therefore
kept once more, as an Arrow file that is mapped into memory: the operating system reads the pages
that are used, and gives them up where memory is short. The copies lie in the user's cache folder
under the SHA-256 of the Parquet file, and may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from adapters.store.durable import make_folders, sync
from adapters.store.opening import cache_folder
from adapters.store.scratch import locked
from adapters.tables import read_table

STALE_DAYS: Final = 30.0
"""A copy that was not opened for so long is removed."""
_LOCK: Final = "writing.lock"
_LOG = logging.getLogger("crosscity.tables")


def mapped_table(path: Path, sha256: str, schema: pa.Schema) -> pa.Table:
    """The table in a Parquet file, its cells on disk.

    Where the cache folder cannot be written to, the table is read into memory, and that is logged.

    Args:
        path: The file; whoever calls has checked it against its SHA-256.
        sha256: Of the file, hexadecimal.
        schema: Names and types, as for `read_table`.

    Raises:
        TableError: As `read_table` does.
    """
    folder = cache_folder() / "tables"
    _sweep(folder)
    copy = folder / sha256[:2] / f"{sha256}.arrow"
    found = _opened(copy, schema)
    if found is not None:
        return found
    try:
        make_folders(folder)
        # All processes of a training begin with the same tables: the first writes each.
        with locked(folder / _LOCK):
            found = _opened(copy, schema)
            return _copied(copy, path, schema) if found is None else found
    except OSError as error:
        _warn_that_held(folder, error.strerror or str(error))
        return read_table(path, schema)


def _copied(copy: Path, path: Path, schema: pa.Schema) -> pa.Table:
    table = read_table(path, schema)
    _write(copy, table)
    found = _opened(copy, schema)
    return table if found is None else found


@cache
def _warn_that_held(folder: Path, reason: str) -> None:
    """Once a process: a city has thousands of tables."""
    _LOG.warning(
        "the cache folder %s cannot be written (%s): tables are held in memory instead; set "
        "XDG_CACHE_HOME to a folder with room for them",
        folder,
        reason,
    )


def _opened(copy: Path, schema: pa.Schema) -> pa.Table | None:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(copy))).read_all()
        os.utime(copy)
    except (OSError, pa.ArrowException):  # not there, or written by something else
        return None
    return table if table.schema == schema else None


def _write(copy: Path, table: pa.Table) -> None:
    make_folders(copy.parent)
    temporary = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}.part")
    try:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        sync(temporary)
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _sweep(folder: Path) -> None:
    """Removes copies that nobody opened for long, once a process."""
    oldest = time.time() - STALE_DAYS * 86400
    for copy in folder.glob("*/*"):
        with suppress(OSError):
            if copy.stat().st_mtime < oldest:
                copy.unlink()
