"""`crosscity doctor`: whether this machine has what the catalog needs, and if not, what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from flows.cli.options import CATALOG, CatalogOption
from flows.cli.outcome import JsonOption, add, ended
from flows.cli.server import DASHBOARD_PORT, prefect_home, standing_server
from tasks.steps.counted import counted
from tasks.steps.defaults import COMPUTE_VARIABLE

if TYPE_CHECKING:
    from tasks.steps.plan import Plan

_LEAST_FREE: Final = 5e9


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        subject: What was examined.
        found: What was found.
        remedy: What to do; empty where all is well.
        is_fatal: Whether nothing works before that is done.
    """

    subject: str
    found: str
    remedy: str = ""
    is_fatal: bool = False

    def __str__(self) -> str:
        mark = "ok  " if not self.remedy else "FAIL" if self.is_fatal else "note"
        return f"{mark}  {self.subject}: {self.found}" + (
            f" - {self.remedy}" if self.remedy else ""
        )


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("doctor")(doctor)


def doctor(catalog: CatalogOption = CATALOG, _as_json: JsonOption = False) -> None:
    """Look at Python, packages, catalog, store, disk, keys, GPU, port, server and runs.

    Each line that is not ok says what to do. Exit code 1 where one says FAIL.
    """
    findings = []
    for finding in diagnosis(catalog):
        add(str(finding))
        findings.append(finding)
    fatal = any(finding.is_fatal for finding in findings)
    step = "mend what says FAIL, and run it again" if fatal else "`crosscity status`"
    ended("diagnosis", catalog, said="", next_step=step, findings=[asdict(f) for f in findings])
    if fatal:
        raise typer.Exit(1)


def diagnosis(catalog: Path) -> Iterator[Finding]:
    """What `crosscity doctor` finds, one thing after the other."""
    yield _python()
    yield _packages()
    plan = None
    try:
        from tasks.steps.plan import open_plan  # noqa: PLC0415 - its lack of a package is reported first

        plan = open_plan(catalog)
        yield Finding("catalog", f"{catalog}, {len(plan.cities)} cities")
    except Exception as error:
        lines = str(error).splitlines()
        remedy = "mend that line (`crosscity catalog schema` lists what may stand there)"
        if not catalog.exists():
            remedy = "`crosscity init` writes one"
        yield Finding("catalog", lines[0], remedy, is_fatal=True)
    if plan is not None:
        yield from _keys(plan)
        yield _guarded("store", lambda: _store(plan), "see what the message says", is_fatal=True)
        yield _guarded("disk", lambda: _disk(plan), "see what the message says")
        yield _device(plan)
    root = catalog.absolute().parent
    server = _server(root)
    yield server
    if not server.remedy and (address := standing_server(root)) is not None:
        yield _guarded("runs", lambda: _runs(address), "look at the server's log")


def _guarded(
    subject: str, look: Callable[[], Finding], remedy: str, *, is_fatal: bool = False
) -> Finding:
    try:
        return look()
    except Exception as error:
        return Finding(subject, str(error).splitlines()[0], remedy, is_fatal=is_fatal)


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415

    version = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata("crosscity")["Requires-Python"]
    if not SpecifierSet(wanted).contains(version):
        return Finding("Python", version, f"{wanted} is needed: run `make` with it", is_fatal=True)
    return Finding("Python", version)


def _packages() -> Finding:
    """The requirements of the package itself, extras left out, against what is installed."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    wrong = []
    for line in metadata.requires("crosscity") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} is {there}, {wanted.specifier} is needed")
    own = f"crosscity {metadata.version('crosscity')}, prefect {metadata.version('prefect')}"
    if wrong:
        return Finding("packages", "; ".join(wrong), "run `make` in a checkout", is_fatal=True)
    return Finding("packages", own)


def _keys(plan: Plan) -> Iterator[Finding]:
    """Environment variables that entries refer to; their values are not shown."""
    from adapters.catalog.environment import environment_references  # noqa: PLC0415

    missing: dict[str, set[str]] = {}
    for variable, keys in environment_references(plan).items():
        if not os.environ.get(variable):  # an empty one is refused where it is used, too
            for key in keys:
                missing.setdefault(_entry_of(key, plan), set()).add(variable)
    for here, variables in sorted(missing.items()):
        for variable in sorted(variables):
            remedy = f"export {variable}, which {here} needs"
            yield Finding(here, f"{variable} is not set", remedy)


def _entry_of(key: str, plan: Plan) -> str:
    """The entry of the catalog in which a key of the plan stands."""
    section, _, rest = key.partition(".")
    if section == "store":
        return f"stores.{plan.store_name}"
    if section in ("compute", "tracking"):
        return section
    return f"{section}.{rest.partition('.')[0]}"


def _store(plan: Plan) -> Finding:
    store = plan.open_store()
    store.check_writable()
    damaged = len(store.quarantined())
    if damaged:
        return Finding(
            "store",
            f"{plan.store.url}, writable; {counted(damaged, 'damaged artifact')} in quarantine",
            "look at them with `crosscity store quarantine`, and delete them",
        )
    return Finding("store", f"{plan.store.url}, writable")


def _disk(plan: Plan) -> Finding:
    from adapters.store.opening import cache_folder, local_folder  # noqa: PLC0415

    folder = local_folder(plan.store_url()) or cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.0f} GB free at {folder}"
    if free < _LEAST_FREE:
        return Finding("disk", found, "free some, or prune: `crosscity store prune`")
    return Finding("disk", found)


def _device(plan: Plan) -> Finding:
    from tasks.steps.device import check_device  # noqa: PLC0415 - PyTorch takes seconds

    device = plan.compute.device
    remedy = f"choose another profile with --compute or {COMPUTE_VARIABLE}"

    def look() -> Finding:
        check_device(device)
        return Finding("device", f"{device} works, {os.cpu_count()} processor cores")

    return _guarded("device", look, remedy, is_fatal=True)


def _server(root: Path) -> Finding:
    address = standing_server(root)
    return _no_server(root) if address is None else _answering_server(address)


def _no_server(root: Path) -> Finding:
    place = home = prefect_home(root)
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        remedy = "set PREFECT_HOME to a folder that can be written"
        said = f"none runs, and one that a command starts cannot keep its database in {home}"
        return Finding("server", said, remedy, is_fatal=True)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DASHBOARD_PORT))
        except OSError:
            remedy = "`make up PORT=0` takes a free one"
            return Finding("server", f"none runs, and port {DASHBOARD_PORT} is taken", remedy)
    return Finding("server", f"none runs, port {DASHBOARD_PORT} is free for `make up`")


def _answering_server(address: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{address}/api/admin/version", timeout=10) as answer:  # noqa: S310
            version = answer.read().decode().strip('"\n')
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.UNAUTHORIZED:
            return Finding("server", f"{address} answers {error.code}", "look at its log")
        known = bool(os.environ.get("PREFECT_API_AUTH_STRING"))
        remedy = "" if known else "set PREFECT_API_AUTH_STRING (docs/operate.md)"
        return Finding("server", f"{address} wants a password", remedy)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        remedy = (
            "see that it runs, or correct PREFECT_API_URL; `unset PREFECT_API_URL`, and `make up` "
            "starts one here"
        )
        return Finding("server", f"{address} does not answer ({reason})", remedy, is_fatal=True)
    ours = metadata.version("prefect")
    remedy = "" if version == ours else f"here it is {ours}: run both ends with one version"
    return Finding("server", f"{address} runs Prefect {version}", remedy)


def _runs(address: str) -> Finding:
    """Whether all that is shown as under way is."""
    from flows.cli.deploy import client_of  # noqa: PLC0415 - Prefect loads late
    from flows.silent_runs import silent_runs  # noqa: PLC0415

    with client_of(f"{address}/api") as client:
        silent = silent_runs(client)
    if not silent:
        return Finding("runs", "all that are shown as under way have been heard of lately")
    first = min(silent, key=lambda run: run.heard)
    count = f"{len(silent)} runs are" if len(silent) > 1 else "1 run is"
    return Finding(
        "runs",
        f"{count} shown as under way whose process is gone, {first.name} since "
        f"{first.heard:%Y-%m-%d %H:%M} UTC",
        "the next run that begins, or `crosscity deploy`, marks them as crashed",
    )
