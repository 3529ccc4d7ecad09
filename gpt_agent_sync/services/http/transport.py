"""Requests over a ``requests.Session``; with ``sessions`` the only module that imports requests.

It is imported when the first request is made. Every request goes through ``Session.send()``, so
that what programs bring from that ecosystem works: sessions, adapters, auth, proxies, ``responses``
and ``requests-mock``, VCR.py, OpenTelemetry. Only what the libraries document is used.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import attrs
import requests
from requests.utils import default_user_agent
from urllib3.exceptions import (
    ClosedPoolError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.services.http.closing import FeedClosed, Interruptible
from gpt_agent_sync.services.http.deadlines import deadlines
from gpt_agent_sync.services.http.sessions import AS_IT_IS, USER_AGENT, new_session

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
        request_headers: The headers that were sent, those of the session included.
        stream: The body as it comes, where it was asked for and is one of events.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_headers: Mapping[str, str]
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

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: tuple[float, float],
        *,
        streams: bool = False,
    ) -> RawAnswer:
        """Make one request and read its answer; redirects are answers too.

        Args:
            method: The HTTP method.
            url: The address, query included.
            headers: The headers; they go before those of the session.
            body: The body.
            timeout: Seconds to connect, and of silence.
            streams: Whether an answer of server-sent events is left to be read as it comes.

        Raises:
            ServiceUnavailableError: If there was no answer; ``in_doubt`` tells whether the request
                may have arrived.
        """
        what = f"{method} {url.partition('?')[0]}"
        try:
            request = self._prepared(method, url, headers, body)
        except requests.RequestException as exc:
            raise _failure(exc, what, in_doubt=False) from exc
        try:
            response = self._session.send(
                request, timeout=timeout, allow_redirects=False, **self._environment
            )
        except (requests.RequestException, HTTPError) as exc:
            raise _failure(exc, what, in_doubt=_may_have_arrived(exc)) from exc
        if response.status_code < 200:
            # Early hints and the like: http.client passes over 100 only and takes the others for
            # the answer. The real one is still to come on this connection, where the next request,
            # maybe another user's, would get it.
            response.close()
            raise ServiceUnavailableError(
                f"{what} failed: interim answer {response.status_code} in place of the answer",
                in_doubt=True,
            )
        if streams and response.status_code < 400 and _is_event_stream(response.headers):
            body, stream = b"", RawStream(response, what)
            return RawAnswer(response.status_code, response.headers, body, request.headers, stream)
        try:
            body = response.content
            return RawAnswer(response.status_code, response.headers, body, request.headers)
        except (requests.RequestException, HTTPError) as exc:
            raise _failure(exc, what, in_doubt=True) from exc
        finally:
            # After a whole answer the connection is back in its pool, and this closes nothing.
            response.close()

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
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
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
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        session = self._session
        given = {name.lower() for name in headers}
        if session.headers.get("User-Agent") == default_user_agent():
            headers = {"User-Agent": USER_AGENT, **headers}
        # Without any auth requests looks for a password in .netrc, and puts that in place of ours.
        keeps_key = session.auth is None and (self._is_ours or "authorization" in given)
        auth = AS_IT_IS if keeps_key else None
        return session.prepare_request(
            requests.Request(method, url, headers=headers, data=body, auth=auth)
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
        self._over = False
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
        if self._over:
            return b""
        try:
            data: bytes = self._response.raw.read1(READ_SIZE, **self._options)
        except Exception as exc:
            self.close()
            if self._ended:
                raise FeedClosed from exc
            if not isinstance(exc, (HTTPError, OSError, ValueError)):
                raise
            raise _failure(exc, self._what, in_doubt=True) from exc
        if self._ended:
            # A stream without a length looks whole when its socket is shut down, and what TLS
            # still gives then may be anything.
            self.close()
            raise FeedClosed
        if not data:
            self.close()
        return data

    def finish(self, patience: float) -> None:
        """Read what is left, so that the connection can be used again, and drop it otherwise.

        Args:
            patience: Seconds to wait for the end, altogether.
        """
        with contextlib.suppress(ServiceUnavailableError, FeedClosed), deadlines.at(patience, self):
            while self.read():
                pass
        self.close()

    def end(self) -> None:
        """End it, from any thread, waking who reads; the reader then closes it."""
        self._ended = True
        # urllib3 refuses, rightly, once the connection went back to its pool; answers that stand
        # in for its own in tests have no socket.
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


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    """Return whether a body is one of events: media types know no case, and have parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == EVENT_STREAM


_NEVER_SENT = (
    requests.ConnectTimeout,
    NewConnectionError,
    ProxyError,
    ClosedPoolError,
    ssl.SSLCertVerificationError,
)


def _may_have_arrived(exc: BaseException) -> bool:
    """Return whether the service may have got a request that failed before its answer.

    requests has one class for a connection that was refused and one that broke off; what lies
    below tells them apart. A certificate is judged before anything is sent.
    """
    return not any(isinstance(cause, _NEVER_SENT) for cause in _causes(exc))


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Return an exception and all that it wraps, urllib3's ``reason`` included."""
    seen: list[BaseException] = []
    waiting: list[Any] = [exc]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            waiting += [getattr(cause, "reason", None), cause.__cause__, cause.__context__]
            waiting += cause.args


def _root(exc: BaseException) -> BaseException:
    """Return what lies at the bottom of an exception: the words that people know."""
    inner = [getattr(exc, "reason", None), *exc.args, exc.__cause__]
    return next((_root(cause) for cause in inner if isinstance(cause, BaseException)), exc)


def _failure(exc: BaseException, what: str, *, in_doubt: bool) -> ServiceUnavailableError:
    """Return the error that tells what became of a request."""
    timed_out = any(
        isinstance(cause, (requests.ReadTimeout, ReadTimeoutError)) for cause in _causes(exc)
    )
    root = _root(exc)
    return ServiceUnavailableError(
        f"{what} failed: {type(root).__name__}: {root}",
        in_doubt=in_doubt,
        timed_out=in_doubt and timed_out,
    )
