"""The journal that a setting names."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.choosing import journal_of, reset

SCOPE = Scope(service="s", thread_id="t")


def test_no_setting_is_the_journal_in_memory() -> None:
    """Without a setting all share the process's one journal in memory."""
    assert isinstance(journal_of(None), gpt.MemoryJournal)
    assert journal_of(gpt.get_settings().journal) is journal_of(None)


def test_journal_is_itself() -> None:
    """A journal that was configured is used as it is."""
    journal = gpt.MemoryJournal()
    assert journal_of(gpt.configure(journal=journal).journal) is journal


def test_one_journal_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, however it is spelled, names the process's one journal in that file."""
    monkeypatch.chdir(tmp_path)
    journal = journal_of("calls.db")
    assert isinstance(journal, gpt.SqliteJournal)
    assert journal.path == str(tmp_path / "calls.db")
    assert journal_of(tmp_path / "x" / ".." / "calls.db") is journal
    assert journal_of(tmp_path / "other.db") is not journal


def test_path_is_that_of_when_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes elsewhere keeps its file."""
    monkeypatch.chdir(tmp_path)
    journal = journal_of("calls.db")
    (tmp_path / "sub").mkdir()
    os.chdir("sub")
    journal.add(SCOPE, "call", "1", {})
    assert list(Path().iterdir()) == []


def test_path_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``GPT_AGENT_JOURNAL`` names a file."""
    monkeypatch.setenv("GPT_AGENT_JOURNAL", str(tmp_path / "calls.db"))
    gpt.configuration.reset()
    journal = journal_of(gpt.get_settings().journal)
    assert repr(journal) == f"SqliteJournal({str(tmp_path / 'calls.db')!r})"


def test_threads_that_come_at_once_share_a_journal(tmp_path: Path) -> None:
    """Threads that name a file first, all at once, get one journal."""
    barrier = threading.Barrier(4)

    def choose(number: int) -> gpt.Journal:
        barrier.wait(10)
        return journal_of(tmp_path / "calls.db")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(choose, range(4)))) == 1


def test_unusable_file_is_told(tmp_path: Path) -> None:
    """A file that cannot be used is refused when it is first needed, each time."""
    for _ in range(2):
        with pytest.raises(gpt.ConfigurationError, match="no folder for the journal"):
            journal_of(tmp_path / "nowhere" / "calls.db")


@pytest.mark.parametrize("value", [7, object()])
def test_other_things(value: Any) -> None:
    """What is neither a journal nor a path is refused."""
    with pytest.raises(gpt.ConfigurationError, match="journal must be a Journal or the path"):
        journal_of(value)


def test_reset(tmp_path: Path) -> None:
    """After a reset others are made, and files keep what they hold."""
    memory, file = journal_of(None), journal_of(tmp_path / "calls.db")
    file.add(SCOPE, "call", "1", {})
    reset()
    assert journal_of(None) is not memory
    again = journal_of(tmp_path / "calls.db")
    assert again is not file
    assert again.get(SCOPE, "call", "1") is not None
