"""The WSGI server: connections, threads, slow clients, and its end."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gpt_agent_sync.server.wsgi import channels, threads
from gpt_agent_sync.server.wsgi.server import WsgiServer, listen
from tests.support.polling import wait_for

PATIENCE = 20.0

Serve = Callable[..., WsgiServer]


class Application:
    """A WSGI application of a few routes.

    Attributes:
        go_on: Lets what is held go on.
        gone: Set when a held request's client is gone, or its stream closed.
        held: How many requests are held.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.gone = threading.Event()
        self.held = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return self._stream()
        if path == "/hold":
            self.held.release()
            assert self.go_on.wait(PATIENCE)
        if path == "/watch":
            self.held.release()
            wait_for(environ["waitress.client_disconnected"], bool)
            self.gone.set()
        body = environ["wsgi.input"].read() if path == "/echo" else b"ok"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def _stream(self) -> Iterator[bytes]:
        try:
            yield b"data: 1\n\n"
            while not self.go_on.wait(0.02):
                yield b": there\n\n"
            yield b"data: 2\n\n"
        finally:
            self.gone.set()


@pytest.fixture
def app() -> Iterator[Application]:
    """Yield the application."""
    application = Application()
    yield application
    application.go_on.set()


@pytest.fixture
def serve(app: Application) -> Iterator[Serve]:
    """Yield a maker of servers of the application; they are stopped."""
    servers: list[WsgiServer] = []

    def make(**options: Any) -> WsgiServer:
        servers.append(WsgiServer(app, [listen("127.0.0.1", 0)], **options))
        servers[-1].start()
        return servers[-1]

    yield make
    app.go_on.set()
    for server in servers:
        server.stop()


def connect(server: WsgiServer) -> http.client.HTTPConnection:
    """Return a connection, which stays open."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)


def said(connection: http.client.HTTPConnection, path: str = "/", **options: Any) -> bytes:
    """Return the body of an answer over a connection."""
    connection.request("GET", path, **options)
    return connection.getresponse().read()


def raw(server: WsgiServer, data: bytes) -> socket.socket:
    """Return a socket that has said something."""
    opened = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    opened.sendall(data)
    return opened


def answer_to(server: WsgiServer, data: bytes) -> bytes:
    """Return all that is answered to some bytes."""
    with raw(server, data) as opened:
        found = b""
        while piece := opened.recv(65536):
            found += piece
            if b"\r\n\r\n" in found and b"close" not in found.lower():
                break
    return found


def request_threads() -> int:
    """Return how many threads answer requests."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith("gpt-agent-server-request") for name in names)


@pytest.mark.parametrize("path", ["/", "/echo"])
def test_connection_stays_open(serve: Serve, path: str) -> None:
    """A client's requests go over one connection."""
    connection = connect(serve())
    for _ in range(3):
        said(connection, path, body=b"x" * 1000)
        before = connection.sock
    assert connection.sock is before is not None
    connection.close()


def test_connection_stays_open_after_a_stream(serve: Serve, app: Application) -> None:
    """An answer whose length is not known does not end its connection."""
    connection = connect(serve())
    app.go_on.set()
    assert said(connection, "/stream").endswith(b"data: 2\n\n")
    assert connection.sock is not None
    assert said(connection) == b"ok"
    connection.close()


def test_half_requests_hold_no_threads(serve: Serve) -> None:
    """Requests that stop in the middle of their head or body take no thread of the application."""
    server = serve(threads=4)
    halves = [
        *[raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nX-A") for _ in range(50)],
        *[
            raw(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
            for _ in range(50)
        ],
    ]
    connection = connect(server)
    assert said(connection) == b"ok"
    connection.close()
    for half in halves:
        half.close()


def test_slow_reader_holds_up_nobody(serve: Serve) -> None:
    """A client that does not read its answer takes nothing from another."""
    server = serve(threads=2)
    slow = [raw(server, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(1)]
    connection = connect(server)
    assert said(connection) == b"ok"
    connection.close()
    for each in slow:
        each.close()


def test_threads_come_with_the_requests(serve: Serve, app: Application) -> None:
    """As many requests are answered at once as there are, each by a thread of its own."""
    server = serve()
    held = [raw(server, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(40)]
    for _ in held:
        assert app.held.acquire(timeout=PATIENCE)
    connection = connect(server)
    assert said(connection) == b"ok"
    connection.close()
    for each in held:
        each.close()


def test_threads_go_when_they_are_idle(
    serve: Serve, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that have had nothing to do for long are not kept."""
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.05)
    before = request_threads()
    server = serve()
    held = [raw(server, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)]
    for _ in held:
        assert app.held.acquire(timeout=PATIENCE)
    assert request_threads() - before >= 20
    app.go_on.set()
    wait_for(request_threads, lambda count: count - before <= threads.LEAST_THREADS)
    for each in held:
        each.close()


def test_no_more_threads_than_allowed(serve: Serve, app: Application) -> None:
    """A server has no more threads than it may, and what is beyond them waits."""
    before = request_threads()
    server = serve(threads=3)
    held = [raw(server, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(10)]
    for _ in range(3):
        assert app.held.acquire(timeout=PATIENCE)
    assert (request_threads() - before, app.held.acquire(blocking=False)) == (3, False)
    app.go_on.set()
    for each in held:
        assert each.recv(12) == b"HTTP/1.1 200"
        each.close()


def test_client_that_is_gone_is_seen(serve: Serve, app: Application) -> None:
    """An application that works for long can see that nobody waits for its answer any more."""
    client = raw(serve(), b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")
    assert app.held.acquire(timeout=PATIENCE)
    client.close()
    assert app.gone.wait(PATIENCE)


def test_stream_whose_client_is_gone_is_closed(serve: Serve, app: Application) -> None:
    """A stream is closed at its next piece when its reader has hung up."""
    client = raw(serve(), b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in client.recv(1000)
    client.close()
    assert app.gone.wait(PATIENCE)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"transfer-encoding: chunked\r\ncontent-length: 2",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: x",
        b"Content-Length: -2",
        b"Transfer-Encoding: gzip",
        b"Host: y",
        b"X A: b",
        b"Content-Length: " + b"9" * 5000,
    ],
)
def test_requests_that_can_be_read_in_two_ways(serve: Serve, head: bytes) -> None:
    """What another server on the way might read otherwise is refused, and the connection closed."""
    request = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    )
    found = answer_to(serve(), request)
    assert found[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"HTTP/1.1 501 ")
    assert found.count(b"HTTP/1.") == 1
    assert b'{"error": {"message": ' in found


@pytest.mark.parametrize("url", [b"http://[/", b"http://[::1/"])
def test_addresses_that_cannot_be_read(serve: Serve, url: bytes) -> None:
    """An address that is none is refused, and the connection not just closed."""
    found = answer_to(serve(), b"GET " + url + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found[8:13] == b" 400 "


def test_head_that_is_too_large(serve: Serve) -> None:
    """A head is bounded."""
    found = answer_to(serve(), b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * channels.FIELD_BYTES)
    assert found[8:13] == b" 431 "


# Closed at the end, so that all of an answer is read.
CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    "body",
    [
        b"0" * 2 * channels.LINE_BYTES,
        b"1;" + b"a" * 2 * channels.LINE_BYTES,
        b"1\r\na\r\n0\r\n" + b"X: y\r\n" * (channels.FIELD_BYTES // 5),
    ],
    ids=["size", "extension", "trailer"],
)
def test_chunks_with_much_around_them(serve: Serve, body: bytes) -> None:
    """What is around a body's chunks is bounded: all of it is read again with each piece."""
    assert answer_to(serve(), CHUNKED + body).startswith(b"HTTP/1.1 400")


def test_fields_after_chunks(serve: Serve) -> None:
    """Fields may follow a body in chunks, and lines with sizes may say more than that."""
    body = b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n"
    assert answer_to(serve(), CHUNKED + body).endswith(b"hello")


def test_many_connections_are_served(serve: Serve) -> None:
    """Hundreds of connections that are open at once are all answered, again and again."""
    server = serve()
    connections = [connect(server) for _ in range(300)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert set(pool.map(said, connections)) == {b"ok"}
    for connection in connections:
        connection.close()


def test_connections_come_and_go(serve: Serve) -> None:
    """A descriptor that was another connection's before is served like any other."""
    server = serve()
    for _ in range(200):
        connection = connect(server)
        assert said(connection) == b"ok"
        connection.close()


def test_without_epoll(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that have no epoll are served by the library's own loop."""
    monkeypatch.delattr("select.epoll")
    connection = connect(serve())
    assert [said(connection) for _ in range(3)] == [b"ok"] * 3
    connection.close()


def test_stop_ends_streams(serve: Serve, app: Application) -> None:
    """A server that is stopped closes what is open, and its threads end."""
    server = serve()
    client = raw(server, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(1000)
    server.stop()
    while client.recv(65536):
        pass
    client.close()
    assert app.gone.wait(PATIENCE)
    assert not server.is_alive
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_drain_waits_for_answers(serve: Serve, app: Application) -> None:
    """A server that is to stop lets the requests in hand be answered, and takes no connection."""
    server = serve()
    client = raw(server, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    assert app.held.acquire(timeout=PATIENCE)
    server.stop_listening()
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(server.drain, PATIENCE)
        app.go_on.set()
        draining.result(PATIENCE)
    assert client.recv(12) == b"HTTP/1.1 200"
    client.close()


def test_drain_is_bounded(serve: Serve, app: Application) -> None:
    """What takes too long is not waited for."""
    server = serve()
    client = raw(server, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    assert app.held.acquire(timeout=PATIENCE)
    began = time.monotonic()
    server.drain(0.05)
    assert (server.is_busy, time.monotonic() - began < PATIENCE) == (True, True)
    client.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_child_holds_no_connection_open(serve: Serve) -> None:
    """A connection that ends in the parent ends for the client, though a child has inherited it."""
    server = serve()
    connection = connect(server)
    said(connection)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        server.abandon()
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    server.stop()
    assert connection.sock.recv(1) == b""
    connection.close()
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0


def test_descriptors_are_closed(app: Application) -> None:
    """A server that has ended leaves no descriptor open."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(3):
        server = WsgiServer(app, [listen("127.0.0.1", 0)])
        server.start()
        connection = connect(server)
        said(connection)
        connection.close()
        server.stop()
    wait_for(descriptors, lambda count: count <= before)


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_listen(host: str) -> None:
    """A name, or an address of either family, can be listened on."""
    try:
        listener = listen(host, 0)
    except OSError as exc:
        pytest.skip(f"no {host} here: {exc}")
    with listener:
        assert listener.getsockname()[1] > 0


def test_port_in_use() -> None:
    """A port that another one listens on is an error."""
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listener.getsockname()[1])
