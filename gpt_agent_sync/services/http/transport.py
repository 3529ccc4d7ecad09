"""Requests over a ``requests.Session``; ``sessions`` and ``failures`` beside it know requests too.

It is imported when the first request is made. Every request goes through ``Session.send()``, so
that what programs bring from that ecosystem works: sessions, adapters, auth, proxies, ``responses``
and ``requests-mock``, VCR.py, OpenTelemetry. Only what the libraries document is used.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import attrs
import requests
from requests.utils import default_user_agent
from urllib3.exceptions import HTTPError

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ConfigurationError, ServiceUnavailableError
from gpt_agent_sync.event_parser import begins_stream
from gpt_agent_sync.services.http.calls import AnswerTooLargeError, Call
from gpt_agent_sync.services.http.closing import FeedClosed, Interruptible
from gpt_agent_sync.services.http.deadlines import deadlines
from gpt_agent_sync.services.http.failures import forget_frames, raise_failure
from gpt_agent_sync.services.http.redaction import Headers, Redaction, passwords_in, revealed
from gpt_agent_sync.services.http.sessions import (
    AS_IT_IS,
    USER_AGENT,
    current_call,
    new_session,
)

EVENT_STREAM = "text/event-stream"

READ_SIZE = 65536

MOST_TEMPLATES = 32
"""Kinds of requests that are kept prepared."""

_PLAIN_URL = re.compile(r"[!-~]+")
"""An address that goes over the wire as it is."""


@attrs.frozen
class RawAnswer:
    """An answer as it came.

    Attributes:
        status: The HTTP status, 200 or above.
        headers: The headers; their names without regard to case.
        body: The whole body; empty when there is a stream.
        redaction: The secrets of the request, those of its session included.
        stream: The body as it comes, where it was asked for and is one of events.
    """

    status: int
    # Not shown: a service may echo anything.
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    redaction: Redaction = attrs.field(repr=False)
    stream: RawStream | None = None


class Transport:
    """The way of one process to one host, its environment worked out once.

    Safe to share between threads: of a session, only its settings are read, and ``send()`` goes to
    adapters, whose pools are thread-safe. What a program changes on its own session between
    requests (headers, auth, hooks) counts from the next request on; proxies, ``verify`` and
    ``cert`` are read once.

    Args:
        url: An address of the service.
        session: The program's session, which is neither changed nor closed; ``None`` makes one.
        trust_environment: Whether proxies and certificates are taken from the environment, where
            the session is ours.
    """

    def __init__(
        self,
        url: str,
        session: requests.Session | None = None,
        *,
        trust_environment: bool = True,
    ) -> None:
        self._is_ours = session is None
        self._templates: dict[Hashable, requests.PreparedRequest] = {}
        self._session = new_session(trust_environment) if session is None else session
        # Said by the request, or REQUESTS_CA_BUNDLE would go before what the program trusts.
        trusted = None if self._session.verify is True else self._session.verify
        self._environment = self._session.merge_environment_settings(url, {}, True, trusted, None)
        proxies = self._environment["proxies"].values()
        self._passwords = [secret for url in proxies for secret in passwords_in(url)]

    def send(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        timeout: tuple[float, float],
        call: Call,
        most: int,
        *,
        streams: bool = False,
    ) -> RawAnswer:
        """Make one request and read its answer; redirects are answers too.

        Over a program's session the head of an answer may trickle in for as long as no silence is
        too long: only our own connections can be ended while they wait for it.

        Args:
            method: The HTTP method.
            url: The address, query included.
            headers: The headers; they go before those of the session.
            body: The body.
            timeout: Seconds to connect, and of silence.
            call: What ends it.
            most: Bytes that the answer may have, unpacked; a stream may have any number.
            streams: Whether an answer of server-sent events is left to be read as it comes.

        Raises:
            ServiceUnavailableError: If there was no answer; ``in_doubt`` says whether the request
                may have arrived.
            ProtocolError: If the answer is too large.
            ConfigurationError: If the session has an address, proxy, header or certificate that
                cannot be used.
        """
        what = _named(method, url)
        try:
            request = self._prepared(method, url, headers, body)
        except (requests.RequestException, ValueError) as exc:
            raise_failure(exc, what, sent=False)
        connect, silence = min(timeout[0], call.seconds_left()), timeout[1]
        # A stream keeps its socket's timeout for long after its opening, which ours can be ended
        # without.
        if not (streams and self._is_ours):
            silence = min(silence, call.seconds_left())
        response = self._answer(request, (connect, silence), call, what)
        redaction = Redaction(request.headers, self._passwords)
        status, answered = response.status_code, response.headers
        body = None
        if streams and status < 400 and not _is_json(answered):
            stream, body = _event_stream(response, what, call, most)
            if stream is not None:
                return RawAnswer(status, answered, b"", redaction, stream)
        try:
            if body is None:
                body = _whole(response.iter_content(READ_SIZE), answered, most, what)
            return RawAnswer(status, answered, body, redaction)
        except (requests.RequestException, HTTPError) as exc:
            raise_failure(exc, what, sent=True)
        finally:
            # After a whole answer the connection is back in its pool, and this closes nothing.
            response.close()

    def _answer(
        self,
        request: requests.PreparedRequest,
        timeout: tuple[float, float],
        call: Call,
        what: str,
    ) -> requests.Response:
        """Send a request, and return the answer with its body still to be read."""
        try:
            with current_call.holding(call):
                response = self._session.send(
                    request, timeout=timeout, allow_redirects=False, **self._environment
                )
            if not self._is_ours:
                shut_down = getattr(response.raw, "shutdown", None)  # stand-ins may have none
                if shut_down is not None:
                    call.is_answered(shut_down)
            return response
        except (requests.HTTPError, requests.TooManyRedirects) as exc:
            # A hook that calls raise_for_status(), as many do: what the answer means we read.
            if exc.response is None:
                raise_failure(exc, what, sent=True)
            return exc.response
        except (requests.RequestException, HTTPError, ValueError) as exc:
            raise_failure(exc, what, sent=True if self._repeats_itself(request) else None)
        except ServiceUnavailableError as exc:  # of our hook
            forget_frames(exc)
            raise
        except OSError as exc:
            # Certificates that are not there; other errors of the system come in requests' own.
            if "Could not find" not in str(exc):
                raise
            raise ConfigurationError(f"{what} cannot be made: {exc}") from exc

    def _repeats_itself(self, request: requests.PreparedRequest) -> bool:
        """Return whether an adapter of the program's may have sent a request more than once.

        Then its last failure says nothing of the first.
        """
        if self._is_ours:
            return False
        adapter = self._session.get_adapter(str(request.url))
        retries = getattr(adapter, "max_retries", None)
        return request.method != "GET" and bool(getattr(retries, "total", 0))

    def close(self) -> None:
        """Close the idle connections, unless the session is the program's."""
        if self._is_ours:
            self._session.close()

    def disown(self) -> None:
        """Close what a forked child has inherited of its parent's connections.

        Both processes would read each other's answers off the same sockets. Only the child's
        copies are closed, so that the parent notices nothing; a session opens others by itself.
        """
        self._session.close()

    def _prepared(
        self, method: str, url: str, headers: Headers, body: bytes | None
    ) -> requests.PreparedRequest:
        # Preparing is a third of a request's cost. Nothing of our own session changes between
        # requests, so that those with the same headers are copies but for address and body.
        if not self._is_ours or not _PLAIN_URL.fullmatch(url):
            return self._prepared_anew(method, url, headers, body)
        kind = (method, frozenset(headers.items()))
        template = self._templates.get(kind)
        if template is None:
            if len(self._templates) >= MOST_TEMPLATES:  # a token in them that changes, say
                self._templates = {}
            template = self._templates[kind] = self._prepared_anew(method, url, headers, None)
        request = template.copy()
        request.url, request.body = url, body
        request.prepare_content_length(body)
        return request

    def _prepared_anew(
        self, method: str, url: str, headers: Headers, body: bytes | None
    ) -> requests.PreparedRequest:
        session = self._session
        given = {name.lower() for name in headers}
        if session.headers.get("User-Agent") == default_user_agent():
            headers = {"User-Agent": USER_AGENT, **headers}
        # Without any auth requests looks for a password in .netrc, and puts that in place of ours.
        keeps_key = session.auth is None and (self._is_ours or "authorization" in given)
        auth = AS_IT_IS if keeps_key else None
        request = session.prepare_request(
            requests.Request(method, url, headers=revealed(headers), data=body, auth=auth)
        )
        # Before the program's own: one that reads the body of an interim answer, which has none,
        # would put the connection back into its pool.
        request.hooks["response"].insert(0, _refuse_interim)
        return request


def _named(method: str, url: str) -> str:
    return f"{method} {url.partition('?')[0]}"


def _refuse_interim(response: requests.Response, **options: Any) -> None:
    """Refuse early hints and the like; a hook of requests.

    http.client passes over 100 only and takes the others for the answer. The real one is still to
    come on this connection, where the next request, maybe another user's, would get it.
    """
    if response.status_code < 200:
        response.close()
        what = _named(str(response.request.method), str(response.request.url))
        raise ServiceUnavailableError(
            f"{what} failed: interim answer {response.status_code} in place of the answer",
            in_doubt=True,
        )


class RawStream(Interruptible):
    """An answer of events that is read as it comes, by one thread, and can be ended by any.

    Args:
        response: The answer, its headers read.
        what: Method and address, for messages.
    """

    def __init__(self, response: requests.Response, what: str) -> None:
        self._response = response
        self._what = what
        self._ended = False
        self._pid = forks.check()
        self._over = False
        # A hook of the program's may have read it all, to log it say; requests keeps that.
        self._kept = response.content if _is_read(response) else None
        self._unread = b""
        packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        # We ask for no compression; the option is passed only where a server compresses all the
        # same, as responses that stand in for urllib3's in tests do not all have it.
        self._options = {"decode_content": True} if packed else {}

    def read(self) -> bytes:
        """Return what has come, waiting for it; nothing at the end.

        Raises:
            ServiceUnavailableError: If it broke off, or was silent for too long.
            FeedClosed: If it was ended.
        """
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        if self._over:
            return b""
        try:
            data = self._read()
        except Exception as exc:
            self.close()
            if self._ended:
                raise FeedClosed from exc
            if not isinstance(exc, (HTTPError, OSError, ValueError)):
                raise
            raise_failure(exc, self._what, sent=True)
        if self._ended:
            # A stream without a length looks whole when its socket is shut down, and what TLS
            # still gives then may be anything.
            self.close()
            raise FeedClosed
        if not data or _is_read(self._response):
            # With its last bytes the connection is back in the pool, and not ours to end any more.
            self.close()
        return data

    def begins_with_event(self) -> bool:
        """Return whether what comes first is an event, without taking it; waits for it.

        Raises:
            ServiceUnavailableError: If nothing comes, as from ``read()``.
        """
        self._unread = self.read()
        return begins_stream(self._unread)

    def _read(self) -> bytes:
        if self._kept is not None:
            return self._kept
        data: bytes = self._response.raw.read1(READ_SIZE, **self._options)
        return data

    def finish(self, patience: float) -> None:
        """Read what is left, so that the connection can be used again, and drop it otherwise.

        Args:
            patience: Seconds to wait for the end, altogether.
        """
        # RuntimeError: no thread can be started any more, at exit say, and then there is no next
        # request to keep the connection for.
        with (
            contextlib.suppress(ServiceUnavailableError, FeedClosed, RuntimeError),
            deadlines.at(patience, self),
        ):
            while self.read():
                pass
        self.close()

    def end(self) -> None:
        """End it, from any thread, waking who reads; the reader then closes it."""
        self._ended = True
        if self._over or self._pid != forks.check():
            # In a forked child the socket is the parent's too, who reads on.
            return
        # urllib3 refuses once the connection is back in its pool, where it is another's; answers
        # that stand in for its own in tests have no socket.
        with contextlib.suppress(ValueError, RuntimeError, OSError, AttributeError):
            self._response.raw.shutdown()

    def close(self) -> None:
        """Close it, on the thread that reads it; idempotent."""
        if not self._over:
            self._over = True
            # Read to its end, the connection is in its pool; else this closes it. In a forked
            # child only the child's copy of the socket goes: the parent reads on.
            self._response.close()

    def __del__(self) -> None:
        """Close a stream that nobody has read to its end."""
        with contextlib.suppress(Exception):
            self.close()


def _is_read(response: requests.Response) -> bool:
    """Return whether a body was read to its end."""
    return bool(getattr(response.raw, "closed", False))


def _event_stream(
    response: requests.Response, what: str, call: Call, most: int
) -> tuple[RawStream, None] | tuple[None, bytes]:
    """Return an answer as a stream if it is one of events, else its body.

    Some proxies drop the content type, or put another in its place: then the body's beginning
    shows what it is.
    """
    stream = RawStream(response, what)
    call.is_answered(stream.end)
    if _media_type(response.headers) == EVENT_STREAM or stream.begins_with_event():
        return stream, None
    try:
        return None, _whole(iter(stream.read, b""), response.headers, most, what)
    finally:
        stream.close()


def _whole(pieces: Iterator[bytes], headers: Mapping[str, str], most: int, what: str) -> bytes:
    """Put a body together.

    Raises:
        AnswerTooLargeError: If it has more bytes than that; the rest is not read.
    """
    read, size, piece = [], _length(headers), b""
    if size <= most:
        size = 0
        for piece in pieces:
            read.append(piece)
            size += len(piece)
            if size > most:
                break
        else:
            return b"".join(read)
    # A service may echo the key, and error trackers keep the variables of a frame.
    del read, piece, pieces, headers
    raise AnswerTooLargeError(
        f"the answer to {what} has more than {most} bytes (setting max_answer_bytes)",
        # What was asked for may well have been done.
        in_doubt=True,
    )


def _length(headers: Mapping[str, str]) -> int:
    """Return the length that a body is said to have, 0 where none is said."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _is_json(headers: Mapping[str, str]) -> bool:
    return _media_type(headers) == "application/json"


def _media_type(headers: Mapping[str, str]) -> str:
    """Return what a body is said to be: media types know no case, and have parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()
