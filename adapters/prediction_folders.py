"""Files below a folder of pictures, without the predictions that were made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DESCRIPTION: Final = "prediction.json"
"""Stands in every folder of predictions, and says by what they were made."""


@dataclass(frozen=True)
class Below:
    """What one walk through a folder met.

    Attributes:
        files: Its files at any depth, sorted; what is hidden and what is predicted is left out.
        predictions: Folders of predictions in it, which were not entered, sorted.
        unreadable: Folders in it that do not admit this user, sorted.
    """

    files: tuple[Path, ...]
    predictions: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def below(*folders: Path) -> Below:
    """Walks folders once, links to folders too; each folder in them is listed once.

    Args:
        folders: They may be hidden, or hold predictions: whoever names one means it.

    Raises:
        OSError: One of the folders, or a disk under it, cannot be read.
    """
    files: list[Path] = []
    predictions: list[Path] = []
    unreadable: list[Path] = []

    def refused(error: OSError) -> None:
        if not isinstance(error, PermissionError) or Path(error.filename) in folders:
            raise error
        unreadable.append(Path(error.filename))

    for here, inside, names in visible(folders, refused):
        if DESCRIPTION in names and here not in folders and _describes(here / DESCRIPTION):
            predictions.append(here)
            inside.clear()
            continue
        files += [here / name for name in names]
    return Below(tuple(sorted(files)), tuple(sorted(predictions)), tuple(sorted(unreadable)))


def visible(
    folders: Iterable[Path], refused: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `os.walk`, through several folders and without what is hidden.

    Links to folders are entered last, so that a folder which is there has its own name; one that
    was entered already is not entered again, nor one that holds the link, or where it begins: it
    holds what is none of these folders.

    Args:
        folders: Where it begins.
        refused: Gets the error where a folder cannot be read; default: nobody.
    """
    entered: set[Path] = set()
    waiting = list(folders)
    starts = [start.resolve() for start in waiting]
    while waiting:
        links: list[Path] = []
        for start in waiting:
            for place, inside, names in os.walk(start, onerror=refused):
                here = Path(place)
                there = here.resolve()
                if there in entered:
                    inside.clear()
                    continue
                entered.add(there)
                inside[:] = sorted(name for name in inside if not name.startswith("."))
                yield here, inside, sorted(name for name in names if not name.startswith("."))
                links += [here / name for name in inside if (here / name).is_symlink()]
        waiting = [link for link in links if not _leads_up(link, starts)]


def _leads_up(link: Path, starts: Iterable[Path]) -> bool:
    target = link.resolve()
    return any(one.is_relative_to(target) for one in (link.parent.resolve(), *starts))


def _describes(path: Path) -> bool:
    """Whether it is a description of ours, and not some file of that name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "ids", "classes"} <= found.keys()
