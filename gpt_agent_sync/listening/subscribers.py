"""The subscriptions and streams of one agent, closed when it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    AssistantMessageDelta,
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
)
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscriptions import (
    Callback,
    Subscription,
    deliver,
    has_receivers,
)


class Subscribers:
    """An agent's own subscriptions and streams.

    They are kept here and not with blinker: its clean-up of weakly held senders races with its own
    loops, and closing the subscriptions of many agents took quadratic time.

    Args:
        sender: The agent, as receivers of signals see it.
        thread_id: Its conversation.
        refuse_to_block: Raises where waiting for the agent would be waiting for oneself; called
            with what would wait, on the thread that would.
    """

    def __init__(
        self, sender: object, thread_id: str, refuse_to_block: Callable[[str], None]
    ) -> None:
        self._sender = sender
        self._thread_id = thread_id
        self._refuse_to_block = refuse_to_block
        self._lock = threading.Lock()
        self._subscriptions: dict[Subscription, None] = {}
        self._streams: dict[EventStream, None] = {}
        self._stopping = False
        self._closed = False

    def subscribe(self, event_type: type[Event], callback: Callback[Any]) -> Subscription:
        """Subscribe to the agent's events until it stops."""
        subscription = Subscription(event_type, callback, self._remove_subscription)
        with self._lock:
            closed = self._closed
            if not closed:
                self._subscriptions[subscription] = None
        if closed:
            subscription.close()
        return subscription

    def stream(self, maxsize: int) -> EventStream:
        """Open a stream of the agent's events until it stops."""
        stream = EventStream(
            self._thread_id,
            lambda put: self.subscribe(Event, put),
            maxsize,
            on_close=self._remove_stream,
            refuse_to_block=self._refuse_to_block,
        )
        with self._lock:
            self._streams[stream] = None
            stopping, closed = self._stopping, self._closed
        # The agent may have stopped since the stream subscribed: nobody else would end it then.
        if stopping:
            stream._lift_limit()
        if closed:
            stream.close()
        return stream

    def deliver(self, event: Event) -> None:
        """Deliver an event to the signals' receivers and to these; on the worker's thread."""
        if isinstance(event, AgentStopped):
            self.release_worker()
        with self._lock:
            subscriptions = list(self._subscriptions)
        deliver(self._sender, event, subscriptions)

    def wants_deltas(self) -> bool:
        """Return whether anybody receives text as it arrives; services need not parse it else."""
        return self._has_receivers(AssistantMessageDelta)

    def has_receivers(self) -> bool:
        """Return whether anybody receives messages of the assistant, or ends of runs."""
        told = (AssistantMessageAdded, RunCompleted, RunFailed, RunCancelled)
        return any(self._has_receivers(event_type) for event_type in told)

    def has_streams(self) -> bool:
        """Return whether anybody iterates over events."""
        return bool(self._streams)

    def _has_receivers(self, event_type: type[Event]) -> bool:
        with self._lock:
            subscriptions = list(self._subscriptions)
        return has_receivers(event_type, subscriptions)

    def release_worker(self) -> None:
        """Lift the limits of all streams, so that none blocks the worker of a stopping agent."""
        with self._lock:
            self._stopping = True
            streams = list(self._streams)
        for stream in streams:
            stream._lift_limit()

    def close(self) -> None:
        """Close everything, after the last event."""
        with self._lock:
            self._stopping = self._closed = True
            streams, subscriptions = list(self._streams), list(self._subscriptions)
        for stream in streams:
            stream.close()
        for subscription in subscriptions:
            subscription.close()

    def after_fork(self) -> None:
        """Close in a forked child, where other threads' locks may be held for ever."""
        self._lock = threading.Lock()
        for stream in self._streams:
            stream._after_fork()
        self.close()

    def _remove_subscription(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.pop(subscription, None)

    def _remove_stream(self, stream: EventStream) -> None:
        with self._lock:
            self._streams.pop(stream, None)
