"""The journal of a process that needs none beyond its own end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TypeVar

import attrs

from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.journal import rules
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.record_journal import Decide, RecordJournal
from gpt_agent_sync.journal.rules import Record

R = TypeVar("R", bound="Record | None")


@attrs.define
class _Own:
    """What one process has in memory: a dictionary a scope and kind, in order of creation."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    records: dict[tuple[Scope, str], dict[str, Record]] = attrs.field(factory=dict)


class MemoryJournal(RecordJournal):
    """A journal in memory, for the threads of one process; a forked child begins with none.

    It grows by what is not removed.
    """

    shared = False

    def __init__(self) -> None:
        self._process = PerProcess[_Own](lambda inherited: _Own())

    def _change(
        self, action: str, scope: Scope, kind: str, key: str, decide: Decide[R]
    ) -> tuple[R, bool]:
        own = self._process.get()
        with own.lock:
            before = own.records.get((scope, kind), {}).get(key)
            after = decide(before, time.monotonic())
            changed = after is not before
            if after is not None and changed:
                own.records.setdefault((scope, kind), {})[key] = after
        return after, changed

    def _read(self, scope: Scope, kind: str, key: str) -> Record | None:
        own = self._process.get()
        with own.lock:
            return own.records.get((scope, kind), {}).get(key)

    def _list(self, scope: Scope, kind: str) -> Sequence[tuple[str, Record]]:
        own = self._process.get()
        with own.lock:
            return list(own.records.get((scope, kind), {}).items())

    def renew(self, owner: str, lease: float) -> None:
        """Have the leases of all that an owner still owns, in every scope, run from now."""
        own = self._process.get()
        with own.lock:
            now = time.monotonic()
            for records in own.records.values():
                for key, record in records.items():
                    records[key] = rules.renewed(record, owner=owner, lease=lease, now=now)

    def remove(self, scope: Scope, kind: str, prefix: str = "") -> None:
        """Drop the entries whose key begins with ``prefix``, whoever owns them."""
        own = self._process.get()
        with own.lock:
            records = own.records.get((scope, kind), {})
            _drop(own, (scope, kind), [key for key in records if key.startswith(prefix)])

    def purge(self, older_than: float) -> int:
        """Drop what was neither changed nor under a lease in the last so many seconds."""
        own = self._process.get()
        with own.lock:
            before = time.monotonic() - older_than
            outdated = {
                place: [k for k, record in records.items() if rules.outdated(record, before=before)]
                for place, records in own.records.items()
            }
            for place, keys in outdated.items():
                _drop(own, place, keys)
        return sum(map(len, outdated.values()))

    def close(self) -> None:
        """Do nothing: there is nothing to let go of, and other agents may use it."""

    def __repr__(self) -> str:
        """Show what it is."""
        return "MemoryJournal()"


def _drop(own: _Own, place: tuple[Scope, str], keys: Sequence[str]) -> None:
    records = own.records.get(place, {})
    for key in keys:
        del records[key]
    # A conversation that has no entries any more leaves nothing behind.
    if not records:
        own.records.pop(place, None)
