"""Folders of predictions, as they are met among pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

DESCRIPTION: Final = "prediction.json"
"""Stands in every folder of predictions, and says by what they were made."""


def prediction_folders(folder: Path) -> tuple[Path, ...]:
    """Folders below this one that hold predictions: their maps and overlays are no pictures.

    Args:
        folder: Itself is not looked at: whoever names a folder of predictions means it.
    """
    return tuple(
        path.parent
        for path in sorted(folder.rglob(DESCRIPTION))
        if path.parent != folder and _describes(path)
    )


def _describes(path: Path) -> bool:
    """Whether it is a description of ours, and not some file of that name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "ids", "classes"} <= found.keys()
