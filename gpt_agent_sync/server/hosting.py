"""The server on a loopback port, in background threads of this process."""

from __future__ import annotations

import threading
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.engine import Engine

HOST = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    """A handler that keeps connections open, and prints nothing on the terminal."""

    protocol_version = "HTTP/1.1"
    # Else small writes, such as stream events, wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing: clients log their requests."""


class EmbeddedServer:
    """An engine, served on 127.0.0.1 until it is stopped.

    Args:
        engine: What answers.
        port: The port; 0 lets the system choose.
        api_key: The bearer key that is asked for; ``None`` asks for none.
    """

    def __init__(self, engine: Engine, *, port: int = 0, api_key: str | None = None) -> None:
        self._engine = engine
        self._server: BaseWSGIServer = make_server(
            HOST, port, create_app(engine, api_key=api_key), threaded=True, request_handler=_Handler
        )
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
        cls, location: str, *, port: int = 0, api_key: str | None = None, **engine_options: Any
    ) -> EmbeddedServer:
        """Start a server over a new engine; options as for ``make_engine``."""
        return cls(make_engine(location, **engine_options), port=port, api_key=api_key)

    @property
    def base_url(self) -> str:
        """The URL below which both wires lie."""
        return f"http://{HOST}:{self._server.server_port}/v1"

    def stop(self) -> None:
        """Stop listening and close the database; open connections end with their request."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        # After the listening, so that no new connection meets a closed storage.
        self._engine.close()
