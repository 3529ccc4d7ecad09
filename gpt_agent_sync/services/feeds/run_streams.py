"""The stream events of a run, read as updates."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.event_parser import ServerSentEvent, StreamLost
from gpt_agent_sync.records import FeedUpdate, Pause
from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.services.http.errors import error_from_event
from gpt_agent_sync.services.http.sse import SIGNS_OF_LIFE, ServerEvents, is_object, read_object

ERROR = "error"
"""The kind of event, on either wire, that says what went wrong."""


class Translation(ABC):
    """One wire's events of one run, turned into updates one after the other.

    Args:
        request: Method and path of the request, for messages.
        wants_deltas: Returns whether anybody listens to text as it comes.
    """

    def __init__(self, request: str, wants_deltas: Callable[[], bool]) -> None:
        self._request = request
        self._wants_deltas = wants_deltas

    @property
    def messages_known(self) -> bool:
        """Whether all messages that the run has finished so far were yielded."""
        return False

    def open(self, event: ServerSentEvent) -> Mapping[str, Any] | None:
        """Return the wire's object that the first event of interest holds, which opens the stream.

        Returns:
            The object; ``None`` for the events before it.

        Raises:
            ServiceError: If the event says that the request is refused, or has failed.
            StreamLost: If it cannot be read.
        """
        if not is_object(event):
            return None
        data = read_object(event)
        kind = self._kind_of(event, data)
        if kind == ERROR:
            raise error_from_event(self._request, data)
        return self._open(kind, data)

    def read(self, event: ServerSentEvent) -> Sequence[FeedUpdate]:
        """Return the updates that an event holds; mostly there is none.

        Raises:
            StreamLost: If it reports an error, or cannot be read.
        """
        # Most events are text that nobody may listen to: those are passed over unparsed.
        if self._skips(event) or not is_object(event):
            return ()
        data = read_object(event)
        if not self._is_new(data):
            return ()
        kind = self._kind_of(event, data)
        if kind == ERROR:
            # The run itself may still be well, so that it is polled: no error of the feed.
            raise StreamLost(str(error_from_event(self._request, data)))
        return self._read(kind, data)

    def resume(self, pause: Pause) -> ServerEvents | None:
        """Return the events after the last one read, where the service sends them again."""
        return None

    @abstractmethod
    def _kind_of(self, event: ServerSentEvent, data: Mapping[str, Any]) -> str:
        """Return what kind of event it is, in the wire's words, or ``ERROR``."""

    @abstractmethod
    def _open(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the object that opens the stream, if the event holds it."""

    @abstractmethod
    def _skips(self, event: ServerSentEvent) -> bool:
        """Return whether an event's name and text show that nobody wants its updates."""

    def _is_new(self, data: Mapping[str, Any]) -> bool:
        """Return whether an event is none that was read before."""
        return True

    @abstractmethod
    def _read(self, kind: str, data: Mapping[str, Any]) -> Sequence[FeedUpdate]:
        """Return the updates that an event holds.

        Raises:
            StreamLost: If it cannot be read.
        """


class RunStream(Interruptible):
    """The updates of a run as its service streams them; one thread reads, any thread ends it.

    Iterating never ends by itself: it raises ``StreamLost`` when there is no more to come, and
    ``FeedClosed`` when it was ended.

    Args:
        events: The events as they come.
        translation: Turns them into updates.
    """

    def __init__(self, events: ServerEvents, translation: Translation) -> None:
        self._events = events
        self._translation = translation

    @property
    def messages_known(self) -> bool:
        """Whether all messages that the run has finished so far were yielded."""
        return self._translation.messages_known

    def __iter__(self) -> Iterator[FeedUpdate | None]:
        """Yield the updates as they come; ``None`` when only signs of life came for long."""
        heard_at = time.monotonic()
        while True:
            try:
                event = next(self._events)
            except StopIteration:
                # Servers leave out the closing event, or break off when a run fails.
                raise StreamLost("it ended before the run did") from None
            except ServiceUnavailableError as exc:
                raise StreamLost(exc.message) from exc
            updates = () if event is None else self._translation.read(event)
            if updates:
                heard_at = time.monotonic()
                yield from updates
            # Events that mean nothing to us show as little of the run as comments do.
            elif event is None or time.monotonic() - heard_at > SIGNS_OF_LIFE:
                heard_at = time.monotonic()
                yield None

    def resumed(self, pause: Pause) -> RunStream | None:
        """Return the stream that goes on from here, where the service has it."""
        events = self._translation.resume(pause)
        return None if events is None else RunStream(events, self._translation)

    def end(self) -> None:
        """End it, from any thread."""
        self._events.end()

    def drain(self, patience: float) -> None:
        """Read past what is left, waiting so many seconds, to keep the connection."""
        self._events.finish(patience)

    def close(self) -> None:
        """Close it, on the thread that reads it; idempotent."""
        self._events.close()
