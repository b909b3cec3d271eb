"""`crosscity up`, `down`, `server`, `worker`: server, database and worker of one machine."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from flows.background import AlreadyRunningError, Background, check_room
from flows.cli.deploy import client_of, deploy_catalog
from flows.cli.options import CATALOG, CATALOG_VARIABLE, CatalogOption
from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.server import (
    ACTIVATED_VARIABLE,
    DASHBOARD_PORT,
    LOOPBACK,
    QUIET,
    ServerError,
    activated_for,
    named_server,
    one_start_at_a_time,
    prefect_home,
    server_command,
    server_environment,
    services_folder,
    standing_server,
    wait_until_healthy,
)
from flows.database import DatabaseError, PostgreSQL, chosen
from tasks.steps.defaults import digits_of, folder_of
from tasks.steps.errors import InputError

STOP_SECONDS = 20.0
"""A run saves its checkpoint within ten seconds; whatever takes longer is killed."""
WORKER_SECONDS = 300.0
"""It imports all of Prefect: seconds, and on a full machine over a hundred."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # nosec B104 - only with a password
_OF_THIS_MACHINE = (LOOPBACK, "localhost")
_DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

PortOption = Annotated[
    int,
    typer.Option(
        "--port",
        envvar="CROSSCITY_PORT",
        help="Port of the server; 0 takes any free one.",
        min=0,
        max=65535,
    ),
]


DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="CROSSCITY_DATABASE",
        help="sqlite, postgresql, or auto: what is there, else PostgreSQL where it is installed "
        "and we are not root.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    for verb in (up, down, server, worker):
        app.command(verb.__name__)(verb)


def up(
    catalog: CatalogOption = CATALOG,
    port: PortOption = DASHBOARD_PORT,
    database: DatabaseOption = "auto",
    _as_json: JsonOption = False,
) -> None:
    """Start server, database and worker in the background, and register the catalog's cities.

    What runs already is left running, so it may be called at any time.
    """
    from flows.deployments import work_pools  # noqa: PLC0415 - see `flows.cli.application`
    from tasks.steps.settings import open_catalog  # noqa: PLC0415

    if database not in ("auto", "sqlite", "postgresql"):
        raise typer.BadParameter(f"{database!r} is none of auto, sqlite, postgresql")
    loaded = open_catalog(catalog)
    root = catalog.absolute().parent
    is_own = named_server(root) is None
    if not is_own:
        note("note: PREFECT_API_URL is set: its server is used; unset it, and one is started here")
        address = standing_server(root) or ""
    else:
        address = _server_up(root, port, database)
    facts = deploy_catalog(catalog, f"{address}/api")
    for pool in work_pools(loaded):
        _worker_up(root, catalog, address, pool)
    activate = _write_activation(root, address, is_own=is_own)
    add(f"dashboard: {address}")
    add(f"for this shell: . {_shortest_path(activate)}")
    ended(
        "server, worker and deployments",
        address,
        said="",
        next_step="`prefect deployment run harvest-city/CITY` in this shell; `crosscity down` "
        "stops them",
        activate=str(activate),
        deployments=facts,
    )


def down(catalog: CatalogOption = CATALOG, _as_json: JsonOption = False) -> None:
    """Stop what `crosscity up` started; runs under way save a checkpoint and end."""
    root = catalog.absolute().parent
    others = sorted(path.stem for path in services_folder(root).glob("worker-*.lock"))
    stopped = {}
    for name in ("worker", *others, "server"):
        stopped[name] = Background(services_folder(root), name).stop(patience=STOP_SECONDS)
        add(f"{name} stopped" if stopped[name] else f"no {name} was running")
    stopped["database"] = PostgreSQL(prefect_home(root), services_folder(root)).stop()
    if stopped["database"]:
        add("database stopped")
    (root / ".crosscity" / "activate").unlink(missing_ok=True)
    ended(
        "runs and their history",
        prefect_home(root),
        said="",
        next_step="`crosscity up` starts them again; what was begun goes on then",
        stopped=stopped,
    )


def server(
    catalog: CatalogOption = CATALOG,
    port: PortOption = DASHBOARD_PORT,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen at, 0.0.0.0 for all; other machines reach it then, so it "
            "needs PREFECT_SERVER_API_AUTH_STRING.",
        ),
    ] = LOOPBACK,
) -> None:
    """Run a server in the foreground, until Ctrl-C; its runs are kept in SQLite.

    PREFECT_SERVER_DATABASE_CONNECTION_URL names another database, PREFECT_UI_API_URL the address
    that the dashboard's pages ask, as behind a proxy.
    """
    root = catalog.absolute().parent
    _check_password(host)
    home = prefect_home(root)
    home.mkdir(parents=True, exist_ok=True)
    port = _chosen_port(port, host)
    seen = socket.gethostname() if host == _EVERYWHERE else host
    typer.echo(f"export PREFECT_API_URL=http://{seen}:{port}/api")
    sys.stdout.flush()
    command = server_command(port, host)
    environment = server_environment(home, port, seen, os.environ.get("PREFECT_UI_API_URL"))
    os.execve(command[0], command, {**QUIET, **environment})  # noqa: S606


def _check_password(host: str) -> None:
    """Fails where a server could be reached by others without a password."""
    if host in _OF_THIS_MACHINE or os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        return
    raise InputError(
        f"a server at {host} can be reached by others, and who reaches it can run flows: export "
        "PREFECT_SERVER_API_AUTH_STRING=user:password, or listen at 127.0.0.1 alone"
    )


def worker(
    catalog: CatalogOption = CATALOG,
    pool: Annotated[
        str | None,
        typer.Option("--pool", help="The work pool to serve; default: the one named crosscity."),
    ] = None,
) -> None:
    """Run a worker in the foreground, until Ctrl-C; the work pool stays as it is."""
    from flows.deployments import WORK_POOL  # noqa: PLC0415 - see `flows.cli.application`

    root = catalog.absolute().parent
    command = _worker_command(f"{_worker_name(catalog)}-{os.getpid()}", pool or WORK_POOL)
    environment = _worker_environment(root, catalog, server_address(root))
    os.execve(command[0], command, environment)  # noqa: S606


def server_address(root: Path) -> str:
    """The address of the server that is there; `ServerError` where there is none."""
    address = standing_server(root)
    if address is None:
        raise ServerError(
            "there is no server: start one with `make up` (crosscity up), or name one in "
            "PREFECT_API_URL"
        )
    return address


def _server_up(root: Path, port: int, database: str) -> str:
    service = Background(services_folder(root), "server")
    running = service.running()
    if running is not None:
        add(f"server: runs at {running.address}")
        return running.address
    home = prefect_home(root)
    home.mkdir(parents=True, exist_ok=True)
    port = _chosen_port(port)
    address = f"http://127.0.0.1:{port}"
    environment = {**QUIET, **server_environment(home, port), **_database_up(root, database)}
    with one_start_at_a_time(home):
        try:
            process = service.start(server_command(port), environment, address=address)
        except AlreadyRunningError:  # somebody else was quicker
            return server_address(root)
        try:
            wait_until_healthy(process, address, service.log)
        except ServerError:
            service.stop(patience=STOP_SECONDS)
            raise
    add(f"server: started at {address}, log {_shortest_path(service.log)}")
    return address


def _database_up(root: Path, wanted: str) -> dict[str, str]:
    """Starts the server's database where it is one that runs; what tells the server of it."""
    home = prefect_home(root)
    if os.environ.get(_DATABASE_URL) or chosen(home, wanted) == "sqlite":
        return {}
    database = PostgreSQL(home, services_folder(root))
    try:
        if database.start():
            add(f"database: PostgreSQL, in {_shortest_path(home)}")
    except DatabaseError as error:
        raise ServerError(str(error)) from None
    return {_DATABASE_URL: database.url}


def _worker_up(root: Path, catalog: Path, address: str, pool: str) -> None:
    from flows.deployments import WORK_POOL  # noqa: PLC0415 - see `flows.cli.application`

    called = "worker" if pool == WORK_POOL else f"worker-{pool}"
    service = Background(services_folder(root), called)
    if service.running() is not None:
        add(f"{called}: runs")
        return
    name = _worker_name(catalog)
    environment = _worker_environment(root, catalog, address)
    try:
        process = service.start(_worker_command(name, pool), environment)
    except AlreadyRunningError:
        return
    deadline = time.monotonic() + WORKER_SECONDS
    while not _is_online(f"{address}/api", name, pool):
        if process.poll() is not None or time.monotonic() > deadline:
            service.stop(patience=STOP_SECONDS)
            check_room("the worker", service.log)
            raise ServerError(f"the worker did not start; its log is {service.log}")
        time.sleep(0.5)
    add(f"{called}: started, log {_shortest_path(service.log)}")


def _worker_name(catalog: Path) -> str:
    """The same after each start, and no other folder's, as the server goes by it."""
    folder = folder_of(catalog)
    return f"{socket.gethostname()}-{folder.name}-{digits_of(folder)}"


def _worker_command(name: str, pool: str) -> list[str]:
    return [
        *(sys.executable, "-m", "prefect", "worker", "start"),
        *("--pool", pool, "--type", "process", "--name", name),
    ]


def _worker_environment(root: Path, catalog: Path, address: str) -> dict[str, str]:
    return {
        **QUIET,
        **os.environ,
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_HOME": str(prefect_home(root)),
        CATALOG_VARIABLE: str(catalog.absolute()),
    }


def _is_online(api: str, name: str, pool: str) -> bool:
    with client_of(api) as client:
        answer = client.request(
            "POST",
            "/work_pools/{work_pool_name}/workers/filter",
            path_params={"work_pool_name": pool},
            json={"limit": 200},
        )
    return any(one["name"] == name and one["status"] == "ONLINE" for one in answer.json())


def _chosen_port(port: int, host: str = LOOPBACK) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServerError(
                    f"no server can listen at {host}, port {port} ({error.strerror or error}): "
                    "choose another with --host or --port"
                ) from None
            raise ServerError(
                f"port {port} is taken by another program: choose one with PORT=… (--port), "
                "PORT=0 takes any free one"
            ) from None
        return int(probe.getsockname()[1])


def _write_activation(root: Path, address: str, *, is_own: bool) -> Path:
    """What a shell reads to have the commands on its path, and to know the server.

    Args:
        root: The folder of the catalog.
        address: The server's.
        is_own: Whether it is the one that is started and stopped here.

    Returns:
        The file.
    """
    path = root / ".crosscity" / "activate"
    path.parent.mkdir(parents=True, exist_ok=True)
    programs = Path(sys.executable).parent
    api = f"{address}/api"
    activated = activated_for(root, api) if is_own else ""
    path.write_text(
        "# Written by `crosscity up`; read it with `. .crosscity/activate`.\n"
        f'export PATH={shlex.quote(str(programs))}:"$PATH"\n'
        f"export PREFECT_API_URL={shlex.quote(api)}\n"
        f"export {ACTIVATED_VARIABLE}={shlex.quote(activated)}\n",
        encoding="utf-8",
    )
    return path


def _shortest_path(path: Path) -> str:
    """A path as it is shortest to type from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
