"""A PostgreSQL of the server's own, where one is installed: SQLite writes one thing at a time.

It listens to no network: its socket lies in a folder that only its owner can enter.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from flows.background import AlreadyRunningError, Background, check_room

START_SECONDS: Final = 300.0
"""After a loss of power, PostgreSQL does again what was not written: on a full machine, minutes."""
STOP_SECONDS: Final = 30.0
USER: Final = "postgres"
"""Of the system, where we are root, as PostgreSQL refuses to run as root; and of the database."""
_SQLITE: Final = "prefect.db"
_LONGEST_SOCKET: Final = 90


class DatabaseError(RuntimeError):
    """The database did not start; the message says what to do."""


class PostgreSQL:
    """The database of the server in a folder.

    Args:
        home: The server's PREFECT_HOME.
        services: Where its lock, record and log lie.
    """

    def __init__(self, home: Path, services: Path) -> None:
        self._home = home
        self._data = home / "postgresql"
        self._service = Background(services, "database")
        self._socket = _socket_folder(self._data)

    @property
    def url(self) -> str:
        """What the server connects to."""
        return f"postgresql+asyncpg://{USER}@/postgres?host={quote(str(self._socket), safe='')}"

    def is_made(self) -> bool:
        """Whether the folder has its database."""
        return (self._data / "PG_VERSION").is_file()

    def start(self) -> bool:
        """Makes the database where there is none, and starts it; whether it was started now.

        Raises:
            DatabaseError: It did not start.
        """
        if self._service.running() is not None:
            return False
        programs = _programs()
        if programs is None:
            raise DatabaseError(
                "PostgreSQL is not installed: install it (Debian: `apt-get install postgresql`), "
                "or take --database sqlite"
            )
        self._make_folders()
        if not self.is_made():
            self._make(programs)
        command = [
            *_as_user(),
            *(str(programs / "postgres"), "-D", str(self._data)),
            *("-c", "listen_addresses=", "-c", f"unix_socket_directories={self._socket}"),
        ]
        try:
            process = self._service.start(command, dict(os.environ))
        except AlreadyRunningError:
            return False
        deadline = time.monotonic() + START_SECONDS
        ready = [str(programs / "pg_isready"), "-q", "-h", str(self._socket)]
        while subprocess.run(ready, check=False).returncode != 0:  # noqa: S603 - ours
            if process.poll() is not None or time.monotonic() > deadline:
                self._service.stop(patience=STOP_SECONDS)
                check_room("PostgreSQL", self._service.log)
                raise DatabaseError(f"PostgreSQL did not start; its log is {self._service.log}")
            time.sleep(0.1)
        return True

    def stop(self) -> bool:
        """Stops it; whether it ran."""
        return self._service.stop(patience=STOP_SECONDS)

    def _make_folders(self) -> None:
        for folder in (self._data, self._socket):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            if _is_root():
                shutil.chown(folder, USER, USER)

    def _make(self, programs: Path) -> None:
        made = subprocess.run(  # noqa: S603 - ours
            [
                *_as_user(),
                *(str(programs / "initdb"), "-D", str(self._data), "-U", USER),
                *("--auth=trust", "--encoding=UTF8", "--no-locale"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DatabaseError(
                f"PostgreSQL could not make its database in {self._data} ({last}): see that its "
                "user can enter that folder, or take --database sqlite"
            )


def chosen(home: Path, wanted: str) -> str:
    """Which database a server has: `postgresql` or `sqlite`.

    Args:
        home: Its PREFECT_HOME.
        wanted: One of them, or `auto`: what is there stays; a new one is PostgreSQL where that is
            installed and we are not root.
    """
    if wanted != "auto":
        return wanted
    if (home / "postgresql" / "PG_VERSION").is_file():
        return "postgresql"
    if (home / _SQLITE).is_file() or _is_root() or _programs() is None:
        return "sqlite"
    return "postgresql"


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps it off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


def _is_root() -> bool:
    return os.geteuid() == 0


def _as_user() -> list[str]:
    if not _is_root():
        return []
    return ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--"]


def _socket_folder(data: Path) -> Path:
    """Beside the data; elsewhere where a socket's path would be too long for the system."""
    beside = data.parent / "postgresql-socket"
    if len(str(beside)) <= _LONGEST_SOCKET:
        return beside
    return Path(tempfile.gettempdir()) / f"crosscity-{sha256(str(data).encode()).hexdigest()[:16]}"
