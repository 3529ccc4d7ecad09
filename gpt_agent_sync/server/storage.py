"""Where the server keeps its objects: one table a kind, over SQLAlchemy.

Rows hold the wire's own objects as JSON, beside the few columns that are asked for. ``seq``
orders them: the wire's ``created_at`` counts whole seconds.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from gpt_agent_sync.server.errors import WireError

MEMORY = ":memory:"
BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process that writes to the same file."""

CLOSING_PATIENCE = BUSY_TIMEOUT + 5.0
"""Seconds to wait for transactions when the storage is closed."""

Object = dict[str, Any]


class StorageClosedError(WireError):
    """Tell that the storage has been closed, and the server with it."""

    def __init__(self) -> None:
        super().__init__(503, "The server has stopped.", kind="server_error")


def new_id(prefix: str) -> str:
    """Give a new id, such as ``thread_4f...``."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Collection:
    """Hold objects of one kind.

    Args:
        name: The table.
        metadata: Where the table is declared.
    """

    def __init__(self, name: str, metadata: sa.MetaData) -> None:
        self._table = sa.Table(
            name,
            metadata,
            sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("id", sa.String(64), unique=True, nullable=False),
            sa.Column("parent_id", sa.String(64), index=True),
            sa.Column("run_id", sa.String(64), index=True),
            sa.Column("status", sa.String(32)),
            sa.Column("data", sa.JSON, nullable=False),
        )

    def insert(self, connection: sa.Connection, data: Object, parent_id: str | None = None) -> None:
        """Add an object; its ``id``, ``run_id`` and ``status`` fill the columns."""
        connection.execute(
            self._table.insert().values(
                id=data["id"],
                parent_id=parent_id,
                run_id=data.get("run_id"),
                status=data.get("status"),
                data=data,
            )
        )

    def get(
        self,
        connection: sa.Connection,
        object_id: str,
        parent_id: str | None = None,
        *,
        lock: bool = False,
    ) -> Object | None:
        """Give an object, ``None`` when it is not there.

        Args:
            connection: The transaction.
            object_id: Its id.
            parent_id: What it must belong to.
            lock: Whether others are kept from changing it until the transaction ends.
        """
        table = self._table
        query = sa.select(table.c.data).where(table.c.id == object_id)
        if parent_id is not None:
            query = query.where(table.c.parent_id == parent_id)
        return connection.execute(query.with_for_update() if lock else query).scalar()

    def update(self, connection: sa.Connection, data: Object) -> None:
        """Replace the object of the same id."""
        table = self._table
        connection.execute(
            table.update()
            .where(table.c.id == data["id"])
            .values(data=data, status=data.get("status"), run_id=data.get("run_id"))
        )

    def delete(self, connection: sa.Connection, object_id: str) -> None:
        """Remove an object."""
        connection.execute(self._table.delete().where(self._table.c.id == object_id))

    def delete_of(self, connection: sa.Connection, parent_id: str) -> None:
        """Remove all objects that belong to another."""
        connection.execute(self._table.delete().where(self._table.c.parent_id == parent_id))

    def with_status(
        self, connection: sa.Connection, parent_id: str, statuses: frozenset[str]
    ) -> list[Object]:
        """Give the objects of ``parent_id`` in one of the statuses, oldest first."""
        table = self._table
        query = (
            sa.select(table.c.data)
            .where(table.c.parent_id == parent_id, table.c.status.in_(statuses))
            .order_by(table.c.seq)
        )
        return list(connection.execute(query).scalars())

    def all_of(self, connection: sa.Connection, parent_id: str) -> list[Object]:
        """Give the objects of ``parent_id``, oldest first."""
        table = self._table
        query = sa.select(table.c.data).where(table.c.parent_id == parent_id).order_by(table.c.seq)
        return list(connection.execute(query).scalars())

    def page(
        self,
        connection: sa.Connection,
        *,
        parent_id: str | None,
        order: str,
        limit: int,
        after: str | None,
        before: str | None,
        run_id: str | None = None,
    ) -> tuple[list[Object], bool]:
        """Give a page of objects, and whether more follow it.

        Args:
            connection: The transaction.
            parent_id: What they belong to.
            order: ``"asc"`` or ``"desc"`` by age.
            limit: How many at most.
            after: The id that the page begins after, in this order.
            before: The id that the page ends before, in this order.
            run_id: The run they come from.

        Raises:
            KeyError: If ``after`` or ``before`` is not there; it carries the id.
        """
        table = self._table
        query = sa.select(table.c.data)
        if parent_id is not None:
            query = query.where(table.c.parent_id == parent_id)
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        ascending = order == "asc"
        if after is not None:
            seq = self._seq(connection, after, parent_id)
            query = query.where(table.c.seq > seq if ascending else table.c.seq < seq)
        if before is not None:
            seq = self._seq(connection, before, parent_id)
            query = query.where(table.c.seq < seq if ascending else table.c.seq > seq)
        backwards = before is not None and after is None
        by = table.c.seq.asc() if ascending != backwards else table.c.seq.desc()
        found = list(connection.execute(query.order_by(by).limit(limit + 1)).scalars())
        page = found[:limit]
        return (page[::-1] if backwards else page), len(found) > limit

    def _seq(self, connection: sa.Connection, object_id: str, parent_id: str | None) -> int:
        table = self._table
        query = sa.select(table.c.seq).where(table.c.id == object_id)
        if parent_id is not None:
            query = query.where(table.c.parent_id == parent_id)
        seq = connection.execute(query).scalar()
        if seq is None:
            raise KeyError(object_id)
        return int(seq)


class Storage:
    """Hold the database and its collections.

    Args:
        location: A SQLite file's path, ``":memory:"``, or a database URL with ``://`` in it.
    """

    def __init__(self, location: str) -> None:
        self._metadata = sa.MetaData()
        self.assistants = Collection("assistants", self._metadata)
        self.threads = Collection("threads", self._metadata)
        self.messages = Collection("messages", self._metadata)
        self.runs = Collection("runs", self._metadata)
        self.conversations = Collection("conversations", self._metadata)
        self.items = Collection("items", self._metadata)
        self.responses = Collection("responses", self._metadata)
        self._one_at_a_time = threading.Lock() if _is_memory(_url(location)) else None
        self._condition = threading.Condition(threading.Lock())
        self._open_transactions = 0
        self._closed = False
        self._engine = _engine(location)
        with self.write() as connection:
            self._metadata.create_all(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a transaction that only reads."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a transaction that may write: kept when the body ends, undone when it raises."""
        with self._transaction(writes=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[sa.Connection]:
        with (
            self._counted(),
            self._one_at_a_time or contextlib.nullcontext(),
            self._engine.connect() as plain,
        ):
            connection = plain.execution_options(writes=writes)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._condition:
            if self._closed:
                raise StorageClosedError
            self._open_transactions += 1
        try:
            yield
        finally:
            with self._condition:
                self._open_transactions -= 1
                self._condition.notify_all()

    def close(self) -> None:
        """Let the transactions under way end, refuse others, and close the connections."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._open_transactions, CLOSING_PATIENCE)
        self._engine.dispose()


def _engine(location: str) -> sa.Engine:
    url = _url(location)
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url)
    if _is_memory(url):
        engine = sa.create_engine(
            url, poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT})
    _tune_sqlite(engine)
    return engine


def _url(location: str) -> sa.URL:
    if "://" in location:
        return sa.make_url(location)
    return sa.URL.create("sqlite", database=location)


def _is_memory(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", MEMORY)


def _tune_sqlite(engine: sa.Engine) -> None:
    """Have SQLite's transactions begin as SQLAlchemy's do, and writers queue up."""

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:
        # pysqlite would begin transactions itself, and late; we do it below.
        connection.isolation_level = None
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _switch_to_wal(connection: Any) -> None:
    """Have readers and a writer go side by side.

    SQLite does not wait by itself when several connections switch a new file at once: the loser
    is refused as locked, and tries again here.
    """
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= until:
                raise
            threading.Event().wait(0.01)
