"""The journal in memory, beyond the contract."""

from __future__ import annotations

from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.memory import MemoryJournal
from tests.support.forks import forks, in_forked_child

SCOPE = Scope(service="s", thread_id="t")


@forks
def test_child_begins_with_none() -> None:
    """A forked child has a journal of its own, without its parent's entries."""
    journal = MemoryJournal()
    journal.add(SCOPE, "call", "1", {})

    def apart() -> bool:
        empty = not journal.entries(SCOPE, "call")
        journal.add(SCOPE, "call", "2", {})
        return empty and journal.get(SCOPE, "call", "2") is not None

    assert in_forked_child(apart)
    assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["1"]


@forks
def test_child_is_not_held_up_by_its_parents_threads() -> None:
    """A child that was forked while a thread of the parent had the lock has a free one."""
    journal = MemoryJournal()
    with journal._process.get().lock:
        assert in_forked_child(lambda: journal.claim(SCOPE, "c", "1", owner="a", lease=1.0).taken)


def test_removed_entries_leave_nothing_behind() -> None:
    """A journal whose entries were removed is as small as a new one."""
    journal = MemoryJournal()
    for number in range(100):
        scope = Scope(service="s", thread_id=str(number))
        journal.claim(scope, "call", "1", owner="a", lease=0.0)
        if number % 2:
            journal.remove(scope, "call")
    journal.purge(0.0)
    assert not journal._process.get().records


def test_reading_leaves_nothing_behind() -> None:
    """To ask for what is not there keeps nothing."""
    journal = MemoryJournal()
    assert journal.get(SCOPE, "call", "1") is None
    assert not journal.update(SCOPE, "call", "1", owner="a", data={})
    assert list(journal.entries(SCOPE, "call")) == []
    assert not journal._process.get().records


def test_what_it_is_shown_as() -> None:
    """Its text says what it is."""
    assert repr(MemoryJournal()) == "MemoryJournal()"
