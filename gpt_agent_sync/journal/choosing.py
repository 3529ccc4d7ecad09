"""The journal that a setting names: one a process for memory, and one for each file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.journal.base import Journal
from gpt_agent_sync.journal.memory import MemoryJournal

if TYPE_CHECKING:
    from gpt_agent_sync.settings import AnyJournal


# A forked child goes on with these, as each journal knows forks itself. No lock: a dictionary takes
# one of several journals by itself.
@attrs.define
class _Chosen:
    """The journals that were made for settings; those in files by their absolute paths.

    What they are wrapped in, and those that programs bring, comes with ``wrap_journals()``.
    """

    memory: MemoryJournal = attrs.field(factory=MemoryJournal)
    by_path: dict[str, Journal] = attrs.field(factory=dict)
    wraps: list[Callable[[Journal], Journal]] = attrs.field(factory=list)


_chosen = _Chosen()


def journal_of(setting: AnyJournal | str | os.PathLike[str] | None) -> Journal:
    """Return the journal that a setting names, the same one each time unless they are wrapped.

    Args:
        setting: A journal, the path of a file, or ``None`` for the process's journal in memory.

    Raises:
        ConfigurationError: If it is none of these, or the file cannot be used.
        JournalError: If the file cannot be read or written now.
    """
    if isinstance(setting, Journal):
        journal = setting
    elif setting is None:
        journal = _chosen.memory
    elif isinstance(setting, (str, os.PathLike)):
        journal = _journal_at(os.path.abspath(setting))
    else:
        raise ConfigurationError(
            f"journal must be a Journal or the path of a file, not {setting!r}"
        )
    for wrap in _chosen.wraps:
        journal = wrap(journal)
    return journal


def wrap_journals(wrap: Callable[[Journal], Journal]) -> None:
    """Have the journals of agents that connect from now on wrapped, until ``reset()``.

    Args:
        wrap: Called with each journal; returns what takes its place.
    """
    _chosen.wraps.append(wrap)


def _journal_at(path: str) -> Journal:
    known = _chosen.by_path.get(path)
    if known is not None:
        return known
    # Imported here: few programs need SQLite.
    from gpt_agent_sync.journal.sqlite import SqliteJournal

    # Of two threads that come here at once the first one to be done wins, and both use its
    # journal; nothing is open in the other.
    return _chosen.by_path.setdefault(path, SqliteJournal(path))


def reset() -> None:
    """Close the journals that were made for settings, and forget them."""
    made, _chosen.by_path = _chosen.by_path, {}
    _chosen.memory = MemoryJournal()
    _chosen.wraps.clear()
    for journal in made.values():
        journal.close()
