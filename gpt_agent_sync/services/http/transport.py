"""The transport: connections pooled by urllib3; the only module that imports it and ``requests``.

It is imported when the first request is made. ``requests`` works out proxies, certificates and
the pool of a service, once; urllib3 opens the connections, and ``http.client`` reads what comes
back. What a ``Session``, or the pool's ``urlopen()``, does beyond that (cookies, redirects,
retries, headers put together anew) is not wanted here, and costs more than the request itself.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection as PooledConnection
from urllib3.exceptions import HTTPError
from urllib3.util.proxy import connection_requires_http_tunnel

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.services.http.closing import FeedClosed, Interruptible

IDLE_SECONDS = 30.0
"""Seconds after which a connection that nobody used is closed, when another one comes back."""

EVENT_STREAM = "text/event-stream"

READ_SIZE = 65536

_UNSAFE = re.compile(r"[^\x21-\x7e]")


@attrs.frozen
class RawAnswer:
    """Hold an answer as it came.

    Attributes:
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The whole body; empty when there is a stream.
        stream: The body as it comes, where it was asked for and is one of events.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: RawStream | None = None


class Headers:
    """Hold headers, and how they go over the wire, for any number of requests.

    Args:
        fields: They, of printable ASCII.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.name_the_host = any(name.lower() == "host" for name in fields)
        lines = (f"{name}: {value}\r\n" for name, value in fields.items())
        self.spelled = "".join(lines).encode("ascii")


class Exchange(Interruptible):
    """A request that is ended by shutting its socket down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: PooledConnection | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether it was ended."""
        return self._ended

    def hold(self, connection: PooledConnection) -> None:
        """Note which connection it goes over.

        Raises:
            FeedClosed: If it was ended before.
        """
        with self._lock:
            self._connection = connection
            ended = self._ended
        if ended:
            raise FeedClosed

    def bound(self, seconds: float) -> None:
        """Have what is still read be there within so many seconds of silence."""
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            sock.settimeout(seconds)

    def release(self) -> bool:
        """Let go of the connection, and tell whether another request may use it."""
        with self._lock:
            self._connection = None
            return not self._ended

    def end(self) -> None:
        """End it, from any thread: a read that waits ends at once; idempotent."""
        with self._lock:
            self._ended = True
            connection = self._connection
        # A connection that was held just now is not used again: ``release`` says so.
        sock = None if connection is None else connection.sock
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Not the method of an SSL socket, which would take its state away from a reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class IdleConnections:
    """Hold a pool's idle connections; the one used last is used next.

    It takes the place of urllib3's queue: it has no bound, as no more connections are made than
    there are requests at once, and closes those that were idle for long.

    Args:
        maxsize: What urllib3 passes; there is no bound.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._idle: deque[tuple[float, PooledConnection]] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> PooledConnection:
        """Give the connection used last.

        Raises:
            queue.Empty: If there is none; the pool then makes one.
        """
        try:
            return self._idle.pop()[1]
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: PooledConnection | None, block: bool = False) -> None:
        """Take a connection back; the pool begins with putting some that are ``None``."""
        if connection is not None:
            now = time.monotonic()
            self._idle.append((now, connection))
            self._drop_older_than(now - IDLE_SECONDS)

    def _drop_older_than(self, moment: float) -> None:
        while True:
            try:
                idle_since, connection = self._idle.popleft()
            except IndexError:
                return
            if idle_since >= moment:
                self._idle.appendleft((idle_since, connection))
                return
            connection.close()


class _Exchanges:
    """Give a pool's connections out, open, and take them back; mixed into urllib3's pools."""

    QueueCls = IdleConnections

    def take(self: Any, timeout: float) -> PooledConnection:
        """Give a connection that is open, idle until now or new.

        Args:
            timeout: Seconds to connect.
        """
        connection: PooledConnection = self._get_conn()  # which closes one that was dropped
        if connection.sock is None:
            connection.timeout = timeout
            try:
                if connection_requires_http_tunnel(self.proxy, self.proxy_config, self.scheme):
                    self._prepare_proxy(connection)
                else:
                    connection.connect()
            except BaseException:
                connection.close()
                raise
        return connection

    def give_back(self: Any, connection: PooledConnection) -> None:
        """Take a connection whose answer was read to its end."""
        self._put_conn(connection)


class _Adapter(HTTPAdapter):
    """Make pools that exchange, behind a proxy of any kind too."""

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        _have_exchanges(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **keywords)
        _have_exchanges(manager)
        return manager


def _have_exchanges(manager: Any) -> None:
    manager.pool_classes_by_scheme = {
        scheme: pool
        if issubclass(pool, _Exchanges)
        else type(pool.__name__, (_Exchanges, pool), {})
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


class Transport:
    """Hold the connections of one process to one host, and the way to it, worked out once.

    Args:
        url: An address of the service.
        trust_environment: Whether proxies and certificates are taken from the environment.
    """

    def __init__(self, url: str, trust_environment: bool) -> None:
        self.pid = os.getpid()
        adapter = _Adapter(max_retries=0)
        with requests.Session() as session:
            session.trust_env = trust_environment
            merged = session.merge_environment_settings(url, {}, None, None, None)
        verify = True if merged["verify"] is None else merged["verify"]
        prepared = requests.Request("GET", url).prepare()
        address = str(prepared.url)
        pool: Any = adapter.get_connection_with_tls_context(
            prepared, verify, proxies=merged["proxies"], cert=merged["cert"]
        )
        adapter.cert_verify(pool, address, verify, merged["cert"])  # type: ignore[no-untyped-call]
        self._adapter, self._pool = adapter, pool
        self._whole_urls = adapter.request_url(prepared, merged["proxies"]) == address
        # A proxy that makes a tunnel is told its headers when it does.
        for_proxy = dict(pool.proxy_headers) if self._whole_urls else {}
        self._for_proxy = Headers(for_proxy).spelled
        self._host = Headers({"Host": urlsplit(address).netloc}).spelled

    def spell(self, fields: Mapping[str, str]) -> Headers:
        """Put headers together, for any number of requests."""
        return Headers(fields)

    def new_call(self) -> Exchange:
        """Give what ends a request from another thread."""
        return Exchange()

    def send(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        timeout: tuple[float, float],
        call: Exchange,
        *,
        streams: bool = False,
    ) -> RawAnswer:
        """Make one request and read its answer; redirects are answers too.

        Args:
            method: The HTTP method.
            url: The address, query included.
            headers: The headers.
            body: The body.
            timeout: Seconds to connect, and of silence.
            call: What ends it from another thread.
            streams: Whether an answer of server-sent events is left to be read as it comes.

        Raises:
            ServiceUnavailableError: If there was no answer; ``in_doubt`` tells whether the request
                may have arrived.
            FeedClosed: If the call was ended.
        """
        what = f"{method} {url.partition('?')[0]}"
        try:
            connection = self._pool.take(timeout[0])
        except (HTTPError, OSError) as exc:
            raise _failure(exc, what, in_doubt=False) from exc
        response = None
        try:
            call.hold(connection)
            connection.sock.settimeout(timeout[1])
            connection.sock.sendall(self._spelled(method, url, headers, body))
            response = HTTPResponse(connection.sock, method=method)
            response.begin()
            answered = {name.lower(): value for name, value in response.getheaders()}
            kind = answered.get("content-type", "")
            if streams and response.status < 400 and kind.startswith(EVENT_STREAM):
                stream = RawStream(
                    response, lambda: self._release(connection, response, call), call, what
                )
                return RawAnswer(response.status, answered, b"", stream)
            data = _plain(answered, response.read())
            if call.ended:  # an answer without a length looks whole when it is cut off
                raise FeedClosed
        except BaseException as exc:
            if response is not None:
                response.close()
            connection.close()
            if call.ended:
                raise FeedClosed from exc
            if not isinstance(exc, (HTTPException, OSError, zlib.error)):
                raise
            raise _failure(exc, what, in_doubt=True) from exc
        self._release(connection, response, call)
        return RawAnswer(response.status, answered, data)

    def close(self) -> None:
        """Close the pooled connections; those in use are closed when they come back."""
        self._pool.close()
        self._adapter.close()

    def _release(
        self, connection: PooledConnection, response: HTTPResponse, call: Exchange
    ) -> None:
        if call.release() and not response.will_close:
            self._pool.give_back(connection)
        else:
            connection.close()

    def _spelled(self, method: str, url: str, headers: Headers, body: bytes | None) -> bytes:
        """Give a request as it goes over the wire (RFC 9112)."""
        target = url if self._whole_urls else url[url.find("/", url.index("://") + 3) :]
        if _UNSAFE.search(target):
            raise ValueError(f"{target!r} has characters that no URL can carry")
        host = b"" if headers.name_the_host else self._host
        begin = f"{method} {target} HTTP/1.1\r\n".encode("ascii") + host + self._for_proxy
        if body is None:
            return begin + headers.spelled + b"\r\n"
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        return begin + headers.spelled + length + body


class RawStream:
    """An answer that is read as it comes, by one thread, and can be ended by any.

    Args:
        response: The answer, its headers read.
        release: Takes the connection back when the answer was read to its end.
        call: What ends it.
        what: Method and address, for messages.
    """

    def __init__(
        self,
        response: HTTPResponse,
        release: Callable[[], None],
        call: Exchange,
        what: str,
    ) -> None:
        self._response = response
        self._release = release
        self._call = call
        self._what = what
        self._over = False
        self._pid = os.getpid()
        self._left: int | None = response.length

    def read(self) -> bytes:
        """Give what has come, waiting for it; nothing at the end.

        Raises:
            ServiceUnavailableError: If it broke off, or was silent for too long.
            FeedClosed: If it was ended.
        """
        if self._over:
            return b""
        size = READ_SIZE if self._left is None else min(READ_SIZE, self._left)
        try:
            data = self._response.read1(size) if size else b""
        except (HTTPException, OSError, ValueError) as exc:
            ended = self._call.ended
            self.close()
            if ended:
                raise FeedClosed from exc
            raise _failure(exc, self._what, in_doubt=True) from exc
        if self._call.ended:
            self.close()
            raise FeedClosed
        if self._left is not None:
            self._left -= len(data)
        if not data and self._left:
            self.close()
            cut = HTTPException(f"{self._left} bytes are missing")
            raise _failure(cut, self._what, in_doubt=True)
        if not data:
            self._over = True
            self._response.close()
            self._release()
        return data

    def finish(self, patience: float) -> None:
        """Read what is left, so that the connection can be used again, and drop it otherwise.

        Args:
            patience: Seconds to wait for the end, altogether.
        """
        until = time.monotonic() + patience
        try:
            while (left := until - time.monotonic()) > 0:
                self._call.bound(left)
                if not self.read():
                    break
        except (ServiceUnavailableError, FeedClosed):
            pass
        finally:
            self.close()

    def end(self) -> None:
        """End it, from any thread, waking who reads; the reader then closes it."""
        self._call.end()

    def close(self) -> None:
        """Close it, on the thread that reads it; idempotent."""
        if not self._over:
            self._over = True
            if self._pid == os.getpid():  # a forked child must not end what its parent reads
                self._call.end()
            self._response.close()
            self._release()

    def __del__(self) -> None:
        """Close a stream that nobody has read to its end."""
        with contextlib.suppress(Exception):
            self.close()


def _plain(headers: Mapping[str, str], body: bytes) -> bytes:
    """Give a body without its compression, which was not asked for and some servers use."""
    if headers.get("content-encoding", "identity") not in ("gzip", "deflate"):
        return body
    return zlib.decompress(body, zlib.MAX_WBITS | 32)


def _failure(exc: BaseException, what: str, *, in_doubt: bool) -> ServiceUnavailableError:
    """Give the error that tells what became of a request."""
    return ServiceUnavailableError(
        f"{what} failed: {type(exc).__name__}: {exc}",
        in_doubt=in_doubt,
        timed_out=in_doubt and isinstance(exc, TimeoutError),
    )
