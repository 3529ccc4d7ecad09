"""A WSGI application served on sockets that listen."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

from gpt_agent_sync.server.admission import MOST_BODY_BYTES
from gpt_agent_sync.server.pauses import wait_while
from gpt_agent_sync.server.wsgi.channels import FIELD_BYTES, SMALL_BODY
from gpt_agent_sync.server.wsgi.loop import Loop
from gpt_agent_sync.server.wsgi.threads import MOST_THREADS, Dispatcher

MOST_CONNECTIONS = 10_000

SILENCE_SECONDS = 120
"""After which a connection is closed on which nothing comes."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: The name or address.
        port: The port; 0 lets the system choose.

    Raises:
        OSError: If it cannot; the name, or the port, is of no use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # Else a port that was just in use is not to be had for a minute.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def most_connections() -> int:
    """Return how many connections there may be, as far as the system gives descriptors for them."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError, ValueError):
        return MOST_CONNECTIONS
    # What is left is for the database, files, and requests to the upstream.
    return MOST_CONNECTIONS if soft < 0 else max(32, min(MOST_CONNECTIONS, soft * 3 // 4))


class WsgiServer:
    """A WSGI application served on sockets that listen, by threads of this process.

    Args:
        app: The application.
        listeners: The sockets.
        threads: How many threads may answer requests.
        most_body: Bytes that a request's body may have.

    Attributes:
        port: The port of the first socket.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        listeners: Sequence[socket.socket],
        *,
        threads: int = MOST_THREADS,
        most_body: int = MOST_BODY_BYTES,
    ) -> None:
        self._listeners = list(listeners)
        self.port = int(self._listeners[0].getsockname()[1])
        self._dispatcher = Dispatcher(threads)
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            _dispatcher=self._dispatcher,
            sockets=self._listeners,
            threads=threads,
            ident="gpt_agent_sync",
            connection_limit=most_connections(),
            channel_timeout=SILENCE_SECONDS,
            asyncore_use_poll=True,
            # It then reads on while an answer is made, and so sees that a client has gone.
            channel_request_lookahead=1,
            # Chunks are counted with what is around them: the application has the last word.
            max_request_body_size=2 * most_body + SMALL_BODY,
            max_request_header_size=FIELD_BYTES,
            clear_untrusted_proxy_headers=True,
        )
        self._loop = Loop(self._map, self._servers())
        self._dispatcher.on_end = self._loop.close_pipes
        self._thread = threading.Thread(target=self._loop.run, name="gpt-agent-server", daemon=True)

    def _servers(self) -> list[BaseWSGIServer]:
        return [each for each in self._map.values() if isinstance(each, BaseWSGIServer)]

    @property
    def is_alive(self) -> bool:
        """Whether it is serving."""
        return self._thread.is_alive()

    @property
    def is_busy(self) -> bool:
        """Whether there are requests that are still to be answered."""
        return any(channel.requests for channel in self._channels())

    def start(self) -> None:
        """Serve, on a thread."""
        self._thread.start()

    def stop_listening(self) -> None:
        """Take no more connections; those there are go on."""
        self._loop.call(self._stop_listening)

    def _stop_listening(self) -> None:
        for server in self._loop.servers:
            server.accepting = False
            with contextlib.suppress(OSError, KeyError, AttributeError):
                server.del_channel()
        for listener in self._listeners:
            listener.close()

    def stop(self) -> None:
        """Close all connections, and end the threads."""
        self._loop.call(self._halt)
        if self._thread.ident is not None:
            self._thread.join(10)
        self._dispatcher.shutdown(cancel_pending=True, timeout=0.05)

    def _halt(self) -> None:
        self._stop_listening()
        for channel in self._channels():
            channel.handle_close()
        self._loop.end()

    def abandon(self) -> None:
        """Let go of the sockets in a forked child, where none of the threads is."""
        # Else the port would stay open after the parent's end, and nobody answer there.
        for listener in self._listeners:
            listener.close()
        for channel in self._channels():
            with contextlib.suppress(OSError, AttributeError):
                channel.socket.close()
        self._loop.abandon()

    def drain(self, seconds: float) -> None:
        """Wait until no request is being answered any more.

        Args:
            seconds: How long at most.
        """
        wait_while(lambda: self.is_busy and self.is_alive, seconds)

    def _channels(self) -> list[Any]:
        return [each for each in list(self._map.values()) if isinstance(each, HTTPChannel)]
