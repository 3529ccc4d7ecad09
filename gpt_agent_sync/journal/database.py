"""A journal's file in use: one connection a process, its transactions, and forks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ConfigurationError, JournalError
from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.journal.sqlite_file import BUSY_TIMEOUT, Connection, connect

FORK_PATIENCE = BUSY_TIMEOUT + 1.0
"""Seconds a fork waits for a transaction in progress; a transaction takes less."""


@attrs.define(eq=False)
class _Own:
    """What one process has of a file.

    Attributes:
        lock: Held for a transaction, or for a fork. Threads that queue here take turns quickly;
            connections of their own would have them poll each other's locks.
        connection: The connection, while there is one.
        file: What the connection's file is to the system.
        durable: Whether the connection's commits wait for the disk.
        busy: Whether a transaction is in progress.
        forking: The thread that holds the lock for a fork.
        inherited: What forks have left from the processes above.
    """

    lock: threading.RLock = attrs.field(factory=threading.RLock)
    connection: Connection | None = None
    file: tuple[int, int] | None = None
    durable: bool | None = None
    busy: bool = False
    forking: int | None = None
    inherited: Sequence[_Own] = ()

    def close(self) -> None:
        """Close the connection, unless a transaction is in progress."""
        if self.connection is not None and not self.busy:
            self.connection.close()
            self.connection = None

    def set_durable(self, durable: bool) -> None:
        """Have commits wait for the disk, or not."""
        if self.connection is not None and self.durable is not durable:
            self.durable = None  # unknown, should a signal handler raise before it is known
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self.durable = durable


class Database:
    """A file whose transactions are one connection's, opened when it is needed.

    SQLite's connections do not outlive forks: what a child opens beside one that it inherited
    counts on locks that only its parent has. So they are closed before, and opened again by both.

    Args:
        path: The absolute path of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._process = PerProcess[_Own](lambda inherited: _Own(inherited=inherited))
        _databases[id(self)] = self

    def open(self) -> None:
        """Open the file now, to learn whether it can be used.

        Raises:
            ConfigurationError: If it is not a journal of this version, or cannot be made.
            JournalError: If it cannot be read or written now.
        """
        own = self._process.get()
        try:
            with own.lock:
                self._connected(own)
        except OSError as exc:
            raise ConfigurationError(f"cannot make the journal {self.path}: {exc}") from exc
        except sqlite3.Error as exc:
            raise JournalError(self.path, "look at what is", str(exc)) from exc

    @contextlib.contextmanager
    def transaction(
        self, action: str, *, writes: bool = True, durable: bool = True
    ) -> Iterator[Connection]:
        """Begin a transaction: committed, or undone when the body raises.

        Args:
            action: What is done, for errors.
            writes: Whether it waits for others that write, and has others wait.
            durable: Whether it is on the disk in the end, and so outlives a power cut too; else it
                is there with the next one that is. Either outlives a process that is killed.

        Raises:
            JournalError: If it fails; nothing is changed then.
        """
        own = self._process.get()
        until = time.monotonic() + BUSY_TIMEOUT
        try:
            with own.lock:
                # A signal handler has come in the middle, and would wait for what it interrupts.
                if own.busy:
                    raise JournalError(self.path, action, "another is in progress on this thread")
                if time.monotonic() >= until:
                    raise JournalError(self.path, action, "it was locked for too long")
                try:
                    own.busy = True
                    connection = self._connected(own)
                    if writes:
                        own.set_durable(durable)
                    with _begun(connection, writes=writes):
                        yield connection
                finally:
                    own.busy = False
        except (sqlite3.Error, OSError, ConfigurationError) as exc:
            raise JournalError(self.path, action, str(exc)) from exc

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        own = self._process.get()
        with own.lock:
            own.close()

    def before_fork(self) -> None:
        """Let no transaction be in progress, nor a connection be open, while a thread forks."""
        own = self._process.get()
        if own.lock.acquire(timeout=FORK_PATIENCE):
            own.forking = threading.get_ident()
            own.close()

    def after_fork_in_parent(self) -> None:
        """Go on, in the process that forked."""
        own = self._process.get()
        if own.forking == threading.get_ident():
            own.forking = None
            own.lock.release()

    def _connected(self, own: _Own) -> Connection:
        for parent in own.inherited:
            _leave(parent)
        own.inherited = ()
        if own.connection is None:
            own.connection = connect(self.path)
            own.file, own.durable = _identity(self.path), None
        elif own.file != _identity(self.path):
            # SQLite would go on with a file that no other process can find.
            own.connection.close()
            own.connection = None
            raise OSError("its file was deleted or replaced while it was in use")
        return own.connection


@contextlib.contextmanager
def _begun(connection: Connection, *, writes: bool) -> Iterator[None]:
    try:
        # A plain BEGIN that reads and then writes is refused as busy at once, without waiting, when
        # another writer came in between; IMMEDIATE takes its place in the queue first.
        connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _leave(own: _Own) -> None:
    """Close what a parent left open, as it forked past Python's hooks."""
    for above in own.inherited:
        _leave(above)
    if own.busy and own.connection is not None:
        # Its mutexes are held by a thread that is not here, and closing it would wait for them.
        _keep_for_ever(own.connection)
        raise OSError(
            "this process was forked in the middle of a transaction, past Python's hooks: fork "
            "before the journal is used, or with the hooks (uWSGI: --py-call-osafterfork)"
        )
    # Before another is opened: SQLite would take the locks of this one, which only the parent has,
    # for the new one's. Between transactions it holds no other.
    own.close()


def _keep_for_ever(connection: Connection) -> None:
    # Not even the end of the interpreter may take it apart.
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


# Weakly, as a journal that nobody holds any more need not be closed for forks.
_databases: weakref.WeakValueDictionary[int, Database] = weakref.WeakValueDictionary()


def _all() -> list[Database]:
    # In one order, so that threads which fork at once do not wait for each other.
    found = [reference() for reference in _databases.valuerefs()]
    return sorted((each for each in found if each is not None), key=id)


def _before_fork() -> None:
    for database in _all():
        database.before_fork()


def _after_fork_in_parent() -> None:
    for database in _all():
        database.after_fork_in_parent()


forks.around(_before_fork, _after_fork_in_parent)
