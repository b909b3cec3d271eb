"""Options that every command shares."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tasks.steps.defaults import COMPUTE_VARIABLE, DEFAULT_CATALOG


@dataclass
class GlobalOptions:
    """What every part of the command line goes by.

    Attributes:
        debug: Whether errors come with their traceback.
        quiet: Whether nothing is said but results, warnings and errors.
        json: Whether results are JSON.
    """

    debug: bool = False
    quiet: bool = False
    json: bool = False


OPTIONS = GlobalOptions()


def complete_city(context: typer.Context, incomplete: str) -> list[str]:
    """The cities of the catalog whose names begin so, for the shell; none without a catalog."""
    return _names(context, incomplete)


def complete_owner(context: typer.Context, incomplete: str) -> list[str]:
    """Cities and transfers of the catalog; see `complete_city`."""
    return _names(context, incomplete, ("cities", "transfers"))


def _names(
    context: typer.Context, incomplete: str, sections: tuple[str, ...] = ("cities",)
) -> list[str]:
    from adapters.catalog import load_catalog  # noqa: PLC0415 - `--help` needs no catalog

    path = Path(context.params.get("catalog") or DEFAULT_CATALOG)
    with suppress(Exception):  # a shell has no place for sentences
        catalog = load_catalog(path)
        names = [name for section in sections for name in getattr(catalog, section)]
        return sorted(name for name in names if name.startswith(incomplete))
    return []


CityArgument = Annotated[
    str, typer.Argument(help="A city of the catalog.", autocompletion=complete_city)
]

OwnerArgument = Annotated[
    str, typer.Argument(help="A city or transfer of the catalog.", autocompletion=complete_owner)
]

CATALOG_VARIABLE = "CROSSCITY_CATALOG"
CatalogOption = Annotated[
    Path,
    typer.Option("--catalog", envvar=CATALOG_VARIABLE, help="The catalog file."),
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
