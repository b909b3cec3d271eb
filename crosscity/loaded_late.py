"""What a package offers, loaded when it is first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def loaded_late(
    package: str, offered: Mapping[str, tuple[str, str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    The first loads a name's module and keeps what it has; the second lists what is there with what
    was not asked for yet.

    Args:
        package: The package's `__name__`.
        offered: By name, its module and what it is called there. No name may be that of a module
            of the package: the import of that module would put it in the place of what is offered.
    """
    here = vars(sys.modules[package])

    def load(name: str) -> Any:  # noqa: ANN401 - of modules, it is so
        if name not in offered:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, called = offered[name]
        found = here[name] = getattr(importlib.import_module(module), called)
        return found

    def names() -> list[str]:
        return sorted({*here, *offered})

    return load, names
