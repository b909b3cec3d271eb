"""The door of `crosscity`: from here on, an interrupt ends it without a traceback.

What the command line is made of takes a third of a second to import, and stands in
`flows.cli.application`. Here nothing is imported that Python has not loaded already, or loads in a
moment: until this runs, an interrupt is Python's own, which shows where it was.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from typing import Final

_INTERRUPTED = 130
LOADING_SECONDS: Final = 10.0
"""In which a command's own process looks for no garbage."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: Instead of the process's own, which then goes on.
    """
    if arguments is None:
        collect_later()
    in_main = threading.current_thread() is threading.main_thread()
    before = _end_at_signals() if in_main else {}
    try:
        try:
            from flows.cli.application import run  # noqa: PLC0415 - see above
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        run(arguments)
    except KeyboardInterrupt:  # between the two that hear signals
        raise SystemExit(_INTERRUPTED) from None


def collect_later(seconds: float = LOADING_SECONDS) -> None:
    """Cycles of references are looked for from so many seconds on, and in forked processes at once.

    What a command loads is a million objects that stay. Going through them again and again, while
    they become more, takes a fifth of its start, and finds nothing.
    """
    gc.disable()
    os.register_at_fork(after_in_child=gc.enable)
    timer = threading.Timer(seconds, gc.enable)
    timer.daemon = True
    timer.start()


def _end_at_signals() -> dict[int, signal._HANDLER]:
    """From now on, Ctrl-C and SIGTERM end the process at once: nothing has begun yet.

    Returns:
        What heard them before; a signal that is ignored stays so.
    """
    before: dict[int, signal._HANDLER] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler is not None and handler is not signal.SIG_IGN:
            before[int(number)] = handler
            signal.signal(number, lambda *_: os._exit(_INTERRUPTED))
    return before


if __name__ == "__main__":
    main()
