"""The server's database: its collections, and the transactions on them, over SQLAlchemy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.storage import schema
from gpt_agent_sync.server.storage.collection import Collection, Connection
from gpt_agent_sync.server.storage.engines import (
    BUSY_TIMEOUT,
    create_engine,
    is_memory,
    is_sqlite,
    read_location,
)
from gpt_agent_sync.server.storage.event_log import EventLog
from gpt_agent_sync.server.storage.workers import Workers

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
        url = read_location(location)
        tables = schema.metadata.tables
        self.assistants = Collection(tables["assistants"])
        self.threads = Collection(tables["threads"])
        self.messages = Collection(tables["messages"])
        self.runs = Collection(tables["runs"])
        self.steps = Collection(tables["steps"])
        self.conversations = Collection(tables["conversations"])
        self.items = Collection(tables["items"])
        self.responses = Collection(tables["responses"])
        self.workers = Workers(tables["workers"])
        self.events = EventLog(tables["events"])
        self.is_memory = is_memory(url)
        # A database in memory is one connection for all threads, and carries one transaction. A
        # file has one writer at a time: those of this process wait for each other here, as SQLite
        # lets them sleep and try again, for longer and longer.
        self._one_at_a_time = threading.Lock() if is_sqlite(url) else None
        self._condition = threading.Condition(threading.Lock())
        self._open_transactions = 0
        self._patience: float | None = None
        self._forks = 0
        self._closed = self._disposed = False
        self._engine = create_engine(url)
        try:
            schema.upgrade(self.read, self.write)
        except BaseException:
            self._engine.dispose()
            raise

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
        alone = self._one_at_a_time if writes or self.is_memory else None
        with (
            self._counted(),
            contextlib.nullcontext() if alone is None else self._waiting_for(alone),
            self._engine.connect() as fresh,
        ):
            if self._patience is not None and self._one_at_a_time is not None:
                # Not as a statement of the transaction, which begins with the first one.
                raw: Any = fresh.connection.dbapi_connection
                raw.execute(f"PRAGMA busy_timeout={int(self._patience * 1000)}")
            connection = fresh.execution_options(writes=writes)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _waiting_for(self, lock: threading.Lock) -> Iterator[None]:
        if not lock.acquire(timeout=-1 if self._patience is None else self._patience):
            raise StorageClosedError
        try:
            yield
        finally:
            lock.release()

    def hurry(self, patience: float) -> None:
        """Let no transaction wait for long from now on: the program ends.

        Args:
            patience: Seconds that it may wait for others.
        """
        self._patience = max(0.01, patience)

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
        if quiet and not self.is_memory:
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
        if self.is_memory:
            return True
        # Where no hooks ran the parent's idle connections are still there.
        self._engine.dispose()
        return not self._open_transactions
