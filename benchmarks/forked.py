"""Commands that start from a process that has imported everything: a third of their time is that.

Each is a process of its own, in a session of its own, which can be killed as a group, as a command
from a shell is. What a campaign does not disturb in them is the seconds of their imports.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_IMPORTED: Final = [
    *("__main__", "flows.cli.application", "s3fs"),
    *("flows.readapt_city", "flows.watch_city", "flows.predict_city", "flows.report_city"),
]
NICE: Final = 5
"""Commands come after all else on the machine; the servers that they wait for do not."""
_lock = threading.Lock()


class Forked:
    """A command that was forked, with what the campaigns ask of a `subprocess.Popen`."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        """Its exit code; ``None`` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It has not within so many seconds.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a forked command", timeout)
        return code


def import_all(environment: Mapping[str, str]) -> None:
    """Starts the process that commands are forked from.

    Args:
        environment: What it and they see beside this process's own variables: Prefect reads its
            settings when it is imported.
    """
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def start(words: list[str], log: Path, environment: Mapping[str, str]) -> Forked:
    """Starts the command line; its output goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(target=_command, args=(words, str(log), dict(environment)))
    with _lock:
        process.start()
    return Forked(process)


def be_nice(nice: int) -> None:
    """Has this process's session come after others: Linux shares the processor among sessions."""
    os.nice(nice)
    with suppress(OSError):  # a kernel without `autogroup`
        Path("/proc/self/autogroup").write_text(str(nice))


def _command(words: list[str], log: str, environment: dict[str, str]) -> None:
    from flows.cli.main import main  # noqa: PLC0415 - this process has it; the campaign need not

    os.setsid()
    be_nice(NICE)
    os.environ.update(environment)
    with Path(log).open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    main(words)
