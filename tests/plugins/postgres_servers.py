"""PostgreSQL servers that tests start for themselves, on free ports of loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.free_ports import free_port

FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")
"""Where Debian, and those who build it, put the programs."""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest of several."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    for pattern in FOLDERS:
        folders = sorted(Path("/").glob(pattern.lstrip("/")))
        if folders:
            return folders[-1]
    return None


class PostgresServer:
    """A PostgreSQL server on a free port, its data in a temporary folder.

    Args:
        folder: Where the programs are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = Path(tempfile.mkdtemp(prefix="gpt-agent-postgres-"))
        self.port = free_port()
        if os.getuid() == 0:
            # It does not run as root.
            user = pwd.getpwnam("postgres")
            os.chown(self._data, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-p {self.port} -k {self._data} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-o", options, "start")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        # Its output stays open in the server that it starts: a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*as_user, str(self._folder / program), *arguments],
                stdout=output,
                stderr=output,
                cwd="/",
                timeout=60,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()

    def database(self) -> str:
        """Make a new database, and return its URL."""
        import psycopg

        name = f"t{uuid.uuid4().hex[:16]}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def restart(self) -> None:
        """Stop it, cutting all connections, and start it again."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "restart")

    def stop(self) -> None:
        """Stop it, and remove its data."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._data, ignore_errors=True)


needs_postgres = pytest.mark.skipif(
    (programs() is None or find_spec("psycopg") is None)
    and not os.environ.get("TESTS_SKIP_NOTHING"),
    reason="no PostgreSQL, or psycopg is not installed; the extra 'postgres' has that",
)
"""Marks a test that needs PostgreSQL; where ``TESTS_SKIP_NOTHING`` is set it fails without."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a PostgreSQL server, which the tests of this process share."""
    folder = programs()
    assert folder is not None, "PostgreSQL is not installed"
    server = PostgresServer(folder)
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """Return the URL of a new PostgreSQL database."""
    return postgres.database()
