"""`${NAME}` in the catalog: environment variables, resolved where they are used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from adapters.catalog.errors import CatalogError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve_environment(value: str, *, key: str) -> str:
    """Replaces every `${NAME}` in a catalog value by the environment variable of that name.

    Args:
        value: A string of the catalog.
        key: The dotted key it stands under, for the error.

    Raises:
        CatalogError: A variable is not set. The message names it, never its value.
    """

    def replace(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise CatalogError(
                f"{key} needs the environment variable {match[1]}, which is not set: export it "
                "and run again; a worker knows what was exported where it was started"
            )
        return found

    return _REFERENCE.sub(replace, value)


def resolve_options(options: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """`resolve_environment` over every string of a nested mapping."""
    resolved: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, str):
            resolved[name] = resolve_environment(value, key=f"{key}.{name}")
        elif isinstance(value, Mapping):
            resolved[name] = resolve_options(value, key=f"{key}.{name}")
        else:
            resolved[name] = value
    return resolved


def resolve_folder(root: Path, value: str, *, key: str) -> Path:
    """A folder that the catalog names; a relative one starts at `root`, the catalog's folder."""
    return root / Path(resolve_environment(value, key=key)).expanduser()


def environment_references(catalog: BaseModel) -> dict[str, list[str]]:
    """Environment variables that a catalog refers to, each with the keys that need it."""
    found: dict[str, list[str]] = {}

    def walk(value: object, key: str) -> None:
        if isinstance(value, str):
            for name in _REFERENCE.findall(value):
                found.setdefault(name, []).append(key)
        elif isinstance(value, BaseModel):
            for field in type(value).model_fields:
                walk(getattr(value, field), f"{key}.{field}" if key else field)
        elif isinstance(value, Mapping):
            for name, item in value.items():
                walk(item, f"{key}.{name}" if key else str(name))

    walk(catalog, "")
    return found
