"""How inner loops are compiled: once, and anew when anything that they are made of has changed.

numba takes compiled code from the disk as long as the function's own file is what it was, whatever
became of the functions that it calls and of the constants that it took from other files. After an
update that changed one of those alone, the old code would go on under the new version's name.
"""

from __future__ import annotations

import hashlib
import pkgutil
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from numba import njit

_LETTERS: Final = 12
"""Of the digest, in the names of files."""


def compiled_loop(**options: Any) -> Callable[[Callable[..., Any]], Any]:  # noqa: ANN401 - numba's
    """Numba's `njit` without the interpreter's lock, kept on disk by what its files hold.

    The name under which a function is kept has a digest of its file and of those of its package
    that the file imports from, and so on. Where nothing can be written, nothing is kept.

    Args:
        options: Of `njit`, besides `cache` and `nogil`.
    """

    def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba has no types
        function.__qualname__ += f"_{sources_digest(function.__module__)}"
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba found no folder that it may write to
            return njit(nogil=True, **options)(function)

    return compiled


@cache
def sources_digest(module: str) -> str:
    """What changes with a module, and with those of its package on which it depends.

    Args:
        module: Its whole name. Dependencies are told by `from package.module import`.

    Returns:
        Twelve hexadecimal digits.
    """
    package, _, first = module.rpartition(".")
    texts, waiting = dict[str, bytes](), [first]
    siblings = re.compile(rf"^from {re.escape(package)}\.(\w+) import\b".encode(), re.MULTILINE)
    while waiting:
        name = waiting.pop()
        if name not in texts:
            texts[name] = _text(package, name)
            waiting += [found.decode() for found in siblings.findall(texts[name])]
    whole = hashlib.sha256()
    for name in sorted(texts):
        whole.update(hashlib.sha256(texts[name]).digest())
    return whole.hexdigest()[:_LETTERS]


def _text(package: str, name: str) -> bytes:
    """A module's source; empty where it came without, which numba tells by the program's file."""
    try:
        return pkgutil.get_data(package, f"{name}.py") or b""
    except OSError:
        return b""
