"""One request to an upstream over a connection that another thread can shut down."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class Line:
    """The socket of one request, from when it is connected on."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._cut = False

    def opened(self, opened: socket.socket | None) -> None:
        """Take note of the socket; one that comes too late is shut down at once."""
        self._socket = opened
        if self._cut:
            self.cut()

    def cut(self) -> None:
        """Shut it down, from any thread: whoever reads or writes is woken."""
        self._cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def open_session(line: Line) -> requests.Session:
    """Return a session for one request, whose connection ``line`` can cut."""
    session = requests.Session()
    adapter = _Adapter(line)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Adapter(HTTPAdapter):
    """An adapter whose connections tell when they are open.

    Until the head of an answer has come, which a model may take minutes for, the libraries have
    nothing that could be ended from another thread.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        self._adapt(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **keywords)
        self._adapt(manager)
        return manager

    def _adapt(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            scheme: functools.partial(_pool, pool, self._line.opened)
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def _pool(kind: Any, opened: Callable[[Any], None], *arguments: Any, **keywords: Any) -> Any:
    pool = kind(*arguments, **keywords)
    pool.ConnectionCls = functools.partial(_connection, pool.ConnectionCls, opened)
    return pool


def _connection(kind: Any, opened: Callable[[Any], None], *arguments: Any, **keywords: Any) -> Any:
    connection = kind(*arguments, **keywords)
    connect = connection.connect

    def connect_and_tell() -> None:
        connect()
        opened(connection.sock)

    connection.connect = connect_and_tell
    return connection
