"""Options that every command shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tasks.steps.defaults import COMPUTE_VARIABLE, DEFAULT_CATALOG


@dataclass
class GlobalOptions:
    """The flags that stand before the verb."""

    debug: bool = False


OPTIONS = GlobalOptions()


CatalogOption = Annotated[
    Path,
    typer.Option("--catalog", envvar="CROSSCITY_CATALOG", help="The catalog file."),
]
ComputeOption = Annotated[
    str | None,
    typer.Option(
        "--compute",
        envvar=COMPUTE_VARIABLE,
        help="A compute profile of the catalog.",
    ),
]
CATALOG = Path(DEFAULT_CATALOG)
