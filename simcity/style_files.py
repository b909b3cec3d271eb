"""City styles as TOML files: those that come with the project, and the user's own."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from simcity.style import CityStyle

MAX_STYLE_BYTES: Final = 256 * 1024
"""A style is written by hand; anything larger is a mistaken path."""

_BASE: Final = "based_on"


def read_style(path: Path) -> CityStyle:
    """Reads a style file.

    The file's name without its ending is the style's name. Keys are fields of `CityStyle`; lists
    stand for ranges, palettes and weights. `based_on` names a style that comes with the project,
    from which the fields are taken that the file does not have; by default they are `CityStyle`'s.

    Raises:
        ValueError: The file cannot be read, is not TOML, or a field is unknown or out of range;
            one sentence with file, line and field.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"the city style {path} cannot be read: it is not a file")
    try:
        if path.stat().st_size > MAX_STYLE_BYTES:
            raise ValueError(f"{path} is larger than {MAX_STYLE_BYTES >> 10} KiB: not a city style")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the city style {path} cannot be read: {error}") from None
    return _style_of(text, path.stem, str(path), STYLES)


def _style_of(text: str, name: str, where: str, bases: Mapping[str, CityStyle]) -> CityStyle:
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where}: not valid TOML: {error}") from None
    base = given.pop(_BASE, None)
    if base is not None and (not isinstance(base, str) or base not in bases):
        known = ", ".join(sorted(bases))
        raise ValueError(
            f"{where}:{_line(text, _BASE)}: {_BASE} must be one of {known}, not {base!r}"
        )
    known_fields = [field.name for field in fields(CityStyle) if field.name != "name"]
    for field in given:
        if field not in known_fields:
            close = difflib.get_close_matches(field, known_fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"{where}:{_line(text, field)}: a city style has no field {field!r}{hint}"
            )
    style = CityStyle(name=name) if base is None else replace(bases[base], name=name)
    values = {field: _tuples(value) for field, value in given.items()}
    try:
        return replace(style, **values)
    except ValueError:
        return _field_by_field(style, values, text, where)


def _field_by_field(
    style: CityStyle, values: Mapping[str, Any], text: str, where: str
) -> CityStyle:
    """Finds the field at fault: setting each checks all of them, so this takes long."""
    for field, value in values.items():
        try:
            style = replace(style, **{field: value})
        except ValueError as error:
            raise ValueError(f"{where}:{_line(text, field)}: {error}") from None
    return style


def _tuples(value: Any) -> Any:  # noqa: ANN401 - whatever TOML holds; CityStyle checks it
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _line(text: str, field: str) -> int:
    """Where a field is set, from 1."""
    found = re.search(rf"^[ \t]*[\"']?{re.escape(field)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _embedded() -> dict[str, CityStyle]:
    """The styles of the package's own files, by name."""
    folder = files("simcity") / "styles"
    found = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda f: f.name
    )
    return {
        name: _style_of(file.read_text(encoding="utf-8"), name, file.name, {})
        for file in found
        for name in [file.name.removesuffix(".toml")]
    }


STYLES: Final[dict[str, CityStyle]] = _embedded()
"""The styles that come with the project by name; frankfurt is meant as the source.

They follow what a visitor notices (materials, heights, greenery, traffic, light); no number is
measured in the real cities. `docs/simulated-cities.md` says what each style leaves out.
"""
