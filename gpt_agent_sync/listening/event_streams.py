"""An agent's events as an iterator, for scripts and server-sent-event views."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpt_agent_sync.events import AgentStopped, Event

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent
    from gpt_agent_sync.listening.subscriptions import Subscription


class EventStream:
    """Iterate over an agent's events from now on.

    It ends when the agent has stopped (``AgentStopped`` comes last) or it is closed. With
    ``maxsize`` the worker waits while that many events are untaken, so that none is lost; a
    stream that is not read any more should be closed. ``shutdown()`` of the agent ends that wait.

    Made by ``Agent.events()``. One stream may be read from several threads; each event goes
    to one of them.
    """

    def __init__(
        self,
        agent: Agent,
        subscribe: Callable[[Callable[[Event], None]], Subscription],
        maxsize: int = 0,
        on_close: Callable[[EventStream], None] | None = None,
    ) -> None:
        if isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 0:
            raise ValueError(f"maxsize must be a whole number of 0 or more, not {maxsize!r}")
        self._agent = agent
        self._maxsize = maxsize
        self._on_close = on_close
        self._events: collections.deque[Event] = collections.deque()
        self._condition = threading.Condition(threading.Lock())
        self._ended = False
        self._subscription = subscribe(self._put)

    def get(self, timeout: float | None = None) -> Event | None:
        """Give the next event.

        Args:
            timeout: Seconds to wait for one; ``None`` for as long as it takes.

        Returns:
            The event, or ``None`` when the stream has ended.

        Raises:
            TimeoutError: If none came in time.
            RuntimeError: If it would wait for itself, in a callback of the same agent.
        """
        if not self._events and not self._ended:
            self._agent._refuse_to_block("EventStream.get()")
        with self._condition:
            if not self._condition.wait_for(lambda: self._events or self._ended, timeout):
                raise TimeoutError(
                    f"no event of thread {self._agent.thread_id!r} within {timeout} s"
                )
            if not self._events:
                return None
            event = self._events.popleft()
            self._condition.notify_all()
            return event

    def close(self) -> None:
        """End the stream: what is untaken can still be read; idempotent."""
        self._subscription.close()
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._on_close is not None:
            self._on_close(self)

    def _make_room(self) -> None:
        """Lift the limit, so that a stopping agent is not held up."""
        with self._condition:
            self._maxsize = 0
            self._condition.notify_all()

    def _forget(self) -> None:
        """Begin anew in a forked child, whose lock may have been held by another thread."""
        self._condition = threading.Condition(threading.Lock())

    def _put(self, event: Event) -> None:
        with self._condition:
            self._condition.wait_for(
                lambda: self._ended or not self._maxsize or len(self._events) < self._maxsize
            )
            if self._ended:
                return
            self._events.append(event)
            self._ended = isinstance(event, AgentStopped)
            self._condition.notify_all()

    def __iter__(self) -> EventStream:
        """Give the stream itself."""
        return self

    def __next__(self) -> Event:
        """Give the next event, blocking until there is one."""
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> EventStream:
        """Give the stream."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the stream."""
        self.close()
