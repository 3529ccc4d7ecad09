"""The journal in a SQLite file, for the threads and processes of one host."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.database import Database
from gpt_agent_sync.journal.record_journal import Decide, RecordJournal
from gpt_agent_sync.journal.rules import Record
from gpt_agent_sync.journal.sqlite_file import Connection, check_path, open_to_others
from gpt_agent_sync.logs import get_logger

logger = get_logger(__name__)

KEEP = 7 * 24 * 3600.0
"""Seconds after which entries that nobody changes are dropped, when a journal is opened."""

R = TypeVar("R", bound="Record | None")

# All that is put into a statement's text below are these constants; values are always parameters.
_COLUMNS = "data, attempt, owner, lease_until, done, changed_at"

_PLACE = "service = ? AND thread_id = ? AND kind = ?"

_READ = f"SELECT {_COLUMNS} FROM entries WHERE {_PLACE} AND key = ?"  # noqa: S608  # nosec B608

_LIST = f"SELECT key, {_COLUMNS} FROM entries WHERE {_PLACE} ORDER BY number"  # noqa: S608  # nosec B608

_WRITE = f"""
    INSERT INTO entries (service, thread_id, kind, key, {_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (service, thread_id, kind, key) DO UPDATE SET
        data = excluded.data, attempt = excluded.attempt, owner = excluded.owner,
        lease_until = excluded.lease_until, done = excluded.done, changed_at = excluded.changed_at
"""  # noqa: S608  # nosec B608

_RENEW = "UPDATE entries SET lease_until = ? WHERE owner = ?"

_REMOVE = f"DELETE FROM entries WHERE {_PLACE} AND key >= ? AND key < ?"  # noqa: S608  # nosec B608

_PURGE = "DELETE FROM entries WHERE max(changed_at, lease_until) <= ?"


class SqliteJournal(RecordJournal):
    """A journal in a SQLite file that any threads and processes of one host share.

    The file is made with mode 0600, as it holds what tools were given and gave. It is to be on a
    local disk, not on one of a network: its processes share memory. A file is used from when it is
    first needed, and closed around forks. Leases go by the host's clock: where that is set forward,
    they run out early.

    What was claimed, added, updated or released is on the disk when the method returns, and so
    outlives a power cut too: else one could take back that a call was begun, and the call be made
    again. What was renewed, removed or purged may be as before after a power cut.

    Args:
        path: The file; its folder must exist.
        keep: Entries that nobody has changed for so many seconds are dropped now.

    Raises:
        ConfigurationError: If there cannot be such a file, or the file that is there is not a
            journal, or a newer version's; it is left as it is.
        JournalError: If the file cannot be read or written now.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: float = KEEP) -> None:
        self._path = os.path.abspath(path)
        check_path(self._path)
        self._database = Database(self._path)
        self._database.open()
        self.purge(keep)
        # A process that only imports the program, and forks then, has nothing open.
        self.close()
        mode = open_to_others(self._path)
        if mode is not None:
            logger.warning(
                "the journal %s can be used by other users (mode %o), and tells them what tools "
                "were given and gave: chmod 600 it",
                self._path,
                mode,
            )

    @property
    def path(self) -> str:
        """The file's absolute path."""
        return self._path

    def _change(
        self, action: str, scope: Scope, kind: str, key: str, decide: Decide[R]
    ) -> tuple[R, bool]:
        place = (*_place(scope, kind), _bytes(key))
        with self._database.transaction(f"{action} {kind} {key!r}") as connection:
            before = _read(connection, place)
            # Not before the transaction has begun, for which it may have waited.
            after = decide(before, time.time())
            changed = after is not before
            if after is not None and changed:
                connection.execute(_WRITE, (*place, *_row(after)))
        return after, changed

    def _read(self, scope: Scope, kind: str, key: str) -> Record | None:
        with self._database.transaction(f"read {kind} {key!r}", writes=False) as connection:
            return _read(connection, (*_place(scope, kind), _bytes(key)))

    def _list(self, scope: Scope, kind: str) -> Sequence[tuple[str, Record]]:
        with self._database.transaction(f"list every {kind}", writes=False) as connection:
            rows = connection.execute(_LIST, _place(scope, kind)).fetchall()
        return [(_text(key), _record(row)) for key, *row in rows]

    def renew(self, owner: str, lease: float) -> None:
        """Have the leases of all that an owner still owns, in every scope, run from now."""
        action = f"renew the leases of {owner}"
        with self._database.transaction(action, durable=False) as connection:
            connection.execute(_RENEW, (time.time() + lease, _bytes(owner)))

    def remove(self, scope: Scope, kind: str, prefix: str = "") -> None:
        """Drop the entries whose key begins with ``prefix``, whoever owns them."""
        first = _bytes(prefix)
        # No text has this byte in it: it comes after whatever goes on from the prefix.
        last = first + b"\xff"
        action = f"remove every {kind} {prefix!r}..."
        with self._database.transaction(action, durable=False) as connection:
            connection.execute(_REMOVE, (*_place(scope, kind), first, last))

    def purge(self, older_than: float) -> int:
        """Drop what was neither changed nor under a lease in the last so many seconds."""
        with self._database.transaction("purge entries", durable=False) as connection:
            return connection.execute(_PURGE, (time.time() - older_than,)).rowcount

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._database.close()

    def __repr__(self) -> str:
        """Show the path."""
        return f"SqliteJournal({self._path!r})"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def _place(scope: Scope, kind: str) -> tuple[bytes, ...]:
    return _bytes(scope.service), _bytes(scope.thread_id), _bytes(kind)


def _read(connection: Connection, place: Sequence[bytes]) -> Record | None:
    row = connection.execute(_READ, place).fetchone()
    return None if row is None else _record(row)


def _record(row: Sequence[Any]) -> Record:
    data, attempt, owner, lease_until, done, changed_at = row
    return Record(
        data=data,
        attempt=attempt,
        owner=None if owner is None else _text(owner),
        lease_until=lease_until,
        done=bool(done),
        changed_at=changed_at,
    )


def _row(record: Record) -> tuple[Any, ...]:
    owner = None if record.owner is None else _bytes(record.owner)
    lease_until, changed_at = record.lease_until, record.changed_at
    return record.data, record.attempt, owner, lease_until, record.done, changed_at
