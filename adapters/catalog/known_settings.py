"""What may stand where a catalog has a setting that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from adapters.catalog.plug_in import kind_of
from adapters.catalog.tree import Key

Schema = dict[str, Any]

_ALIKE: Final = 0.7
"""Least likeness of two names, in [0, 1], where one is taken for a slip of the other."""


def no_such_setting(schema: Schema, data: object, key: Key) -> str:
    """The sentence about a setting that there is not.

    Args:
        schema: JSON Schema of the catalog.
        data: The catalog as it was read.
        key: Where the setting stands in it.

    Returns:
        A sentence with the name that was meant where one is alike, else with all that may stand
        there.
    """
    known = sorted(set(_settings_beside(schema, data, key)))
    alike = difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=_ALIKE)
    if alike:
        return f"no such setting; {alike[0]} may be meant"
    return f"no such setting; there are {', '.join(known)}"


def _settings_beside(schema: Schema, data: object, key: Key) -> Iterator[str]:
    """Names that the schema has where the last part of a key stands."""
    there: Any = data
    heres = list(_alternatives(schema, schema, there))
    for part in key[:-1]:
        there = there[part]
        inner = [one for here in heres for one in _inside(here, part)]
        heres = [one for here in inner for one in _alternatives(schema, here, there)]
    for here in heres:
        yield from here.get("properties", ())


def _inside(here: Schema, part: str | int) -> Iterator[Schema]:
    """What an entry of a mapping or list must be."""
    if part in here.get("properties", ()):
        yield here["properties"][part]
        return
    yield from here.get("patternProperties", {}).values()
    for name in ("additionalProperties", "items"):
        if isinstance(here.get(name), dict):
            yield here[name]


def _alternatives(schema: Schema, here: Schema, data: object) -> Iterator[Schema]:
    """What stands for a part of the schema: references followed, of kinds the one that is named."""
    if "$ref" in here:
        here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    kinds = here.get("discriminator", {}).get("mapping", {})
    kind = kind_of(data)
    if kind in kinds:
        yield from _alternatives(schema, {"$ref": kinds[kind]}, data)
        return
    several = [*here.get("anyOf", ()), *here.get("oneOf", ())]
    for one in several:
        yield from _alternatives(schema, one, data)
    if not several:
        yield here
