"""Writing the files of an export: each under its final name whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.store.durable import sync

_COLUMNS: Final = (
    *("image", "image_id", "split", "place", "lat", "lon", "heading", "captured_at"),
    *("licence", "attribution", "page_url"),
)
UNFINISHED: Final = ".part"
"""Ends the name of what is not whole yet."""
_OF_A_WRITER: Final = re.compile(rf"^\..+\.[0-9a-f]{{8}}{re.escape(UNFINISHED)}$")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` write a file beside its final name, and renames it once it is on disk.

    Raises:
        OSError: It cannot be written there; nothing is left behind.
    """
    unfinished = unfinished_beside(path)
    try:
        write(unfinished)
        sync(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):  # nothing to remove is the good case
            unfinished.unlink()


def unfinished_beside(path: Path) -> Path:
    """A name beside a file or folder for what is to become it, which nobody else takes.

    The number of the process would not do: in a container it is always the same.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")


def left_behind(folder: Path, since: float) -> Iterator[Path]:
    """Files at any depth that a killed process had begun, under names of `unfinished_beside`.

    Args:
        folder: Is looked through.
        since: Seconds since the epoch; what was touched later may be somebody's who still writes.
    """
    for path in folder.rglob(f".*{UNFINISHED}"):
        with suppress(OSError):  # finished meanwhile
            if _OF_A_WRITER.search(path.name) and path.stat().st_mtime < since:
                yield path


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, and the folders above it where they are not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda unfinished: unfinished.write_bytes(data))


def write_json(path: Path, content: object) -> None:
    """Writes JSON that people can read."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def write_sheet(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes what is known of the images, their terms too, where a format has no place for it.

    Args:
        path: The CSV file.
        rows: The `image`, its file in the export, and `ExportItem.facts` of each.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
