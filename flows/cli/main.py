"""The door of `crosscity`: from here on, an interrupt ends it without a traceback.

What the command line is made of takes a third of a second to import, and stands in
`flows.cli.application`. Here nothing is imported that Python has not loaded already, or loads in a
moment: until this runs, an interrupt is Python's own, which shows where it was.
"""

from __future__ import annotations

import os
import signal
import threading

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: Instead of the process's own, which then goes on.
    """
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
