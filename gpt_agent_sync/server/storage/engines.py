"""The engines of databases, and what each kind of them wants: SQLite's files and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

MEMORY = ":memory:"

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process that writes to the same file."""

POOL_SIZE, POOL_OVERFLOW = 10, 20
"""Connections to a database server that are kept, and that may be opened beside them."""


class UnusableLocationError(ValueError):
    """A location names no database that can be used; it says why."""


def read_location(location: str) -> sa.URL:
    """Return the URL of a database.

    Args:
        location: A SQLite file's path, ``":memory:"``, or a URL with ``://`` in it.

    Raises:
        UnusableLocationError: If it is none, or its driver is not installed.
    """
    if "://" not in location:
        return sa.URL.create("sqlite", database=location)
    try:
        url = sa.make_url(location)
    except sa.exc.ArgumentError:
        # Not what it says: there may be a password in it.
        raise UnusableLocationError("the database's URL cannot be read") from None
    # "postgres" is what many hosts write into DATABASE_URL.
    if url.drivername in ("postgres", "postgresql"):
        if find_spec("psycopg") is None:
            raise UnusableLocationError(
                "PostgreSQL needs psycopg: pip install 'gpt_agent_sync[server,postgres]'"
            )
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UnusableLocationError(
            f"{url.get_backend_name()} is no database that the server can use: SQLite and "
            "PostgreSQL are"
        )
    return url


def is_memory(url: sa.URL) -> bool:
    """Return whether it is a database of this process's memory."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", MEMORY)


def is_sqlite(url: sa.URL) -> bool:
    """Return whether it is SQLite, of which one transaction writes at a time."""
    return url.get_backend_name() == "sqlite"


def create_engine(url: sa.URL) -> sa.Engine:
    """Return the engine of a database, which connects when it is used."""
    # Parameters are what people and models say: they are not for errors, and the log.
    # Other databases lock single rows, by FOR UPDATE, and need no tuning here.
    if not is_sqlite(url):
        return sa.create_engine(
            url,
            hide_parameters=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            # One that the server has closed, as it was restarted say, is noticed before its use.
            pool_pre_ping=True,
        )
    if is_memory(url):
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
