"""Processes that go on after the command that started them, one of each name in a folder.

A process holds a lock on a file for as long as it lives; the kernel frees it when the process ends,
however it ends. So nobody has to guess whether a number in a file is still the process it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_RECORD_SECONDS = 5.0
"""How long the record of a process that is just being started may take to appear."""
_LOOK_SECONDS = 0.2
"""Between two looks at what a process has started that is being stopped."""


def check_room(what: str, log: Path) -> None:
    """To be asked where a process did not start: a full disk is what its log cannot even tell.

    Raises:
        UnwritableError: The disk is full that it writes to.
    """
    from adapters.unwritable import full_disk, is_full  # noqa: PLC0415 - `--help` needs none of it
    from tasks.steps.errors import UnwritableError  # noqa: PLC0415

    if is_full(log.parent):
        raise UnwritableError(f"{what} did not start: {full_disk(log.parent)}")


class AlreadyRunningError(RuntimeError):
    """A process of this name runs already."""


@dataclass(frozen=True)
class Running:
    """A process that runs in the background.

    Attributes:
        pid: Its number; it leads a session of its own.
        address: Where it is reached, "" where it listens to nobody.
    """

    pid: int
    address: str = ""


class Background:
    """A process of a name, with its lock, record and log in a folder.

    Args:
        folder: Where they lie; made when something is started.
        name: What it is: `server`, `worker`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._lock = folder / f"{name}.lock"
        self._record = folder / f"{name}.json"

    def running(self) -> Running | None:
        """The process, ``None`` where none runs."""
        deadline = time.monotonic() + _RECORD_SECONDS
        while self._is_locked():
            try:
                return Running(**json.loads(self._record.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.05)
        return None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], *, address: str = ""
    ) -> subprocess.Popen[bytes]:
        """Starts the process; its output is added to the log.

        Raises:
            AlreadyRunningError: One of this name runs.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("ab") as lock, self.log.open("ab") as output:
            self._take_lock(lock.fileno())
            self._record.unlink(missing_ok=True)
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                preexec_fn=_hear_signals,  # noqa: PLW1509 - no thread runs here yet
            )
            temporary = self._record.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps({"pid": process.pid, "address": address}), "utf-8")
            temporary.replace(self._record)
            return process

    def stop(self, *, patience: float) -> bool:
        """Ends the process and all that it started.

        Args:
            patience: Seconds that it has to end by itself.

        Returns:
            Whether one was running.
        """
        import psutil  # noqa: PLC0415 - only needed here

        found = self.running()
        if found is None:
            return False
        try:
            process = psutil.Process(found.pid)
            family = _with_children([process])
            process.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            return False
        deadline = time.monotonic() + patience
        while family and time.monotonic() < deadline:
            # Each may start another one before it ends.
            _, family = psutil.wait_procs(_with_children(family), timeout=_LOOK_SECONDS)
        alive = _with_children(family)
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(alive, timeout=patience)
        return True

    def _take_lock(self, lock: int) -> None:
        """Takes the lock; whoever looks whether it is taken holds it for a moment too."""
        for patience in (0.05, 0.1, 0.2, 0.4, None):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if patience is None:
                    raise AlreadyRunningError(f"a {self.name} runs already") from None
                time.sleep(patience)
            else:
                return

    def _is_locked(self) -> bool:
        try:
            with self._lock.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False


def _with_children(family: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Processes, and all that they have started."""
    import psutil  # noqa: PLC0415 - as in `stop`

    found = dict.fromkeys(family)
    for one in tuple(found):
        with suppress(psutil.NoSuchProcess):
            found |= dict.fromkeys(one.children(recursive=True))
    return list(found)


def _hear_signals() -> None:
    """What a script starts in the background ignores Ctrl-C, and would hand that down."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_DFL)
