"""The server as a program: what it is told, its application, and how it is stopped."""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
from collections.abc import Mapping

import attrs
from flask import Flask

from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.server.access_log import with_access_log
from gpt_agent_sync.server.admission import LOOPBACK, MOST_BODY_BYTES
from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.engine import RUN_SECONDS, Engine
from gpt_agent_sync.server.health import register_health
from gpt_agent_sync.server.storage.engines import is_memory, read_location
from gpt_agent_sync.server.wsgi.server import WsgiServer
from gpt_agent_sync.server.wsgi.threads import MOST_THREADS

logger = logging.getLogger(__name__)

LAST_WORDS = 2.0
"""Seconds in which streams are to take their last events."""


class ServeError(Exception):
    """The server cannot be started as it is told; it says why, and what to do."""


@attrs.frozen(kw_only=True)
class ServeOptions:
    """How the server is run.

    Attributes:
        host: The name or address to listen on.
        port: The port; 0 lets the system choose.
        database: A SQLite file's path, ``":memory:"``, or a database URL.
        upstream: Base URL of a ``/chat/completions`` for all models but the demo.
        upstream_key: The key for it.
        models: Names of models, and what they are called at the upstream.
        default_model: What the name ``"default"`` stands for.
        api_key: The key that clients have to send; ``None`` asks for none.
        hosts: The names under which it may be asked; ``"*"`` for any. Without them any where it
            asks for a key, and else those of loopback.
        origins: The origins of web pages that may ask it.
        threads: How many requests a process answers at a time; each open stream is one.
        workers: How many processes there are.
        max_body: Bytes that a request's body may have.
        run_seconds: How many seconds a run may take.
        grace: Seconds in which work in hand may come to its end when the server is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    # Not shown, as the next one: it may have a password.
    database: str = attrs.field(repr=False)
    upstream: str | None = attrs.field(default=None, repr=False)
    upstream_key: Secret | None = None
    models: Mapping[str, str] = attrs.field(factory=dict)
    default_model: str | None = None
    api_key: Secret | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    threads: int = MOST_THREADS
    workers: int = 1
    max_body: int = MOST_BODY_BYTES
    run_seconds: float = RUN_SECONDS
    grace: float = 10.0

    def check(self) -> None:
        """Check that the server may be started so.

        Raises:
            ServeError: If it may not.
        """
        if self.api_key is None and not is_loopback(self.host):
            raise ServeError(
                f"listening on {self.host} lets others in: name the environment variable that "
                "holds their key, by --api-key-env"
            )
        if self.workers > 1 and os.name != "posix":
            raise ServeError("several workers need a POSIX system: pass --workers 1")
        if self.workers > 1 and self.port == 0:
            raise ServeError("several workers need a port of their own: pass --port")
        if self.workers > 1 and is_memory(read_location(self.database)):
            raise ServeError("several workers cannot share a database in memory: pass --database")

    @property
    def first_model(self) -> str:
        """What the name ``"default"`` stands for."""
        if self.default_model is not None:
            return self.default_model
        return next(iter(self.models), "demo")


def is_loopback(host: str) -> bool:
    """Return whether an address, or a name, is this host's for itself."""
    if host.lower() in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def options_from(environ: Mapping[str, str]) -> ServeOptions:
    """Return the options that environment variables give, for servers of others' making.

    ``GPT_AGENT_DATABASE`` is needed; ``GPT_AGENT_UPSTREAM``, ``GPT_AGENT_UPSTREAM_KEY``,
    ``GPT_AGENT_MODELS`` (``NAME=UPSTREAM_MODEL``, with commas between), ``GPT_AGENT_API_KEY``,
    ``GPT_AGENT_HOSTS`` and ``GPT_AGENT_ORIGINS`` (with commas between) are not.

    Raises:
        ServeError: If the database is not named, or a model is not written so.
    """
    database = environ.get("GPT_AGENT_DATABASE")
    if not database:
        raise ServeError("set GPT_AGENT_DATABASE to a file's path, or to a database URL")

    def listed(name: str) -> tuple[str, ...]:
        return tuple(filter(None, (each.strip() for each in environ.get(name, "").split(","))))

    return ServeOptions(
        database=database,
        upstream=environ.get("GPT_AGENT_UPSTREAM") or None,
        upstream_key=conceal(environ.get("GPT_AGENT_UPSTREAM_KEY") or None),
        models=read_models(listed("GPT_AGENT_MODELS")),
        api_key=conceal(environ.get("GPT_AGENT_API_KEY") or None),
        hosts=listed("GPT_AGENT_HOSTS"),
        origins=listed("GPT_AGENT_ORIGINS"),
    )


def read_models(given: tuple[str, ...]) -> dict[str, str]:
    """Return models by their names.

    Args:
        given: Each as ``NAME=UPSTREAM_MODEL``.

    Raises:
        ServeError: If one is not written so.
    """
    models: dict[str, str] = {}
    for each in given:
        name, equals, behind = (part.strip() for part in each.partition("="))
        if not (name and equals and behind):
            raise ServeError(f"a model is written NAME=UPSTREAM_MODEL, not {each!r}")
        models[name] = behind
    return models


def open_engine(options: ServeOptions) -> Engine:
    """Return the engine of a server."""
    return make_engine(
        options.database,
        model=options.first_model,
        upstream=options.upstream,
        upstream_api_key=options.upstream_key,
        names=options.models,
        run_seconds=options.run_seconds,
    )


def make_app(engine: Engine, options: ServeOptions) -> Flask:
    """Return a server's application: both wires, health, metrics, and a log of requests."""
    app = create_app(
        engine,
        api_key=options.api_key,
        hosts=options.hosts or None,
        origins=options.origins,
        max_body=options.max_body,
    )
    register_health(app, engine, options.api_key)
    app.wsgi_app = with_access_log(app.wsgi_app)  # type: ignore[method-assign,assignment]
    return app


def create_wsgi_app(options: ServeOptions | None = None) -> Flask:
    """Return the application for a WSGI server of one's own, which calls this in each process.

    Args:
        options: How it is run; ``None`` reads the environment: see ``options_from``.

    Raises:
        ServeError: If the environment does not say enough.
    """
    options = options or options_from(os.environ)
    engine = open_engine(options)
    atexit.register(engine.close)
    return make_app(engine, options)


class Serving:
    """A server in this process, from its start to its end.

    Args:
        engine: What answers.
        server: What listens.
        grace: Seconds in which work in hand may come to its end.
    """

    def __init__(self, engine: Engine, server: WsgiServer, grace: float) -> None:
        self._engine = engine
        self._server = server
        self._grace = grace

    def stop(self) -> None:
        """Take no new work, let what is in hand end, tell its readers, and close everything."""
        self._server.stop_listening()
        left = self._engine.drain(self._grace)
        if left:
            logger.warning("%d runs and responses are ended, as they take too long", left)
        self._engine.close()
        self._server.drain(LAST_WORDS)
        self._server.stop()


def base_url(host: str, port: int) -> str:
    """Return the URL below which both wires lie."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/v1"
