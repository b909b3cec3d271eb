"""In which settings what is there differs from what the catalog says now, and its sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MISSING: Final = object()
_LONGEST: Final = 60
"""Characters of a value."""
_BEFORE: Final = 20
"""Characters of a long value that are alike and shown, so that one sees where it differs."""
_MOST_SHOWN: Final = 3
"""Differences that a sentence names; the first of them are enough to know what was changed."""


@dataclass(frozen=True)
class Difference:
    """A setting that an artifact was made with otherwise: its dotted key, and both values."""

    key: str
    was: str
    now: str


def differences(
    made_with: Mapping[str, Any], wanted: Mapping[str, Any], *, leave_out: Collection[str] = ()
) -> list[Difference]:
    """Settings that differ, under their dotted names.

    Args:
        made_with: Settings then, JSON-able; may be nested.
        wanted: Settings now.
        leave_out: Names (of the first level) that do not matter.
    """
    old, new = _flat(made_with, leave_out), _flat(wanted, leave_out)
    return [
        Difference(name, *_shown(_text(old, name), _text(new, name)))
        for name in dict.fromkeys([*new, *old])
        if old.get(name, _MISSING) != new.get(name, _MISSING)
    ]


def as_words(found: list[Difference], section: str = "") -> str:
    """Differences as the end of a sentence: "made with prior.k 3, the catalog says 30"."""
    shown = found[:_MOST_SHOWN]
    was = " and ".join(f"{section}{one.key} {one.was}" for one in shown)
    now = " and ".join(one.now for one in shown)
    rest = len(found) - len(shown)
    return f"made with {was}, the catalog says {now}" + (f" ({rest} more)" if rest else "")


def _flat(values: Mapping[str, Any], leave_out: Collection[str]) -> dict[str, Any]:
    """Nested settings under dotted names, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in leave_out:
            continue
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": one for inner, one in _flat(value, ()).items()}
        else:
            flat[name] = _plain(value)
    return flat


def _plain(value: object) -> object:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _text(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "not set"
    return "null" if values[name] is None else str(values[name])


def _shown(was: str, now: str) -> tuple[str, str]:
    """Both values, long ones from a little before where they begin to differ."""
    both = enumerate(zip(was, now, strict=False))
    alike = next((at for at, (a, b) in both if a != b), min(len(was), len(now)))
    start = max(0, alike - _BEFORE) if max(len(was), len(now)) > _LONGEST else 0
    return _from(was, start), _from(now, start)


def _from(text: str, start: int) -> str:
    rest = f"...{text[start:]}" if start else text
    return rest if len(rest) <= _LONGEST else f"{rest[: _LONGEST - 3]}..."
