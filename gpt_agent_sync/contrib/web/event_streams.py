"""A thread's events as server-sent events, for as long as a client reads them.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gpt_agent_sync import forks
from gpt_agent_sync.api import thread_events
from gpt_agent_sync.errors import GptAgentError
from gpt_agent_sync.events import Event, RunStarted, UserMessageAdded
from gpt_agent_sync.logs import get_logger

if TYPE_CHECKING:
    from typing_extensions import Self

    from gpt_agent_sync.agent.agent import Agent

logger = get_logger(__name__)

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # Neither kept, nor packed, nor gathered by proxies; nginx is told by a header of its own.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser comes back when the line breaks."""

_ALIVE = b": alive\n\n"
_BATCH = 200
"""Events that are written at once at most."""


class EventLines:
    """An iterator of bytes to write, which ends when it is closed.

    The agent of the thread is kept alive while a client reads: so this process goes on with the
    thread's turn where the one that ran it is gone.

    Args:
        connect: Connects to the thread.
        thread_id: The thread.
        after: The cursor of the last event that the client knows; ``None`` to begin with the turn
            that is under way, or with what comes next.
        heartbeat: Seconds of silence after which a comment is written. A client that went away is
            noticed when something is written.

    Raises:
        GptAgentError: What connecting raises.
    """

    def __init__(
        self,
        connect: Callable[[str], Agent],
        thread_id: str,
        after: str | None,
        heartbeat: float,
    ) -> None:
        self._connect = connect
        self._thread_id = thread_id
        self._heartbeat = heartbeat
        self._agent = agent = connect(thread_id)
        self._events = thread_events(
            thread_id, after, agent.service, backplane=agent.backplane, whole_turn=after is None
        )
        self._has_begun = False
        _open.add(self)

    def __iter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __next__(self) -> bytes:
        """Return what is to be written next, blocking until there is something."""
        if not self._has_begun:
            self._has_begun = True
            return RETRY
        try:
            event = self._events.get(self._heartbeat)
        except TimeoutError:
            return _ALIVE
        if event is None:
            raise StopIteration
        return self._write(event) + b"".join(self._write(other) for other in self._waiting())

    def _waiting(self) -> Iterator[Event]:
        """Give the events that are there already, so that they take one write."""
        for _ in range(_BATCH):
            try:
                event = self._events.get(0)
            except TimeoutError:
                return
            if event is None:
                return
            yield event

    def _write(self, event: Event) -> bytes:
        self._stay_connected(event)
        return write_event(event)

    def _stay_connected(self, event: Event) -> None:
        """Have an agent again for a turn that another process has begun, if ours was idle."""
        if self._agent.is_alive or not isinstance(event, (UserMessageAdded, RunStarted)):
            return
        try:
            self._agent = self._connect(self._thread_id)
        except GptAgentError as exc:
            logger.warning("thread %s is followed without an agent: %s", self._thread_id, exc)

    def close(self) -> None:
        """End it; idempotent. Servers call it when the client is gone."""
        _open.discard(self)
        self._events.close()


def write_event(event: Event) -> bytes:
    """Return an event as it is sent: its cursor, and its JSON, in which no line ends."""
    data = json.dumps(event.to_dict(), ensure_ascii=False, separators=(",", ":"))
    place = f"id: {event.cursor}\n" if event.cursor else ""
    return f"{place}data: {data}\n\n".encode("utf-8", "replace")


class _OpenStreams:
    """The streams of this process that are open; those of a parent are not."""

    def __init__(self) -> None:
        self._after_fork()
        forks.renew_in_child(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[EventLines] = weakref.WeakSet()
        self._ended = False

    def add(self, stream: EventLines) -> None:
        with self._lock:
            self._streams.add(stream)
            ended = self._ended
        if ended:
            stream.close()

    def discard(self, stream: EventLines) -> None:
        with self._lock:
            self._streams.discard(stream)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()


_open = _OpenStreams()


def end_event_streams() -> None:
    """End all event streams of this process, and those that are still opened.

    For a server that is told to stop: it would wait for them else. Browsers come back by
    themselves, and go on where they were.
    """
    _open.end()
