"""An agent's events as an iterator, for scripts and server-sent-event views."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from gpt_agent_sync import forks, waits
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.listening.subscriptions import Subscription


class EventStream:
    """An iterator over an agent's events from now on, made by ``Agent.events()``.

    It ends when the agent has stopped (``AgentStopped`` comes last) or it is closed. With
    ``maxsize`` the worker waits while that many events are untaken, so that none is lost; a
    stream that is not read any more should be closed. ``shutdown()`` of the agent ends that wait.

    One stream may be read from several threads; each event goes to one of them.

    Args:
        thread_id: The agent's conversation, for error messages.
        subscribe: Subscribes a callback to the agent's events.
        maxsize: How many untaken events the stream holds before the worker waits; 0 for any.
        on_close: Called with the stream when it is closed, on the thread that closes it.
        refuse_to_block: Raises where waiting for the agent would be waiting for oneself; called
            with what would wait, on the thread that would.
    """

    def __init__(
        self,
        thread_id: str,
        subscribe: Callable[[Callable[[Event], None]], Subscription],
        maxsize: int = 0,
        *,
        on_close: Callable[[EventStream], None],
        refuse_to_block: Callable[[str], None],
    ) -> None:
        if isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 0:
            raise ValueError(f"maxsize must be a whole number of 0 or more, not {maxsize!r}")
        self._thread_id = thread_id
        self._maxsize = maxsize
        self._on_close = on_close
        self._refuse_to_block = refuse_to_block
        self._events: collections.deque[Event] = collections.deque()
        self._condition = threading.Condition(threading.Lock())
        self._ended = False
        self._subscription = subscribe(self._put)

    def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event.

        Args:
            timeout: Seconds to wait for one; ``None`` for as long as it takes.

        Returns:
            The event, or ``None`` when the stream has ended.

        Raises:
            TimeoutError: If none came in time.
            RuntimeError: If it would wait for itself, in a callback of the same agent.
        """
        forks.check()
        # What is there may be read in a callback; only to wait for more would be a deadlock.
        if not self._events and not self._ended:
            self._refuse_to_block("EventStream.get()")
        with self._condition:
            if not waits.wait(self._wait_for_event, timeout):
                raise TimeoutError(f"no event of thread {self._thread_id!r} within {timeout} s")
            if not self._events:
                return None
            event = self._events.popleft()
            self._condition.notify_all()
            return event

    def _wait_for_event(self, seconds: float | None) -> bool:
        return bool(self._condition.wait_for(lambda: self._events or self._ended, seconds))

    def close(self) -> None:
        """End the stream: what is untaken can still be read; idempotent."""
        forks.check()
        self._subscription.close()
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        self._on_close(self)

    def _lift_limit(self) -> None:
        """Take any number of events from now on, so that a stopping agent is not held up."""
        with self._condition:
            self._maxsize = 0
            self._condition.notify_all()

    def _after_fork(self) -> None:
        """Have a free lock in a forked child: another thread may have held it."""
        self._condition = threading.Condition(threading.Lock())

    def _put(self, event: Event) -> None:
        with self._condition:
            self._condition.wait_for(
                lambda: self._ended or not self._maxsize or len(self._events) < self._maxsize
            )
            if self._ended:
                return
            self._events.append(event)
            # The last event there is, so a reader need not wait for close().
            self._ended = isinstance(event, AgentStopped)
            self._condition.notify_all()

    def __iter__(self) -> EventStream:
        """Return the stream itself."""
        return self

    def __next__(self) -> Event:
        """Return the next event, blocking until there is one."""
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> EventStream:
        """Return the stream."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the stream."""
        self.close()
