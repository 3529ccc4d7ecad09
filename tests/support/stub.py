"""A loopback HTTP server whose every answer the test decides."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs


@attrs.frozen
class Request:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


@attrs.frozen
class Response:
    """An answer; a body that is an iterator of bytes is sent as it comes.

    A header that is ``None`` is left out, be it a usual one.
    """

    body: Any = attrs.field(factory=dict)
    status: int = 200
    headers: Mapping[str, str | None] = attrs.field(factory=dict)


class HangUp(Exception):
    """The connection is closed without an answer."""


Answerer = Callable[[Request], Response]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that does not trust the certificate."""


class StubServer:
    """A server that answers as ``answer`` says, and keeps the requests.

    Args:
        answer: Answers each request, on the thread of its connection.
        tls: What it speaks TLS with; ``None`` for plain HTTP.
        keeps: Whether requests are kept.

    Attributes:
        requests: The requests so far, where they are kept.
        connections: How many connections were opened so far.
    """

    scheme = "http"

    def __init__(
        self, answer: Answerer, tls: ssl.SSLContext | None = None, *, keeps: bool = True
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._open = 0
        self._changed = threading.Condition()
        self._answer = answer
        self._keeps = keeps
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with stub._lock:
                    stub.connections += 1
                stub._count(1)

            def finish(self) -> None:
                super().finish()
                stub._count(-1)

            def do_GET(self) -> None:
                stub._serve(self)

            def do_POST(self) -> None:
                stub._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            # Hands are shaken when a connection is read first, on its own thread.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def lines(self) -> list[str]:
        """Method and path of each request so far."""
        with self._lock:
            return [request.line for request in self.requests]

    def wait_for_open(self, most: int, timeout: float) -> bool:
        """Wait until no more connections are open than that; return whether it came so far."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open <= most, timeout)

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        text = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Request(
            method=handler.command,
            path=parts.path.removeprefix("/v1"),
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=json.loads(text) if text else None,
        )
        if self._keeps:
            with self._lock:
                self.requests.append(request)
        try:
            response = self._answer(request)
        except HangUp:
            handler.close_connection = True
            return
        if isinstance(response.body, Iterator):
            self._stream(handler, response)
            return
        raw = isinstance(response.body, bytes)
        content = response.body if raw else json.dumps(response.body).encode()
        handler.send_response(response.status)
        _send_headers(handler, {"Content-Type": "application/json", **response.headers})
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _stream(self, handler: BaseHTTPRequestHandler, response: Response) -> None:
        handler.send_response(response.status)
        _send_headers(handler, response.headers)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for piece in response.body:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.write(b"0\r\n\r\n")
        except (HangUp, OSError):
            handler.close_connection = True


def _send_headers(handler: BaseHTTPRequestHandler, headers: Mapping[str, str | None]) -> None:
    for name, value in headers.items():
        if value is not None:
            handler.send_header(name, value)


def stream(*pieces: bytes | type[Exception] | Callable[[], object]) -> Response:
    """Return an answer that streams: bytes, then waits (what is called), or a broken connection."""

    def body() -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            elif isinstance(piece, type):
                raise piece
            else:
                piece()

    return Response(body(), headers={"Content-Type": "text/event-stream"})


def table(answers: Mapping[str, Iterable[Response | type[Exception]]]) -> Answerer:
    """Answer each ``"METHOD /path"`` with its next answer; the last one stays."""
    waiting = {line: list(given) for line, given in answers.items()}
    lock = threading.Lock()

    def answer(request: Request) -> Response:
        with lock:
            given = waiting.get(request.line)
            if given is None:
                message = f"no answer for {request.line}"
                return Response({"error": {"message": message}}, status=404)
            chosen = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(chosen, Response):
            return chosen
        raise chosen

    return answer


def listing(*items: Mapping[str, Any], has_more: bool = False) -> Response:
    """Return a list answer."""
    last = items[-1]["id"] if items else None
    return Response({"object": "list", "data": list(items), "has_more": has_more, "last_id": last})


def error(status: int, message: str, code: str | None = None) -> Response:
    """Return a refusal."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    return Response(body, status=status)
