"""A thread's events as server-sent events, for as long as a client reads them.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import forks
from gpt_agent_sync.api import thread_events
from gpt_agent_sync.errors import GptAgentError
from gpt_agent_sync.events import Event, RunStarted, UserMessageAdded
from gpt_agent_sync.logs import get_logger, log_exception

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
        agent: The thread's agent.
        connect: Connects to the thread again, where that has stopped for idleness.
        after: The cursor of the last event that the client knows; ``None`` to begin with the turn
            that is under way, or with what comes next.
        show_event: Returns what the client is to see of an event, ``None`` for nothing.
        heartbeat: Seconds of silence after which a comment is written. A client that went away is
            noticed when something is written.
        stream_time: Seconds after which it ends.

    Raises:
        BackplaneError: If the backplane cannot be reached.
    """

    def __init__(
        self,
        agent: Agent,
        connect: Callable[[str], Agent],
        after: str | None,
        *,
        show_event: Callable[[Event], Event | None],
        heartbeat: float,
        stream_time: float,
    ) -> None:
        self._agent = agent
        self._connect = connect
        self._thread_id = thread_id = agent.thread_id
        self._show_event = show_event
        self._heartbeat = heartbeat
        self._until = time.monotonic() + stream_time
        self._events = events = thread_events(
            thread_id, after, agent.service, backplane=agent.backplane, whole_turn=after is None
        )
        # Where a framework drops an answer that nobody has begun to read, nobody closes it.
        weakref.finalize(self, events.close).atexit = False
        self._has_begun = self._turn_has_begun = False
        _open.add(self)

    def __iter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __next__(self) -> bytes:
        """Return what is to be written next, blocking until there is something."""
        if not self._has_begun:
            self._has_begun = True
            return RETRY
        self._stay_connected()
        left = self._until - time.monotonic()
        if left <= 0:
            raise StopIteration
        try:
            event = self._events.get(min(self._heartbeat, left))
        except TimeoutError:
            return _ALIVE
        if event is None:
            raise StopIteration
        written = [self._write(event), *(self._write(other) for other in self._waiting())]
        return b"".join(written) or _ALIVE

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
        if isinstance(event, (UserMessageAdded, RunStarted)):
            self._turn_has_begun = True
        shown = self._show_event(event)
        return b"" if shown is None else write_event(shown)

    def _stay_connected(self) -> None:
        """Have an agent again for a turn that another process has begun, if ours was idle."""
        if self._agent.is_alive or not self._turn_has_begun:
            return
        self._turn_has_begun = False
        try:
            self._agent = self._connect(self._thread_id)
        except GptAgentError as exc:
            logger.warning("thread %s is followed without an agent: %s", self._thread_id, exc)
        except Exception:
            log_exception(
                logger, logging.ERROR, "thread %s is followed without an agent", self._thread_id
            )

    def close(self) -> None:
        """End it; idempotent. Servers call it when the client is gone."""
        _open.discard(self)
        self._events.close()


def write_event(event: Event) -> bytes:
    """Return an event as it is sent: its cursor, and its JSON, in which no line ends."""
    data = _dump(event.to_dict())
    place = f"id: {event.cursor}\n" if event.cursor else ""
    return f"{place}data: {data}\n\n".encode("utf-8", "replace")


def _dump(data: Any) -> str:
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return _dump(_finite(data))


def _finite(value: Any) -> Any:
    """Return JSON-ready data with the numbers as texts that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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
