"""Several processes that serve on one port, under gunicorn's arbiter."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from gpt_agent_sync.server import metrics
from gpt_agent_sync.server.serving import (
    LAST_WORDS,
    ServeOptions,
    Serving,
    base_url,
    make_app,
    open_engine,
)
from gpt_agent_sync.server.wsgi.server import WsgiServer

TICK = 0.5
"""Seconds between two signs of life for the arbiter."""

SILENCE = 60
"""Seconds without one after which it replaces a worker."""


def serve_with_workers(
    options: ServeOptions, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until a signal to stop comes; the arbiter ends the process.

    Args:
        options: How.
        on_ready: Called with the base URL when the port is listened on.
    """
    with metrics.for_several_processes():
        _Program(options, on_ready).run()


class _Program(BaseApplication):
    """The program that gunicorn runs.

    Args:
        options: How it is run.
        on_ready: Called with the base URL when the port is listened on.
    """

    def __init__(self, options: ServeOptions, on_ready: Callable[[str], None] | None) -> None:
        self.options = options
        self._on_ready = on_ready
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn what it has to know."""
        options = self.options
        host = f"[{options.host}]" if ":" in options.host else options.host
        told = {
            "bind": f"{host}:{options.port}",
            "workers": options.workers,
            "worker_class": _SharingWorker,
            "threads": options.threads,
            "timeout": SILENCE,
            "graceful_timeout": int(options.grace + LAST_WORDS) + 5,
            "loglevel": "warning",
            "when_ready": self._ready,
            "child_exit": lambda arbiter, worker: metrics.forget_process(worker.pid),
        }
        for name, value in told.items():
            self.cfg.set(name, value)

    def _ready(self, arbiter: Any) -> None:
        if self._on_ready is not None:
            self._on_ready(base_url(self.options.host, self.options.port))

    def load(self) -> ServeOptions:
        """Return what a worker makes its application of: engines do not survive a fork."""
        return self.options


class _SharingWorker(Worker):
    """A process that serves on the sockets that the arbiter has opened."""

    def run(self) -> None:
        """Serve until the arbiter says otherwise, or is gone."""
        options: ServeOptions = self.app.options
        engine = open_engine(options)
        server = WsgiServer(
            make_app(engine, options),
            [getattr(listener, "sock", listener) for listener in self.sockets],
            threads=options.threads,
            most_body=options.max_body,
        )
        server.start()
        while self.alive and server.is_alive and self.ppid == os.getppid():
            self.notify()
            self._pause()
        Serving(engine, server, options.grace).stop()

    def handle_quit(self, *_: Any) -> None:
        """Stop in good order: Ctrl-C comes as this, after which others leave at once."""
        self.alive = False

    def _pause(self) -> None:
        # Ended early by the pipe that its signals write to, which has to be read empty.
        if select.select([self.PIPE[0]], [], [], TICK)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self.PIPE[0], 4096)
