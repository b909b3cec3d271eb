"""Packages that load late offer the same names to whoever runs, reads or checks a program."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import crosscity

ROOM = Path(crosscity.__file__).parent
LATE = [
    ".".join(file.parent.relative_to(ROOM.parent).parts)
    for file in sorted(ROOM.rglob("__init__.py"))
    if "loaded_late(" in file.read_text(encoding="utf-8")
]


def seen_by_a_checker(package: ModuleType) -> dict[str, tuple[str, str]]:
    """By name, module and name there of the imports that only a type checker makes."""
    assert package.__file__ is not None
    body = ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body
    (block,) = (
        one for one in body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"
    )
    assert not block.orelse
    seen = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        for one in statement.names:
            seen[one.asname or one.name] = statement.module, one.name
    return seen


def test_the_packages_are_found() -> None:
    assert {"crosscity", "crosscity.adaptation"} <= set(LATE)


@pytest.mark.parametrize("name", LATE)
def test_what_is_offered_is_what_is_listed_and_what_a_checker_sees(name: str) -> None:
    package = importlib.import_module(name)
    seen = seen_by_a_checker(package)
    assert dict(package._OFFERED) == seen
    assert sorted(package.__all__) == sorted(seen)
    assert set(seen) <= set(dir(package))
    for offered, (module, called) in seen.items():
        assert getattr(package, offered) is getattr(importlib.import_module(module), called)
        assert vars(package)[offered] is getattr(package, offered), "it is kept"
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - it is asked for
