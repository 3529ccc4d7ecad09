"""The server on a loopback port, in background threads of this process."""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.server.admission import LOOPBACK
from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.wsgi.server import WsgiServer, listen

HOST = "127.0.0.1"

LAST_WORDS = 1.0
"""Seconds in which streams are to take their last events when the server stops."""


class PortError(OSError):
    """A port cannot be listened on."""


class EmbeddedServer:
    """An engine, served on 127.0.0.1 until it is stopped.

    Args:
        engine: What answers.
        port: The port; 0 lets the system choose.
        api_key: The key that is asked for; ``None`` asks for none.

    Raises:
        PortError: If the port cannot be listened on.
    """

    def __init__(
        self, engine: Engine, *, port: int = 0, api_key: str | Secret | None = None
    ) -> None:
        api_key = conceal(api_key)
        self._engine = engine
        try:
            listener = listen(HOST, port)
        except OSError as exc:
            engine.close()
            raise PortError(exc.errno, exc.strerror) from exc
        self._server = WsgiServer(create_app(engine, api_key=api_key, hosts=LOOPBACK), [listener])
        self._server.start()

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
        return f"http://{HOST}:{self._server.port}/v1"

    @property
    def is_busy(self) -> bool:
        """Whether it answers requests, streams among them."""
        return self._server.is_busy

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
        self._server.abandon()
        return self._engine.storage.abandon()

    def stop(self, patience: float | None = None) -> None:
        """End what is in progress, tell those who read it, and close the database.

        Args:
            patience: Seconds to wait for transactions; ``None`` for as long as they may take.
        """
        self._server.stop_listening()
        self._engine.close(patience)
        self._server.drain(LAST_WORDS if patience is None else min(patience, LAST_WORDS))
        self._server.stop()
