"""The server on a loopback port, in background threads of this process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.engine import Engine

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    """A handler that keeps connections open, and prints nothing on the terminal."""

    protocol_version = "HTTP/1.1"
    # Else small writes, such as stream events, wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing: clients log their requests."""


class _Server(ThreadedWSGIServer):
    """A server that logs what befalls its connections, where the library prints."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log that a connection is lost; called in the ``except`` block."""
        # At exit there are no more threads to be had, from CPython 3.12 on, and nobody to tell.
        leaving = not threading.main_thread().is_alive()
        level = logging.DEBUG if leaving else logging.WARNING
        logger.log(level, "the connection of %s is lost", client_address, exc_info=True)


class EmbeddedServer:
    """An engine, served on 127.0.0.1 until it is stopped.

    Args:
        engine: What answers.
        port: The port; 0 lets the system choose.
        api_key: The bearer key that is asked for; ``None`` asks for none.
    """

    def __init__(
        self, engine: Engine, *, port: int = 0, api_key: str | Secret | None = None
    ) -> None:
        api_key = conceal(api_key)
        self._engine = engine
        self._server = _Server(HOST, port, create_app(engine, api_key=api_key), _Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            # How long a stop may wait, in seconds; the default is half a second.
            kwargs={"poll_interval": 0.1},
            name="gpt-agent-server",
            daemon=True,
        )
        self._thread.start()

    @classmethod
    def start(
        cls,
        location: str,
        *,
        port: int = 0,
        api_key: str | Secret | None = None,
        **engine_options: Any,
    ) -> EmbeddedServer:
        """Start a server over a new engine; options as for ``make_engine``."""
        api_key = conceal(api_key)
        return cls(make_engine(location, **engine_options), port=port, api_key=api_key)

    @property
    def base_url(self) -> str:
        """The URL below which both wires lie."""
        return f"http://{HOST}:{self._server.server_port}/v1"

    def before_fork(self) -> None:
        """Bring the database to rest, until ``after_fork()``."""
        self._engine.storage.before_fork()

    def after_fork(self) -> None:
        """Go on, in the parent."""
        self._engine.storage.after_fork()

    def abandon(self) -> bool:
        """Let go of everything in a forked child, where none of the threads is.

        Returns:
            Whether the child may open the database itself.
        """
        # Else the port would stay open after the parent's end, and nobody answer there.
        self._server.socket.close()
        return self._engine.storage.abandon()

    def stop(self, patience: float | None = None) -> None:
        """Stop listening and close the database; open connections end with their request.

        Args:
            patience: Seconds to wait for transactions; ``None`` for as long as they may take.
        """
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        # After the listening, so that no new connection meets a closed storage.
        self._engine.close(patience)
