"""The file of a journal: made for its user's eyes alone, and refused where it is not a journal."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

from gpt_agent_sync.errors import ConfigurationError

APPLICATION_ID = 0x67706A6C
"""What marks the files of this package among all SQLite files: "gpjl"."""

SCHEMA_VERSION = 1

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that has the file locked."""

# Texts are kept as bytes: every text then has its place, with NUL or half a surrogate pair in it,
# and keys are compared byte by byte. The number keeps the order in which entries were created.
SCHEMA = (
    """
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY,
        service BLOB NOT NULL,
        thread_id BLOB NOT NULL,
        kind BLOB NOT NULL,
        key BLOB NOT NULL,
        data TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        owner BLOB,
        lease_until REAL NOT NULL,
        done INTEGER NOT NULL,
        changed_at REAL NOT NULL,
        UNIQUE (service, thread_id, kind, key)
    )
    """,
    "CREATE INDEX entries_by_owner ON entries (owner) WHERE owner IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Connection(sqlite3.Connection):
    """A connection that is closed when nobody holds it any more, with no warning about it."""

    def __del__(self) -> None:
        """Close it."""
        self.close()


def check_path(path: str) -> None:
    """Check where a journal's file is, or is to be.

    Raises:
        ConfigurationError: If there can be no such file.
    """
    if path.endswith(os.sep + ":memory:"):
        raise ConfigurationError("a SqliteJournal is a file: use MemoryJournal() for one in memory")
    if os.path.isdir(path):
        raise ConfigurationError(f"the journal {path} is a folder: pass the path of a file in it")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ConfigurationError(f"no folder for the journal {path}: make {folder} first")


def open_to_others(path: str) -> int | None:
    """Return the mode of a file that other users of this system may read or write."""
    if os.name != "posix":
        return None
    mode = stat.S_IMODE(os.stat(path).st_mode)
    return mode if mode & 0o077 else None


def connect(path: str) -> Connection:
    """Open a journal's file, made if it is not there.

    The connection may be used by any thread, one at a time, and begins no transactions by itself.

    Raises:
        ConfigurationError: If the file is not a journal that this version knows; it is not changed.
        OSError: If the file cannot be made.
        sqlite3.Error: If it cannot be read or written now.
    """
    _make(path)
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",  # never makes one, as that would be with other modes
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    try:
        is_new = _check(connection, path)
        _switch_to_wal(connection)
        if is_new:
            _set_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: str) -> None:
    # Before SQLite does, which would let others read it; its further files take the modes of this.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _check(connection: Connection, path: str) -> bool:
    """Return whether the file is empty, and so to be set up."""
    try:
        connection.execute("BEGIN")  # what is read now is of one moment
        marks = [
            connection.execute(query).fetchone()[0]
            for query in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        ]
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as exc:
        # That it is busy, or cannot be read now, comes as a class below this one.
        if type(exc) is sqlite3.DatabaseError:
            raise ConfigurationError(
                f"the file {path} is not a journal ({exc}): pass another path"
            ) from exc
        raise
    if marks == [0, 0, 0]:
        return True
    application_id, version, _ = marks
    if application_id != APPLICATION_ID:
        raise ConfigurationError(f"{path} is a database of another program: pass another path")
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the journal {path} was made by a newer version of gpt_agent_sync (its schema is "
            f"{version}, and {SCHEMA_VERSION} is known here): upgrade, or pass another path"
        )
    return False


def _switch_to_wal(connection: Connection) -> None:
    """Switch to write-ahead logging, in which readers do not wait for a writer."""
    # While another process is about to do so, SQLite refuses this as locked at once, whatever the
    # busy timeout: it is repeated here.
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= until:
                raise
            _pause()


def _pause() -> None:
    threading.Event().wait(0.01)  # which nobody sets


def _set_up(connection: Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have set it up meanwhile.
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        for statement in SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")
