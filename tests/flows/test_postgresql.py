"""The server on a PostgreSQL of its own: a flow on it, stopped and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from flows import database


@pytest.fixture
def folder():
    """A folder that PostgreSQL's user can pass, as pytest's own cannot be."""
    made = Path(tempfile.mkdtemp(prefix="crosscity-pg-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(
    database._programs() is None, reason="PostgreSQL is not installed (Debian: postgresql)"
)
@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="PostgreSQL refuses to run as root, and there is no setpriv",
)
def test_a_flow_on_postgresql(folder, write_catalog, crosscity):
    catalog = write_catalog(folder, city={"places": 3, "test_places": 1})
    home = folder / ".crosscity" / "prefect"
    environment = {"PREFECT_HOME": str(home), "CROSSCITY_DATABASE": "postgresql"}

    def run(*words: object) -> str:
        done = crosscity(*words, "--catalog", catalog, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def ended_runs() -> int:
        programs = database._programs()
        assert programs is not None
        reported = subprocess.run(
            [
                *(programs / "psql", "-h", database._socket_folder(home / "postgresql")),
                *("-U", "postgres", "-At", "-c"),
                "select count(*) from flow_run where state_type = 'COMPLETED'",
                "postgres",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(reported.stdout)

    try:
        assert "database: PostgreSQL" in run("up", "--port", "0")
        run("harvest", "tokyo")
        assert list(folder.glob("store/pairs/tokyo/*/artifact.json"))
        assert ended_runs() == 1
        assert not (home / "prefect.db").exists()
        assert "database stopped" in run("down")
        environment.pop("CROSSCITY_DATABASE")  # what is there stays
        assert "database: PostgreSQL" in run("up", "--port", "0")
        assert ended_runs() == 1
    finally:
        run("down")


def test_what_is_there_stays_and_root_is_not_asked_to_run_it(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_programs", lambda: Path("/usr/lib/postgresql/15/bin"))
    monkeypatch.setattr(database, "_is_root", lambda: False)
    assert database.chosen(tmp_path, "auto") == "postgresql"
    assert database.chosen(tmp_path, "sqlite") == "sqlite"
    monkeypatch.setattr(database, "_is_root", lambda: True)
    assert database.chosen(tmp_path, "auto") == "sqlite"
    monkeypatch.setattr(database, "_is_root", lambda: False)
    (tmp_path / "prefect.db").write_bytes(b"x")
    assert database.chosen(tmp_path, "auto") == "sqlite"
    (tmp_path / "postgresql").mkdir()
    (tmp_path / "postgresql" / "PG_VERSION").write_text("15")
    assert database.chosen(tmp_path, "auto") == "postgresql"
    monkeypatch.setattr(database, "_programs", lambda: None)
    with pytest.raises(database.DatabaseError, match="is not installed"):
        database.PostgreSQL(tmp_path / "other", tmp_path / "services").start()


def test_a_socket_has_a_path_that_the_system_admits(tmp_path):
    deep = tmp_path / ("x" * 120) / "postgresql"
    assert len(str(database._socket_folder(deep))) < 90
    assert database._socket_folder(Path("/srv/a/postgresql")) == Path("/srv/a/postgresql-socket")
