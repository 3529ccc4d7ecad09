"""The application's own database: who its users are, and what is theirs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS threads (
    id TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id),
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id), text TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Accounts:
    """Users, their threads and their notes, in a SQLite file that processes share.

    Args:
        path: The file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._open() as db:
            db.executescript(SCHEMA)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection with a transaction, which is kept if nothing is raised."""
        # One for each use: tools are called on other threads than requests.
        db = sqlite3.connect(self._path, timeout=10)
        try:
            with db:
                yield db
        finally:
            db.close()

    def sign_up(self, name: str, password: str) -> int | None:
        """Make a user; ``None`` if the name is taken."""
        try:
            with self._open() as db:
                made = db.execute(
                    "INSERT INTO users (name, password) VALUES (?, ?)",
                    (name, generate_password_hash(password)),
                )
                return made.lastrowid
        except sqlite3.IntegrityError:
            return None

    def sign_in(self, name: str, password: str) -> int | None:
        """Return the user's id; ``None`` if there is none of the name, or with another password."""
        with self._open() as db:
            found = db.execute("SELECT id, password FROM users WHERE name = ?", (name,)).fetchone()
        if found is None or not check_password_hash(found[1], password):
            return None
        user_id: int = found[0]
        return user_id

    def add_thread(self, user_id: int, thread_id: str) -> None:
        """Note whose a thread is."""
        with self._open() as db:
            db.execute("INSERT INTO threads (id, user_id) VALUES (?, ?)", (thread_id, user_id))

    def threads(self, user_id: int) -> list[tuple[str, str]]:
        """Return a user's threads, the newest first: id and time."""
        with self._open() as db:
            return db.execute(
                "SELECT id, created_at FROM threads WHERE user_id = ? ORDER BY rowid DESC",
                (user_id,),
            ).fetchall()

    def owner(self, thread_id: str) -> int | None:
        """Return the id of the user whose a thread is."""
        with self._open() as db:
            found = db.execute("SELECT user_id FROM threads WHERE id = ?", (thread_id,)).fetchone()
        return None if found is None else found[0]

    def add_note(self, user_id: int, text: str) -> None:
        """Keep a note of a user."""
        with self._open() as db:
            db.execute("INSERT INTO notes (user_id, text) VALUES (?, ?)", (user_id, text))

    def notes(self, user_id: int) -> list[str]:
        """Return a user's notes, the oldest first."""
        with self._open() as db:
            found = db.execute("SELECT text FROM notes WHERE user_id = ? ORDER BY id", (user_id,))
            return [text for (text,) in found]

    def fact(self, name: str, find: Callable[[], str]) -> str:
        """Return what is noted under a name; of processes that find it out at once, the first's."""
        known = self._fact(name)
        if known is None:
            found = find()  # outside of a transaction, as it may take its time
            with self._open() as db:
                db.execute("INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)", (name, found))
            known = self._fact(name)
        return known or found

    def _fact(self, name: str) -> str | None:
        with self._open() as db:
            known = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if known is None else known[0]
