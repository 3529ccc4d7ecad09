"""The events of a run or a response: streamed as they come, to any number of readers."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from flask import Response

from gpt_agent_sync.server import strict_json

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that a reader who has gone is noticed."""

MAX_STREAMS = 1000
"""Streams that are kept for reading, the ended ones among them; the oldest go first."""


@attrs.frozen
class StreamEvent:
    """One server-sent event.

    Attributes:
        name: Its name.
        data: Its data: a JSON object, or the text ``[DONE]``.
    """

    name: str
    data: Mapping[str, Any] | str

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        data = self.data if isinstance(self.data, str) else strict_json.encode(self.data)
        return f"event: {self.name}\ndata: {data}\n\n".encode()


class Stream:
    """The events of one run or response so far, which readers follow to the last one.

    All events are kept, so that a reader may begin anywhere: one that lost its connection resumes
    where it was.

    Args:
        numbered: Whether each event carries its ``sequence_number``, counted from 0.
    """

    def __init__(self, *, numbered: bool = False) -> None:
        self._numbered = numbered
        self._condition = threading.Condition()
        self._events: list[StreamEvent] = []
        self._ended = False

    def publish(self, *events: StreamEvent, last: bool = False) -> None:
        """Add events; after the last ones nothing is added any more."""
        with self._condition:
            # A cancel ends the stream while the model still answers: its late events are dropped.
            if self._ended:
                return
            self._events.extend(map(self._number, events, itertools.count(len(self._events))))
            self._ended = last
            self._condition.notify_all()

    def _number(self, event: StreamEvent, number: int) -> StreamEvent:
        if not self._numbered or isinstance(event.data, str):
            return event
        # A copy: the data is the publisher's.
        return StreamEvent(event.name, {**event.data, "sequence_number": number})

    def end(self) -> None:
        """End the stream with the events there are."""
        self.publish(last=True)

    def read(self, begin: int = 0) -> Iterator[bytes]:
        """Yield the encoded events from one on, as they come, until the last one."""
        while True:
            fresh, ended = self._wait(begin)
            if not fresh and not ended:
                # Only a write shows that the reader has hung up, and frees this thread.
                yield b": still there\n\n"
            # Outside the lock: a slow reader holds up neither the model nor the other readers.
            for event in fresh:
                yield event.encode()
            begin += len(fresh)
            if ended:
                return

    def _wait(self, begin: int) -> tuple[list[StreamEvent], bool]:
        with self._condition:
            self._condition.wait_for(lambda: self._ended or len(self._events) > begin, HEARTBEAT)
            return self._events[begin:], self._ended


class Streams:
    """The streams of a server, by the ids of their runs and responses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, Stream] = OrderedDict()
        self._closed = False

    def open(self, work_id: str, *, numbered: bool = False) -> Stream:
        """Open a stream, in place of an older one of the same id."""
        stream = Stream(numbered=numbered)
        with self._lock:
            closed = self._closed
            # Popped first, so that it stands among the newest: each round of a run opens a stream.
            self._by_id.pop(work_id, None)
            self._by_id[work_id] = stream
            while len(self._by_id) > MAX_STREAMS:
                self._by_id.popitem(last=False)
        # A request that came in while the server was stopping would wait for events for ever.
        if closed:
            stream.end()
        return stream

    def get(self, work_id: str) -> Stream | None:
        """Return the stream of an id, if it is kept."""
        with self._lock:
            return self._by_id.get(work_id)

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._closed = True
            streams = list(self._by_id.values())
        for stream in streams:
            stream.end()


def stream_response(stream: Stream, begin: int = 0) -> Response:
    """Return the HTTP response that streams the events from one on."""
    response = Response(stream.read(begin), mimetype="text/event-stream")
    # A proxy that kept the answer would replay old events to the next reader.
    response.headers["Cache-Control"] = "no-cache"
    return response
