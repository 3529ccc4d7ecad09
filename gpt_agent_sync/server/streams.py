"""The events of a run or a response: streamed as they come, to any number of readers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from flask import Response

from gpt_agent_sync.server import strict_json
from gpt_agent_sync.server.storage.database import Storage

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that a reader who has gone is noticed."""

RESUMABLE_SECONDS = 600.0
"""Seconds after its last event in which a stream can be resumed."""

MOST_EVENTS = 2**31 - 2
"""The highest number of an event."""

FLUSH_PATIENCE = 2.0
"""Seconds in which the last events of a response come into the database after its end."""

FEED_SECONDS = 0.25
"""Between two looks at the database for the events of another process."""


HEARTBEAT_COMMENT = b": still there\n\n"


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
        return encode(self.name, self.text)

    @property
    def text(self) -> str:
        """The data as it goes over the wire."""
        return self.data if isinstance(self.data, str) else strict_json.encode(self.data)


def encode(name: str, data: str) -> bytes:
    """Return an event as it goes over the wire."""
    return f"event: {name}\ndata: {data}\n\n".encode()


class Stream:
    """The events of one run or response, which readers follow to the last one.

    Args:
        numbered: Whether each event carries its ``sequence_number``, counted from 0.
        keep: Whether all events are kept, so that any number of readers may begin anywhere: one
            that lost its connection resumes where it was. Else there is one reader, and what it
            has read is forgotten.

    Attributes:
        ended: Whether there are all events.
    """

    def __init__(self, *, numbered: bool = False, keep: bool = True) -> None:
        self._numbered = numbered
        self._keep = keep
        self._condition = threading.Condition()
        self._events: list[StreamEvent] = []
        self._forgotten = 0
        self.ended = False

    def publish(self, *events: StreamEvent, last: bool = False) -> None:
        """Add events; after the last ones nothing is added any more."""
        with self._condition:
            # A cancel ends the stream while the model still answers: its late events are dropped.
            if self.ended:
                return
            begin = self._forgotten + len(self._events)
            self._events.extend(map(self._number, events, itertools.count(begin)))
            self.ended = last
            self._condition.notify_all()

    def _number(self, event: StreamEvent, number: int) -> StreamEvent:
        if not self._numbered or isinstance(event.data, str):
            return event
        # A copy: the data is the publisher's.
        return StreamEvent(event.name, {**event.data, "sequence_number": number})

    def end(self) -> None:
        """End the stream with the events there are."""
        self.publish(last=True)

    def since(self, begin: int) -> list[StreamEvent]:
        """Return the events there are, from one on."""
        with self._condition:
            return self._events[begin - self._forgotten :]

    def read(self, begin: int = 0) -> Iterator[bytes]:
        """Yield the encoded events from one on, as they come, until the last one."""
        while True:
            fresh, ended = self._wait(begin)
            if not fresh and not ended:
                # Only a write shows that the reader has hung up, and frees this thread.
                yield HEARTBEAT_COMMENT
            # Outside the lock: a slow reader holds up neither the model nor the other readers.
            for event in fresh:
                yield event.encode()
            begin += len(fresh)
            if ended:
                return

    def _wait(self, begin: int) -> tuple[list[StreamEvent], bool]:
        with self._condition:
            self._condition.wait_for(
                lambda: self.ended or self._forgotten + len(self._events) > begin, HEARTBEAT
            )
            fresh = self._events[max(0, begin - self._forgotten) :]
            if not self._keep:
                self._events, self._forgotten = [], begin + len(fresh)
            return fresh, self.ended


class Streams:
    """The streams that may be resumed, by the ids of their responses.

    They are kept in the database as well, for readers that come to another process.

    Args:
        storage: The database.
        clock: Returns Unix time.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._by_id: dict[str, Stream] = {}
        self._written: dict[str, int] = {}
        self._ended_at: dict[str, float] = {}
        self._closed = False

    def open(self, work_id: str) -> Stream:
        """Open a stream."""
        stream = Stream(numbered=True)
        with self._lock:
            closed = self._closed
            self._by_id[work_id] = stream
            if not self._storage.is_memory:
                self._written[work_id] = 0
        # A request that came in while the server was stopping would wait for events for ever.
        if closed:
            stream.end()
        return stream

    def get(self, work_id: str) -> Stream | None:
        """Return the stream of an id, if this process has it."""
        with self._lock:
            return self._by_id.get(work_id)

    @property
    def are_live(self) -> bool:
        """Whether there are some that may have events to be kept."""
        with self._lock:
            return bool(self._written)

    def flush(self) -> None:
        """Keep the new events in the database."""
        with self._lock:
            written = [(name, self._by_id[name], at) for name, at in self._written.items()]
        if not written:
            return
        for work_id, stream, begin in written:
            # Read before the events: what is published between the two is kept the next time.
            ended = stream.ended
            events = stream.since(begin)
            if events:
                self._write(work_id, begin, events)
            with self._lock:
                self._written[work_id] = begin + len(events)
                if ended:
                    self._written.pop(work_id, None)

    def _write(self, work_id: str, begin: int, events: Sequence[StreamEvent]) -> None:
        logged = [(event.name, event.text) for event in events]
        with self._storage.write() as connection:
            self._storage.events.add(connection, work_id, begin, logged, self._clock())

    def clean(self) -> None:
        """Forget the streams whose last event is long ago."""
        now = time.monotonic()
        with self._lock:
            for work_id in [name for name, stream in self._by_id.items() if stream.ended]:
                if now - self._ended_at.setdefault(work_id, now) >= RESUMABLE_SECONDS:
                    for each in (self._by_id, self._ended_at, self._written):
                        each.pop(work_id, None)

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._closed = True
            streams = list(self._by_id.values())
        for stream in streams:
            stream.end()


class StoredStream:
    """The events of a response that another process works on, as they come into the database.

    Args:
        storage: The database.
        work_id: The response.
        ending: Returns the event that ends it, once it has ended; ``None`` before.
    """

    def __init__(
        self, storage: Storage, work_id: str, ending: Callable[[], StreamEvent | None]
    ) -> None:
        self._storage = storage
        self._work_id = work_id
        self._ending = ending
        self._pause = threading.Event()  # is never set

    def read(self, begin: int = 0) -> Iterator[bytes]:
        """Yield the encoded events from one on, as they come, until the last one."""
        begin = min(begin, MOST_EVENTS)
        name, idle, ended_for = self._name_before(begin), 0.0, 0.0
        while True:
            ending = self._ending()
            with self._storage.read() as connection:
                found = self._storage.events.after(connection, self._work_id, begin)
            for number, name, data in found:
                yield encode(name, data)
                begin = number + 1
            if ending is not None and name == ending.name:
                return
            idle = 0.0 if found else idle + FEED_SECONDS
            # From its end on: the process that has it writes its last events a moment later.
            ended_for = 0.0 if ending is None or found else ended_for + FEED_SECONDS
            # Its process has died before it could say so, or forgotten all of it.
            if ending is not None and ended_for > FLUSH_PATIENCE:
                fields = {**_fields(ending), "sequence_number": begin}
                yield StreamEvent(ending.name, fields).encode()
                return
            if not found:
                # A write now and then: nothing else shows that the reader has hung up.
                if idle % HEARTBEAT < FEED_SECONDS:
                    yield HEARTBEAT_COMMENT
                self._pause.wait(FEED_SECONDS)

    def _name_before(self, begin: int) -> str:
        if begin == 0:
            return ""
        with self._storage.read() as connection:
            found = self._storage.events.after(connection, self._work_id, begin - 1, limit=1)
        return found[0][1] if found else ""


def _fields(event: StreamEvent) -> Mapping[str, Any]:
    assert not isinstance(event.data, str)
    return event.data


def stream_response(
    stream: Stream | StoredStream, begin: int = 0, on_gone: Callable[[], object] | None = None
) -> Response:
    """Return the HTTP response that streams the events from one on.

    Args:
        stream: The events.
        begin: The first of them.
        on_gone: Called where the reader hangs up before the last event, on the request's thread.
    """
    events = stream.read(begin)
    if on_gone is not None:
        events = _telling(events, on_gone)
    response = Response(events, mimetype="text/event-stream")
    # A proxy that kept the answer would replay old events to the next reader.
    response.headers["Cache-Control"] = "no-cache"
    return response


def _telling(events: Iterator[bytes], on_gone: Callable[[], object]) -> Iterator[bytes]:
    try:
        yield from events
    except GeneratorExit:
        on_gone()
        raise
