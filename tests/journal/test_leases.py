"""Leases: renewed by a thread while something is held, and no longer."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt_agent_sync.errors import JournalError
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.leases import Leases, leases_of
from gpt_agent_sync.journal.memory import MemoryJournal
from gpt_agent_sync.journal.owners import this_process
from tests.support.forks import forks, in_forked_child
from tests.support.polling import wait_for

SCOPE = Scope(service="s", thread_id="t")
PATIENCE = 10.0
SOON = 0.01
NEVER = 3600.0


class RenewedJournal(MemoryJournal):
    """A journal that tells of renewals, and fails those that it is told to fail."""

    shared = True

    def __init__(self, failing: int = 0) -> None:
        super().__init__()
        self.renewals: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.failing = failing

    def renew(self, owner: str, lease: float) -> None:
        """Tell of it, and fail or do it."""
        self.renewals.put((owner, lease))
        if self.failing:
            self.failing -= 1
            raise JournalError("calls.db", "renew leases", "disk full")
        super().renew(owner, lease)


def lease_threads() -> list[threading.Thread]:
    """Return the threads that renew leases."""
    return [thread for thread in threading.enumerate() if thread.name == "gpt-agent-leases"]


@pytest.fixture
def journal() -> Iterator[RenewedJournal]:
    """Return a journal; no thread may renew its leases in the end."""
    yield RenewedJournal()
    wait_for(lease_threads, lambda threads: not threads)


def test_leases_are_renewed_while_something_is_held(journal: RenewedJournal) -> None:
    """The leases of this process are renewed again and again."""
    with Leases(journal, lease=7.0, every=SOON).held():
        renewals = [journal.renewals.get(timeout=PATIENCE) for _ in range(3)]
    assert renewals == [(this_process(), 7.0)] * 3


def test_held_entry_is_not_taken_over(journal: RenewedJournal) -> None:
    """What was claimed stays the process's while it holds, though the lease would have run out."""
    leases = Leases(journal, lease=60.0, every=SOON)
    with leases.held():
        journal.claim(SCOPE, "call", "1", owner=this_process(), lease=0.0)
        # The second renewal began after the claim, and the third after the second was done.
        for _ in range(3):
            journal.renewals.get(timeout=PATIENCE)
        assert not journal.claim(SCOPE, "call", "1", owner="another", lease=60.0).taken


def test_nothing_runs_while_nothing_is_held(journal: RenewedJournal) -> None:
    """There is a thread while something is held, and none before and after."""
    leases = Leases(journal, every=NEVER)
    assert lease_threads() == []
    with leases.held():
        (thread,) = lease_threads()
        assert thread.daemon
    thread.join(PATIENCE)
    assert lease_threads() == []
    assert journal.renewals.empty()


def test_one_thread_for_all_that_is_held(journal: RenewedJournal) -> None:
    """However much is held, one thread renews it, until the last is let go."""
    leases = Leases(journal, every=NEVER)
    leases.hold()
    with leases.held(), leases.held():
        assert len(lease_threads()) == 1
    assert len(lease_threads()) == 1
    leases.drop()


def test_journal_of_one_process() -> None:
    """What no other process can take over is not renewed."""
    with Leases(MemoryJournal(), every=SOON).held():
        assert lease_threads() == []


def test_held_again(journal: RenewedJournal) -> None:
    """What was let go can be held again, and is renewed again."""
    leases = Leases(journal, every=SOON)
    for _ in range(3):
        with leases.held():
            journal.renewals.get(timeout=PATIENCE)


def test_drop_without_hold(journal: RenewedJournal) -> None:
    """To let go of what is not held does nothing, so that the next hold counts."""
    leases = Leases(journal, every=NEVER)
    leases.drop()
    with leases.held():
        assert len(lease_threads()) == 1


def test_failing_journal_is_told_once(
    journal: RenewedJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """Renewals go on over failures, and each time of trouble is told of once."""
    with Leases(journal, every=SOON).held():
        for failing in (3, 2):
            journal.failing = failing
            wait_for(lambda: journal.failing, lambda left: left == 0)
            # The renewal after the last failure was begun, and so the one before it is done.
            while not journal.renewals.empty():
                journal.renewals.get()
            for _ in range(2):
                journal.renewals.get(timeout=PATIENCE)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "the leases in MemoryJournal() are not renewed: "
        "cannot renew leases in the journal calls.db: disk full"
    ] * 2


def test_hold_without_a_thread(journal: RenewedJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started nothing is held, and the next hold starts one."""
    leases = Leases(journal, every=NEVER)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            leases.hold()
    with leases.held():
        assert len(lease_threads()) == 1


def test_one_for_each_journal(journal: RenewedJournal) -> None:
    """All who work on a journal share its leases."""
    leases = leases_of(journal)
    assert leases_of(journal) is leases
    assert leases_of(RenewedJournal()) is not leases


@forks
def test_child_holds_nothing(journal: RenewedJournal) -> None:
    """A forked child holds nothing of its parent's, and what it holds itself is renewed."""
    leases = Leases(journal, every=SOON)

    def its_own() -> bool:
        leases.drop()
        journal.renewals = queue.SimpleQueue()
        with leases.held():
            return journal.renewals.get(timeout=PATIENCE)[0] == this_process()

    with leases.held():
        assert in_forked_child(its_own)
        assert len(lease_threads()) == 1


def test_exit_is_silent(tmp_path: Path) -> None:
    """A process that ends while it holds ends at once, and says nothing."""
    code = textwrap.dedent("""
        import sys
        from gpt_agent_sync.journal.leases import Leases
        from gpt_agent_sync.journal.sqlite import SqliteJournal

        leases = Leases(SqliteJournal(sys.argv[1]), every=0.001)
        leases.hold()
    """)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(tmp_path / "calls.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
