"""Label maps of the catalog, held against what label files hold and which classes there are."""

from __future__ import annotations

import re
from typing import Final

from crosscity.labels import CLASSES

VOID: Final = "void"
_COLOUR: Final = re.compile("#[0-9a-fA-F]{6}")
_NAMED: Final = ("labelIds", "labelTrainIds")


def checked_label_map(given: object) -> object:
    """A label map whose keys are numbers or colours, or the name of a known one.

    Raises:
        ValueError: A key that no label file can hold, or an unknown class.
    """
    if isinstance(given, str) and given not in _NAMED:
        raise ValueError(
            f"there is no label map {given!r}: name {' or '.join(_NAMED)}, or give one"
        )
    if isinstance(given, str):
        return given
    if not isinstance(given, dict):
        raise ValueError(  # noqa: TRY004 - pydantic wants it so
            f"a label map has a class for each value, as {{0: road, 1: car}}, or is "
            f"{' or '.join(_NAMED)}"
        )
    if not given:
        raise ValueError("a label map needs an entry for every value that its labels hold")
    made = {_key(key): _name(key, name) for key, name in given.items()}
    if len(made) < len(given):
        raise ValueError(
            "a value stands in the label map twice, as a number and as a text or in letters of "
            "either case"
        )
    if set(made.values()) == {VOID}:
        raise ValueError("a label map that makes all void leaves nothing to learn from or to score")
    if len({type(key) for key in made}) > 1:
        raise ValueError("a label map has either values (0 to 255) or colours ('#rrggbb')")
    return made


def _key(key: object) -> int | str:
    if isinstance(key, bool) or key is None:
        raise ValueError(
            f"the key {key!r} is not a value of a label: YAML reads no, off, yes, on and ~ so; "
            "write a number or '#rrggbb'"
        )
    if isinstance(key, str) and _COLOUR.fullmatch(key):
        return key.lower()
    if isinstance(key, str) and re.fullmatch("-?[0-9]+", key):
        key = int(key)
    if isinstance(key, int) and 0 <= key <= 255:
        return key
    raise ValueError(
        f"no label file holds {key!r}: a value is 0 to 255, or a colour '#rrggbb' in quotes"
        + (" (Cityscapes' -1 is stored as 255)" if key == -1 else "")
    )


def _name(key: object, name: object) -> str:
    known = [road_class.name for road_class in CLASSES]
    if not isinstance(name, str) or name not in (*known, VOID):
        raise ValueError(
            f"{key!r} is given the class {name!r}, which there is not: classes are "
            f"{', '.join(known)} and {VOID}"
        )
    return name
