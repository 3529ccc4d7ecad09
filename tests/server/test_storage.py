"""Where the server keeps its objects."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.server.storage.collection import MOST_IDS, Object, new_id
from gpt_agent_sync.server.storage.database import Storage, StorageClosedError
from tests.plugins.postgres_servers import needs_postgres

NAMES = ("a", "b", "c", "d", "e")

Open = Callable[[str], Storage]


@pytest.fixture
def open_storage() -> Iterator[Open]:
    """Yield an opener of storages; they are closed."""
    opened: list[Storage] = []

    def make(location: str) -> Storage:
        storage = Storage(location)
        opened.append(storage)
        return storage

    yield make
    for storage in opened:
        storage.close()


@pytest.fixture(
    params=["memory", "file", "url", pytest.param("postgres", marks=needs_postgres)],
)
def storage(request: pytest.FixtureRequest, open_storage: Open, tmp_path: Path) -> Storage:
    """Return a storage of each kind."""
    if request.param == "postgres":
        return open_storage(request.getfixturevalue("postgres_url"))
    places = {
        "memory": ":memory:",
        "file": str(tmp_path / "a.db"),
        "url": f"sqlite:///{tmp_path / 'b.db'}",
    }
    return open_storage(places[request.param])


@pytest.fixture
def filled(storage: Storage) -> Storage:
    """Return a storage with five messages of one thread, and one of another."""
    with storage.write() as connection:
        for name in NAMES:
            run_id = "run_1" if name in "bd" else None
            storage.messages.insert(connection, {"id": name, "run_id": run_id}, "thread_1")
        storage.messages.insert(connection, {"id": "z", "run_id": "run_1"}, "thread_2")
    return storage


def ids(items: list[Object]) -> str:
    """Return the ids, joined."""
    return "".join(item["id"] for item in items)


def test_object_comes_back(storage: Storage) -> None:
    """What is put in comes out, nested values too."""
    data = {"id": "a", "content": [{"text": {"value": "ü"}}], "none": None}
    with storage.write() as connection:
        storage.threads.insert(connection, data)
    with storage.read() as connection:
        assert storage.threads.get(connection, "a") == data


@pytest.mark.parametrize(
    "object_id, parent_id, there",
    [
        ("a", None, True),
        ("a", "thread_1", True),
        ("a", "thread_2", False),
        ("x", None, False),
    ],
)
@pytest.mark.parametrize("lock", [False, True])
def test_get(
    filled: Storage, object_id: str, parent_id: str | None, there: bool, lock: bool
) -> None:
    """An object is found by its id, under what it belongs to only, locked or not."""
    with filled.write() as connection:
        found = filled.messages.get(connection, object_id, parent_id, lock=lock)
    assert (found is not None) is there


def test_many_at_once(storage: Storage) -> None:
    """Objects added together stand in their order, and those that are there are found together."""
    names = [f"m{number}" for number in range(2 * MOST_IDS + 1)]
    with storage.write() as connection:
        storage.messages.insert_all(connection, [{"id": name} for name in names], "thread_1")
        storage.messages.insert_all(connection, [], "thread_1")
    with storage.read() as connection:
        listed = storage.messages.all_of(connection, "thread_1")
        found = storage.messages.get_all(connection, [*names, "x", "a\0b"])
    assert [item["id"] for item in listed] == names
    assert found == {name: {"id": name} for name in names}


def test_update_replaces(filled: Storage) -> None:
    """An update replaces the whole object."""
    with filled.write() as connection:
        filled.messages.update(connection, {"id": "a", "new": 1})
    with filled.read() as connection:
        assert filled.messages.get(connection, "a") == {"id": "a", "new": 1}


def test_update_moves_the_status(filled: Storage) -> None:
    """An updated object is found under its new status."""
    with filled.write() as connection:
        filled.messages.update(connection, {"id": "a", "status": "new"})
        found = filled.messages.with_status(connection, "thread_1", frozenset({"new"}))
    assert ids(found) == "a"


def test_delete_removes_one(filled: Storage) -> None:
    """A deleted object is gone, and only that."""
    with filled.write() as connection:
        filled.messages.delete(connection, "c")
    with filled.read() as connection:
        assert ids(filled.messages.all_of(connection, "thread_1")) == "abde"


@pytest.mark.parametrize("thread_id, left", [("thread_1", ""), ("thread_2", "z")])
def test_delete_of_removes_all_of_one(filled: Storage, thread_id: str, left: str) -> None:
    """What belongs to one thread is removed together, and nothing of another."""
    with filled.write() as connection:
        filled.messages.delete_of(connection, "thread_1")
    with filled.read() as connection:
        assert ids(filled.messages.all_of(connection, thread_id)) == left


def test_statuses_come_oldest_first(storage: Storage) -> None:
    """Objects are found by any of several statuses, oldest first."""
    with storage.write() as connection:
        for name, status in (("a", "x"), ("b", "y"), ("c", "z"), ("d", "x")):
            storage.runs.insert(connection, {"id": name, "status": status}, "thread_1")
    with storage.read() as connection:
        found = storage.runs.with_status(connection, "thread_1", frozenset({"x", "y"}))
    assert ids(found) == "abd"


@pytest.mark.parametrize(
    "asked, page, more",
    [
        ({}, "abcde", False),
        ({"order": "desc"}, "edcba", False),
        ({"limit": 2}, "ab", True),
        ({"limit": 5}, "abcde", False),
        ({"limit": 2, "order": "desc"}, "ed", True),
        ({"after": "b"}, "cde", False),
        ({"after": "b", "limit": 2}, "cd", True),
        ({"after": "e"}, "", False),
        ({"after": "d", "order": "desc"}, "cba", False),
        ({"before": "d"}, "abc", False),
        ({"before": "d", "limit": 2}, "bc", True),
        ({"before": "a"}, "", False),
        ({"before": "b", "order": "desc"}, "edc", False),
        ({"before": "b", "order": "desc", "limit": 2}, "dc", True),
        ({"after": "a", "before": "e"}, "bcd", False),
        ({"after": "a", "before": "e", "limit": 2}, "bc", True),
        ({"after": "e", "before": "a", "order": "desc"}, "dcb", False),
        ({"run_id": "run_1"}, "bd", False),
        ({"run_id": "run_1", "order": "desc", "limit": 1}, "d", True),
        ({"run_id": "run_1", "after": "c"}, "d", False),
        ({"run_id": "run_2"}, "", False),
        ({"parent_id": None}, "abcdez", False),
        ({"parent_id": None, "after": "e"}, "z", False),
    ],
)
def test_page(filled: Storage, asked: dict[str, Any], page: str, more: bool) -> None:
    """A page begins and ends at its cursors, in its order, and says whether more follow."""
    query = {"parent_id": "thread_1", "order": "asc", "limit": 20, "after": None, "before": None}
    with filled.read() as connection:
        found, has_more = filled.messages.page(connection, **{**query, **asked})
    assert (ids(found), has_more) == (page, more)


@pytest.mark.parametrize("cursor", ["after", "before"])
@pytest.mark.parametrize("object_id", ["x", "z"], ids=["unknown", "of-another"])
def test_unknown_cursor(filled: Storage, cursor: str, object_id: str) -> None:
    """A cursor that is not in the list is named by its id."""
    cursors = {"after": None, "before": None, cursor: object_id}
    with filled.read() as connection, pytest.raises(KeyError) as caught:
        filled.messages.page(connection, parent_id="thread_1", order="asc", limit=1, **cursors)
    assert caught.value.args == (object_id,)


def test_failed_write_is_undone(filled: Storage) -> None:
    """A transaction that raises leaves nothing behind."""

    def delete_and_fail() -> None:
        with filled.write() as connection:
            filled.messages.delete_of(connection, "thread_1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        delete_and_fail()
    with filled.read() as connection:
        assert ids(filled.messages.all_of(connection, "thread_1")) == "abcde"


def test_writers_queue_up(storage: Storage) -> None:
    """Transactions that read and then write do not lose each other's updates."""
    with storage.write() as connection:
        storage.threads.insert(connection, {"id": "a", "count": 0})

    def count(_: int) -> None:
        with storage.write() as connection:
            found = storage.threads.get(connection, "a", lock=True)
            assert found is not None
            storage.threads.update(connection, {**found, "count": found["count"] + 1})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(40)))
    with storage.read() as connection:
        assert storage.threads.get(connection, "a") == {"id": "a", "count": 40}


def test_file_outlives_its_storage(open_storage: Open, tmp_path: Path) -> None:
    """A file opened again holds what was kept in it."""
    location = str(tmp_path / "a.db")
    first = open_storage(location)
    with first.write() as connection:
        first.threads.insert(connection, {"id": "a"})
    first.close()
    again = open_storage(location)
    with again.read() as connection:
        assert again.threads.get(connection, "a") == {"id": "a"}


def test_two_storages_share_a_file(open_storage: Open, tmp_path: Path) -> None:
    """What one storage keeps in a file is seen by another at once."""
    one, other = (open_storage(str(tmp_path / "a.db")) for _ in range(2))
    with one.write() as connection:
        one.threads.insert(connection, {"id": "a"})
    with other.read() as connection:
        assert other.threads.get(connection, "a") == {"id": "a"}


def test_storages_open_a_new_file_together(tmp_path: Path) -> None:
    """Several storages may open a new file at the same moment."""
    start = threading.Barrier(8)

    def open_and_keep(number: int) -> None:
        start.wait(10)
        storage = Storage(str(tmp_path / "a.db"))
        with storage.write() as connection:
            storage.threads.insert(connection, {"id": str(number)})
        storage.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_keep, range(8)))
    storage = Storage(str(tmp_path / "a.db"))
    with storage.read() as connection:
        found = [storage.threads.get(connection, str(number)) for number in range(8)]
    storage.close()
    assert found == [{"id": str(number)} for number in range(8)]


def test_folders_are_made(open_storage: Open, tmp_path: Path) -> None:
    """The folders above a new file are made."""
    open_storage(str(tmp_path / "new" / "folder" / "a.db"))
    assert (tmp_path / "new" / "folder" / "a.db").is_file()


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_files_are_private(open_storage: Open, tmp_path: Path) -> None:
    """What people say is not for others on the host to read, whatever the umask."""
    path = tmp_path / "new" / "local.db"
    open_storage(str(path))
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_memories_are_separate(open_storage: Open) -> None:
    """Two storages in memory know nothing of each other."""
    one, other = open_storage(":memory:"), open_storage(":memory:")
    with one.write() as connection:
        one.threads.insert(connection, {"id": "a"})
    with other.read() as connection:
        assert other.threads.get(connection, "a") is None


@pytest.mark.parametrize("location", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_memory_is_shared_by_threads(open_storage: Open, location: str) -> None:
    """Threads see one database in memory, however it is written."""
    storage = open_storage(location)
    with storage.write() as connection:
        storage.threads.insert(connection, {"id": "a"})

    def look() -> Object | None:
        with storage.read() as connection:
            return storage.threads.get(connection, "a")

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look).result(10) == {"id": "a"}


def test_readers_do_not_wait_for_a_writer(open_storage: Open, tmp_path: Path) -> None:
    """While one transaction writes to a file, another reads what was there before."""
    storage = open_storage(str(tmp_path / "a.db"))

    def look() -> Object | None:
        with storage.read() as connection:
            return storage.threads.get(connection, "a")

    with ThreadPoolExecutor(1) as pool, storage.write() as connection:
        storage.threads.insert(connection, {"id": "a"})
        assert pool.submit(look).result(10) is None


def test_fork_waits_for_transactions_and_they_for_it(storage: Storage) -> None:
    """A fork waits for the transaction in progress; the next one waits until the fork is over."""
    inside, ended, forked = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def write() -> None:
        with storage.write():
            inside.set()
            assert ended.wait(10)
            order.append("ended")

    def write_next() -> None:
        forked.set()
        with storage.write():
            order.append("next")

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(write)
        assert inside.wait(10)
        ended.set()
        storage.before_fork()
        order.append("forks")
        later = pool.submit(write_next)
        assert forked.wait(10)
        order.append("over")
        storage.after_fork()
        writing.result(10)
        later.result(10)
    assert order == ["ended", "forks", "over", "next"]


def test_close_waits_no_longer_than_it_may(storage: Storage) -> None:
    """A storage is closed to others while a transaction goes on that it waits for no longer."""
    with storage.write():
        storage.close(0.0)
        with pytest.raises(StorageClosedError), storage.read():
            pass


def test_storage_is_closed_once_by_whoever_is_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that meets the end of the last transaction leaves the connections to one of them."""
    storage = Storage(":memory:")
    disposals = []
    dispose = storage._engine.dispose

    def dispose_slowly() -> None:
        disposals.append(threading.current_thread().name)
        if len(disposals) == 1:
            storage.close(0.0)
        dispose()

    monkeypatch.setattr(storage._engine, "dispose", dispose_slowly)
    with storage.write():
        storage.close(0.0)
    assert len(disposals) == 1


def test_ids_name_their_kind() -> None:
    """An id begins with its kind."""
    assert new_id("thread").startswith("thread_")


def test_ids_differ() -> None:
    """No two ids are the same."""
    assert len({new_id("run") for _ in range(1000)}) == 1000
