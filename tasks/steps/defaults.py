"""How the environment and the command line name a catalog and a compute profile."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

DEFAULT_CATALOG: Final = "data_catalog.yaml"
COMPUTE_VARIABLE: Final = "CROSSCITY_COMPUTE"
"""What a machine offers belongs to the machine, so its environment may name its profile."""


def folder_of(catalog: str | Path) -> Path:
    """The folder of a catalog file, spelled alike whichever way to it was given.

    Without `..`; a link stays one, as what it points to may be another release tomorrow.
    """
    return Path(os.path.abspath(catalog)).parent  # noqa: PTH100 - `resolve` follows links


def digits_of(folder: Path) -> str:
    """Four digits of where a folder is, which tell folders of one name apart."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:4]
