"""Requests as services make them: safe repeats, streams, errors with a name."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import attrs

from gpt_agent_sync.errors import (
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.http.answers import Answer, read_answer
from gpt_agent_sync.services.http.closing import Closing, FeedClosed
from gpt_agent_sync.services.http.repeats import repeat
from gpt_agent_sync.services.http.sse import ServerEvents, ServerSentEvent, StreamLost

if TYPE_CHECKING:
    import requests

    from gpt_agent_sync.services.http.transport import RawAnswer, Transport

logger = logging.getLogger(__name__)

SHORTEST_SECRET = 8
"""Characters: a shorter key is an everyday word, which an error may hold by chance."""

_KEY_HEADERS = ("Authorization", "api-key", "x-api-key")

ACCEPTS_JSON = "application/json"
ACCEPTS_EVENTS = "text/event-stream, application/json"

T = TypeVar("T")

Opens = Callable[[ServerSentEvent], Mapping[str, Any] | None]
"""Returns the object that a stream's first event of interest holds, and ``None`` for the events
before it; raises what an event stands for that refuses the request."""


@attrs.frozen
class Limits:
    """The bounds of a request.

    Attributes:
        connect_timeout: Seconds to open a connection.
        read_timeout: Seconds of silence.
        retries: How often a request is repeated where that is safe.
    """

    connect_timeout: float
    read_timeout: float
    retries: int


def wait_on_this_thread(seconds: float) -> None:
    """Pause on a caller's thread, where no feed can be closed."""
    threading.Event().wait(seconds)


class HttpClient:
    """Requests below one base URL, repeated where that is safe.

    Safe to share between threads. After ``fork()`` the child opens connections of its own.

    Args:
        headers: Returns the headers of a request; called before each one.
        limits: Returns the bounds in force; called before each request.
        query: Parameters that go with every request.
        session: The program's session; ``None`` has one made with the first request.
        trust_environment: Whether proxies and certificates are taken from the environment.
    """

    def __init__(
        self,
        headers: Callable[[], Mapping[str, str]],
        limits: Callable[[], Limits],
        *,
        query: Mapping[str, str] | None = None,
        session: requests.Session | None = None,
        trust_environment: bool = True,
    ) -> None:
        self._headers = headers
        self._limits = limits
        self._query = dict(query or {})
        self._session = session
        self._trust_environment = trust_environment
        self._pid = os.getpid()
        self._transports: dict[int, Transport] = {}
        """By process: a child that was forked must not use its parent's connections."""

    def get(
        self,
        url: str,
        params: Mapping[str, Any] | None = None,
        pause: Pause = wait_on_this_thread,
        *,
        streams: bool = False,
        retries: int | None = None,
    ) -> Answer:
        """Read; repeated on 408, 409, 425, 429, 5xx, unreadable answers and broken connections.

        Args:
            url: Where from.
            params: The query.
            pause: Waits between the tries; a ``Closing`` ends the request under way too.
            streams: Whether to take a stream of events: the answer then holds it, and no data.
            retries: How often it is repeated, in place of the usual bound.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries.
            FeedClosed: If the pause was closed meanwhile.
        """
        closing = pause if isinstance(pause, Closing) else None
        return repeat(
            lambda: self._send("GET", url, params, None, closing=closing, streams=streams),
            lambda error: None,
            pause,
            lambda: self._limits().retries if retries is None else retries,
            reads=True,
        )

    def post(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        find: Callable[[], T | None] | None = None,
        pause: Pause = wait_on_this_thread,
        read_timeout: float | None = None,
        repeat_after_timeout: bool = True,
        retries: int | None = None,
        opens: Opens | None = None,
    ) -> Answer | T:
        """Write; repeated only when the service cannot have handled the request.

        Args:
            url: Where to.
            body: The JSON object.
            find: Looks whether a request that may have been handled was: gives what it made, or
                ``None`` when it was not, and the request is repeated. Without it such a request
                fails.
            pause: Waits between the tries.
            read_timeout: Seconds of silence, in place of the usual bound.
            repeat_after_timeout: Whether a request is repeated that may still be worked on.
            retries: How often it is repeated, in place of the usual bound.
            opens: Whether to take a stream of events: the answer's data are then what this finds
                in its first events, and the answer holds the rest of the stream.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries.
        """
        # NaN is no JSON: a strict server refuses the whole body, and does not say why.
        content = json.dumps(body, allow_nan=False).encode()

        def recover(error: ServiceError) -> T | None:
            if not error.in_doubt:
                return None
            if find is None:
                raise error
            found = find()
            timed_out = isinstance(error, ServiceUnavailableError) and error.timed_out
            if found is None and timed_out and not repeat_after_timeout:
                raise error
            return found

        def attempt() -> Answer:
            sent = self._send("POST", url, None, content, read_timeout, streams=opens is not None)
            if sent.events is None or opens is None:
                return sent
            if not isinstance(pause, Closing):
                return _opened(sent, opens)
            with pause.watching(sent.events):
                return _opened(sent, opens)

        return repeat(
            attempt,
            recover,
            pause,
            lambda: self._limits().retries if retries is None else retries,
        )

    def close(self) -> None:
        """Close the pooled connections; later requests open new ones."""
        transport = self._transports.pop(os.getpid(), None)
        if transport is not None:
            transport.close()

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        content: bytes | None,
        read_timeout: float | None = None,
        *,
        closing: Closing | None = None,
        streams: bool = False,
    ) -> Answer:
        request = f"{method} {url}"
        if params or self._query:
            url = f"{url}?{urlencode({**self._query, **(params or {})})}"
        limits = self._limits()
        headers = self._all_headers(streams=streams, writes=content is not None)
        if closing is not None and closing.closed:
            raise FeedClosed
        began = time.monotonic()
        answer = self._get_transport(url).send(
            method,
            url,
            headers,
            content,
            (limits.connect_timeout, read_timeout or limits.read_timeout),
            streams=streams,
        )
        logger.debug("%s -> %d in %.3f s", request, answer.status, time.monotonic() - began)
        if closing is not None and closing.closed:
            # A wait for an answer's head cannot be ended from outside; at least nobody acts on it.
            if answer.stream is not None:
                answer.stream.close()
            raise FeedClosed
        return _read(request, answer)

    def _all_headers(self, *, streams: bool, writes: bool) -> Mapping[str, str]:
        """Return the headers of a kind of request; the service's go before the usual ones."""
        usual = {
            # A compressed stream cannot be read as it comes: an event waits for the block's end.
            "Accept-Encoding": "identity",
            "Accept": ACCEPTS_EVENTS if streams else ACCEPTS_JSON,
        }
        if writes:
            usual["Content-Type"] = "application/json"
        fields = self._headers()
        given = {name.lower() for name in fields}
        kept = {name: value for name, value in usual.items() if name.lower() not in given}
        return {**kept, **fields}

    def _get_transport(self, url: str) -> Transport:
        transport = self._transports.get(os.getpid())
        if transport is None:
            # Imported here, as ``requests`` costs most of the import time of all we need.
            from gpt_agent_sync.services.http.transport import Transport

            made = Transport(url, self._session, trust_environment=self._trust_environment)
            if os.getpid() != self._pid:
                # Before another thread can find it, which would send over the parent's connections.
                self._leave_parent(made)
            # Of two threads that make the first request at once one has its transport used.
            transport = self._transports.setdefault(os.getpid(), made)
        return transport

    def _leave_parent(self, transport: Transport) -> None:
        """Close what a forked child has inherited of its parent's connections."""
        if self._session is not None:
            transport.disown()
        for pid in [pid for pid in self._transports if pid != os.getpid()]:
            self._transports.pop(pid).close()
        self._pid = os.getpid()


def _read(request: str, answer: RawAnswer) -> Answer:
    if answer.stream is not None:
        request_id = answer.headers.get("x-request-id")
        return Answer({}, None, request, request_id, ServerEvents(answer.stream))
    body = answer.body
    if answer.status >= 400:
        body = _without_key(body, answer.request_headers)
    return read_answer(request, answer.status, answer.headers, body)


def _opened(answer: Answer, opens: Opens) -> Answer:
    """Read a stream up to the event that shows what was made.

    Raises:
        ServiceUnavailableError: If it does not.
        ServiceError: What an event says that refuses the request.
    """
    events = answer.events
    assert events is not None
    try:
        for event in events:
            data = None if event is None else opens(event)
            if data is not None:
                return attrs.evolve(answer, data=dict(data))
    except StreamLost as exc:
        events.close()
        raise ServiceUnavailableError(f"{answer.request}: {exc}", in_doubt=True) from exc
    except BaseException:
        events.close()
        raise
    raise ServiceUnavailableError(
        f"the stream of {answer.request} ended before it said what was made", in_doubt=True
    )


def _without_key(body: bytes, headers: Mapping[str, str | bytes]) -> bytes:
    """Return an error's body without the keys: some servers say which one they refuse."""
    for name in _KEY_HEADERS:
        value = headers.get(name, b"")
        key = (value.encode() if isinstance(value, str) else value).rpartition(b" ")[2]
        body = body.replace(key, b"***") if len(key) >= SHORTEST_SECRET else body
    return body
