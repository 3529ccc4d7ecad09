"""The server-sent events of an answer, as one thread reads them and any thread ends them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpt_agent_sync.event_parser import EventParser, ServerSentEvent, StreamLost
from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.services.http.redaction import Redaction
from gpt_agent_sync.services.http.shapes import Unshown, as_object

if TYPE_CHECKING:
    from gpt_agent_sync.services.http.transport import RawStream

SIGNS_OF_LIFE = 30.0
"""Seconds in which comments may come and no event, before the reader is told so."""


def is_object(event: ServerSentEvent) -> bool:
    """Return whether an event means to hold a JSON object: not what keeps a connection awake."""
    return event.data.lstrip().startswith("{")


def read_object(event: ServerSentEvent) -> Mapping[str, Any]:
    """Return the JSON object that an event holds.

    Raises:
        StreamLost: If it holds none.
    """
    try:
        return Unshown(as_object(read_foreign_json(event.data)))
    except ValueError:
        # Not what it holds: that is text of people and models, and this is logged.
        raise StreamLost(f"an event of {len(event.data)} characters is no JSON") from None


class ServerEvents(Interruptible):
    """An iterator over the events of an answer; one thread reads, any thread ends it.

    Iterating raises ``ServiceUnavailableError`` if the answer breaks off or is silent for too
    long, ``StreamLost`` if an event is too large, and ``FeedClosed`` if it was ended.

    Args:
        stream: The answer.
        redaction: The secrets of its request, which no error shows.
    """

    def __init__(self, stream: RawStream, redaction: Redaction) -> None:
        self._stream = stream
        self._redaction = redaction
        self._heard_at = time.monotonic()
        self._parser = EventParser()
        self._events: deque[ServerSentEvent] = deque()

    def __iter__(self) -> ServerEvents:
        """Return itself."""
        return self

    def __next__(self) -> ServerSentEvent | None:
        """Return the next event, waiting for it; ``None`` when only comments came for long."""
        while not self._events:
            data = self._stream.read()
            if not data:
                raise StopIteration
            self._events.extend(self._parser.feed(data))
            now = time.monotonic()
            # Comments keep a socket's timeout from ever running out, also where the service has
            # forgotten the run: the reader is to look for itself now and then.
            if not self._events and now - self._heard_at > SIGNS_OF_LIFE:
                self._heard_at = now
                return None
        self._heard_at = time.monotonic()
        event = self._events.popleft()
        cleaned = self._redaction.event(event.name, event.data)
        return event if cleaned is event.data else ServerSentEvent(event.name, cleaned)

    def end(self) -> None:
        """End it, from any thread."""
        self._stream.end()

    def finish(self, patience: float) -> None:
        """Pass over what is left, so that the connection can be used again; see ``RawStream``."""
        self._stream.finish(patience)

    def close(self) -> None:
        """Close it, on the thread that reads it; idempotent."""
        self._stream.close()
