"""Server-sent events: bytes as they come, put together to events.

The format is that of the HTML standard, section 9.2.6 (parsing an event stream).
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.services.http.redaction import Redaction
from gpt_agent_sync.services.http.shapes import Unshown, as_object

if TYPE_CHECKING:
    from gpt_agent_sync.services.http.transport import RawStream

BOM = b"\xef\xbb\xbf"

MOST_BYTES = 16 * 1024 * 1024
"""How large one event may be."""

SIGNS_OF_LIFE = 30.0
"""Seconds in which comments may come and no event, before the reader is told so."""

_PLAIN = re.compile(rb"(?:event: ?([^\r\n]*)\n)?data: ?([^\r\n]*)\n\n")
"""An event as servers write nearly all of them; the others are read line by line."""


@attrs.frozen
class ServerSentEvent:
    """One server-sent event.

    Attributes:
        name: What its ``event`` field says; ``""`` when there is none.
        data: Its ``data`` lines, joined by line feeds.
    """

    name: str
    data: str = attrs.field(repr=False)  # may hold what people say


class StreamLost(Exception):
    """A stream says no more of what it is about, and why: that has to be asked for itself."""


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


class EventParser:
    """A parser of events out of bytes that are cut anywhere.

    Lines may end in LF, CR or CRLF. Comments, ``id`` and ``retry`` are passed over. An event
    that is not ended by a blank line is none.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._begins = True
        self._skip_line_feed = False
        self._name = b""
        self._data: list[bytes] = []
        self._lines_held = 0
        self._held = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take in what has come, and return the events that are whole now.

        Raises:
            StreamLost: If an event is too large.
        """
        if self._skip_line_feed and data:
            self._skip_line_feed = False
            data = data.removeprefix(b"\n")
        self._pieces.append(data)
        # Pieces without a line's end are only kept: joined each time, a long event that comes in
        # small pieces would be copied over and over.
        if b"\n" not in data and b"\r" not in data:
            self._hold(self._held + len(data))
            return []
        text = b"".join(self._pieces)
        if self._begins:
            self._begins = False
            text = text.removeprefix(BOM)
        events, begin = [], 0
        # One regular expression for what nearly all servers send: line by line costs several times
        # as much, and a turn is mostly this.
        if not self._name and not self._data:
            while plain := _PLAIN.match(text, begin):
                events.append(_event(plain[1] or b"", plain[2]))
                begin = plain.end()
        self._pieces = []
        if begin < len(text):
            self._by_line(text[begin:], events)
        self._hold(self._lines_held + sum(map(len, self._pieces)))
        return events

    def _hold(self, held: int) -> None:
        """Take note of the bytes of the event that has begun.

        Raises:
            StreamLost: If there are too many.
        """
        self._held = held
        if held > MOST_BYTES:
            self._pieces, self._data = [], []
            raise StreamLost(f"an event has more than {MOST_BYTES} bytes")

    def _by_line(self, text: bytes, events: list[ServerSentEvent]) -> None:
        """Go on with a text in the format's full generality."""
        lines = text.splitlines(keepends=True)
        last = lines[-1]
        # A carriage return ends its line at once: the line feed after it may never come.
        self._skip_line_feed = last.endswith(b"\r")
        if not last.endswith((b"\n", b"\r")):
            self._pieces = [lines.pop()]
        for line in lines:
            event = self._line(line.rstrip(b"\r\n"))
            if event is not None:
                events.append(event)

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._lines_held += len(line)
        elif field == b"event":
            self._name = value.removeprefix(b" ")
            self._lines_held += len(line)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._lines_held = b"", [], 0
        return _event(name, b"\n".join(data)) if data else None


def _event(name: bytes, data: bytes) -> ServerSentEvent:
    return ServerSentEvent(name.decode("utf-8", "replace"), data.decode("utf-8", "replace"))


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
