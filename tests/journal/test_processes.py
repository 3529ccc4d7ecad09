"""Processes that share a journal's file: at once, killed, forked."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpt_agent_sync.errors import JournalError
from gpt_agent_sync.journal import database
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.sqlite import SqliteJournal
from tests.support.forks import forks, in_forked_child, in_unnoticed_child
from tests.support.polling import wait_for

SCOPE = Scope(service="s", thread_id="t")

BEGIN = textwrap.dedent("""
    import sys
    from gpt_agent_sync.journal.base import Scope
    from gpt_agent_sync.journal.owners import this_process
    from gpt_agent_sync.journal.sqlite import SqliteJournal

    SCOPE = Scope(service="s", thread_id="t")
    print("ready", flush=True)
    sys.stdin.readline()
    journal = SqliteJournal(sys.argv[1])
""")

CLAIM = """
for number in range(40):
    new = journal.claim(SCOPE, "new", str(number), owner=this_process(), lease=60.0)
    old = journal.claim(SCOPE, "old", str(number), owner=this_process(), lease=60.0)
    print(int(new.taken), int(old.taken))
"""

MAKE = """
for number in range(8):
    journal = SqliteJournal(sys.argv[1] + str(number))
    journal.add(SCOPE, "call", this_process(), {})
"""

HOLD = """
journal.claim(SCOPE, "call", "1", owner=this_process(), lease=60.0, data={"a": 1})
print(this_process(), flush=True)
sys.stdin.readline()
journal.renew(this_process(), 0.5)
print("renewed", flush=True)
sys.stdin.readline()
"""

WRITE = """
number = 0
while True:
    journal.claim(SCOPE, "call", str(number), owner="ann", lease=60.0)
    journal.update(SCOPE, "call", str(number), owner="ann", data={"text": "x" * 20_000}, done=True)
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there."""
    return tmp_path / "calls.db"


@pytest.fixture
def begin(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Return what begins a process that is about to open the file; all are ended afterwards."""
    with contextlib.ExitStack() as stack:

        def start(code: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", BEGIN + code, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert line(process) == "ready"
            return process

        yield start


def line(process: subprocess.Popen[str]) -> str:
    """Read a line of what a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(*processes: subprocess.Popen[str]) -> None:
    """Let processes go on."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


Begin = Callable[[str], "subprocess.Popen[str]"]


def test_one_of_many_processes_gets_an_entry(begin: Begin, path: Path) -> None:
    """Of processes that claim one entry at once, new or to be taken over, just one gets it."""
    journal = SqliteJournal(path)
    for number in range(40):
        journal.claim(SCOPE, "old", str(number), owner="dead", lease=0.0)
    processes = [begin(CLAIM) for _ in range(3)]
    go(*processes)
    taken = [process.communicate(timeout=50)[0].split() for process in processes]
    assert [sum(map(int, each)) for each in zip(*taken, strict=True)] == [1] * 80


def test_files_that_all_make_at_once(begin: Begin, path: Path) -> None:
    """Of processes that open files at once which are not there, each can use them."""
    processes = [begin(MAKE) for _ in range(4)]
    go(*processes)
    assert [process.wait(50) for process in processes] == [0] * 4
    for number in range(8):
        assert len(SqliteJournal(f"{path}{number}").entries(SCOPE, "call")) == 4


def test_lease_of_a_killed_process_is_taken_over(begin: Begin, path: Path) -> None:
    """What a process was working on when it was killed is another's once the lease has run out."""
    process = begin(HOLD)
    go(process)
    owner = line(process)
    journal = SqliteJournal(path)
    first = journal.claim(SCOPE, "call", "1", owner="next", lease=60.0)
    assert (first.taken, first.entry.owner) == (False, owner)
    go(process)
    assert line(process) == "renewed"
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    claim = wait_for(
        lambda: journal.claim(SCOPE, "call", "1", owner="next", lease=60.0),
        lambda claim: claim.taken,
    )
    assert claim.interrupted
    assert (claim.entry.attempt, claim.entry.data) == (2, {"a": 1})


def test_nothing_is_lost_to_a_kill(begin: Begin, path: Path) -> None:
    """What a process has done in the journal is kept, whole, whenever it is killed."""
    for count in (1, 3, 10, 30):
        process = begin(WRITE)
        go(process)
        done = [line(process) for _ in range(count)]
        process.kill()
        # Not by communicate(), which leaves out what readline() has taken from the pipe.
        done += process.stdout.read().split() if process.stdout else []
        journal = SqliteJournal(path)
        entries = journal.entries(SCOPE, "call")
        assert {entry.key for entry in entries if entry.done} >= set(done)
        assert {len(entry.data.get("text", "")) for entry in entries if entry.done} == {20_000}
        assert len(entries) <= len(done) + 2
        journal.remove(SCOPE, "call")
        journal.close()


@forks
@pytest.mark.parametrize("fork", [in_forked_child, in_unnoticed_child])
def test_child_has_locks_of_its_own(
    path: Path, fork: Callable[[Callable[[], object]], bool]
) -> None:
    """What a child writes is kept, though its parent, and with it its locks, goes first."""
    journal = SqliteJournal(path)
    journal.add(SCOPE, "call", "1", {})
    used, closed = os.pipe(), os.pipe()

    def write() -> bool:
        seen = [entry.key for entry in journal.entries(SCOPE, "call")]
        os.write(used[1], b"x")
        os.read(closed[0], 1)
        journal.add(SCOPE, "call", "2", {})
        return seen == ["1"]

    def leave() -> None:
        os.read(used[0], 1)
        journal.close()
        os.write(closed[1], b"x")

    leaving = threading.Thread(target=leave)
    leaving.start()
    assert fork(write)
    leaving.join(10)
    assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["1", "2"]


@forks
def test_both_go_on_after_a_fork(path: Path) -> None:
    """Parent and child use the journal that was open before, and see each other's entries."""
    journal = SqliteJournal(path)
    journal.claim(SCOPE, "call", "1", owner="parent", lease=60.0)

    def in_child() -> bool:
        journal.add(SCOPE, "call", "2", {})
        return not journal.claim(SCOPE, "call", "1", owner="child", lease=60.0).taken

    assert in_forked_child(in_child)
    assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["1", "2"]


@forks
def test_grandchild_goes_on(path: Path) -> None:
    """A child that never used the journal may fork, and its child use it."""
    journal = SqliteJournal(path)
    journal.add(SCOPE, "call", "1", {})

    def read() -> bool:
        return journal.get(SCOPE, "call", "1") is not None

    assert in_forked_child(lambda: in_forked_child(read))
    assert in_unnoticed_child(lambda: in_unnoticed_child(read))


@forks
def test_fork_among_busy_threads(path: Path) -> None:
    """A child that is forked while threads of its parent use the journal can use it at once."""
    journal = SqliteJournal(path)
    ended = threading.Event()

    def work(owner: str) -> None:
        number = 0
        while not ended.is_set():
            journal.claim(SCOPE, "call", f"{owner}{number % 20}", owner=owner, lease=60.0)
            number += 1

    def claim(key: str) -> bool:
        return journal.claim(SCOPE, "child", key, owner=key, lease=1.0).taken

    workers = [threading.Thread(target=work, args=(owner,)) for owner in ("ann", "ben")]
    for worker in workers:
        worker.start()
    try:
        for number in range(15):
            assert in_forked_child(functools.partial(claim, f"child/{number}"))
    finally:
        ended.set()
        for worker in workers:
            worker.join(10)
    assert len(journal.entries(SCOPE, "child")) == 15


@forks
@pytest.mark.parametrize("fork", [in_forked_child, in_unnoticed_child])
def test_fork_in_the_middle_of_a_transaction(
    path: Path, fork: Callable[[Callable[[], object]], bool]
) -> None:
    """A child that cannot use the file safely says so; its parent goes on."""
    journal = SqliteJournal(path)

    def refused() -> bool:
        for _ in range(2):
            with pytest.raises(JournalError, match="forked in the middle of a transaction"):
                journal.get(SCOPE, "call", "1")
        return True

    with journal._database.transaction("claim") as connection:
        assert fork(refused)
        connection.execute("DELETE FROM entries")
    journal.add(SCOPE, "call", "1", {})
    assert journal.get(SCOPE, "call", "1") is not None


@forks
def test_fork_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits for a transaction of another thread, but not without end."""
    monkeypatch.setattr(database, "FORK_PATIENCE", 0.1)
    journal = SqliteJournal(path)
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        with journal._database.transaction("claim"):
            begun.set()
            ended.wait(30)

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(10)
    assert in_forked_child(lambda: True)
    ended.set()
    worker.join(10)
    journal.add(SCOPE, "call", "1", {})
    assert journal.get(SCOPE, "call", "1") is not None
