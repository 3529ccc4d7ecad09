"""The tables, made in a new database and upgraded in an older one.

A change of a table needs a migration beside it, which a test compares with what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from gpt_agent_sync.server.storage.collection import Connection

HEAD = "0002"
"""The newest migration, whose tables are those that are declared here."""

BASE = "0001"
"""The migration whose tables a database has that was made before there were migrations."""

LOCK_ID = 0x6770745F
"""The number of the lock under which PostgreSQL upgrades one process at a time."""

Transaction = Callable[[], AbstractContextManager[Connection]]

metadata = sa.MetaData()

_versions = sa.Table(
    "alembic_version",
    # Alembic's own: not among the tables that migrations are compared with.
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), primary_key=True),
)


def _objects(name: str, *columns: sa.Column[object], indexes: tuple[tuple[str, ...], ...]) -> None:
    sa.Table(
        name,
        metadata,
        # created_at counts whole seconds, so that the order of age needs a column of its own.
        sa.Column(
            "seq",
            # SQLite counts up none but its INTEGER.
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.String(64), unique=True, nullable=False),
        sa.Column("parent_id", sa.String(64)),
        sa.Column("run_id", sa.String(64)),
        sa.Column("status", sa.String(32)),
        sa.Column("data", sa.JSON, nullable=False),
        *columns,
        *(sa.Index("_".join(["ix", name, *each]), *each) for each in indexes),
    )


_LIST, _LIST_OF_RUN = ("parent_id", "seq"), ("parent_id", "run_id", "seq")
_LIVE, _LIVE_OF_PARENT = ("status", "seq"), ("parent_id", "status")

for _name in ("assistants", "threads", "conversations"):
    _objects(_name, indexes=())
_objects("messages", indexes=(_LIST, _LIST_OF_RUN))
_objects("steps", indexes=(_LIST, _LIST_OF_RUN))
_objects("items", indexes=(_LIST,))
for _name in ("runs", "responses"):
    _objects(_name, sa.Column("owner", sa.String(64)), indexes=(_LIST, _LIVE, _LIVE_OF_PARENT))

sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

sa.Table(
    "events",
    metadata,
    sa.Column("work_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
)


class NewerDatabaseError(sa.exc.SQLAlchemyError):
    """The database was made by a newer version of the server."""


def upgrade(read: Transaction, write: Transaction) -> None:
    """Make the tables of a new database, or bring those of an older one up to date.

    Safe when several processes do it at once: one does, the others wait for it.

    Args:
        read: Begins a transaction that only reads.
        write: Begins one that writes.

    Raises:
        NewerDatabaseError: If a newer version of the server has made them.
    """
    # Looked at first: nearly always there is nothing to do, and a writer would wait for others.
    with read() as connection:
        if _version(connection) == HEAD:
            return
    with write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_ID)))
        version = _version(connection)
        if version == HEAD:
            return
        if version is None and not sa.inspect(connection).has_table("runs"):
            metadata.create_all(connection)
            _versions.create(connection)
            connection.execute(_versions.insert().values(version_num=HEAD))
            return
        _migrate(connection, version or BASE)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(_versions.name):
        return None
    return connection.execute(sa.select(_versions.c.version_num)).scalar()


def _migrate(connection: Connection, version: str) -> None:
    # Imported here: it is large, and needed once in the life of a database.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "gpt_agent_sync.server.storage:migrations")
    config.attributes["connection"] = connection
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if version not in known:
        raise NewerDatabaseError(
            f"the database is of version {version!r}, which a newer gpt_agent_sync has made: "
            "install that, or use another database"
        )
    if _version(connection) is None:
        command.stamp(config, version)
    command.upgrade(config, HEAD)
