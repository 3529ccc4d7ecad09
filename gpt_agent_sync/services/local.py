"""The embedded server as a service: no key, no network, started when first used."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Hashable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.checks import check_base_url

if TYPE_CHECKING:
    from gpt_agent_sync.server.hosting import EmbeddedServer

MEMORY = ":memory:"

_HEADER_TEXT = re.compile(r"[!-~]+")

FORK_PATIENCE = 1.0
"""Seconds that a fork waits for a server that is being started."""


class LocalService(AssistantsService):
    """Assistants on a server embedded in this process.

    The server listens on 127.0.0.1, on a port that the system chooses, and is spoken to over
    HTTP like any other. It is started by the first request and stopped by ``close()`` or at
    interpreter exit. A forked child starts its own over the same file.

    Args:
        path: The SQLite file, made if it is not there; ``":memory:"`` for nothing that lasts.
            Else ``gpt_agent_sync/local.db`` in the user's data directory.
        model: The model of assistants that name ``"default"``.
        upstream: Base URL of an OpenAI-compatible ``/chat/completions`` (Ollama, llama.cpp, vLLM)
            that serves every model but ``"demo"``.
        upstream_api_key: The key for it.
        port: The port of 127.0.0.1 to listen on; 0 lets the system choose.

    Raises:
        ConfigurationError: If the extra ``server`` is not installed, or an argument is unusable.
    """

    name = "local"
    _trusts_environment = False

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        model: str = "demo",
        upstream: str | None = None,
        *,
        upstream_api_key: str | None = None,
        port: int = 0,
        timeout: float | tuple[float, float] | None = None,
        http_retries: int | None = None,
    ) -> None:
        # Rebound before anything can fail: error trackers keep the variables of a frame.
        upstream, upstream_api_key = conceal(upstream), conceal(upstream_api_key)
        # Made for this object, and asked for by its server: other users of the host, and the pages
        # that a browser shows, find the port, but not the key.
        self._own_key = Secret(secrets.token_urlsafe(32))
        super().__init__(
            "http://127.0.0.1",
            self._own_key.reveal(),
            timeout=timeout,
            http_retries=http_retries,
        )
        _require_extra()
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(f"model must be a non-blank string, not {model!r}")
        self._port = _check_port(port)
        self._path = _read_path(path)
        self._model = model
        self._upstream = None if upstream is None else check_base_url(upstream, "upstream")
        self._upstream_api_key = _check_upstream_key(upstream_api_key)
        self._lock = threading.Lock()
        self._server: EmbeddedServer | None = None
        self._is_torn = False
        _services[id(self)] = self
        forks.renew_in_child(self)

    @property
    def path(self) -> str:
        """The SQLite file, or ``":memory:"``."""
        return self._path

    @property
    def model(self) -> str:
        """The default model."""
        return self._model

    @property
    def base_url(self) -> str:
        """Where the server listens, ending in ``/v1``; starts it."""
        forks.check()
        server = self._server
        if server is None:
            # One server at a time in the process, and who needs this one waits for it: routes are
            # compiled, and CPython 3.11 breaks where two threads do that at once (SystemError:
            # "AST constructor recursion depth mismatch").
            with _starting.lock:
                with self._lock:
                    server = self._server
                if server is None:
                    server = self._start()
                    with self._lock:
                        self._server = server
        return server.base_url

    @property
    def api_key(self) -> str:
        """The key that the server asks for, new for each object, for other clients to send."""
        return self._own_key.reveal()

    @property
    def identity(self) -> Hashable:
        """Class, file and models; a server in memory is only equal to itself."""
        own = id(self) if self._path == MEMORY else None
        return (type(self), self._path, self._model, self._upstream, self._upstream_api_key, own)

    @property
    def journal_name(self) -> str:
        """The file, as the server's port is another each time; a server in memory is its own."""
        where = f"{MEMORY}{id(self)}" if self._path == MEMORY else os.path.abspath(self._path)
        return f"{self.name}:{where}"

    def __repr__(self) -> str:
        """Show file and model."""
        return f"LocalService(path={self._path!r}, model={self._model!r})"

    def close(self) -> None:
        """Stop the server, if it runs; the next request starts it again."""
        forks.check()
        super().close()
        self._stop_server(None)

    def _stop_server(self, patience: float | None) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop(patience)

    def _after_fork(self) -> None:
        """Let go of the server, in a forked child: its threads live in the parent only."""
        self._lock = threading.Lock()
        server, self._server = self._server, None
        if server is not None and not server.abandon():
            self._is_torn = True

    def _start(self) -> EmbeddedServer:
        # Imported here: Flask and SQLAlchemy are the largest part of what this package can load.
        from gpt_agent_sync.server.hosting import EmbeddedServer, PortError
        from gpt_agent_sync.server.storage.database import DatabaseError

        if self._is_torn:
            raise ConfigurationError(
                f"cannot open the database {self._path!r}: this process was forked in the middle "
                "of a transaction; connect after the fork"
            )
        try:
            return EmbeddedServer.start(
                self._path,
                port=self._port,
                api_key=self._own_key,
                model=self._model,
                upstream=self._upstream,
                upstream_api_key=self._upstream_api_key,
            )
        except (OSError, DatabaseError) as exc:
            reason = getattr(exc, "orig", None) or exc
            if isinstance(exc, PortError):
                raise ConfigurationError(
                    f"cannot listen on port {self._port}: {reason}; pass another port, or none"
                ) from exc
            raise ConfigurationError(
                f"cannot open the database {self._path!r}: {reason}; "
                "pass another path, or ':memory:'"
            ) from exc


class _Starting:
    """The lock under which servers are started, one after the other, and no process is forked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._forks: list[tuple[bool, list[EmbeddedServer]]] = []

    def before_fork(self) -> None:
        """Start no server while the process forks, and bring those there are to rest."""
        locked = self.lock.acquire(timeout=FORK_PATIENCE)
        found = [service._server for service in list(_services.values())]
        servers = [server for server in found if server is not None]
        self._forks.append((locked, servers))
        for server in servers:
            server.before_fork()

    def after_fork(self) -> None:
        """Go on, in the parent."""
        locked, servers = self._forks.pop()
        for server in servers:
            server.after_fork()
        if locked:
            self.lock.release()

    def renew(self) -> None:
        """Begin anew, in the child."""
        self.lock = threading.Lock()
        self._forks = []


_starting = _Starting()
forks.around(_starting.before_fork, _starting.after_fork)
forks.in_child(_starting.renew)

# Weakly: a service that nobody holds any more is not kept for the sake of forks and exits.
_services: weakref.WeakValueDictionary[int, LocalService] = weakref.WeakValueDictionary()


def close_all(patience: float) -> None:
    """Stop the servers of all local services of this process, at its exit.

    Args:
        patience: Seconds to wait for their transactions, altogether.
    """
    until = time.monotonic() + patience
    for service in list(_services.values()):
        service._stop_server(max(0.0, until - time.monotonic()))


def _require_extra() -> None:
    missing = [name for name in ("flask", "sqlalchemy", "waitress") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"LocalService needs {' and '.join(missing)}: pip install 'gpt_agent_sync[server]'"
        )


def _check_port(port: object) -> int:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < 65536:
        raise ConfigurationError(f"port must be a number from 0 to 65535, not {port!r}")
    return port


def _check_upstream_key(api_key: object) -> Secret | None:
    if api_key is None:
        return None
    # Not stripped: what a program has read with its line's end it uses so elsewhere, too.
    if not isinstance(api_key, Secret) or not _HEADER_TEXT.fullmatch(api_key.reveal()):
        raise ConfigurationError(
            "upstream_api_key must be a text of characters that an HTTP header can carry, without "
            "spaces or a line's end: strip it"
        )
    return api_key


def default_path() -> str:
    """Return the file of a service that is given none, in the user's data directory."""
    import platformdirs

    return str(Path(platformdirs.user_data_dir("gpt_agent_sync", appauthor=False)) / "local.db")


def _read_path(path: str | os.PathLike[str] | None) -> str:
    if path is None:
        return default_path()
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(f"path must be a file's path or ':memory:', not {path!r}")
    return text if text == MEMORY else str(Path(text).absolute())
