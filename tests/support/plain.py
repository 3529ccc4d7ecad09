"""A server that says on its connections, byte by byte, what a test has it say."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any

Speak = Callable[[BufferedIOBase, BufferedIOBase], None]
"""Reads and writes one connection."""


class PlainServer:
    """A server on a loopback port that says on each connection what the test has it say.

    Attributes:
        left: Released when a connection has been closed by the server.

    Args:
        speak: Reads and writes one connection.
    """

    def __init__(self, speak: Speak) -> None:
        self.left = threading.Semaphore(0)
        left = self.left

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    speak(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def close_request(self, request: Any) -> None:
                super().close_request(request)
                left.release()

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def request_lines(reader: BufferedIOBase) -> list[bytes]:
    """Read the next request that has no body, and return its lines; none at the end."""
    return list(iter(lambda: reader.readline().rstrip(b"\r\n"), b""))


def read_request(reader: BufferedIOBase) -> list[bytes]:
    """Read the next request with its body, and return the lines of its head; none at the end."""
    lines = request_lines(reader)
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            reader.read(int(value))
    return lines
