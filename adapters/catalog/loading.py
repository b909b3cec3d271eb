"""Reading the catalog: YAML with line numbers, references between entries, the environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from adapters.catalog.errors import CatalogError
from adapters.catalog.model import Catalog
from adapters.catalog.plug_in import kind_of

MAX_CATALOG_BYTES = 4 * 1024 * 1024
"""A catalog is written by hand; anything larger is a mistaken path."""

Key = tuple[str | int, ...]
"""The way to a value of the catalog: `("cities", "tokyo", "places")`."""

Fault = tuple[Key, str]
"""Where the catalog is wrong, and how, as a sentence."""


def load_catalog(
    path: Path, *, further: Callable[[Catalog], Iterable[Fault]] | None = None
) -> Catalog:
    """Reads and validates a catalog.

    Args:
        path: The YAML file.
        further: Finds faults that only those see who use the catalog; they are told like its own.

    Returns:
        The catalog. `${NAME}` references are kept as written: they are resolved where they are
        used (`resolve_environment`), so a missing secret hurts only who needs it.

    Raises:
        CatalogError: The file is missing, is no YAML, or an entry is wrong. One line for each
            fault, with file, line number and key.
    """
    text = _read(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise CatalogError(f"{path}{line}: {problem}") from None
    if not isinstance(root, yaml.MappingNode):
        raise CatalogError(f"{path}: the catalog must be a mapping that starts with `version: 1`")
    faults = list(_duplicate_keys(root, ()))
    if not faults:
        try:
            data = yaml.safe_load(text)
            catalog = Catalog.model_validate(data)
        except ValidationError as error:
            faults = [(_location(data, e["loc"]), _sentence(e)) for e in error.errors()]
        else:
            faults = list(_dangling_references(catalog))
            if further is not None:
                faults += further(catalog)
            if not faults:
                return catalog
    raise CatalogError("\n".join(_fault_line(path, root, *fault) for fault in faults))


def catalog_json_schema() -> str:
    """The catalog's JSON Schema, for editors that check YAML while it is written."""
    schema = Catalog.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "CrossCity data catalog"
    return json.dumps(schema, indent=2, sort_keys=True)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CATALOG_BYTES:
            raise CatalogError(f"{path} is larger than 4 MiB: this is no catalog")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CatalogError(
            f"there is no catalog at {path}: name one with --catalog or CROSSCITY_CATALOG"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"the catalog {path} cannot be read: {error}") from None


def _location(root: object, loc: Iterable[str | int]) -> Key:
    """Where an error stands in the file.

    Pydantic puts the `kind` of an entry right behind the key of the entry, and `[key]` behind a
    key that is wrong itself. Neither is in the file.
    """
    data: Any = root
    key: list[str | int] = []
    inside_kind = False
    for part in loc:
        if part == "[key]":
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


def _sentence(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "no such setting; see `crosscity catalog schema`"
    if error["type"] == "missing":
        return "is missing"
    shown = repr(error["input"])
    if isinstance(error["input"], str | int | float | bool | None) and len(shown) <= 60:
        return f"{message} (it is {shown})"
    return message


def _fault_line(path: Path, root: yaml.MappingNode, location: Key, sentence: str) -> str:
    dotted = ".".join(str(part) for part in location)
    return (
        f"{path}:{_line_of(root, location)}: {dotted}: {sentence}"
        if dotted
        else (f"{path}: {sentence}")
    )


def _line_of(node: yaml.Node, location: Key) -> int:
    """Line (from 1) of the deepest part of the key that the file has."""
    line = int(node.start_mark.line) + 1
    for part in location:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, child = int(key.start_mark.line) + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            child = node.value[part] if part < len(node.value) else None
            line = int(child.start_mark.line) + 1 if child is not None else line
        if child is None:
            break
        node = child
    return line


def _duplicate_keys(node: yaml.Node, location: Key) -> Iterable[Fault]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*location, str(key.value))
            if key.value in seen and key.value != "<<":
                yield here, "stands here twice; YAML would silently keep the last"
            seen.add(key.value)
            yield from _duplicate_keys(value, here)


def _dangling_references(catalog: Catalog) -> Iterable[Fault]:
    """Names that point to an entry which is not there."""

    def unknown(key: Key, name: str, section: str, known: Iterable[str]) -> Fault | None:
        known = sorted(known)
        if name in known:
            return None
        listed = ", ".join(known) if known else "nothing"
        return key, f"`{section}` has no entry {name!r}; it has {listed}"

    checks = [
        unknown(("store",), catalog.store, "stores", catalog.stores),
        unknown(("compute",), catalog.compute, "computes", catalog.computes),
    ]
    for name, entry in catalog.segmenters.items():
        key = ("segmenters", name, "source")
        checks.append(unknown(key, entry.source, "datasets", catalog.datasets))
    for name, transfer in catalog.transfers.items():
        here = ("transfers", name)
        checks += [
            unknown((*here, "segmenter"), transfer.segmenter, "segmenters", catalog.segmenters),
            unknown((*here, "target"), transfer.target, "datasets", catalog.datasets),
            unknown((*here, "training"), transfer.training, "trainings", catalog.trainings),
        ]
    for name, city in catalog.cities.items():
        here = ("cities", name)
        checks += [
            unknown((*here, "segmenter"), city.segmenter, "segmenters", catalog.segmenters),
            unknown((*here, "training"), city.training, "trainings", catalog.trainings),
        ]
    yield from (check for check in checks if check is not None)
    yield from _shared_names(catalog)


def _shared_names(catalog: Catalog) -> Iterable[Fault]:
    """Names of two entries that the store and the flows could not tell apart."""
    owners: dict[str, Mapping[str, object]] = {
        "datasets": catalog.datasets,
        "cities": catalog.cities,
        "transfers": catalog.transfers,
    }
    taken: dict[str, str] = {}
    for section, entries in owners.items():
        for name in entries:
            first = taken.setdefault(name, section)
            if first != section:
                yield (
                    (section, name),
                    f"`{first}` has an entry of this name too, and labels and results are kept by "
                    "name: rename one of the two",
                )
