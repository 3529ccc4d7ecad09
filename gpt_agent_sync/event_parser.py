"""Server-sent events: bytes as they come, put together to events.

The format is that of the HTML standard, section 9.2.6 (parsing an event stream).
"""

from __future__ import annotations

import re

import attrs

BOM = b"\xef\xbb\xbf"

MOST_BYTES = 16 * 1024 * 1024
"""How large one event may be."""

_PLAIN = re.compile(rb"(?:event: ?([^\r\n]*)\n)?data: ?([^\r\n]*)\n\n")
"""An event as servers write nearly all of them; the others are read line by line."""


_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:event|data|id|retry|error)?:")


def begins_stream(body: bytes) -> bool:
    """Return whether a body begins as server-sent events do: with a field, or with a comment."""
    return _BEGIN.match(body) is not None


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


class EventParser:
    """A parser of events out of bytes that are cut anywhere.

    Lines may end in LF, CR or CRLF. Comments, ``id`` and ``retry`` are passed over. An event
    that is not ended by a blank line is none.

    Args:
        error_lines: Whether a line ``error: ...`` is an event of that name: what llama.cpp sends
            in place of the rest of a stream, and the standard has no such field.
    """

    def __init__(self, *, error_lines: bool = False) -> None:
        self._error_lines = error_lines
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
        elif field == b"error" and self._error_lines:
            return _event(b"error", value.removeprefix(b" "))
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._lines_held = b"", [], 0
        return _event(name, b"\n".join(data)) if data else None


def _event(name: bytes, data: bytes) -> ServerSentEvent:
    return ServerSentEvent(name.decode("utf-8", "replace"), data.decode("utf-8", "replace"))
