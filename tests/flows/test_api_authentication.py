"""A server with a password: nobody gets in without it, and everything of ours does with it.

The settings are Prefect's own (https://docs.prefect.io/v3/advanced/security-settings).
"""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.cli.server import server_command, server_environment

PASSWORD = "operator:correct-horse-4711"  # noqa: S105


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, module_launcher, waiting):
    """The address of a server with a password."""
    home = tmp_path_factory.mktemp("guarded")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**server_environment(home, port), "PREFECT_SERVER_API_AUTH_STRING": PASSWORD}
    with (home / "server.log").open("w") as log:
        module_launcher.start(
            server_command(port), stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    address = f"http://127.0.0.1:{port}"
    waiting(lambda: answer(f"{address}/api/health") == 200, "the server is up")
    return address


def answer(url: str) -> int | None:
    request = urllib.request.Request(  # noqa: S310
        url, data=b"{}" if "filter" in url else None, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as given:  # noqa: S310
            return int(given.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def environment(address: str, home: Path, **more: str) -> dict[str, str]:
    return {"PREFECT_API_URL": f"{address}/api", "PREFECT_HOME": str(home), **more}


def test_nobody_runs_a_flow_without_the_password(guarded, write_catalog, crosscity, tmp_path):
    assert answer(f"{guarded}/api/flows/filter") == 401
    catalog = write_catalog(tmp_path)
    done = crosscity(
        "deploy", "--catalog", catalog, environment=environment(guarded, tmp_path / "home")
    )
    assert done.returncode == 1, done.stderr
    assert "wants to know who asks: set PREFECT_API_AUTH_STRING" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_deploying_and_harvesting_work_with_the_password(
    guarded, write_catalog, crosscity, tmp_path
):
    catalog = write_catalog(tmp_path, city={"places": 3, "test_places": 1})
    known = environment(guarded, tmp_path / "home", PREFECT_API_AUTH_STRING=PASSWORD)
    for words in (["deploy"], ["harvest", "tokyo"], ["status", "tokyo"]):
        done = crosscity(*words, "--catalog", catalog, environment=known)
        assert done.returncode == 0, done.stderr
        assert "correct-horse" not in done.stdout + done.stderr
    assert list(tmp_path.glob("store/pairs/tokyo/*/artifact.json"))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows its sockets so")
def test_a_server_listens_to_this_machine_alone(guarded):
    port = f"{int(guarded.rpartition(':')[2]):04X}"
    listening = "0A"
    found = {
        line.split()[1].partition(":")[0]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port}") and line.split()[3] == listening
    }
    assert found == {"0100007F"}  # 127.0.0.1
