"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import yaml

from tests.page_text import without_pictures

gc.disable()  # until `pytest_collection_finish`: what is imported for the tests stays
SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
FINISHED_RUN = (
    "flows/test_compare.py",
    "flows/test_dashboard.py",
    "flows/test_demo.py",
    "flows/test_kills.py",
    "flows/test_nothing_left_to_do.py",
    "flows/test_predict_and_export.py",
    "flows/test_predict_city.py",
    "flows/test_segmenter_export.py",
    "flows/test_suggest.py",
    "flows/test_what_names_what.py",
    "tasks/test_report.py",
    "tasks/test_stale_settings.py",
    "tasks/test_worst_images.py",
)
"""What looks at `finished_run`, below this folder: one worker makes it once for all of these."""
QUICK_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WITH_SERVER = pytest.StashKey[set[Path]]()
"""The files that a worker begins with."""
_RUNNING = pytest.StashKey[contextlib.ExitStack]()
"""The session's server, while it runs."""
WORKERS_WITH_SERVERS = 2
RARELY = {
    # What no test waits for; each is looked at every 5 seconds.
    f"PREFECT_SERVER_SERVICES_{name}_LOOP_SECONDS": "60"
    for name in ("PAUSE_EXPIRATIONS", "CLEANUP_RECONCILER", "LATE_RUNS")
}
PATIENCE = 900.0
"""Seconds that a test waits for something that takes a few on a machine with nothing else to do.

Processes that a test starts have no limit of their own: pytest's for the test ends them.
"""


def pytest_configure() -> None:
    """Keeps every Prefect in the suite, here and in subprocesses, away from the user's own."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "CROSSCITY_CATALOG", "CROSSCITY_COMPUTE"):
        os.environ.pop(name, None)
    # Hundreds of processes would compile every module that they import, for seconds each.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ.update(
        PREFECT_HOME=tempfile.mkdtemp(prefix="crosscity-tests-"),
        XDG_CACHE_HOME=tempfile.mkdtemp(prefix="crosscity-tests-cache-"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false",
        PREFECT_CLI_PROMPT="false",
        PREFECT_LOGGING_LEVEL="WARNING",
        DO_NOT_TRACK="1",
        # Read when Triton is imported, by whatever test comes first.
        **({} if Path("/dev/nvidiactl").exists() else {"TRITON_INTERPRET": "1"}),
        # Networks of a few pixels gain nothing from threads, and two workers share the cores.
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        OMP_WAIT_POLICY="passive",
        NO_COLOR="1",
        COLUMNS="200",
    )
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has what it starts in the background ignore Ctrl-C, and all that starts in turn.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says what else the machine does.
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")


def pytest_unconfigure() -> None:
    """Removes the suite's Prefect and cache."""
    for name in ("PREFECT_HOME", "XDG_CACHE_HOME"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several workers, one waits for servers while the other computes: these come first."""
    using = {
        str(item.path) for item in items if "finished_run" in getattr(item, "fixturenames", ())
    }
    missing = sorted(name for name in using if not name.endswith(FINISHED_RUN))
    if missing:
        raise pytest.UsageError(
            f"FINISHED_RUN lacks {missing[0]}: another worker makes the run again"
        )
    if hasattr(config, "workerinput"):
        first = {
            item.path
            for item in items
            if item.nodeid.startswith("tests/flows/")
            or "prefect_server" in getattr(item, "fixturenames", ())
        }
        items.sort(key=lambda item: item.path not in first)
        config.stash[_WITH_SERVER] = first


def pytest_collection_finish() -> None:
    """From now on garbage is looked for, among all but what has been imported by then.

    That takes a third of the time in which the tests are collected, and some of every test's. What
    tests import later stays as well: a look at everything takes over a second of each worker, and
    Python would look thirty times.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ends a worker's server before the first file without a use for it: none of those after has.

    A server that does nothing takes a twentieth of a core, and there is one for each worker.
    """
    running = item.config.stash.get(_RUNNING, None)
    with_server = item.config.stash.get(_WITH_SERVER, None)
    if running is not None and with_server is not None and item.path not in with_server:
        running.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a worker whole files, in our order, and those of `FINISHED_RUN` to one worker.

    What needs a server comes first, and is for the first two workers, as long as there is anything
    else for the others: these begin at the end. A server costs a tenth of a core, whether or not
    it is asked, and it and what talks to it start for twenty seconds.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _assign_work_unit(self, node: Any) -> None:
            if self.nodes.index(node) >= WORKERS_WITH_SERVERS:
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "finished run" if file.endswith(FINISHED_RUN) else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets what Prefect reads: for that test alone."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(before)


def _loaded(path: Path) -> ModuleType:
    name = f"{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its data classes look for it
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def still_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sign of life is written while what a test does is counted: they come with time."""
    from adapters.store import turns
    from adapters.store.living import Heart

    monkeypatch.setattr(turns, "HEART", Heart(3600.0))


@pytest.fixture
def logged_here(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """What the test's own thread has logged: threads that others left log when their time comes."""
    return lambda: [one for one in caplog.records if one.thread == threading.get_ident()]


@pytest.fixture(scope="session")
def load_module() -> Callable[[str], ModuleType]:
    """Loads a file of no package by its path below the root, once: a benchmark, a test's helper."""
    return lambda path: _loaded(Path(__file__).parents[1] / path)


@pytest.fixture(scope="session")
def services(load_module: Callable[[str], ModuleType]) -> Any:
    """`imagery_services`: servers that speak the formats of the street-view services."""
    return load_module("tests/imagery_services.py")


@pytest.fixture(scope="session")
def gates(load_module: Callable[[str], ModuleType]) -> Any:
    """`tcp_gate`: a door in front of a server."""
    return load_module("tests/tcp_gate.py")


@pytest.fixture(scope="session")
def street_world(services: Any) -> Any:
    """A street of four simulated places that two cars drove; rendered when first asked for."""
    return services.simulated_world(4, height=256)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real images (../shared/data beside the repository) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def own_data() -> Path:
    """`tests/data`: small pictures of the project's own, in the layouts of the real ones."""
    return Path(__file__).parent / "data"


@pytest.fixture(params=["own_data", "shared_data"])
def time_pairs(request: pytest.FixtureRequest) -> Path:
    """Pairs in the cross-city layout: the project's own, then the real ones where they are."""
    root: Path = request.getfixturevalue(request.param)
    return root / "time_pairs"


@dataclass
class Launcher:
    """Starts processes, each in a process group of its own, and lets none of them survive."""

    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """Starts a command."""
        process = subprocess.Popen(
            [str(word) for word in command],
            text=True,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str], *signs: signal.Signals) -> None:
        """Ends a process group, by default politely first."""
        for sign in signs or (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                break
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue
        process.wait()

    def end_all(self) -> None:
        """Ends whatever was started."""
        for process in self.started:
            self.end(process)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """Processes of one test."""
    made = Launcher()
    yield made
    made.end_all()


@pytest.fixture(scope="module")
def module_launcher() -> Iterator[Launcher]:
    """Processes of one test module."""
    made = Launcher()
    yield made
    made.end_all()


@dataclass(frozen=True)
class PrefectServer:
    """A real Prefect server on the loopback interface."""

    address: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that is to talk to this server."""
        return {
            **os.environ,
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_HOME": str(self.home),
        }

    def get(self, path: str) -> Any:
        """GET below /api, as JSON."""
        return json.loads(self.request("GET", path))

    def post(self, path: str, body: object) -> Any:
        """POST below /api, as JSON."""
        return json.loads(self.request("POST", path, body))

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """A request below /api, with a body as JSON if there is one.

        Raises:
            urllib.error.HTTPError: The server refuses it.
        """
        return self.answer(method, path, None if body is None else json.dumps(body).encode())[1]

    def answer(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        """Status and text of the answer; a server that is busy is asked again.

        Raises:
            urllib.error.HTTPError: The server refuses it.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}/api{path}",
            data=data,
            headers={"Content-Type": "application/json"},
            method=method,
        )
        attempts = 20
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                    return answer.status, answer.read()
            except urllib.error.HTTPError as refused:
                attempts -= 1
                # A server that has just begun locks its database, and says to come back.
                if refused.code != 503 or not attempts:
                    raise
                time.sleep(1)

    def every(self, route: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Everything that a filter finds, however many other tests' things the server holds."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.post(route, {**body, "limit": 200, "offset": len(found)})
            found += page
            if len(page) < 200:
                return found

    def flow_runs(self, catalog: Path) -> list[dict[str, Any]]:
        """Runs of the flows on a catalog, the last one that started first."""
        runs = self.every("/flow_runs/filter", {"sort": "START_TIME_DESC"})
        return [run for run in runs if run["parameters"].get("catalog") == str(catalog)]

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """All task runs of a flow run."""
        return self.every("/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})

    def tasks_have_ended(self, flow_run_id: str, least: int = 0) -> bool:
        """Whether the server knows of so many task runs, and of each that it ended.

        It writes them down by events, which arrive after the flow run has ended.
        """
        found = self.task_runs(flow_run_id)
        return len(found) >= least and all(
            task["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") for task in found
        )

    def artifacts(self, flow_run_id: str) -> list[dict[str, Any]]:
        """All Prefect artifacts of a flow run."""
        return self.every(
            "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        )


def _started_on_sqlite(home: Path, empty: Path) -> Iterator[PrefectServer]:
    """Starts a server, with the tables of one that has run nothing.

    Prefect makes its tables in a hundred steps, which take longer than all else at a start.
    """
    shutil.copyfile(empty, home / "prefect.db")
    yield from _started_server(home)


def _started_server(home: Path, **more: str) -> Iterator[PrefectServer]:
    """Starts a server with a home, and more in its environment."""
    from flows.cli.server import server_command, server_environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = Launcher()
    server = PrefectServer(f"http://127.0.0.1:{port}", home)
    log = home / "server.log"
    with log.open("w") as output:
        process = processes.start(
            server_command(port),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**server_environment(home, port), **RARELY, **more},
        )
    try:
        wait_until(lambda: process.poll() is not None or _healthy(server), "the server is up")
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        processes.end_all()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a server that has run nothing; made once, by whichever worker comes first."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    made = shared / "empty" / "prefect.db"
    with (shared / "empty.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.parent.mkdir()
            unfinished = made.with_name("unfinished.db")
            url = f"sqlite+aiosqlite:///{unfinished}"
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
                env={**os.environ, "PREFECT_API_DATABASE_CONNECTION_URL": url},
                check=True,
                capture_output=True,
            )
            with contextlib.closing(sqlite3.connect(unfinished)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            unfinished.rename(made)
    return made


@pytest.fixture(scope="session")
def prefect_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, pytestconfig: pytest.Config
) -> Iterator[PrefectServer]:
    """One server for the whole session."""
    started = contextlib.contextmanager(_started_on_sqlite)
    with contextlib.ExitStack() as running:
        server = running.enter_context(started(tmp_path_factory.mktemp("prefect"), empty_database))
        pytestconfig.stash[_RUNNING] = running
        yield server


@pytest.fixture(scope="module")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[PrefectServer]:
    """A server that no other module sees."""
    yield from _started_on_sqlite(tmp_path_factory.mktemp("prefect"), empty_database)


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[PrefectServer]:
    """A server on a PostgreSQL of its own, that no other module sees."""
    from flows import database

    if database._programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    if database._is_root() and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv")
    # Its user has to pass the folder, as pytest's own cannot be passed.
    home = Path(tempfile.mkdtemp(prefix="crosscity-pg-"))
    home.chmod(0o755)
    running = database.PostgreSQL(home, home / "services")
    try:
        running.start()
        yield from _started_server(home, PREFECT_API_DATABASE_CONNECTION_URL=running.url)
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def each_server(request: pytest.FixtureRequest) -> PrefectServer:
    """`own_server`, then one on PostgreSQL."""
    name = "own_server" if request.param == "sqlite" else "postgresql_server"
    server: PrefectServer = request.getfixturevalue(name)
    return server


def _healthy(server: PrefectServer) -> bool:
    try:
        return server.get("/health") is True
    except (urllib.error.URLError, OSError):
        return False


def wait_until(ready: Callable[[], bool], what: str, *, every: float = 0.1) -> None:
    """Waits until something holds; fails the test when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s in vain until {what}")
        time.sleep(every)


@pytest.fixture(scope="session")
def waiting() -> Callable[..., None]:
    """`wait_until`, for test modules."""
    return wait_until


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for key, value in changes.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        both = both and value.get("kind") in (None, known.get("kind"))
        merged[key] = _merge(known, value) if both else value
    return merged


def _without_unread(miniature: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The miniature catalog less what would be ignored, and so refused, beside the changes."""
    compact, tokyo = miniature["segmenters"]["compact"], miniature["cities"]["tokyo"]
    if changes.get("segmenters", {}).get("compact", {}).get("weights"):
        del compact["pretraining"]
    kind = changes["cities"]["tokyo"].get("provider", {}).get("kind", "simulated")
    if kind != "simulated":
        del tokyo["labels"]
    if kind == "folder":
        for name in ("area", "places", "test_places", "seed", "image_size"):
            del tokyo[name]
    return miniature


@pytest.fixture(scope="session")
def write_catalog() -> Callable[..., Path]:
    """Writes a miniature catalog into a folder: the whole pipeline within seconds.

    Keyword arguments are merged into it; `city` into the entry of tokyo.
    """

    def write(folder: Path, city: dict[str, Any] | None = None, **changes: Any) -> Path:
        miniature: dict[str, Any] = {
            "version": 1,
            "store": "local",
            "stores": {"local": {"url": "store"}},
            "datasets": {
                "frankfurt": {
                    "kind": "simulated",
                    "style": "frankfurt",
                    "image_size": [64, 128],
                    "train": 6,
                    "val": 1,
                    "test": 1,
                }
            },
            "segmenters": {
                "compact": {
                    "architecture": "compact",
                    "options": {"width": 16},
                    "source": "frankfurt",
                    "pretraining": {"steps": 6, "batch_size": 2},
                }
            },
            "trainings": {
                "demo": {
                    "preset": "demo",
                    "adaptation": {"steps": 6, "batch_size": 2},
                    "fine_tuning": {"steps": 4, "batch_size": 2},
                    "checkpoint_every": 2,
                }
            },
            "cities": {
                "tokyo": {
                    "provider": {"kind": "simulated", "style": "tokyo"},
                    "area": {"bbox": [139.7, 35.6, 139.8, 35.7]},
                    "places": 7,
                    "test_places": 2,
                    "seed": 3,
                    "image_size": [64, 128],
                    "labels": {"kind": "simulated", "fine_tune_places": 3},
                    "prior": {"downscale": 1, "superpixels": 40},
                    "pairs_per_part": 2,
                }
            },
        }
        changes = _merge(changes, {"cities": {"tokyo": city or {}}})
        document = _merge(_without_unread(miniature, changes), changes)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "data_catalog.yaml"
        text = yaml.dump(document, Dumper=QUICK_DUMPER, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return write


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Commands = Callable[..., dict[str, Any]]


@contextlib.contextmanager
def _commands(environment: dict[str, str]) -> Iterator[Commands]:
    """Runs command lines one after another in one process; gives code, output and errors."""
    processes = Launcher()
    process = processes.start(
        [sys.executable, Path(__file__).parent / "flows" / "many_commands.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def run(*words: object) -> dict[str, Any]:
        stdin.write(json.dumps([str(word) for word in words]) + "\n")
        stdin.flush()
        outcome: dict[str, Any] = json.loads(stdout.readline())
        return outcome

    try:
        yield run
    finally:
        stdin.close()
        processes.end_all()
        stdout.close()


@pytest.fixture(scope="session")
def commands_of() -> Iterator[Callable[[PrefectServer | None], Commands]]:
    """The process that runs the command lines of a server, or of none: one for the session.

    Importing takes longer than most of the commands.
    """
    with contextlib.ExitStack() as running:
        known: dict[str | None, Commands] = {}

        def of(server: PrefectServer | None) -> Commands:
            address = server.address if server else None
            if address not in known:
                environment = server.environment if server else dict(os.environ)
                known[address] = running.enter_context(_commands(environment))
            return known[address]

        yield of


@pytest.fixture(scope="session")
def many_commands(commands_of: Callable[..., Commands]) -> Commands:
    """Runs command lines without a server, in one process; gives code, output and errors."""
    return commands_of(None)


@pytest.fixture(scope="session")
def many_flows(commands_of: Callable[..., Commands], prefect_server: PrefectServer) -> Commands:
    """`many_commands`, on the session's server."""
    return commands_of(prefect_server)


@pytest.fixture(scope="module")
def own_server_commands(own_server: PrefectServer) -> Iterator[Commands]:
    """`many_commands`, on the module's server."""
    with _commands(own_server.environment) as run:
        yield run


@pytest.fixture(scope="session")
def crosscity(commands_of: Callable[..., Commands]) -> CommandLine:
    """Runs `crosscity` with some words, of `server` if one is given.

    In a process of its own where that is asked for, or a folder or an environment is given; else in
    that of `commands_of`.
    """

    def run(
        *words: object,
        server: PrefectServer | None = None,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
        alone: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        if not alone and cwd is None and environment is None:
            done = commands_of(server)(*words)
            return subprocess.CompletedProcess(words, done["code"] or 0, done["out"], done["err"])
        base = server.environment if server else dict(os.environ)
        return subprocess.run(
            [sys.executable, "-m", "flows.cli.main", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**base, **(environment or {})},
        )

    return run


@dataclass(frozen=True)
class FinishedRun:
    """The demo on a miniature catalog, run once for all tests that only look at the result."""

    catalog: Path
    store: Path
    stdout: str
    stderr: str
    server: PrefectServer
    flow_run: dict[str, Any]

    def report(self) -> str:
        """The text of report.html."""
        (path,) = self.store.glob("report/tokyo/*/report.html")
        return path.read_text(encoding="utf-8")

    def copied(self, folder: Path) -> FinishedRun:
        """The same in a folder that is not there yet, for who makes something in its store."""
        shutil.copytree(self.catalog.parent, folder)
        return replace(self, catalog=folder / self.catalog.name, store=folder / "store")


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: PrefectServer,
    write_catalog: Callable[..., Path],
    crosscity: CommandLine,
) -> Iterator[FinishedRun]:
    """`crosscity demo` on the miniature catalog and the session's server.

    All tests of the session read its store, in any order: who makes something copies it first.
    """
    catalog = write_catalog(tmp_path_factory.mktemp("finished"))
    done = crosscity("demo", "tokyo", "--catalog", catalog, server=prefect_server, alone=True)
    assert done.returncode == 0, done.stderr
    (run,) = (r for r in prefect_server.flow_runs(catalog) if r["name"] == "demo-tokyo")
    store = catalog.parent / "store"
    made = set(store.glob("*/*/*/artifact.json"))
    yield FinishedRun(catalog, store, done.stdout, done.stderr, prefect_server, run)
    others = {str(path.parent) for path in made ^ set(store.glob("*/*/*/artifact.json"))}
    assert others == set(), "a test has made these in the store that all read, or removed them"


class _Loaded(HTMLParser):
    """Every address that a browser would load by itself, and every id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "srcset", "data", "poster"} or (name == "href" and tag != "a"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")


@pytest.fixture(scope="session")
def check_page() -> Callable[[Path], str]:
    """Checks that a page is one file that loads nothing; gives its text without the pictures."""

    def check(path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        page = _Loaded(text)
        assert all(each.startswith(("data:image/", "#")) for each in page.addresses)
        assert len(page.ids) == len(set(page.ids)), "an id stands twice on the page"
        assert not re.search(r"<script|@import|url\(|https?://", text)
        assert path.stat().st_size < 5_000_000
        return without_pictures(text)

    return check


@pytest.fixture
def shown_in_a_browser(tmp_path: Path) -> Callable[[Path], None]:
    """Opens a page in Chromium as a phone has it; an error in the console fails the test."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")

    def show(page: Path) -> None:
        words = "--headless --no-sandbox --disable-gpu --disable-background-networking"
        picture = tmp_path / "page.png"
        done = subprocess.run(
            [
                str(chromium),
                *words.split(),
                *("--disable-sync", "--disable-component-update", "--enable-logging=stderr"),
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--screenshot={picture}",
                "--window-size=390,1200",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert picture.stat().st_size > 5_000
        assert "CONSOLE" not in done.stderr

    return show
