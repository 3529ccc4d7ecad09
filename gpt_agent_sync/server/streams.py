"""What a piece of work tells as it goes: server-sent events, for any number of readers."""

from __future__ import annotations

import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from flask import Response

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that a reader who has gone is noticed."""

MOST_KEPT = 1000
"""Streams that can be read again, the ended ones among them."""


@attrs.frozen
class Told:
    """Hold one event.

    Attributes:
        name: Its name.
        data: Its data: a JSON object, or the text ``[DONE]``.
    """

    name: str
    data: Mapping[str, Any] | str

    def spelled(self) -> bytes:
        """Give the event as it goes over the wire."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return f"event: {self.name}\ndata: {data}\n\n".encode()


class Stream:
    """Keep what is told, and have readers wait for more.

    Args:
        numbered: Whether each event carries its ``sequence_number``, counted from 0.
    """

    def __init__(self, *, numbered: bool = False) -> None:
        self._numbered = numbered
        self._condition = threading.Condition()
        self._told: list[Told] = []
        self._ended = False

    def tell(self, *events: Told, last: bool = False) -> None:
        """Add events; after the last one nothing is added any more."""
        with self._condition:
            if self._ended:
                return
            self._told.extend(map(self._number, events, itertools.count(len(self._told))))
            self._ended = last
            self._condition.notify_all()

    def _number(self, event: Told, number: int) -> Told:
        if not self._numbered or isinstance(event.data, str):
            return event
        return Told(event.name, {**event.data, "sequence_number": number})

    def end(self) -> None:
        """Have readers go, with what there is."""
        self.tell(last=True)

    def read(self, begin: int = 0) -> Iterator[bytes]:
        """Give the events from one on as they go over the wire, until the last one was told."""
        while True:
            fresh, ended = self._wait(begin)
            if not fresh and not ended:
                yield b": still there\n\n"
            for event in fresh:
                yield event.spelled()
            begin += len(fresh)
            if ended:
                return

    def _wait(self, begin: int) -> tuple[list[Told], bool]:
        with self._condition:
            self._condition.wait_for(lambda: self._ended or len(self._told) > begin, HEARTBEAT)
            return self._told[begin:], self._ended


class Streams:
    """Hold the streams of work, by its id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, Stream] = OrderedDict()
        self._closed = False

    def open(self, work_id: str, *, numbered: bool = False) -> Stream:
        """Give a new stream, in place of an older one of the same id."""
        stream = Stream(numbered=numbered)
        with self._lock:
            closed = self._closed
            self._by_id.pop(work_id, None)
            self._by_id[work_id] = stream
            while len(self._by_id) > MOST_KEPT:
                self._by_id.popitem(last=False)
        if closed:
            stream.end()
        return stream

    def get(self, work_id: str) -> Stream | None:
        """Give the stream of an id, if it is kept."""
        with self._lock:
            return self._by_id.get(work_id)

    def close(self) -> None:
        """Have all readers go."""
        with self._lock:
            self._closed = True
            streams = list(self._by_id.values())
        for stream in streams:
            stream.end()


def as_answer(stream: Stream, begin: int = 0) -> Response:
    """Give the answer that streams."""
    response = Response(stream.read(begin), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    return response
