"""Files below a folder of pictures, without the predictions that were made of them."""

from __future__ import annotations

import json
import os
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


def below(folder: Path) -> Below:
    """Walks a folder once; each folder in it is listed once, and links to folders are not entered.

    Args:
        folder: Itself may be hidden, or hold predictions: whoever names it means it.

    Raises:
        OSError: The folder itself, or a disk under it, cannot be read.
    """
    files: list[Path] = []
    predictions: list[Path] = []
    unreadable: list[Path] = []

    def refused(error: OSError) -> None:
        if not isinstance(error, PermissionError) or Path(error.filename) == folder:
            raise error
        unreadable.append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=refused):
        here = Path(place)
        if DESCRIPTION in names and here != folder and _describes(here / DESCRIPTION):
            predictions.append(here)
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [here / name for name in names if not name.startswith(".")]
    return Below(tuple(sorted(files)), tuple(sorted(predictions)), tuple(sorted(unreadable)))


def _describes(path: Path) -> bool:
    """Whether it is a description of ours, and not some file of that name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "ids", "classes"} <= found.keys()
