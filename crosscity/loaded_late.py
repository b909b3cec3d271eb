"""What a package offers, loaded when it is first asked for (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


def loaded_late(package: dict[str, Any], offered: Mapping[str, tuple[str, str]], name: str) -> Any:  # noqa: ANN401 - of modules, it is so
    """The answer of a package's `__getattr__`: loads a name's module, and keeps what it has.

    Args:
        package: The package's `globals()`.
        offered: By name, its module and what it is called there. No name may be that of a module
            of the package: the import of that module would put it in the place of what is offered.
        name: What was asked for.

    Raises:
        AttributeError: It is not offered.
    """
    if name not in offered:
        raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
    module, called = offered[name]
    found = package[name] = getattr(importlib.import_module(module), called)
    return found
