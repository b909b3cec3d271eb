"""Saying when inner loops are compiled: once after an install or an update, then never again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

NOTICE: Final = (
    "compiling, once: this takes up to a minute, later runs do not (`crosscity warm-up` does it "
    "beforehand)"
)


@contextmanager
def notice_of_compiling(notify: Callable[[str], Any]) -> Iterator[list[str]]:
    """Calls `notify` once if anything is compiled inside, rather than taken from the disk.

    Args:
        notify: Gets one sentence, before the first compilation, in the thread that compiles.

    Yields:
        The names of the functions that were compiled; filled as they are.
    """
    # Numba is large; what never compiles need not load it.
    from numba.core import event  # noqa: PLC0415

    compiled: list[str] = []
    lock = threading.Lock()

    class Listener(event.Listener):
        def on_start(self, happened: Any) -> None:  # noqa: ANN401 - numba has no types
            name = str(getattr(happened.data.get("dispatcher"), "__name__", "a function"))
            with lock:
                first = not compiled
                compiled.append(name)
            if first:
                notify(NOTICE)

        def on_end(self, happened: Any) -> None:  # noqa: ANN401 - numba has no types
            pass

    listener = Listener()
    event.register("numba:compile", listener)  # type: ignore[no-untyped-call]
    try:
        yield compiled
    finally:
        event.unregister("numba:compile", listener)  # type: ignore[no-untyped-call]
