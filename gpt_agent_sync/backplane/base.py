"""The contract of every backplane: one owner a turn, and its events in order, for everybody."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from gpt_agent_sync.errors import BackplaneError
from gpt_agent_sync.event_log import START, Page, cursor_of
from gpt_agent_sync.events import Event
from gpt_agent_sync.journal.base import Journal, Scope


class LeaseLostError(BackplaneError):
    """A lease is another's by now: whoever held it is an owner no longer."""


@attrs.define(eq=False)
class Lease:
    """The right to run turns on a thread, until it is released or has run out.

    Attributes:
        scope: The thread.
        fence: A number that is larger than that of any lease of the thread before.
        token: What tells its holder from all others.
        until: When the holder takes it for lost unless it is renewed, monotonic seconds: before
            anybody else can have it.
        newest: The cursor of what was appended last.
        count: How many events it has given cursors to.
        before: The newest cursor of the log when it began.
        follows_turn: Whether the turn of the lease before has not come to its end: whoever has this
            one goes on with that first.
    """

    scope: Scope
    fence: int
    token: str
    until: float
    newest: str = START
    count: int = 0
    before: str = START
    follows_turn: bool = False

    def next_cursor(self) -> str:
        """Return the cursor of the holder's next event."""
        self.count += 1
        return cursor_of(self.fence, self.count)


class Listener(Protocol):
    """Whoever listens to a thread; called on threads of the backplane, and is to raise nothing."""

    def heard(self, page: Page) -> None:
        """Take in what was appended, each entry once and in order; it is not to block."""

    def ownerless(self) -> None:
        """Take in that a lease has run out whose holder did not release it; not to block.

        Another may have it by now.
        """

    def lost(self, lease: Lease) -> None:
        """Take in that a lease of this process is another's by now; not to block."""

    def asked(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer what another process asks of the owner; called on a thread of its own."""


class Listening(Protocol):
    """A subscription to a thread."""

    def close(self) -> None:
        """End it; idempotent."""


class Backplane(ABC):
    """Leases on threads, and a log of events for each.

    Every method may be called by any thread; over a shared backplane, by any process. They raise
    ``BackplaneError`` where the backplane cannot be reached; what was to be done may then have been
    done, and may be done again.

    ``gpt_agent_sync.testing.BackplaneConformance`` tests this contract.
    """

    shared: bool = True
    """Whether other processes can take part; agents take leases only where they can."""

    @property
    def journal(self) -> Journal | None:
        """The journal that agents over it use where none is configured; ``None`` for their own."""
        return None

    @abstractmethod
    def acquire(self, scope: Scope, owner: str) -> Lease | None:
        """Take the lease of a thread if nobody holds it, and append the mark ``"begun"``.

        It is renewed until it is released, or another has it, or this process ends.

        Args:
            scope: The thread.
            owner: A text that stands in the mark, by which whoever acquired it knows it.
        """

    @abstractmethod
    def confirm(self, lease: Lease) -> bool:
        """Return whether a lease is still held; where its time is up, by asking."""

    @abstractmethod
    def release(self, lease: Lease, *, settled: bool = True) -> None:
        """Append the mark ``"settled"`` and let others have the lease; nothing if it is lost.

        Args:
            lease: The lease.
            settled: Whether the turn has come to its end. If not, there is no mark, and the
                thread's listeners are told that it is ownerless.
        """

    @abstractmethod
    def forget(self, lease: Lease) -> None:
        """Renew a lease no longer: another has it."""

    @abstractmethod
    def append(self, lease: Lease, events: tuple[Event, ...], key: str | None = None) -> None:
        """Append events with cursors of the lease; what is there already is not doubled.

        Raises:
            LeaseLostError: If another has the lease.
        """

    @abstractmethod
    def read(self, scope: Scope, after: str) -> Page:
        """Return what is kept of a thread's log after a cursor."""

    @abstractmethod
    def newest(self, scope: Scope) -> str:
        """Return the newest cursor of a thread's log."""

    @abstractmethod
    def is_held(self, scope: Scope) -> bool:
        """Return whether anybody holds a thread's lease."""

    @abstractmethod
    def listen(self, scope: Scope, after: str, listener: Listener) -> Listening:
        """Have a listener told of all that comes after a cursor, at once and from now on."""

    @abstractmethod
    def watch(self, scope: Scope, *, now: bool = False) -> None:
        """Tell the listeners in this process, once, when a lease has run out; idempotent.

        Args:
            scope: The thread.
            now: Whether it may have run out already; else it has only just begun.
        """

    @abstractmethod
    def call_in(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something called later, on a thread of the backplane; it is not to block."""

    @abstractmethod
    def ask_owner(
        self, scope: Scope, request: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        """Return what the listener of the process that holds the lease answers.

        Args:
            scope: The thread.
            request: A JSON object.
            timeout: Seconds to wait for the answer.

        Raises:
            BackplaneError: If there is none in time.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads of this process; the next call opens them again."""
