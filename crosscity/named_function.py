"""Functions by name: `package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def own_failure(name: str, error: BaseException) -> str:
    """How a failure of somebody else's code is said: whose, in what, and the error itself."""
    text = " ".join(str(error).split())
    return f"{name} raised {type(error).__name__}: {text or 'no message'}"


def named_function(name: str) -> Callable[..., Any]:
    """Imports a function.

    Args:
        name: `package.module:function`; the package is installed here, or on PYTHONPATH.

    Raises:
        ValueError: There is no such module or function, or the module fails when it is imported.
    """
    module_name, _, function = name.strip().partition(":")
    if not module_name or not function.isidentifier():
        raise ValueError(f"{name!r} names no function: write `python: my_package.my_module:build`")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"{name!r} cannot be imported ({error}): install the package in this environment or "
            "put it on PYTHONPATH"
        ) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # code of somebody else's
        raise ValueError(own_failure(f"importing {module_name}", error)) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(  # noqa: TRY004 - a wrong catalog entry, like the others
            f"the module {module_name} has no function {function!r}"
        )
    made: Callable[..., Any] = found
    return made
