"""A recorder of events that can wait for those to come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from gpt_agent_sync.events import Event

E = TypeVar("E", bound=Event)

PATIENCE = 10.0
"""Seconds to wait where a test does not say: far more than a test that passes needs."""


class EventRecorder:
    """A callback that keeps every event it is called with, in order.

    Safe to call from many agents' threads.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._events: list[Event] = []
        self._threads: list[str] = []

    def __call__(self, event: Event) -> None:
        """Keep the event, and the name of the thread that delivers it."""
        with self._condition:
            self._events.append(event)
            self._threads.append(threading.current_thread().name)
            self._condition.notify_all()

    @property
    def events(self) -> list[Event]:
        """The events so far."""
        with self._condition:
            return list(self._events)

    @property
    def threads(self) -> list[str]:
        """The names of the threads that delivered them, one for each event."""
        with self._condition:
            return list(self._threads)

    @property
    def names(self) -> list[str]:
        """The names of their classes."""
        return [type(event).__name__ for event in self.events]

    def of(self, event_type: type[E]) -> list[E]:
        """Return the events of a class, or of its subclasses."""
        return [event for event in self.events if isinstance(event, event_type)]

    def wait_for(
        self,
        event_type: type[E],
        *,
        count: int = 1,
        where: Callable[[E], bool] | None = None,
        timeout: float = PATIENCE,
    ) -> E:
        """Wait until there have been that many events of a class, and return the last of them.

        Args:
            event_type: The class, or a base class.
            count: How many there must be, those recorded before included.
            where: Only events for which this holds count.
            timeout: Seconds to wait at most.

        Raises:
            AssertionError: If they do not come in time; it lists those that did.
        """

        def matching() -> list[E]:
            return [
                event
                for event in self._events
                if isinstance(event, event_type) and (where is None or where(event))
            ]

        with self._condition:
            if self._condition.wait_for(lambda: len(matching()) >= count, timeout):
                return matching()[count - 1]
            seen = "\n  ".join(map(repr, self._events)) or "nothing"
        raise AssertionError(
            f"{count} {event_type.__name__} did not come within {timeout} s; there came\n  {seen}"
        )
