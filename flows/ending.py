"""A signal ends a run within seconds, in whatever it is: a request, a compiled loop, a wait."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

SECONDS: Final = 7.0
"""What a run has to save a checkpoint and to tell the server; cluster managers give ten or more, of
which a full machine takes two before this thread has its turn."""
INTERRUPTED: Final = 130
GOES_ON: Final = "interrupted; run the same command again to go on where it stopped"

_lock = threading.Lock()
_state: dict[str, int] = {}


def end_promptly(
    flow: object = None,  # noqa: ARG001 - Prefect gives its hooks these three
    flow_run: object = None,  # noqa: ARG001
    state: object = None,  # noqa: ARG001
) -> None:
    """From now on, SIGTERM and Ctrl-C end this process within seconds (a state hook of flows).

    Whoever handles the signal, does so as before. But a thread that waits for an answer, or
    computes in compiled code, would keep the process for minutes. Nothing is lost with it:
    artifacts and checkpoints are written whole or not at all.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    with _lock:
        if "watched" in _state:
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # The interpreter writes the number of each signal there at once, in whatever it is.
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:  # an event loop runs here, and needs it itself
            signal.set_wakeup_fd(before)
            os.close(reader)
            os.close(writer)
            return
        _state["watched"] = writer
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="ending").start()


def end_without_waiting() -> None:
    """From now on, this process ends at its end: threads that still wait for a server are left."""
    with _lock:
        _state["waits no more"] = 1


def waits_no_more() -> bool:
    """Whether `end_without_waiting` was called."""
    with _lock:
        return "waits no more" in _state


def ends_with(code: int) -> None:
    """What came of this process's work is settled: a signal from now on does not change its code.

    It still has to tell a server the last of it, and to take itself down, which takes seconds.
    """
    with _lock:
        _state["code"] = code
    for number in (signal.SIGTERM, signal.SIGINT):
        # A function, so that `_watch` hears of it and ends a process that hangs.
        signal.signal(number, lambda *_: None)


def end_at_once() -> None:
    """The very end of a process whose code is settled (`ends_with`): for `atexit`, as the first.

    After PyTorch and Prefect, Python takes itself down for seconds, on a full machine for seven, in
    which no thread of it can end the process. Nothing waits for that. Where it is not settled, or
    what was said cannot be handed on, Python ends it as it does.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # Python has no more functions that handle them
        signal.signal(number, signal.SIG_IGN)
    with _lock:
        code = _state.get("code")
    if code is None:
        return
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Inside, SIGTERM is `KeyboardInterrupt`, as Ctrl-C is.

    Prefect makes a crashed run of it, and then sends it once more to whoever handled it before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is interrupt:
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _watch(reader: int) -> None:
    while True:
        numbers = os.read(reader, 64)
        if not numbers:
            return
        if any(number in (signal.SIGTERM, signal.SIGINT) for number in numbers):
            time.sleep(SECONDS)
            with _lock:
                code = _state.get("code", INTERRUPTED)
            if code == INTERRUPTED:
                # Where nobody reads what this process says, it ends all the same.
                saying = threading.Thread(target=_say_that_it_goes_on, daemon=True)
                saying.start()
                saying.join(0.5)
            os._exit(code)


def _say_that_it_goes_on() -> None:
    with suppress(OSError):
        os.write(2, f"\n{GOES_ON}\n".encode())
