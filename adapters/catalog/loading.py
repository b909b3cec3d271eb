"""Reading the catalog: from YAML to validated entries, or what is wrong by file, line and key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from adapters.catalog.areas import FileState, file_state
from adapters.catalog.entry import NAME_PATTERN
from adapters.catalog.errors import CatalogError
from adapters.catalog.ignored import ignored_settings
from adapters.catalog.known_settings import no_such_setting
from adapters.catalog.model import Catalog
from adapters.catalog.plug_in import kind_of
from adapters.catalog.references import dangling_references
from adapters.catalog.tree import (
    Fault,
    Key,
    Source,
    compose_tree,
    included_patterns,
    included_sources,
    read_source,
)

_REMEMBERED: Final = 8
"""Catalogs that a process keeps: one, where nobody edits it meanwhile."""

_TEXT_WANTED: Final = ("string_type", "literal_error")
"""Errors of pydantic where a word of YAML was taken for true or false."""

_SHAPES: Final = {
    "tuple_type": "a list in brackets is needed, as [64, 128]",
    "list_type": "a list in brackets is needed, as [first, second]",
    "dict_type": "keys and their values are needed here",
}
"""What pydantic calls tuples and dictionaries, as YAML has them."""

Further = Callable[[Catalog], Iterable[Fault]]


def load_catalog(path: Path, *, further: Further | None = None) -> Catalog:
    """Reads and validates a catalog.

    Args:
        path: The YAML file; it may include others.
        further: Finds faults that only those see who use the catalog; reported like its own.

    Returns:
        The catalog. `${NAME}` references are kept as written: they are resolved where they are
        used (`resolve_environment`), so a missing secret hurts only who needs it. While the files
        stay as they are, a process gets the same object again: nobody may change it.

    Raises:
        CatalogError: The file is missing, is not YAML, or an entry is wrong. One line for each
            fault, with file, line number and key.
    """
    own = read_source(path)
    included = included_sources(own, _patterns(own))
    catalog, files = _load_sources(own, included, further)
    if any(file_state(own.path.parent, value) != seen for value, seen in files.items()):
        _load_sources.cache_clear()  # an area's file is another one now
        catalog, _ = _load_sources(own, included, further)
    return catalog


@lru_cache(maxsize=_REMEMBERED)
def _patterns(own: Source) -> tuple[str, ...]:
    return included_patterns(own)


@lru_cache(maxsize=_REMEMBERED)
def _load_sources(
    own: Source, included: tuple[Source, ...], further: Further | None
) -> tuple[Catalog, dict[str, FileState]]:
    """Parses and validates; remembered by the bytes of all files, so an edit is always seen.

    Returns:
        The catalog, and the states of the files of areas that were read for it.
    """
    folder, files = own.path.parent, dict[str, FileState]()
    tree, faults = compose_tree(own, included)
    if not faults:
        data = tree.data()
        try:
            catalog = Catalog.model_validate(data, context={"folder": folder, "files": files})
        except ValidationError as error:
            of_keys: list[Fault] = []
            of_values: list[Fault] = []
            for one in error.errors():
                found = of_keys if "[key]" in one["loc"] else of_values
                key = _location(data, one["loc"])
                found.append((key, _sentence(one, data, key)))
            faults = [*of_keys, *_one_each(of_values)]
        else:
            faults = [
                *_truths_as_numbers(data, catalog, ()),
                *dangling_references(catalog),
                *ignored_settings(catalog),
            ]
            if further is not None:
                faults += further(catalog)
            if not faults:
                return catalog, files
    raise CatalogError("\n".join(tree.fault_line(*fault) for fault in faults))


def catalog_json_schema() -> str:
    """The catalog's JSON Schema, for editors that check YAML while it is written."""
    schema = dict(_schema())
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "CrossCity data catalog"
    return json.dumps(schema, indent=2, sort_keys=True)


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    return Catalog.model_json_schema()


def _location(root: object, loc: Iterable[str | int]) -> Key:
    """Where an error stands in the file.

    Pydantic puts the `kind` of an entry right behind the key of the entry, `[key]` behind a key
    that is wrong itself, and what it tried behind a value that may be one of several things
    (`literal['auto']`). None of them is in the file.
    """
    data: Any = root
    key: list[str | int] = []
    inside_kind = False
    for part in loc:
        if part == "[key]" or (isinstance(part, str) and not isinstance(data, dict)):
            continue
        kind = kind_of(data)
        if kind is not None and part == kind and not inside_kind:
            inside_kind = True
            continue
        key.append(part)
        inside_kind = False
        if isinstance(data, dict):
            data = data.get(part)
        else:
            inside = isinstance(data, list) and isinstance(part, int) and part < len(data)
            data = data[part] if inside else None
    return tuple(key)


def _one_each(faults: Iterable[Fault]) -> list[Fault]:
    """One fault a key, where a value is none of several things; the deepest tells most."""
    sentences: dict[Key, list[str]] = {}
    for key, sentence in faults:
        sentences.setdefault(key, []).append(sentence)
    inner = {key[:depth] for key in sentences for depth in range(len(key))}
    return [
        (key, " or: ".join(dict.fromkeys(said)))
        for key, said in sentences.items()
        if key not in inner or not key
    ]


def _sentence(error: Mapping[str, Any], data: object, key: Key) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return no_such_setting(_schema(), data, key)
    if error["type"] == "missing":
        return "is missing"
    if isinstance(error["input"], bool) and error["type"] in _TEXT_WANTED:
        word = "no, off and false" if not error["input"] else "yes, on and true"
        return f"a text is needed: quote it, as YAML reads {word} as {error['input']}"
    if error["type"] == "string_type" and isinstance(error["input"], int | float | date):
        return f"a text is needed: quote it, as YAML reads it as {error['input']!r}"
    message = _SHAPES.get(error["type"], message)
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == NAME_PATTERN:
        message = "names are of a-z, 0-9, _ and -, begin with a letter or digit, and are short"
    shown = repr(error["input"])
    if isinstance(error["input"], str | int | float | bool | None) and len(shown) <= 60:
        return f"{message} (it is {shown})"
    return message


def _truths_as_numbers(data: object, read: object, key: Key) -> Iterable[Fault]:
    """Words as yes and off that became 1 and 0, as Python has it."""
    if isinstance(data, bool):
        if isinstance(read, int | float) and not isinstance(read, bool):
            word = "yes, on and true" if data else "no, off and false"
            yield key, f"a number is needed: YAML reads {word} as {data}"
    elif isinstance(data, dict):
        for name, value in data.items():
            inside = read.get(name) if isinstance(read, Mapping) else getattr(read, str(name), None)
            yield from _truths_as_numbers(value, inside, (*key, name))
    elif isinstance(data, list) and isinstance(read, list | tuple):
        for index, (value, inside) in enumerate(zip(data, read, strict=False)):
            yield from _truths_as_numbers(value, inside, (*key, index))
