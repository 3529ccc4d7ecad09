"""The server's database: its collections, and the transactions on them, over SQLAlchemy."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from gpt_agent_sync.server.collection import Collection, Connection
from gpt_agent_sync.server.errors import WireError

MEMORY = ":memory:"

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process that writes to the same file."""

CLOSING_PATIENCE = BUSY_TIMEOUT + 5.0
"""Seconds to wait for transactions when the storage is closed."""

FORK_PATIENCE = 1.0
"""Seconds that a fork waits for transactions."""

DatabaseError = sa.exc.SQLAlchemyError
"""What any failure of the database is raised as."""


class StorageClosedError(WireError):
    """The storage has been closed, and the server with it."""

    def __init__(self) -> None:
        super().__init__(503, "The server has stopped.", kind="server_error")


class Storage:
    """The database and its collections.

    Args:
        location: A SQLite file's path, ``":memory:"``, or a database URL with ``://`` in it.
    """

    def __init__(self, location: str) -> None:
        url = _read_location(location)
        self._metadata = sa.MetaData()
        self.assistants = Collection("assistants", self._metadata)
        self.threads = Collection("threads", self._metadata)
        self.messages = Collection("messages", self._metadata)
        self.runs = Collection("runs", self._metadata)
        self.conversations = Collection("conversations", self._metadata)
        self.items = Collection("items", self._metadata)
        self.responses = Collection("responses", self._metadata)
        # A database in memory is one connection for all threads, and carries one transaction.
        self._connection_lock = threading.Lock() if _is_memory(url) else None
        self._condition = threading.Condition(threading.Lock())
        self._open_transactions = 0
        self._forks = 0
        self._closed = self._disposed = False
        self._engine = _create_engine(url)
        with self.write() as connection:
            self._metadata.create_all(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Begin a transaction that only reads."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Begin a transaction that may write: committed, or undone when the body raises."""
        with self._transaction(writes=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with (
            self._counted(),
            self._connection_lock or contextlib.nullcontext(),
            self._engine.connect() as fresh,
        ):
            connection = fresh.execution_options(writes=writes)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        # Counted before the connection is opened, so that close() cannot come in between.
        with self._condition:
            self._condition.wait_for(lambda: not self._forks)
            if self._closed:
                raise StorageClosedError
            self._open_transactions += 1
        try:
            yield
        finally:
            with self._condition:
                self._open_transactions -= 1
                self._condition.notify_all()
            self._dispose_when_over()  # close() may not have waited for this one

    def _dispose_when_over(self) -> None:
        """Close the connections where it is closed and nobody uses it: once, whoever is last."""
        with self._condition:
            if not self._closed or self._open_transactions or self._disposed:
                return
            self._disposed = True
        # SQLite in memory crashes the interpreter when it is closed under a running query.
        self._engine.dispose()

    def close(self, patience: float | None = None) -> None:
        """Let the transactions in progress end, refuse others, and close the connections.

        Args:
            patience: Seconds to wait for transactions; ``None`` for as long as they may take.
                Where some go on, the connections are closed with the last of them.
        """
        with self._condition:
            self._closed = True
            self._condition.wait_for(
                lambda: not self._open_transactions,
                CLOSING_PATIENCE if patience is None else patience,
            )
        self._dispose_when_over()

    def before_fork(self) -> None:
        """Let the transactions in progress end, and begin no others until ``after_fork()``.

        SQLite keeps its locks by process, and what it knows of them by file: a child that inherits
        an open connection takes none for its own, and loses what it writes.
        """
        with self._condition:
            self._forks += 1
            quiet = self._condition.wait_for(lambda: not self._open_transactions, FORK_PATIENCE)
        if quiet and not self._connection_lock:
            self._engine.dispose()

    def after_fork(self) -> None:
        """Go on, in the parent."""
        with self._condition:
            self._forks -= 1
            self._condition.notify_all()

    def abandon(self) -> bool:
        """Close what a forked child has inherited; return whether it may open the file itself.

        Not if a transaction was in progress: its connection cannot be closed.
        """
        if self._connection_lock:
            return True
        # Where no hooks ran the parent's idle connections are still there.
        self._engine.dispose()
        return not self._open_transactions


def _read_location(location: str) -> sa.URL:
    if "://" in location:
        return sa.make_url(location)
    return sa.URL.create("sqlite", database=location)


def _is_memory(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", MEMORY)


def _create_engine(url: sa.URL) -> sa.Engine:
    # Parameters are what people and models say: they are not for errors, and the log.
    # Other databases lock single rows, by FOR UPDATE, and need no tuning here.
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, hide_parameters=True)
    if _is_memory(url):
        # Every further connection to ":memory:" would open another, empty database.
        engine = sa.create_engine(
            url,
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
            hide_parameters=True,
        )
    else:
        _make_private(Path(url.database or ""))
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True)
    _tune_sqlite(engine)
    return engine


def _make_private(path: Path) -> None:
    """Make a file for what people say that others cannot read, and its folder, where missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Before SQLite does, which would let others read it; its further files take the modes of this.
    # Why it cannot be made SQLite says.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _tune_sqlite(engine: sa.Engine) -> None:
    """Begin SQLite's transactions where SQLAlchemy's begin, and queue writers."""

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, record: object) -> None:
        # sqlite3 would begin transactions itself, at the first write; _begin does it instead.
        connection.isolation_level = None
        _switch_to_wal(connection)
        # Enough in WAL mode: a power cut may lose the last commits, and never breaks the file.
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", True)
        # A plain BEGIN that reads and then writes is refused as busy at once, without waiting, when
        # another writer came in between; IMMEDIATE takes its place in the queue first.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _switch_to_wal(connection: Any) -> None:
    """Switch to write-ahead logging, in which readers do not wait for a writer."""
    # When several processes switch a new file at once, SQLite refuses all but one as locked,
    # whatever their busy timeout: they repeat it here.
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= until:
                raise
            # An event that nobody sets: a bounded pause.
            threading.Event().wait(0.01)
