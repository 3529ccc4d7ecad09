"""The journal in a SQLite file, beyond the contract: its file, its errors."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpt_agent_sync.errors import ConfigurationError, JournalError
from gpt_agent_sync.journal import database, sqlite_file
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.sqlite import SqliteJournal

SCOPE = Scope(service="s", thread_id="t")

posix = pytest.mark.skipif(os.name != "posix", reason="this system has other file modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there."""
    return tmp_path / "calls.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    """Return an empty journal."""
    with contextlib.closing(SqliteJournal(path)) as journal:
        yield journal


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for other processes that have the file locked."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.1)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@posix
def test_files_are_their_users_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All files of a journal are made with mode 0600, whatever the process makes others with."""
    before = os.umask(0)
    try:
        with contextlib.closing(SqliteJournal(path)) as journal:
            journal.add(SCOPE, "call", "1", {})
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("calls.db", "calls.db-wal", "calls.db-shm"), 0o600)
    assert warnings(caplog) == []


@posix
def test_file_that_others_can_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is there keeps its mode, and a warning tells that others can read it."""
    path.touch()
    path.chmod(0o644)
    SqliteJournal(path).add(SCOPE, "call", "1", {})
    assert path.stat().st_mode & 0o777 == 0o644
    assert warnings(caplog) == [
        f"the journal {path} can be used by other users (mode 644), and tells them what tools were "
        "given and gave: chmod 600 it"
    ]


def test_entries_outlive_the_journal(path: Path) -> None:
    """What a file holds is there for who opens it next."""
    SqliteJournal(path).claim(SCOPE, "call", "1", owner="ann", lease=60.0, data={"a": 1})
    entry = SqliteJournal(path).get(SCOPE, "call", "1")
    assert entry is not None
    assert (entry.data, entry.owner, entry.attempt) == ({"a": 1}, "ann", 1)


def test_journals_of_one_file_share_it(path: Path) -> None:
    """Two journals in one file are one."""
    first, second = SqliteJournal(path), SqliteJournal(path)
    assert first.claim(SCOPE, "call", "1", owner="ann", lease=60.0).taken
    assert not second.claim(SCOPE, "call", "1", owner="ben", lease=60.0).taken


def test_nothing_is_open_until_it_is_used(path: Path) -> None:
    """A journal that was only made has no further files, and so no connection."""
    journal = SqliteJournal(path)
    assert [each.name for each in path.parent.iterdir()] == ["calls.db"]
    journal.add(SCOPE, "call", "1", {})
    assert len(list(path.parent.iterdir())) == 3
    journal.close()
    assert [each.name for each in path.parent.iterdir()] == ["calls.db"]


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "it's#1.db", "日本語.db"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    """A file may have any name."""
    with contextlib.closing(SqliteJournal(tmp_path / name)) as journal:
        journal.add(SCOPE, "call", "1", {})
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_old_entries_go_when_it_is_opened(path: Path) -> None:
    """What nobody changed for a week, or as long as is said, goes when the file is opened."""
    SqliteJournal(path).add(SCOPE, "call", "old", {})
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entries SET changed_at = changed_at - 8 * 24 * 3600")
    SqliteJournal(path, keep=9 * 24 * 3600).add(SCOPE, "call", "new", {})
    assert len(SqliteJournal(path, keep=9 * 24 * 3600).entries(SCOPE, "call")) == 2
    assert [entry.key for entry in SqliteJournal(path).entries(SCOPE, "call")] == ["new"]


def test_readers_do_not_wait_for_writers(journal: SqliteJournal) -> None:
    """The file is written ahead."""
    with journal._database.transaction("look") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def synchronous(journal: SqliteJournal) -> int:
    """Return how the last commit waited for the disk: 2 in full, 1 not."""
    connection = journal._database._process.get().connection
    assert connection is not None
    found: int = connection.execute("PRAGMA synchronous").fetchone()[0]
    return found


Do = Callable[[SqliteJournal], object]


@pytest.mark.parametrize(
    "do, waits",
    [
        (lambda journal: journal.add(SCOPE, "call", "2", {}), 2),
        (lambda journal: journal.claim(SCOPE, "call", "1", owner="ben", lease=60.0), 2),
        (lambda journal: journal.update(SCOPE, "call", "1", owner="ann", data={}), 2),
        (lambda journal: journal.release(SCOPE, "call", "1", owner="ann"), 2),
        (lambda journal: journal.renew("ann", 60.0), 1),
        (lambda journal: journal.remove(SCOPE, "call"), 1),
        (lambda journal: journal.purge(3600.0), 1),
    ],
    ids=["add", "claim", "update", "release", "renew", "remove", "purge"],
)
def test_what_outlives_a_power_cut(journal: SqliteJournal, do: Do, waits: int) -> None:
    """Commits wait for the disk where a call could be made twice otherwise, and no others."""
    journal.claim(SCOPE, "call", "1", owner="ann", lease=0.0)
    journal.purge(3600.0)
    assert synchronous(journal) == 1
    journal.update(SCOPE, "call", "1", owner="ann", data={})
    assert synchronous(journal) == 2
    do(journal)
    assert synchronous(journal) == waits


def test_empty_file_is_used(path: Path) -> None:
    """An empty file, such as one that was made to set its mode, becomes a journal."""
    path.touch()
    SqliteJournal(path).add(SCOPE, "call", "1", {})
    assert SqliteJournal(path).get(SCOPE, "call", "1") is not None


@pytest.mark.parametrize(
    "name, reason",
    [
        ("nowhere/calls.db", "no folder for the journal .*calls.db: make .*nowhere first"),
        ("", "is a folder: pass the path of a file in it"),
        (":memory:", "a SqliteJournal is a file: use MemoryJournal"),
    ],
)
def test_unusable_path(tmp_path: Path, name: str, reason: str) -> None:
    """A path at which no file can be is refused with what to do, and nothing is made there."""
    with pytest.raises(ConfigurationError, match=reason):
        SqliteJournal(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def make_text(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("Dear diary,\n" * 500)


def make_foreign(path: Path) -> None:
    """Make the database of another program."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries (number INTEGER)")


def make_foreign_wal(path: Path) -> None:
    """Make the database of another program, one that has no tables yet."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA application_id = 7")


def make_newer(path: Path) -> None:
    """Make the journal of a later version."""
    SqliteJournal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


Make = Callable[[Path], None]


@pytest.mark.parametrize(
    "make, reason",
    [
        (make_text, "calls.db is not a journal .file is not a database.: pass another path"),
        (make_foreign, "calls.db is a database of another program: pass another path"),
        (make_foreign_wal, "calls.db is a database of another program: pass another path"),
        (make_newer, "calls.db was made by a newer version .*its schema is 2, and 1 .*: upgrade"),
    ],
    ids=["text", "foreign", "foreign-wal", "newer"],
)
def test_files_of_others(path: Path, make: Make, reason: str) -> None:
    """A file that is not a journal of this version is refused, and left as it is."""
    make(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=reason):
        SqliteJournal(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["calls.db"]


def test_file_that_another_is_making(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that another process has locked to set it up is waited for."""
    path.touch()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite_file, "_pause", lambda: other.execute("ROLLBACK"))
        SqliteJournal(path).add(SCOPE, "call", "1", {})
        assert not other.in_transaction


@pytest.mark.usefixtures("impatient")
def test_new_file_that_is_locked_for_too_long(path: Path) -> None:
    """A new file that another has locked for too long is an error of the journal."""
    path.touch()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="cannot look at what is in .*database is locked"):
            SqliteJournal(path)


@pytest.mark.usefixtures("impatient")
def test_file_that_is_locked_for_too_long(path: Path) -> None:
    """A file that another has locked for too long is an error that names file and deed."""
    journal = SqliteJournal(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError) as caught:
            journal.claim(SCOPE, "call", "1", owner="ann", lease=60.0)
        assert list(journal.entries(SCOPE, "call")) == []  # reading need not wait
        other.execute("ROLLBACK")
    assert str(caught.value) == (f"cannot claim call '1' in the journal {path}: database is locked")
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert journal.claim(SCOPE, "call", "1", owner="ann", lease=60.0).taken


def test_time_spent_on_other_threads_counts(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has waited for others for too long does not begin to wait for the file."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)
    with pytest.raises(JournalError, match="cannot read call '1' .*: it was locked for too long"):
        journal.get(SCOPE, "call", "1")


def test_full_disk(journal: SqliteJournal) -> None:
    """What has no place on the disk is an error, changes nothing, and is over when there is."""
    journal.claim(SCOPE, "call", "1", owner="ann", lease=60.0, data={"a": 1})
    large = {"a": "x" * 1_000_000}
    with journal._database.transaction("look") as connection:
        (most,) = connection.execute("PRAGMA max_page_count").fetchone()
        connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(JournalError, match="cannot update call '1' in .*disk is full"):
        journal.update(SCOPE, "call", "1", owner="ann", data=large, done=True)
    entry = journal.get(SCOPE, "call", "1")
    assert entry is not None
    assert (entry.data, entry.owner) == ({"a": 1}, "ann")
    with journal._database.transaction("look") as connection:
        connection.execute(f"PRAGMA max_page_count = {most}")
    assert journal.update(SCOPE, "call", "1", owner="ann", data=large, done=True)


@posix
def test_deleted_file(journal: SqliteJournal, path: Path) -> None:
    """That the file was deleted in use is told once, as others see another; then it begins anew."""
    journal.add(SCOPE, "call", "1", {})
    path.unlink()
    with pytest.raises(JournalError, match="its file was deleted or replaced while it was in use"):
        journal.add(SCOPE, "call", "2", {})
    journal.add(SCOPE, "call", "3", {})
    assert [entry.key for entry in SqliteJournal(path).entries(SCOPE, "call")] == ["3"]


def test_replaced_file(journal: SqliteJournal, path: Path) -> None:
    """A file that became another while it was not open is an error of the journal."""
    journal.close()
    make_text(path)
    with pytest.raises(JournalError, match="cannot add call '1' in .* is not a journal"):
        journal.add(SCOPE, "call", "1", {})


def test_folder_that_went_away(tmp_path: Path) -> None:
    """A file that cannot be opened any more is an error of the journal."""
    (tmp_path / "sub").mkdir()
    journal = SqliteJournal(tmp_path / "sub" / "calls.db")
    (tmp_path / "sub").rename(tmp_path / "gone")
    with pytest.raises(JournalError, match="cannot purge entries in .*No such file"):
        journal.purge(0.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_transaction_is_undone(
    journal: SqliteJournal, error: type[BaseException]
) -> None:
    """What raises in the middle of a transaction undoes it, and the next one goes ahead."""
    journal.add(SCOPE, "call", "1", {})

    def delete_all() -> None:
        with journal._database.transaction("try") as connection:
            connection.execute("DELETE FROM entries")
            raise error

    with pytest.raises(error):
        delete_all()
    assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["1"]


def test_call_out_of_the_middle_of_another(journal: SqliteJournal) -> None:
    """A signal handler that comes in the middle of a transaction gets an error, not a deadlock."""
    with journal._database.transaction("claim"):
        with pytest.raises(JournalError, match="another is in progress on this thread"):
            journal.get(SCOPE, "call", "1")
        journal.close()  # does nothing now
    journal.add(SCOPE, "call", "1", {})


def test_reader_sees_whole_states(path: Path) -> None:
    """While one writes, another sees what was there before or after, never in between."""
    writing, reading = SqliteJournal(path), SqliteJournal(path)
    writing.claim(SCOPE, "call", "1", owner="ann", lease=60.0, data={"n": 0, "text": ""})
    done = threading.Event()

    def write() -> None:
        for number in range(1, 60):
            data = {"n": number, "text": str(number) * 50_000}
            writing.update(SCOPE, "call", "1", owner="ann", data=data, done=number == 59)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        (entry,) = reading.entries(SCOPE, "call")
        number = entry.data["n"]
        assert entry.data["text"] == (str(number) * 50_000 if number else "")
        assert entry.done == (number == 59)
        seen.add(number)
    writer.join()
    assert len(seen) > 1


def test_dropped_journal_closes_its_file(path: Path) -> None:
    """A journal that nobody holds any more closes its file, and no warning is given."""
    journal = SqliteJournal(path)
    journal.add(SCOPE, "call", "1", {})
    del journal
    gc.collect()
    assert [each.name for each in path.parent.iterdir()] == ["calls.db"]


@pytest.mark.parametrize("holder", ["journal", "gpt.configure(journal=journal)", "keep()"])
def test_exit_is_silent(path: Path, holder: str) -> None:
    """A process that ends without closing its journal ends with the file closed, and silently."""
    code = textwrap.dedent(f"""
        import sys, threading
        import gpt_agent_sync as gpt
        from gpt_agent_sync.journal.base import Scope

        journal = gpt.SqliteJournal(sys.argv[1])
        journal.add(Scope(service="s", thread_id="t"), "call", "1", {{}})

        def keep():
            threading.Thread(target=lambda j: threading.Event().wait(), args=(journal,),
                             daemon=True).start()

        {holder}
    """)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert SqliteJournal(path).get(SCOPE, "call", "1") is not None
