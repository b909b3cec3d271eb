"""A Prefect server for the length of one command, whose database stays for the dashboard.

Whoever runs a server of their own sets PREFECT_API_URL, and every command uses it; next comes the
one that `crosscity up` (or `make up`) started beside the catalog.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.background import Background, check_room
from flows.ending import end_without_waiting
from flows.json_log import FORMATTER as JSON_LINES

DASHBOARD_PORT = 4200
LOOPBACK = "127.0.0.1"
_PORT_TRIES = 3
_LOCK = "starting.lock"
START_SECONDS = 300.0
"""A first start migrates the database: 20 seconds on a busy laptop, over a hundred were seen."""
ANSWER_SECONDS = 60.0
"""How long a server that listens may take to say that it is well: on a full machine, tens."""

ACTIVATED_VARIABLE = "CROSSCITY_ACTIVATED"

QUIET = {
    # Nothing is reported to anyone, and a server that is missing is an error, not a second one.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_CLI_PROMPT": "false",
    # Waits of 2, 4, … 512 seconds: a server may be away for a quarter of an hour.
    "PREFECT_CLIENT_MAX_RETRIES": "9",
    # What a server answers whose database is away; by default it ends the run that asked.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # By default every three minutes; an automation marks runs without it as crashed.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
    # Old runs (90 days) and what belongs to them go; by default only events do.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
}

_CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
_INTERNALS_LEVEL = "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL"
"""Of what Prefect's own threads say: an event that was not taken is written out, by kilobytes."""
_SILENT = "CRITICAL"
LAST_SECONDS = 10.0
"""What is still to be told to the server at the end has so long; then the command ends without."""


class ServerError(RuntimeError):
    """The local Prefect server did not come up."""


class PortTakenError(ServerError):
    """Another process took the port between the look and the start."""


class ServerAwayError(ServerError):
    """A server that should be there does not answer."""


def prefect_home(root: Path) -> Path:
    """Where the local server keeps its database: PREFECT_HOME, or beside the catalog."""
    given = os.environ.get("PREFECT_HOME")
    return Path(given) if given else root / ".crosscity" / "prefect"


def services_folder(root: Path) -> Path:
    """Where the processes that `crosscity up` starts keep locks, records and logs."""
    return prefect_home(root) / "services"


def standing_server(root: Path) -> str | None:
    """The address of the server to use: PREFECT_API_URL's, or the one that `crosscity up` started.

    Args:
        root: The folder of the catalog.

    Returns:
        The address of the dashboard, ``None`` where there is no server.
    """
    given = named_server(root)
    if given:
        return given.removesuffix("/").removesuffix("/api")
    running = Background(services_folder(root), "server").running()
    return running.address if running else None


def answering_server(root: Path) -> str | None:
    """`standing_server`, and that it answers.

    Args:
        root: The folder of the catalog.

    Raises:
        ServerAwayError: There should be one, and it does not answer.
    """
    standing = standing_server(root)
    if standing is not None:
        _check_answers(standing)
    return standing


def named_server(root: Path) -> str | None:
    """The server that PREFECT_API_URL names, where that is another than this folder's own.

    A shell that has read `.crosscity/activate` keeps the address of the server that `crosscity up`
    had started, also once it is stopped, or runs at another port.
    """
    given = os.environ.get("PREFECT_API_URL")
    is_own = os.environ.get(ACTIVATED_VARIABLE) == activated_for(root, given or "")
    return None if not given or is_own else given


def activated_for(root: Path, api: str) -> str:
    """What a shell keeps in `ACTIVATED_VARIABLE`: whose server PREFECT_API_URL names in it.

    Args:
        root: The folder of the catalog.
        api: The value of PREFECT_API_URL.
    """
    return f"{api} of {root.resolve()}"


def quieten(*, verbose: bool, level: str | None = None, as_json: bool = False) -> None:
    """Sets what Prefect reads when it is first imported; what the user has set stays.

    Args:
        verbose: Whether Prefect's own log lines are shown.
        level: From which level on they are shown; also says that they are.
        as_json: Whether each is a JSON object, for whatever collects logs.
    """
    if as_json:
        os.environ["PREFECT_LOGGING_FORMATTERS_JSON_CLASS"] = JSON_LINES
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] = "json"
        verbose = True
    if level is not None:
        os.environ["PREFECT_LOGGING_LEVEL"] = level.upper()
        verbose = True
    if verbose:
        # A quiet command that started this one has left them, and an option says otherwise.
        for name in (_CONSOLE_LEVEL, _INTERNALS_LEVEL):
            if os.environ.get(name) == _SILENT:
                del os.environ[name]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    given = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if given:  # whoever starts a server with a password is to reach it
        os.environ.setdefault("PREFECT_API_AUTH_STRING", given)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "WARNING")
    if not verbose:
        # The dashboard keeps the log; on the terminal an error is one sentence.
        os.environ.setdefault(_CONSOLE_LEVEL, _SILENT)
        os.environ.setdefault(_INTERNALS_LEVEL, _SILENT)


@contextmanager
def running_server(root: Path) -> Iterator[str]:
    """Has a Prefect server running, and this process pointed at it.

    Args:
        root: The folder of the catalog.

    Yields:
        The address of the dashboard.

    Raises:
        ServerError: It did not come up; the message names its log.
        ServerAwayError: One that should be there does not answer.
    """
    # Imported here: Prefect reads its settings once, from the environment that `quieten` made.
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    standing = answering_server(root)
    if standing is not None:
        with temporary_settings({PREFECT_API_URL: f"{standing}/api"}):
            try:
                yield standing
            finally:
                _tell_the_rest()
        return
    process, address = _started_server(prefect_home(root))
    try:
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
            try:
                yield address
            finally:
                _tell_the_rest()  # while there is a server
    finally:
        _stop(process)


def _tell_the_rest() -> None:
    """Hands the last log lines and events to the server, as long as `LAST_SECONDS` let it.

    Prefect hands them over when the process ends, however long that takes: two minutes for each
    event where a server takes connections and never answers. What the run made is in the store.
    """
    from prefect.events.worker import EventsWorker  # noqa: PLC0415
    from prefect.logging.handlers import APILogWorker  # noqa: PLC0415

    for worker in (APILogWorker, EventsWorker):
        _, waiting = worker.drain_all(timeout=LAST_SECONDS)  # type: ignore[misc]
        if waiting:
            end_without_waiting()


def _started_server(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server of this command's own that answers, and its address.

    Two commands that start at once may find the same port free: the second takes another one,
    and never the server of the first, which ends with it.
    """
    preferred = DASHBOARD_PORT
    for _ in range(_PORT_TRIES):
        with one_start_at_a_time(home):
            port = free_port(preferred)
            process = _server_process(home, port)
            address = f"http://127.0.0.1:{port}"
            try:
                wait_until_healthy(process, address, _log(home))
            except PortTakenError:
                preferred = 0
            except BaseException:
                _stop(process)
                raise
            else:
                return process, address
    log = _log(home)
    raise ServerError(
        f"other processes took each port that was free for the local Prefect server: run the same "
        f"command again; its log is {log}"
    )


def _check_writable(home: Path) -> None:
    from adapters.unwritable import cannot_be_written  # noqa: PLC0415 - as where it is called
    from tasks.steps.errors import UnwritableError  # noqa: PLC0415

    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / _LOCK).open("ab").close()
    except OSError as error:
        raise UnwritableError(
            f"{cannot_be_written(home, error)}; the local Prefect server keeps its database in it, "
            "and PREFECT_HOME names another folder"
        ) from None


@contextmanager
def one_start_at_a_time(home: Path) -> Iterator[None]:
    """Keeps other servers of a home from starting meanwhile.

    A first start migrates the database, and of two that do so at once one fails.

    Args:
        home: The server's folder; it is made where it is not there.

    Raises:
        UnwritableError: Nothing can be written there.
    """
    from adapters.store.scratch import locked  # noqa: PLC0415 - needed where one starts alone

    _check_writable(home)
    with locked(home / _LOCK):
        yield


def _log(home: Path) -> Path:
    return home / "server.log"


def _server_process(home: Path, port: int) -> subprocess.Popen[bytes]:
    with _log(home).open("ab") as output:
        return subprocess.Popen(
            server_command(port),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={
                **server_environment(home, port),
                "PREFECT_LOGGING_LEVEL": "WARNING",
                _CONSOLE_LEVEL: "NOTSET",
            },
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )


def _check_answers(address: str) -> None:
    """Fails before a flow's start where a server is away, at once where nothing listens.

    One that listens but is slow, restarting or behind a gateway gets `ANSWER_SECONDS`.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while (reason := _no_answer(address)) is not None:
        if isinstance(reason, ConnectionRefusedError) or time.monotonic() > deadline:
            raise ServerAwayError(
                f"the Prefect server at {address} does not answer ({reason}): see that it runs and "
                "that PREFECT_API_URL is right, and run the same command again"
            )
        time.sleep(1)


def _no_answer(address: str) -> object | None:
    """Why a server gave no answer; ``None`` where it gave one."""
    try:
        urllib.request.urlopen(f"{address}/api/health", timeout=10).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        # below 500, it wants to know who asks: Prefect's client tells it
        return None if error.code < 500 else f"HTTP {error.code}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return getattr(error, "reason", error)
    return None


def server_command(port: int, host: str = LOOPBACK) -> list[str]:
    """The command line of a server; by default on the loopback interface."""
    return [
        *(sys.executable, "-m", "flows.prefect_server", "server", "start"),
        *("--host", host, "--port", str(port)),
    ]


def server_environment(
    home: Path, port: int, host: str = LOOPBACK, api: str | None = None
) -> dict[str, str]:
    """The environment of a server on a port.

    Without the last, pages served on any port but 4200 ask whatever listens on 4200.

    Args:
        home: Where it keeps its database.
        port: Where it listens.
        host: The name or address by which browsers reach it.
        api: The address that its pages ask, where that is another, as behind a proxy.
    """
    return {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_API_URL": api or f"http://{host}:{port}/api",
    }


def run_dashboard(root: Path, environment: Mapping[str, str] = QUIET) -> int:
    """Runs the server in the foreground until it is interrupted; gives its exit code."""
    home = prefect_home(root)
    _check_writable(home)
    port = free_port(DASHBOARD_PORT)
    process = subprocess.Popen(
        server_command(port),
        env={**server_environment(home, port), **environment},
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        return 0


def free_port(preferred: int) -> int:
    """The preferred port of the loopback interface, or another where that one is taken."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerError("no port is free on 127.0.0.1")


def wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Waits until a server that was started answers.

    Raises:
        PortTakenError: It ended because another process listens at the address.
        ServerError: It did not start.
    """
    deadline = time.monotonic() + START_SECONDS
    others = False
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/api/health", timeout=2) as answer:  # noqa: S310
                others = not _listens(process.pid, address)
                if answer.status == 200 and not others:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    if others or (process.poll() is not None and _is_taken(address)):
        _stop(process)
        raise PortTakenError(f"another process listens at {address}: choose another port")
    check_room("the local Prefect server", log)
    raise ServerError(f"the local Prefect server did not start; its log is {log}")


def _is_taken(address: str) -> bool:
    """Whether something listens at an address."""
    port = int(address.rpartition(":")[2])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def _listens(pid: int, address: str) -> bool:
    """Whether a process, or one that it started, is what listens at an address."""
    import psutil  # noqa: PLC0415 - only needed here

    port = int(address.rpartition(":")[2])
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for one in family
            for connection in one.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


def _die_with_parent() -> None:
    """A killed command must not leave its server behind (Linux: PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)
