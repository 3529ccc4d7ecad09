"""The tables: made in a new database, upgraded in an older one, by one process of several."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gpt_agent_sync.server.storage import schema
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.server.storage.engines import UnusableLocationError, read_location
from tests.plugins.postgres_servers import needs_postgres

OLD_TABLES = ("assistants", "threads", "messages", "runs", "conversations", "items", "responses")

KINDS = ["sqlite", pytest.param("postgres", marks=needs_postgres)]


@pytest.fixture(params=KINDS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a new database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'a.db'}"


def engine_of(location: str) -> sa.Engine:
    """Return an engine of a database, without this package's ways."""
    return sa.create_engine(read_location(location))


def make_old(location: str) -> None:
    """Make the tables as they were before there were migrations, and something in each."""
    engine = engine_of(location)
    metadata = sa.MetaData()
    for name in OLD_TABLES:
        table = sa.Table(
            name,
            metadata,
            sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("id", sa.String(64), unique=True, nullable=False),
            sa.Column("parent_id", sa.String(64), index=True),
            sa.Column("run_id", sa.String(64), index=True),
            sa.Column("status", sa.String(32)),
            sa.Column("data", sa.JSON, nullable=False),
        )
    metadata.create_all(engine)
    with engine.begin() as connection:
        for name, table in metadata.tables.items():
            kept = {"id": f"{name}_1", "said": "ü"}
            connection.execute(table.insert().values(id=kept["id"], parent_id="p", data=kept))
    engine.dispose()


def differences(location: str) -> list[object]:
    """Return how the tables of a database differ from those that are declared."""
    engine = engine_of(location)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, schema.metadata)
    engine.dispose()
    return [each for each in found if "alembic_version" not in repr(each)]


def test_new_tables_are_those_that_are_declared(location: str) -> None:
    """A new database has the tables, columns and indexes that the code says."""
    Storage(location).close()
    assert differences(location) == []


def test_old_tables_become_the_same(location: str) -> None:
    """A database of the time before migrations ends with the same tables as a new one."""
    make_old(location)
    Storage(location).close()
    assert differences(location) == []


def test_upgrade_loses_nothing(location: str) -> None:
    """What an older version kept is found after the upgrade, and can be added to."""
    make_old(location)
    storage = Storage(location)
    with storage.write() as connection:
        for name in OLD_TABLES:
            collection = getattr(storage, name)
            assert collection.get(connection, f"{name}_1", "p") == {"id": f"{name}_1", "said": "ü"}
            collection.insert(connection, {"id": f"{name}_2"}, "p")
            assert [each["id"] for each in collection.all_of(connection, "p")] == [
                f"{name}_1",
                f"{name}_2",
            ]
    storage.close()


def test_head_is_the_newest_migration() -> None:
    """The version that new databases get is the last one of the migrations."""
    folder = Path(schema.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == schema.HEAD


@pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])
def test_processes_start_at_once(location: str, is_old: bool) -> None:
    """Of several processes that start on one database at once, one makes or changes its tables."""
    if is_old:
        make_old(location)
    script = (
        "import sys; from gpt_agent_sync.server.storage.database import Storage\n"
        "sys.stdin.readline(); Storage(sys.argv[1]).close(); print('done')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, location],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    # All wait for a line, so that they begin together.
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda process: process.communicate("\n", timeout=50)[0], processes))
    assert said == ["done\n"] * 4
    assert differences(location) == []


def test_newer_database_is_refused(location: str) -> None:
    """A database of a version that is not known is left alone, and the error says what to do."""
    Storage(location).close()
    engine = engine_of(location)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(schema.NewerDatabaseError, match="'9999', which a newer"):
        Storage(location)


def test_upgrade_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that breaks in the middle leaves the database as it was, to be tried again."""
    location = f"sqlite:///{tmp_path / 'a.db'}"
    make_old(location)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("CREATE TABLE events (x)")
    with pytest.raises(sa.exc.OperationalError, match="already exists"):
        Storage(location)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
        connection.execute("DROP TABLE events")
    assert "owner" not in columns
    Storage(location).close()
    assert differences(location) == []


def test_open_database_is_not_written_at_start(tmp_path: Path) -> None:
    """A database that is up to date is opened though another process is writing."""
    path = tmp_path / "a.db"
    Storage(str(path)).close()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    opened = threading.Event()

    def open_it() -> None:
        Storage(str(path)).close()
        opened.set()

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_it)
        assert opened.wait(10)
        opening.result(10)
    writer.execute("ROLLBACK")
    writer.close()


@pytest.mark.parametrize(
    "location, why",
    [
        ("mysql://root:secret@h/x", "mysql is no database that the server can use"),
        ("postgres//x://", "cannot be read"),
        ("://", "cannot be read"),
    ],
)
def test_locations_that_are_no_use(location: str, why: str) -> None:
    """A URL of another database, or of none, is refused without showing the password in it."""
    with pytest.raises(UnusableLocationError, match=why) as caught:
        Storage(location)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
@needs_postgres
def test_schemes_of_postgres(postgres_url: str, scheme: str) -> None:
    """PostgreSQL is known by both names that hosts give it."""
    storage = Storage(postgres_url.replace("postgresql", scheme, 1))
    with storage.write() as connection:
        storage.threads.insert(connection, {"id": "a", "said": json.dumps("\x00")})
        assert storage.threads.get(connection, "a\x00") is None
    storage.close()
