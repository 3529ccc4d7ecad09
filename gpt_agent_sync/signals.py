"""One blinker signal for each event, for programs that know them from Flask.

The sender is the ``Agent``, and receivers are called on that agent's worker thread as
``receiver(agent, event=event)``: those connected for every agent first, then those of this one,
each in the order in which they were connected. ``on()`` is the friendlier face of the same
signals. As always with blinker, ``connect()`` holds a receiver weakly unless it is told
``weak=False``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import blinker

from gpt_agent_sync import events, forks

F = TypeVar("F", bound=Callable[..., Any])


# blinker keeps receivers in a set, and calls them in an order that changes from run to run.
class _OrderedSet(dict[Any, None]):
    """A set of receivers, as far as blinker uses one, that keeps their order."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def copy(self) -> _OrderedSet:
        return _OrderedSet(self)

    def __or__(self, other: Any) -> _OrderedSet:  # type: ignore[override]  # a set's union
        return _OrderedSet([*self, *other])


class EventSignal(blinker.Signal):
    """A blinker signal that many threads may connect to and send at once."""

    set_class = _OrderedSet  # type: ignore[assignment]  # all that blinker uses of a set

    def __init__(self, doc: str | None = None) -> None:
        super().__init__(doc)
        self._lock = threading.RLock()

    def connect(self, receiver: F, sender: Any = blinker.ANY, weak: bool = True) -> F:
        """Connect a receiver; see ``blinker.Signal.connect``."""
        forks.check()
        with self._lock:
            return super().connect(receiver, sender, weak)

    def disconnect(self, receiver: Callable[..., Any], sender: Any = blinker.ANY) -> None:
        """Disconnect a receiver; see ``blinker.Signal.disconnect``."""
        forks.check()
        with self._lock:
            while True:
                try:
                    super().disconnect(receiver, sender)
                    return
                except RuntimeError as exc:
                    # blinker cleans up after collected senders whenever that happens, without
                    # our lock, and may do so in the middle of its own loop.
                    if "changed size" not in str(exc):
                        raise

    def receivers_for(self, sender: Any) -> Generator[Callable[..., Any], None, None]:
        """Yield the receivers connected at this moment for ``sender`` or any sender."""
        # Most events have no receivers of signals, and each piece of text is an event.
        if not self.receivers:
            return
        with self._lock:
            receivers = list(super().receivers_for(sender))
        yield from receivers


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _signal(event_class: type[events.Event]) -> EventSignal:
    return EventSignal(f"Sent with each ``{event_class.__name__}``.")


user_message_added = _signal(events.UserMessageAdded)
run_started = _signal(events.RunStarted)
run_completed = _signal(events.RunCompleted)
run_failed = _signal(events.RunFailed)
run_cancelled = _signal(events.RunCancelled)
rate_limited = _signal(events.RateLimited)
rate_limit_retries_exhausted = _signal(events.RateLimitRetriesExhausted)
quota_exceeded = _signal(events.QuotaExceeded)
assistant_message_added = _signal(events.AssistantMessageAdded)
assistant_message_delta = _signal(events.AssistantMessageDelta)
tool_call_requested = _signal(events.ToolCallRequested)
tool_call_output_recorded = _signal(events.ToolCallOutputRecorded)
tool_call_failed = _signal(events.ToolCallFailed)
tool_call_interrupted = _signal(events.ToolCallInterrupted)
events_missed = _signal(events.EventsMissed)
tool_output_submission_failed = _signal(events.ToolOutputSubmissionFailed)
agent_stopped = _signal(events.AgentStopped)

BY_EVENT: Mapping[type[events.Event], EventSignal] = {
    event_class: globals()[_snake_case(name)] for name, event_class in events.EVENT_TYPES.items()
}
"""The signal of each concrete event class."""


def signals_of(event_type: type[events.Event]) -> Iterator[EventSignal]:
    """Yield the signals of an event class and of its subclasses."""
    for event_class, signal in BY_EVENT.items():
        if issubclass(event_class, event_type):
            yield signal


def _after_fork() -> None:
    for signal in BY_EVENT.values():
        signal._lock = threading.RLock()


forks.in_child(_after_fork)
