"""Reading the catalog: YAML with line numbers, references between entries, the environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from adapters.catalog.areas import FileState, file_state
from adapters.catalog.datasets import SimulatedSet
from adapters.catalog.errors import CatalogError
from adapters.catalog.ignored import ignored_settings
from adapters.catalog.known_settings import no_such_setting
from adapters.catalog.model import NAME_PATTERN, STAGES, Catalog, Deployed
from adapters.catalog.plug_in import kind_of
from adapters.catalog.protocols import BUILT_IN, OF_CITIES
from adapters.catalog.providers import ServiceProvider, SimulatedProvider
from adapters.catalog.recipes import BUILT_IN_RECIPES, WAYS, Arm
from adapters.catalog.styles import is_file, style_names
from adapters.catalog.tree import (
    Fault,
    Key,
    Source,
    compose_tree,
    included_patterns,
    included_sources,
    read_source,
)
from crosscity.labels import CLASSES

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
                *_dangling_references(catalog),
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


def _dangling_references(catalog: Catalog) -> Iterable[Fault]:
    """Names that point to an entry which is not there."""

    def unknown(key: Key, name: str, section: str, known: Collection[str]) -> Fault | None:
        if name in known:
            return None
        listed = ", ".join(sorted(known)) or "nothing"
        return key, f"`{section}` has no entry {name!r}; it has {listed}"

    checks = [
        unknown(("store",), catalog.store, "stores", catalog.stores),
        unknown(("compute",), catalog.compute, "computes", catalog.computes),
        *(
            unknown(("deployments", flow, "compute"), one.compute, "computes", catalog.computes)
            for flow, one in catalog.deployments.items()
            if one.compute is not None
        ),
    ]
    for name, entry in catalog.segmenters.items():
        key = ("segmenters", name, "source")
        if entry.source is not None:
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
        if isinstance(city.provider, ServiceProvider) and city.provider.account is not None:
            account = (*here, "provider", "account")
            checks.append(unknown(account, city.provider.account, "accounts", catalog.accounts))
    for name, recipe in catalog.recipes.items():
        here = ("recipes", name)
        if name in WAYS:
            checks.append((here, "there is an arm of this name already: rename it"))
        if recipe.teacher is not None:
            checks.append(
                unknown((*here, "teacher"), recipe.teacher, "segmenters", catalog.segmenters)
            )
        if recipe.flag_rates_of is not None:
            measured = unknown(
                (*here, "flag_rates_of"), recipe.flag_rates_of, "cities", catalog.cities
            )
            checks.append(measured)
        if recipe.labels is not None and recipe.labels.dataset is not None:
            there = (*here, "labels", "dataset")
            checks.append(unknown(there, recipe.labels.dataset, "datasets", catalog.datasets))
    yield from (check for check in checks if check is not None)
    yield from _styles(catalog)
    yield from _shared_names(catalog)
    yield from _without_labels(catalog)
    yield from _protocols(catalog)
    yield from _arms(catalog)
    yield from _arms_of_transfers(catalog)
    yield from _stages(catalog)


def _stages(catalog: Catalog) -> Iterable[Fault]:
    """Runs that start others, where there are none, or where they could wait for their own end."""
    for flow, one in catalog.deployments.items():
        if one.stages == "here":
            continue
        if flow != "readapt-city":
            yield ("deployments", flow, "stages"), "only readapt-city has stages: leave it out"
            continue
        for other in STAGES:
            if catalog.deployments.get(other, Deployed()).pool == one.pool:
                yield (
                    ("deployments", flow, "stages"),
                    f"readapt-city waits for runs of {other} in its own work pool {one.pool!r}: "
                    "where that is full of waiting runs, none could begin; name another pool for "
                    "readapt-city",
                )
                break


def _styles(catalog: Catalog) -> Iterable[Fault]:
    """Styles of simulated cities that do not come with the project."""
    named: list[tuple[Key, str]] = [
        (("cities", name, "provider", "style"), city.provider.style)
        for name, city in catalog.cities.items()
        if isinstance(city.provider, SimulatedProvider)
    ]
    named += [
        (("datasets", name, "style"), entry.style)
        for name, entry in catalog.datasets.items()
        if isinstance(entry, SimulatedSet)
    ]
    for key, style in named:
        if not is_file(style) and style not in style_names():
            known = ", ".join(style_names())
            yield key, f"there is no style {style[:80]!r}; there are {known}, or name a .toml file"


def _arms(catalog: Catalog) -> Iterable[Fault]:
    """Arms of cities that there are not, or that the city cannot be adapted by."""
    for name, city in catalog.cities.items():
        here = ("cities", name, "arm")
        known = dict.fromkeys([*get_args(Arm), *BUILT_IN_RECIPES, *catalog.recipes])
        if city.arm not in known:
            yield (
                here,
                f"there is no arm {city.arm[:80]!r} to adapt by; arms are {', '.join(known)}",
            )
            continue
        asked_for = "arm" in city.model_fields_set or city.schedule or city.watch_schedule
        segmenter = catalog.segmenters.get(city.segmenter)
        way = WAYS.get(city.arm)
        lacks_source = segmenter is not None and segmenter.source is None
        if asked_for and way == "adaptation" and lacks_source:
            yield (
                here,
                f"the arm {city.arm!r} trains on images of the source set, and "
                f"segmenters.{city.segmenter} has no source: name it there, or write arm: "
                "source_free",
            )
        recipe = catalog.recipes.get(city.arm)
        if recipe is not None and recipe.prior == "probability" and not city.prior.is_calibrated:
            yield (
                here,
                f"the arm {city.arm!r} weighs by the probability that a pixel is static, which "
                f"matches of {city.prior.matcher!r} have not: write prior: veto in the recipe, or "
                "matcher: deep_matching in the city",
            )
        if way == "fine_tuning" and not city.labelled_training_places:
            yield (
                here,
                f"no training place of the city has a label, so the arm {city.arm!r} has nothing "
                "to train on: name another arm",
            )


def _arms_of_transfers(catalog: Catalog) -> Iterable[Fault]:
    """Arms of transfers that there are not, or that lack a source or labels."""
    for name, transfer in catalog.transfers.items():
        here, arm = ("transfers", name, "arm"), transfer.arm
        segmenter = catalog.segmenters.get(transfer.segmenter)
        target = catalog.datasets.get(transfer.target)
        if arm is None or segmenter is None or target is None:
            continue
        known = dict.fromkeys([*get_args(Arm), *BUILT_IN_RECIPES, *catalog.recipes])
        if arm not in known or WAYS.get(arm) == "none":
            yield here, f"there is no arm {arm[:80]!r} to adapt by; arms are {', '.join(known)}"
        elif WAYS.get(arm) == "adaptation" and segmenter.source is None:
            yield (
                here,
                f"the arm {arm!r} trains on images of the source set, and "
                f"segmenters.{transfer.segmenter} has no source: name it there, or remove arm",
            )
        elif WAYS.get(arm) == "fine_tuning" and not target.has_labels:
            yield (
                here,
                f"datasets.{transfer.target} has no labels, so the arm {arm!r} has nothing to "
                "train on: name another arm",
            )


def _without_labels(catalog: Catalog) -> Iterable[Fault]:
    """Sets without labels where labels are read."""
    named: list[tuple[Key, str | None, str]] = [
        (("segmenters", name, "source"), one.source, "a segmenter can be pre-trained on")
        for name, one in catalog.segmenters.items()
    ]
    named += [
        (("recipes", name, "labels", "dataset"), one.labels.dataset, "a recipe can learn from")
        for name, one in catalog.recipes.items()
        if one.labels is not None
    ]
    for key, name, what in named:
        entry = catalog.datasets.get(name or "")
        if entry is not None and not entry.has_labels:
            yield key, f"datasets.{name} has no labels that {what}: name a set that has some"


def _protocols(catalog: Catalog) -> Iterable[Fault]:
    """Protocols that are not there, or hide one that is, or count what nobody predicts."""
    named: list[tuple[Key, str, tuple[str, ...]]] = [
        (("cities", name, "labels", "protocol"), city.labels.protocol, OF_CITIES)
        for name, city in catalog.cities.items()
        if city.labels is not None
    ]
    named += [
        (("transfers", name, "protocol"), transfer.protocol, BUILT_IN)
        for name, transfer in catalog.transfers.items()
        if transfer.protocol is not None
    ]
    for key, protocol, built_in in named:
        if protocol not in (*built_in, *catalog.protocols):
            known = ", ".join((*built_in, *catalog.protocols))
            yield key, f"there is no protocol {protocol!r} here; there are {known}"
    predicted = {road_class.name for road_class in CLASSES}
    for segmenter in catalog.segmenters.values():
        names = segmenter.options.get("class_names")
        predicted |= {str(name) for name in names} if isinstance(names, list) else set()
    for name, entry in catalog.protocols.items():
        if name in BUILT_IN:
            yield ("protocols", name), "there is a protocol of this name already: rename it"
        reached = {entry.counted(theirs) for theirs in predicted}
        for lost in (one for one in entry.scored if one not in reached):
            yield (
                ("protocols", name, "prediction"),
                f"no class of a segmenter of the catalog counts as {lost!r}, so its IoU would "
                "always be 0: say in prediction which does, or count its truth as another class",
            )
        for theirs in entry.prediction:
            if theirs not in predicted | set(entry.scored):
                yield (
                    ("protocols", name, "prediction", theirs),
                    "no segmenter of the catalog has such a class (class_names in its options)",
                )


def _shared_names(catalog: Catalog) -> Iterable[Fault]:
    """Names of two entries that the store and the flows could not tell apart."""
    owners: dict[str, Mapping[str, object]] = {
        "datasets": catalog.datasets,
        "cities": catalog.cities,
        "transfers": catalog.transfers,
        # They keep their artifacts under their own name, for want of a source's.
        "segmenters": {n: one for n, one in catalog.segmenters.items() if one.source is None},
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
