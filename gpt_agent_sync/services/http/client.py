"""Requests as services make them: safe repeats, streams, errors with a name."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import attrs

from gpt_agent_sync import forks, waits
from gpt_agent_sync.errors import ServiceError, ServiceUnavailableError
from gpt_agent_sync.event_parser import ServerSentEvent, StreamLost
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Pause, TimedPause
from gpt_agent_sync.services.http.answers import Answer, read_answer
from gpt_agent_sync.services.http.calls import Call
from gpt_agent_sync.services.http.closing import Closing, FeedClosed
from gpt_agent_sync.services.http.deadlines import deadlines
from gpt_agent_sync.services.http.redaction import Headers, merged
from gpt_agent_sync.services.http.repeats import (
    BAD_MOMENT,
    REPLICA_BEHIND,
    repeat_safe,
    repeat_write,
)
from gpt_agent_sync.services.http.sse import ServerEvents

if TYPE_CHECKING:
    import requests

    from gpt_agent_sync.services.http.transport import RawAnswer, Transport

logger = get_logger(__name__)

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
        whole_timeout: Seconds altogether, but for streams; at least as many as of silence.
        most_bytes: How large an answer may be, unpacked.
    """

    connect_timeout: float
    read_timeout: float
    retries: int
    whole_timeout: float = 120.0
    most_bytes: int = 64 * 1024 * 1024


def wait_on_this_thread(seconds: float) -> None:
    """Pause on a caller's thread, where no feed can be closed."""
    waits.wait(threading.Event().wait, seconds)


class HttpClient:
    """Requests below one base URL, repeated where that is safe.

    Safe to share between threads. After ``fork()`` the child opens connections of its own.

    Args:
        headers: Returns the headers of a request; called before each one.
        limits: Returns the bounds in force; called before each request.
        query: Parameters that go with every request.
        session: The program's session; ``None`` has one made with the first request.
        trust_environment: Whether proxies and certificates are taken from the environment.
        renews_key: Whether the headers may hold another key when they are asked for again.
    """

    def __init__(
        self,
        headers: Callable[[], Headers],
        limits: Callable[[], Limits],
        *,
        query: Mapping[str, str] | None = None,
        session: requests.Session | None = None,
        trust_environment: bool = True,
        renews_key: bool = False,
    ) -> None:
        self._headers = headers
        self._limits = limits
        self._renews_key = renews_key
        self._query = dict(query or {})
        self._session = session
        self._trust_environment = trust_environment
        self._pid = forks.check()
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
        known: bool = False,
    ) -> Answer:
        """Read; repeated on 408, 409, 425, 429, 5xx, unreadable answers and broken connections.

        Args:
            url: Where from.
            params: The query.
            pause: Waits between the tries; a ``Closing`` ends the request under way too.
            streams: Whether to take a stream of events: the answer then holds it, and no data.
            retries: How often it is repeated, in place of the usual bound.
            known: Whether it is known to be there: then 404 is repeated too, and 401 once.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries.
            FeedClosed: If the pause was closed meanwhile.
        """
        closing = pause if isinstance(pause, Closing) else None

        def attempt() -> Answer:
            with self._under_way("GET", url, pause, None) as call:
                if closing is None:
                    return self._send("GET", url, params, None, call, streams=streams)
                with closing.watching(call):
                    return self._send("GET", url, params, None, call, streams=streams)

        return repeat_safe(
            attempt,
            pause,
            self._limits().retries if retries is None else retries,
            REPLICA_BEHIND if known else BAD_MOMENT,
            renews_key=known or self._renews_key,
        )

    def post(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        find: Callable[[], T | None] | None = None,
        pause: Pause = wait_on_this_thread,
        read_timeout: float | None = None,
        retries: int | None = None,
        sure: bool = True,
        idempotent: bool = False,
        opens: Opens | None = None,
    ) -> Answer | T:
        """Write; repeated only when the service cannot have handled the request.

        Args:
            url: Where to.
            body: The JSON object.
            find: Looks for what a request did that may have been handled: returns that, or
                ``None`` when there is nothing to be seen, and the request is repeated. Without it
                such a request fails.
            pause: Waits between the tries.
            read_timeout: Seconds of silence, in place of the usual bound.
            retries: How often it is repeated, in place of the usual bound.
            sure: Whether a ``find`` that sees nothing is the last word; where it is not, a request
                that may have been handled is never sent again.
            idempotent: Whether it may be made twice, so that nothing has to be looked for.
            opens: Whether to take a stream of events: the answer's data are then what this finds
                in its first events, and the answer holds the rest of the stream.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries. ``in_doubt``
                says that this or an earlier try may have been handled all the same.
        """
        # NaN is no JSON: a strict server refuses the whole body, and does not say why.
        content = json.dumps(body, allow_nan=False).encode()

        def attempt() -> Answer:
            with self._under_way("POST", url, pause, read_timeout) as call:
                streams = opens is not None
                sent = self._send("POST", url, None, content, call, read_timeout, streams=streams)
                if sent.events is None or opens is None:
                    return sent
                return _opened(sent, sent.events, opens, pause)

        most = self._limits().retries if retries is None else retries
        if idempotent:
            return repeat_safe(attempt, pause, most, renews_key=self._renews_key)
        return repeat_write(attempt, find, pause, most, sure=sure, renews_key=self._renews_key)

    def close(self) -> None:
        """Close the pooled connections; later requests open new ones."""
        transport = self._transports.pop(forks.check(), None)
        if transport is not None:
            transport.close()

    @contextlib.contextmanager
    def _under_way(
        self, method: str, url: str, pause: Pause, read_timeout: float | None
    ) -> Iterator[Call]:
        """Give a request its time; that of a stream ends with the event that opens it.

        Raises:
            RequestEndedError: If it takes longer, or is ended with all others.
            FeedClosed: If the pause was closed meanwhile.
            GptAgentError: What the pause raises, if its caller's time is up already.
        """
        limits = self._limits()
        seconds = max(limits.whole_timeout, read_timeout or limits.read_timeout)
        if isinstance(pause, TimedPause) and pause.until is not None:
            left = pause.until - time.monotonic()
            if left <= 0:
                pause(0.0)
            seconds = min(seconds, max(left, 0.0))
        call = Call(seconds)
        with deadlines.at(seconds, call, strict=False):
            try:
                yield call
            except (FeedClosed, ServiceError) as exc:
                if isinstance(pause, Closing) and pause.closed:
                    raise FeedClosed from exc
                if call.ended:
                    call.raise_ended(f"{method} {url}", exc)
                raise

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        content: bytes | None,
        call: Call,
        read_timeout: float | None = None,
        *,
        streams: bool = False,
    ) -> Answer:
        request = f"{method} {url}"
        if params or self._query:
            url = f"{url}?{urlencode({**self._query, **(params or {})})}"
        limits = self._limits()
        headers = self._all_headers(streams=streams, writes=content is not None)
        began = time.monotonic()
        answer = self._get_transport(url).send(
            method,
            url,
            headers,
            content,
            (limits.connect_timeout, read_timeout or limits.read_timeout),
            call,
            limits.most_bytes,
            streams=streams,
        )
        logger.debug("%s -> %d in %.3f s", request, answer.status, time.monotonic() - began)
        if call.ended:
            # What has come of it may look whole, and is not; nobody acts on it.
            if answer.stream is not None:
                answer.stream.close()
            raise FeedClosed
        return _read(request, answer)

    def _all_headers(self, *, streams: bool, writes: bool) -> Headers:
        """Return the headers of a kind of request; the service's go before the usual ones."""
        usual = {
            # A compressed stream cannot be read as it comes: an event waits for the block's end.
            "Accept-Encoding": "identity",
            "Accept": ACCEPTS_EVENTS if streams else ACCEPTS_JSON,
        }
        if writes:
            usual["Content-Type"] = "application/json"
        return merged(usual, self._headers())

    def _get_transport(self, url: str) -> Transport:
        pid = forks.check()
        transport = self._transports.get(pid)
        if transport is None:
            # Imported here, as ``requests`` costs most of the import time of all we need.
            from gpt_agent_sync.services.http.transport import Transport

            made = Transport(url, self._session, trust_environment=self._trust_environment)
            if pid != self._pid:
                # Before another thread can find it, which would send over the parent's connections.
                self._leave_parent(made, pid)
            # Of two threads that make the first request at once one has its transport used.
            transport = self._transports.setdefault(pid, made)
        return transport

    def _leave_parent(self, transport: Transport, pid: int) -> None:
        """Close what a forked child has inherited of its parent's connections."""
        if self._session is not None:
            transport.disown()
        for other in [other for other in self._transports if other != pid]:
            self._transports.pop(other).close()
        self._pid = pid


def _read(request: str, answer: RawAnswer) -> Answer:
    if answer.stream is not None:
        request_id = answer.headers.get("x-request-id")
        events = ServerEvents(answer.stream, answer.redaction)
        return Answer({}, None, request, request_id, answer.redaction, events)
    return read_answer(request, answer.status, answer.headers, answer.body, answer.redaction)


def _opened(answer: Answer, events: ServerEvents, opens: Opens, pause: Pause) -> Answer:
    """Read a stream up to the event that shows what was made; it is closed where none does.

    Raises:
        FeedClosed: If the pause is closed meanwhile, or was before.
        ServiceUnavailableError: If it does not.
        ServiceError: What an event says that refuses the request.
    """
    watching = pause.watching(events) if isinstance(pause, Closing) else contextlib.nullcontext()
    try:
        with watching:
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
