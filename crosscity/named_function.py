"""Functions by name: `package.module:function`, after `python:` where names of ours may stand."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

PREFIX: Final = "python:"
"""Before the name of a function or class of somebody's own, where names of ours may stand too."""


def is_plug_in(name: str) -> bool:
    """Whether a matcher, segmenter or objective of that name is of somebody's own."""
    return name.startswith(PREFIX)


def function_of(name: str) -> str:
    """The `package.module:function` of a plug-in's name, as it stands behind the prefix."""
    return name.removeprefix(PREFIX)


@contextmanager
def somebody_elses(
    name: str,
    error_of: Callable[[str], Exception] = ValueError,
    own: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Around a call of somebody else's code, whose failures are said in one sentence.

    Whatever type it raises is turned into one; memory that runs out and Ctrl-C are nobody's code.

    Args:
        name: Whose code, or what it does: the sentence begins with it.
        error_of: Makes the error that is raised from the sentence.
        own: Errors that such code may raise, and that say enough.
    """
    as_they_are: tuple[type[Exception], ...] = (MemoryError, *own)
    try:
        yield
    except as_they_are:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        sentence = f"{name} raised {type(error).__name__}: {text or 'no message'}"
        raise error_of(sentence) from error


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
        with somebody_elses(f"importing {module_name}", own=(ImportError,)):
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"{name!r} cannot be imported ({error}): install the package in this environment or "
            "put it on PYTHONPATH"
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(  # noqa: TRY004 - a wrong catalog entry, like the others
            f"the module {module_name} has no function {function!r}"
        )
    made: Callable[..., Any] = found
    return made
