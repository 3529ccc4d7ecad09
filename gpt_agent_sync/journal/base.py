"""The contract of every journal: entries, who works on them, and for how long."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

CALL = "call"
"""The kind of the entries that are tool calls."""


@attrs.frozen(kw_only=True)
class Scope:
    """Whose entries: those of one conversation at one service.

    Attributes:
        service: The service's name in journals, the same in every process.
        thread_id: The conversation.
    """

    service: str
    thread_id: str


@attrs.frozen(kw_only=True)
class Entry:
    """What a journal holds of one thing, as it stood when it was read.

    Attributes:
        kind: The word for such things, such as ``"call"``.
        key: Its name; the only one within its scope and kind.
        data: What was written last: a JSON object, the reader's own copy.
        attempt: How many owners have taken it so far: 0 for one that was added and never claimed.
        owner: Who works on it, also where its lease has run out; ``None`` when nobody does.
        done: Whether it was finished; nobody can claim it any more.
    """

    kind: str
    key: str
    data: Mapping[str, Any]
    attempt: int
    owner: str | None
    done: bool


@attrs.frozen(kw_only=True)
class Claim:
    """The answer to a claim.

    Attributes:
        entry: The entry as it stands now.
        taken: Whether it is the caller's to work on, from this claim on.
    """

    entry: Entry
    taken: bool

    @property
    def interrupted(self) -> bool:
        """Whether it was taken from an owner who had begun it and did not finish."""
        return self.taken and self.entry.attempt > 1


class Journal(ABC):
    """Entries with owners and leases, shared by those who must not do a thing twice.

    An owner is a text that one process has for itself. What it claims is its own until it says
    that it is done, or releases it, or its lease runs out and another takes it over. Leases are
    seconds by the journal's own clock; one of 0 has run out at once.

    Every method is atomic, and may be called by any thread; in a journal that several processes
    share, by any of them. What a method has done is kept when it returns: it outlives a process
    that is killed then, unless the journal is in memory. All may raise ``JournalError``, which
    means that nothing was done; data that are not JSON raise ``TypeError`` or ``ValueError``.

    ``gpt_agent_sync.testing.JournalConformance`` tests this contract.
    """

    shared: bool = True
    """Whether other processes can take part; where none can, no lease need be renewed."""

    @abstractmethod
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
        """Take an entry to work on it, if it is free; create it if it is not there.

        It is free when nobody owns it, or when its owner's lease has run out; not when it is done.
        What the caller itself owns, it works on already: that is not taken again, whatever
        became of the lease.

        Args:
            scope: Whose entry.
            kind: Of what kind.
            key: Which one.
            owner: Who takes it.
            lease: Seconds until others may take it over, unless it is renewed.
            data: What a new entry begins with; an entry that is there keeps its own.
        """

    @abstractmethod
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
        """Replace the data of an entry that is the caller's; its lease stays as it is.

        It is the caller's until another has taken it over, also when the lease has run out.

        Args:
            scope: Whose entry.
            kind: Of what kind.
            key: Which one.
            owner: Who works on it.
            data: What it holds from now on.
            done: Whether it is finished: nobody owns it then, and nobody can claim it.

        Returns:
            Whether it was; not when it is another's, nobody's, done or gone.
        """

    @abstractmethod
    def release(self, scope: Scope, kind: str, key: str, *, owner: str) -> bool:
        """Give an unfinished entry back: it is nobody's, and the next claim takes it.

        Returns:
            Whether it was the caller's, as ``update()`` has it.
        """

    @abstractmethod
    def renew(self, owner: str, lease: float) -> None:
        """Have the leases of all that an owner still owns, in every scope, run from now."""

    @abstractmethod
    def add(self, scope: Scope, kind: str, key: str, data: Mapping[str, Any]) -> None:
        """Create an entry that is nobody's yet; one that is there stays as it is."""

    @abstractmethod
    def get(self, scope: Scope, kind: str, key: str) -> Entry | None:
        """Return an entry, or ``None`` when it is not there."""

    @abstractmethod
    def entries(self, scope: Scope, kind: str) -> Sequence[Entry]:
        """Return the entries of a scope and kind, in the order in which they were created."""

    @abstractmethod
    def remove(self, scope: Scope, kind: str, prefix: str = "") -> None:
        """Drop the entries whose key begins with ``prefix``, whoever owns them.

        Keys are compared letter by letter: no character of a prefix means more than itself.
        """

    @abstractmethod
    def purge(self, older_than: float) -> int:
        """Drop what was neither changed nor under a lease in the last so many seconds.

        Returns:
            How many entries were dropped.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the next call opens them again."""
