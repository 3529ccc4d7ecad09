"""A journal over any store that can replace one record atomically."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gpt_agent_sync.journal import rules
from gpt_agent_sync.journal.base import Claim, Entry, Journal, Scope
from gpt_agent_sync.journal.rules import Record

R = TypeVar("R", bound="Record | None")

Decide = Callable[["Record | None", float], R]
"""Makes a record of what is stored and the time by the journal's clock; pure."""


class RecordJournal(Journal):
    """A journal whose rules are those of ``rules``; a subclass stores the records."""

    @abstractmethod
    def _change(
        self, action: str, scope: Scope, kind: str, key: str, decide: Decide[R]
    ) -> tuple[R, bool]:
        """Replace one record by what ``decide`` makes of it, atomically.

        Args:
            action: What is done, for errors.
            scope: Whose record.
            kind: Of what kind.
            key: Which one.
            decide: Called with what is there, or ``None``; where it gives that back, nothing is
                written.

        Returns:
            What is there now, and whether that was written.
        """

    @abstractmethod
    def _read(self, scope: Scope, kind: str, key: str) -> Record | None:
        """Return one record, if it is there."""

    @abstractmethod
    def _list(self, scope: Scope, kind: str) -> Sequence[tuple[str, Record]]:
        """Return keys and records in the order in which they were created."""

    def claim(
        self,
        scope: Scope,
        kind: str,
        key: str,
        *,
        owner: str,
        lease: float,
        data: Mapping[str, Any] | None = None,
    ) -> Claim:
        """Take an entry to work on it, if it is free; create it if it is not there."""
        text = _encode(data or {})

        def decide(record: Record | None, now: float) -> Record:
            return rules.claimed(record, owner=owner, lease=lease, data=text, now=now)

        record, taken = self._change("claim", scope, kind, key, decide)
        return Claim(entry=_entry(kind, key, record), taken=taken)

    def update(
        self,
        scope: Scope,
        kind: str,
        key: str,
        *,
        owner: str,
        data: Mapping[str, Any],
        done: bool = False,
    ) -> bool:
        """Replace the data of an entry that is the caller's; its lease stays as it is."""
        text = _encode(data)

        def decide(record: Record | None, now: float) -> Record | None:
            return rules.updated(record, owner=owner, data=text, done=done, now=now)

        return self._change("update", scope, kind, key, decide)[1]

    def release(self, scope: Scope, kind: str, key: str, *, owner: str) -> bool:
        """Give an unfinished entry back: it is nobody's, and the next claim takes it."""

        def decide(record: Record | None, now: float) -> Record | None:
            return rules.released(record, owner=owner, now=now)

        return self._change("release", scope, kind, key, decide)[1]

    def add(self, scope: Scope, kind: str, key: str, data: Mapping[str, Any]) -> None:
        """Create an entry that is nobody's yet; one that is there stays as it is."""
        text = _encode(data)

        def decide(record: Record | None, now: float) -> Record:
            return rules.added(record, data=text, now=now)

        self._change("add", scope, kind, key, decide)

    def get(self, scope: Scope, kind: str, key: str) -> Entry | None:
        """Return an entry, or ``None`` when it is not there."""
        record = self._read(scope, kind, key)
        return None if record is None else _entry(kind, key, record)

    def entries(self, scope: Scope, kind: str) -> Sequence[Entry]:
        """Return the entries of a scope and kind, in the order in which they were created."""
        return [_entry(kind, key, record) for key, record in self._list(scope, kind)]


def _encode(data: Mapping[str, Any]) -> str:
    # ASCII, so that every store takes it: half a surrogate pair, which a model may send, is no
    # UTF-8. NaN is no JSON, and other readers refuse it.
    return json.dumps(dict(data), allow_nan=False)


def _entry(kind: str, key: str, record: Record) -> Entry:
    return Entry(
        kind=kind,
        key=key,
        data=json.loads(record.data),
        attempt=record.attempt,
        owner=record.owner,
        done=record.done,
    )
