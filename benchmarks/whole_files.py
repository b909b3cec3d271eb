"""Files that are there whole or not at all: a measurement that is killed goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives the file to write to, which gets its own name once it is written.

    Args:
        path: Its name; `.npz` stays its ending meanwhile, as NumPy would append it. A folder that
            is not there is made: a name that was misspelt costs no hour of work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz" if path.suffix == ".npz" else ".unfinished")
    yield unfinished
    unfinished.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes text, whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(
    path: Path,
    content: Any,  # noqa: ANN401 - whatever JSON can say
    *,
    indent: int | None = None,
) -> None:
    """Writes JSON, whole or not at all; with an indent for people, and a line's end."""
    write_text(path, json.dumps(content, indent=indent) + ("" if indent is None else "\n"))
