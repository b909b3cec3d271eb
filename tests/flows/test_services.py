"""`crosscity server` and `dashboard`: where they listen, and what is said of one that runs."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import city, services
from flows.cli.server import ServerError
from tasks.steps.errors import InputError

HERE = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(autouse=True)
def fresh_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_UI_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Command and environment of the server that the verb becomes."""

    def start(**options: Any) -> tuple[list[str], dict[str, str]]:
        given: list[tuple[list[str], dict[str, str]]] = []
        monkeypatch.setattr(os, "execve", lambda _, words, env: given.append((words, env)))
        services.server(tmp_path / "data_catalog.yaml", port=0, **options)
        return given[0]

    return start


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_a_server_listens_to_this_machine_alone(started: Any, capsys: Any) -> None:
    words, environment = started()
    assert option(words, "--host") == HERE
    api = f"http://{HERE}:{option(words, '--port')}/api"
    assert environment["PREFECT_UI_API_URL"] == api
    assert capsys.readouterr().out == f"export PREFECT_API_URL={api}\n"


def test_a_server_for_other_machines_needs_a_password(
    started: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(InputError, match="PREFECT_SERVER_API_AUTH_STRING=user:password"):
        started(host=EVERYWHERE)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "user:password")
    words, environment = started(host=EVERYWHERE)
    assert option(words, "--host") == EVERYWHERE
    api = f"http://{socket.gethostname()}:{option(words, '--port')}/api"
    assert environment["PREFECT_UI_API_URL"] == api  # a browser elsewhere is to find it
    assert capsys.readouterr().out == f"export PREFECT_API_URL={api}\n"


def test_behind_a_proxy_pages_ask_what_the_operator_says(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_UI_API_URL", "https://prefect.example.org/api")
    _, environment = started()
    assert environment["PREFECT_UI_API_URL"] == "https://prefect.example.org/api"


def test_an_address_of_another_machine_is_not_taken_for_a_port_in_use(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "user:password")
    with pytest.raises(ServerError, match=r"no server can listen at 192\.0\.2\.1"):
        started(host="192.0.2.1")


def test_the_dashboard_of_a_server_that_runs_is_told_and_no_second_one_started(
    prefect_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """A second one would show another database where the first is on PostgreSQL."""
    ran: list[Path] = []
    monkeypatch.setattr(city, "run_dashboard", lambda root: ran.append(root) or 0)
    catalog = tmp_path / "data_catalog.yaml"
    monkeypatch.setenv("PREFECT_API_URL", f"{prefect_server.address}/api")
    city.dashboard(catalog)
    assert ran == []
    assert prefect_server.address in capsys.readouterr().out
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(typer.Exit):
        city.dashboard(catalog)
    assert ran == [tmp_path]


def test_make_heeds_the_variables_that_commands_read() -> None:
    environment = {**os.environ, "CROSSCITY_CATALOG": "/else/where.yaml", "CROSSCITY_PORT": "4711"}
    words = ("make", "--dry-run", "--assume-old", ".venv/.ready")
    for more, catalog, port in (
        ((), "/else/where.yaml", "4711"),
        (("CATALOG=mine.yaml", "PORT=0"), "mine.yaml", "0"),
    ):
        done = subprocess.run(
            [*words, "up", *more],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"up --catalog {catalog} --port {port}\n" in done.stdout
