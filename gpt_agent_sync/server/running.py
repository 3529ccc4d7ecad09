"""Running the server: in one process, or in several."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from gpt_agent_sync.server.serving import (
    ServeError,
    ServeOptions,
    Serving,
    base_url,
    make_app,
    open_engine,
)
from gpt_agent_sync.server.wsgi.server import WsgiServer, listen


def serve(options: ServeOptions, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal to stop comes: SIGTERM, or Ctrl-C; on the main thread.

    Args:
        options: How.
        on_ready: Called with the base URL when requests are answered.

    Raises:
        ServeError: If it cannot be started so.
        OSError: If the port cannot be listened on.
    """
    options.check()
    if options.workers > 1:
        _serve_with_workers(options, on_ready)
        return
    listener = listen(options.host, options.port)
    try:
        engine = open_engine(options)
    except BaseException:
        listener.close()
        raise
    server = WsgiServer(
        make_app(engine, options), [listener], threads=options.threads, most_body=options.max_body
    )
    stop = _Stop()
    with _on_signals(stop):
        server.start()
        if on_ready is not None:
            on_ready(base_url(options.host, server.port))
        pause = threading.Event()  # is never set
        while server.is_alive and not stop.is_asked:
            pause.wait(0.2)
    # A second signal ends it at once.
    Serving(engine, server, options.grace).stop()


class _Stop:
    """Whether the program is to stop; a flag, as a handler may take no lock."""

    def __init__(self) -> None:
        self.is_asked = False

    def ask(self, *_: object) -> None:
        """Have it stop."""
        self.is_asked = True


@contextlib.contextmanager
def _on_signals(stop: _Stop) -> Iterator[None]:
    names = [signal.SIGINT, signal.SIGTERM]
    before = {name: signal.signal(name, stop.ask) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _serve_with_workers(options: ServeOptions, on_ready: Callable[[str], None] | None) -> None:
    try:
        from gpt_agent_sync.server.workers import serve_with_workers
    except ModuleNotFoundError as exc:
        raise ServeError(
            f"several workers need {exc.name}: pip install 'gpt_agent_sync[serve]'"
        ) from exc
    # Before they are started: one of them upgrades the tables, and the others need not wait.
    open_engine(options).close()
    serve_with_workers(options, on_ready)
