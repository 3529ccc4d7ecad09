"""A thread's events as an iterator, without an agent: whoever runs its turns, in any process."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import forks, waits
from gpt_agent_sync.event_log import START, Page, before_turn
from gpt_agent_sync.events import Event, EventsMissed

if TYPE_CHECKING:
    from typing_extensions import Self

    from gpt_agent_sync.backplane.base import Backplane
    from gpt_agent_sync.journal.base import Scope


class ThreadEvents:
    """An iterator over a thread's events, made by ``gpt_agent_sync.events()``.

    It has no end of its own: it ends when it is closed. What is not read waits in memory. One may
    be read by several threads; each event goes to one of them.

    Args:
        backplane: Where the events are told.
        scope: The thread.
        after: The cursor of the last event that is known; ``None`` for those from now on.
        whole_turn: Whether, where no cursor is given, to begin with the turn that is under way.
    """

    def __init__(
        self, backplane: Backplane, scope: Scope, after: str | None, *, whole_turn: bool = False
    ) -> None:
        self._thread_id = scope.thread_id
        if after is None:
            # Asked first, as what comes meanwhile is then read, and at worst read in vain.
            after = backplane.newest(scope)
            if whole_turn:
                after = before_turn(backplane.read(scope, START).entries, after)
        self._cursor = after
        self._events: collections.deque[Event] = collections.deque()
        self._condition = threading.Condition(threading.Lock())
        self._closed = self._inherited = False
        forks.renew_in_child(self)
        self._listening = backplane.listen(scope, self._cursor, self)

    @property
    def cursor(self) -> str:
        """The cursor of the event that was read last, to go on from."""
        return self._cursor

    def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event.

        Args:
            timeout: Seconds to wait for one; ``None`` for as long as it takes.

        Returns:
            The event, or ``None`` when this was closed.

        Raises:
            TimeoutError: If none came in time.
        """
        forks.check()
        with self._condition:
            if not waits.wait(self._wait_for_event, timeout):
                raise TimeoutError(f"no event of thread {self._thread_id!r} within {timeout} s")
            if not self._events:
                return None
            event = self._events.popleft()
            self._cursor = event.cursor or self._cursor
            return event

    def _wait_for_event(self, seconds: float | None) -> bool:
        return bool(self._condition.wait_for(lambda: self._events or self._closed, seconds))

    def close(self) -> None:
        """End it: what was not read can still be; idempotent."""
        forks.check()
        if not self._inherited:
            self._listening.close()
        self._end()

    def _end(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _after_fork(self) -> None:
        """End in a forked child: the parent listens."""
        self._condition = threading.Condition(threading.Lock())
        self._closed = self._inherited = True

    def heard(self, page: Page) -> None:
        """Take in what was told; on a thread of the backplane."""
        told = [event for entry in page.entries for event in entry.events]
        with self._condition:
            if page.missed and page.entries:
                # What waits to be read has been told, too.
                after = (self._events[-1].cursor if self._events else None) or self._cursor
                start = page.entries[0].start
                missed = EventsMissed(thread_id=self._thread_id, after=after, cursor=start)
                self._events.append(missed)
            self._events.extend(told)
            self._condition.notify_all()

    def ownerless(self) -> None:
        """Do nothing: agents see to it."""

    def lost(self, lease: object) -> None:
        """Do nothing: there is none."""

    def asked(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer nothing: that is for agents."""
        return {}

    def __iter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Event:
        """Return the next event, blocking until there is one."""
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        """Return the iterator."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        self.close()
