"""A Python whose processes are forked from one that has imported everything.

    python benchmarks/forked_python.py serve SOCKET        # imports, then forks until it is killed
    python benchmarks/forked_python.py run SOCKET -m MODULE [WORDS]

`run` does what `python -m MODULE` does, in a fork of what `serve` is: a worker that takes it for
its Python (`written`) starts its runs in milliseconds instead of seconds. The fork has the folder,
the environment and the streams of the `run` that stands for it, and a session of its own. The
kernel kills it (SIGKILL) as soon as that `run` has ended, in whatever way.
"""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

IMPORTED = (
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.cli",
    "prefect.workers.process",
    "prefect.runner._workspace_supervisor",
    "flows.harvest_city",
    "tasks.harvesting.watch",
)
KILLED = 137
PYTHON = "FORKED_PYTHON"
"""Variable that says what the forks are to take for their Python."""


def written(folder: Path) -> tuple[Path, Path]:
    """Writes a program that a process takes for its Python; gives it, and its socket."""
    program, server = folder / "forked-python", folder / "forked-python.socket"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -I -S {Path(__file__).resolve()} run {server} "$@"\n'
    )
    program.chmod(0o755)
    return program, server


def run(path: str, words: list[str]) -> int:
    """Has a fork do it, and waits; gives its exit code."""
    asked = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        data = json.dumps(asked).encode()
        socket.send_fds(server, [len(data).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(data)
        answer = server.recv(1)
    return answer[0] if answer else KILLED


def serve(path: str) -> None:
    """Imports everything, then forks for whoever asks."""
    for name in IMPORTED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            asking, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _be(asking)
            asking.close()


def _be(asking: socket.socket) -> None:
    """Becomes the process that was asked for."""
    os.nice(5)
    os.setsid()
    head, streams, _, _ = socket.recv_fds(asking, 8, 3)
    size, data = int.from_bytes(head, "big"), b""
    while len(data) < size:
        part = asking.recv(size - len(data))
        if not part:  # who asked is gone
            os._exit(KILLED)
        data += part
    asked = json.loads(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The kernel kills this process when the other end closes.
    fcntl.fcntl(asking, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(asking, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(asking, fcntl.F_GETFL)
    fcntl.fcntl(asking, fcntl.F_SETFL, flags | os.O_ASYNC)
    with suppress(BlockingIOError):  # unless it has closed before that
        asking.recv(1, socket.MSG_DONTWAIT)
        os._exit(KILLED)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.executable = os.environ[PYTHON]
    code = _ran(asked["words"])
    fcntl.fcntl(asking, fcntl.F_SETFL, flags)
    with suppress(OSError):
        asking.send(bytes([code & 255]))
    os._exit(code)


def _ran(words: list[str]) -> int:
    """Runs a module as `python -m` does; its exit code."""
    import atexit  # noqa: PLC0415
    import threading  # noqa: PLC0415

    module = words[1]
    sys.argv = ["-m", *words[2:]]
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback  # noqa: PLC0415

        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[2], sys.argv[3:]))
