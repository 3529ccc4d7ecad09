"""Whether the client of a request is still there, as far as its WSGI server tells."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

_ASKED = "waitress.client_disconnected"
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def client_is_there(environ: Mapping[str, Any]) -> Callable[[], bool] | None:
    """Return what tells whether the client is still there, from any thread.

    Returns:
        It, or ``None`` where the server tells nothing: then only a write shows it.
    """
    is_gone = environ.get(_ASKED)
    if callable(is_gone):
        return lambda: not is_gone()
    for name in _SOCKETS:
        found = environ.get(name)
        if isinstance(found, socket.socket):
            return lambda: not _is_closed(found)
    return None


def _is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection; what it has sent stays unread."""
    try:
        # Not by select(): it takes no descriptors beyond 1,023.
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError, AttributeError):
        return False
