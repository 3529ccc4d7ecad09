"""Who listens to one agent: its subscriptions and streams, closed when it stops."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpt_agent_sync.events import AgentStopped, AssistantMessageDelta, Event
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscriptions import Callback, Subscription, deliver, is_heard

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent


class Audience:
    """Hold an agent's own subscriptions and streams.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._lock = threading.Lock()
        self._subscriptions: dict[Subscription, None] = {}
        self._streams: dict[EventStream, None] = {}
        self._stopping = False
        self._ended = False

    def subscribe(self, event_type: type[Event], callback: Callback[Any]) -> Subscription:
        """Subscribe to the agent's events until it stops."""
        subscription = Subscription(event_type, callback, self._forget_subscription)
        with self._lock:
            if not self._ended:
                self._subscriptions[subscription] = None
            ended = self._ended
        if ended:
            subscription.close()
        return subscription

    def stream(self, maxsize: int) -> EventStream:
        """Open a stream of the agent's events until it stops."""
        stream = EventStream(
            self._agent,
            lambda put: self.subscribe(Event, put),
            maxsize,
            on_close=self._forget_stream,
        )
        with self._lock:
            self._streams[stream] = None
            stopping, ended = self._stopping, self._ended
        if stopping:
            stream._make_room()
        if ended:
            stream.close()
        return stream

    def tell(self, event: Event) -> None:
        """Deliver an event to the signals' receivers and to the agent's own; on the worker."""
        if isinstance(event, AgentStopped):
            self.begin_to_end()
        with self._lock:
            subscriptions = list(self._subscriptions)
        deliver(self._agent, event, subscriptions)

    def hears_deltas(self) -> bool:
        """Tell whether anybody listens to text as it comes."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        return is_heard(AssistantMessageDelta, subscriptions)

    def begin_to_end(self) -> None:
        """Let go of a worker that waits for a full stream."""
        with self._lock:
            self._stopping = True
            streams = list(self._streams)
        for stream in streams:
            stream._make_room()

    def end(self) -> None:
        """Close everything, after the last event."""
        with self._lock:
            self._stopping = self._ended = True
            streams, subscriptions = list(self._streams), list(self._subscriptions)
        for stream in streams:
            stream.close()
        for subscription in subscriptions:
            subscription.close()

    def forget(self) -> None:
        """End in a forked child, whose locks may have been held by other threads."""
        self._lock = threading.Lock()
        for stream in self._streams:
            stream._forget()
        self.end()

    def _forget_subscription(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.pop(subscription, None)

    def _forget_stream(self, stream: EventStream) -> None:
        with self._lock:
            self._streams.pop(stream, None)
