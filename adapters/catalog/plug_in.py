"""Entries that name a function of the user's own package: `python: my_package.my_module:build`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from adapters.catalog.environment import resolve_options
from adapters.catalog.errors import CatalogError
from crosscity.named_function import named_function, somebody_elses

FunctionName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        description="a function of your own package that builds it: my_package.my_module:build",
    ),
]


def with_kind(value: object) -> object:
    """An entry that names a function with the `kind` that tells the models of entries apart."""
    if isinstance(value, Mapping) and "python" in value and "kind" not in value:
        return {**value, "kind": "python"}
    return value


def kind_of(value: object) -> str | None:
    """The kind that the model of an entry is chosen by, ``None`` where it names none."""
    entry = with_kind(value)
    kind = entry.get("kind") if isinstance(entry, Mapping) else None
    return kind if isinstance(kind, str) else None


def call_plug_in(python: str, options: Mapping[str, Any], *arguments: object, key: str) -> object:
    """Calls a user's function with the options of a catalog entry.

    The catalog decides which code is run here, as it decides what is installed; nothing is fetched.

    Args:
        python: `package.module:function`; importable in this environment.
        options: Keyword arguments; `${NAME}` in their strings is read from the environment.
        arguments: What the function is called with before its options.
        key: The dotted key of the entry, for errors.

    Raises:
        CatalogError: There is no such function, it does not take the options, it refuses them with
            a `ValueError`, or it fails.
    """
    try:
        function = named_function(python)
    except ValueError as error:
        raise CatalogError(f"{key}: {error}") from error
    given = resolve_options(options, key=f"{key}.options")
    try:
        inspect.signature(function).bind(*arguments, **given)
    except TypeError as error:
        raise CatalogError(f"{key}: {python} does not take these options: {error}") from None
    try:
        with somebody_elses(f"{key}: {python}", CatalogError, own=(ValueError,)):
            return function(*arguments, **given)
    except CatalogError:
        raise
    except ValueError as error:
        raise CatalogError(f"{key}: {python} refuses its options: {error}") from error


def build_plug_in(
    python: str,
    options: Mapping[str, Any],
    site: object,
    *,
    key: str,
    noun: str,
    protocol: str,
    methods: tuple[str, ...],
) -> object:
    """What a user's function builds for a catalog entry; it has a `name` and all methods asked for.

    Args:
        python: `package.module:function`.
        options: Keyword arguments of the function.
        site: What the function is called with.
        key: The dotted key of the entry, for errors.
        noun: What it builds, for errors.
        protocol: The class that describes it, for errors.
        methods: Names of the methods that it must have.

    Raises:
        CatalogError: As `call_plug_in`, or what was built lacks a method.
    """
    made = call_plug_in(python, options, site, key=key)
    missing = [] if isinstance(getattr(made, "name", None), str) else ["name"]
    missing += [method for method in methods if not callable(getattr(made, method, None))]
    if missing:
        raise CatalogError(
            f"{key}: {python} returned {type(made).__name__}, which has no "
            f"{', '.join(missing)}: it must return a {noun} as {protocol} describes it"
        )
    return made
