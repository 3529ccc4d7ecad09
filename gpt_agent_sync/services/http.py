"""The transport: pooled connections by ``requests``; the only module that imports it and urllib3.

It is imported when the first request is made. ``requests`` works out proxies, certificates and
the pool, once; requests then go to the pool itself, which threads may share, while a ``Session``
may not be shared and costs as much again for each request.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any

import attrs
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.services.closing import Call, FeedClosed

IDLE_SECONDS = 30.0
"""Seconds after which a connection that nobody used is closed, when another one comes back."""

EVENT_STREAM = "text/event-stream"

READ_SIZE = 65536


@attrs.frozen
class RawAnswer:
    """Hold an answer as it came.

    Attributes:
        status: The HTTP status.
        headers: The headers, in a mapping that ignores case.
        body: The whole body; empty when there is a stream.
        stream: The body as it comes, where it was asked for and is one of events.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: RawStream | None = None


class SocketCall(Call):
    """A request that is ended by shutting its socket down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether it was ended."""
        return self._ended

    def hold(self, connection: HTTPConnection) -> None:
        """Note which connection it goes over.

        Raises:
            ConnectionAbortedError: If it was ended before.
        """
        with self._lock:
            self._connection = connection
            ended = self._ended
        if ended:
            raise ConnectionAbortedError("the request was ended")

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


class _UnderWay(threading.local):
    """Hold the call that a thread makes, for the connection that it gets."""

    call: SocketCall | None = None


_under_way = _UnderWay()


class _Held:
    """Have connections tell a call that they carry it."""

    call: SocketCall | None = None

    def request(self, *arguments: Any, **keywords: Any) -> None:
        """Send the request."""
        self.call = call = _under_way.call
        if call is not None:
            call.hold(self)  # type: ignore[arg-type]  # a connection, below
        super().request(*arguments, **keywords)  # type: ignore[misc]


class _Connection(_Held, HTTPConnection):
    """A connection that can be ended by another thread."""


class _SecureConnection(_Held, HTTPSConnection):
    """The same over TLS."""


class IdleConnections:
    """Hold a pool's idle connections; the one used last is used next.

    It takes the place of urllib3's queue: it has no bound, as no more connections are made than
    there are requests at once, and closes those that were idle for long.

    Args:
        maxsize: What urllib3 passes; there is no bound.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._idle: deque[tuple[float, Any]] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Give the connection used last.

        Raises:
            queue.Empty: If there is none; the pool then makes one.
        """
        try:
            return self._idle.pop()[1]
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        """Take a connection back; ``None`` stands for one that was closed."""
        if connection is None:
            return
        call, connection.call = connection.call, None
        if call is not None and not call.release():
            connection.close()
            return
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


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = IdleConnections  # type: ignore[assignment]  # has what the pool calls


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
    QueueCls = IdleConnections  # type: ignore[assignment]


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    """Make pools whose connections can be ended, behind a proxy too; a SOCKS proxy has its own."""

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(*arguments, **keywords)
        if type(manager) is ProxyManager:
            manager.pool_classes_by_scheme = _POOLS
        return manager


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
        self._pool: Any = adapter.get_connection_with_tls_context(
            prepared, verify, proxies=merged["proxies"], cert=merged["cert"]
        )
        adapter.cert_verify(self._pool, address, verify, merged["cert"])  # type: ignore[no-untyped-call]
        self._adapter = adapter
        self._whole_urls = adapter.request_url(prepared, merged["proxies"]) == address
        self._timeouts: dict[tuple[float, float], Timeout] = {}

    def new_call(self) -> SocketCall:
        """Give what ends a request from another thread."""
        return SocketCall()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: tuple[float, float],
        call: SocketCall,
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
        _under_way.call = call
        try:
            response = self._pool.urlopen(
                method,
                self._target(url),
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout(timeout),
                preload_content=False,
            )
            kind = response.headers.get("content-type", "")
            if streams and response.status < 400 and kind.startswith(EVENT_STREAM):
                stream = RawStream(response, call, what)
                return RawAnswer(response.status, response.headers, b"", stream)
            data = response.read()
            response.release_conn()
            return RawAnswer(response.status, response.headers, data)
        except Exception as exc:
            raise _explained(exc, call, what) from exc
        finally:
            _under_way.call = None

    def close(self) -> None:
        """Close the pooled connections; those in use are closed when they come back."""
        self._pool.close()
        self._adapter.close()

    def _target(self, url: str) -> str:
        if self._whole_urls:
            return url
        place = url.find("/", url.index("://") + 3)
        return url[place:]

    def _timeout(self, timeout: tuple[float, float]) -> Timeout:
        made = self._timeouts.get(timeout)
        if made is None:
            made = self._timeouts[timeout] = Timeout(connect=timeout[0], read=timeout[1])
        return made


class RawStream:
    """An answer that is read as it comes, by one thread, and can be ended by any.

    Args:
        response: The answer, its headers read.
        call: What ends it.
        what: Method and address, for messages.
    """

    def __init__(self, response: BaseHTTPResponse, call: SocketCall, what: str) -> None:
        self._response = response
        self._call = call
        self._what = what
        self._over = False
        self._read = _reader_of(response)

    def read(self) -> bytes:
        """Give what has come, waiting for it; nothing at the end.

        Raises:
            ServiceUnavailableError: If it broke off, or was silent for too long.
            FeedClosed: If it was ended.
        """
        if self._over:
            return b""
        try:
            data = self._read(READ_SIZE)
        except Exception as exc:
            self.close()
            raise _explained(exc, self._call, self._what) from exc
        if self._call.ended:
            self.close()
            raise FeedClosed
        if not data:
            self._over = True
            self._response.drain_conn()
            self._response.release_conn()
        return data

    def finish(self, patience: float) -> None:
        """Read what is left, so that the connection can be used again, and drop it otherwise.

        Args:
            patience: Seconds to wait for the end.
        """
        connection = self._response.connection
        sock = getattr(connection, "sock", None)
        try:
            if sock is not None:
                sock.settimeout(patience)
            while self.read():
                pass
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
            self._call.end()
            self._response.close()

    def __del__(self) -> None:
        """Close a stream that nobody has read to its end."""
        with contextlib.suppress(Exception):
            self.close()


def _reader_of(response: BaseHTTPResponse) -> Callable[[int], bytes]:
    """Give what reads an answer as it comes.

    Beneath urllib3's answer is one of ``http.client``, which ``requests`` goes down to as well.
    Reading that one costs half, of what is most of the cost of a stream; it does not
    decompress.
    """
    beneath = getattr(response, "_original_response", None)
    plain = response.headers.get("content-encoding", "identity") == "identity"
    return beneath.read1 if plain and isinstance(beneath, HTTPResponse) else response.read1


def _explained(exc: Exception, call: SocketCall, what: str) -> Exception:
    """Give the error that tells what became of a request."""
    if call.ended:
        return FeedClosed()
    if not isinstance(exc, (HTTPError, HTTPException, OSError, ValueError)):
        return exc
    return ServiceUnavailableError(
        f"{what} failed: {type(exc).__name__}: {exc}",
        in_doubt=not _never_left(exc),
        timed_out=isinstance(exc, (ReadTimeoutError, TimeoutError)),
    )


def _never_left(exc: Exception) -> bool:
    """Tell whether the request cannot have reached the service."""
    return isinstance(exc, (ConnectTimeoutError, NewConnectionError, ProxyError))
