"""Database connections of tools, whose threads no request of Django's closes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")


def release_connections() -> None:
    """Close this thread's connections, but for those in a transaction; they open again by use."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def closing_connections(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a tool, or a callback, that uses the database.

    Django has a connection for each thread, and looks after those of requests alone: the threads
    that call tools and callbacks would keep theirs, and fail when the database has closed it.
    ``CONN_MAX_AGE`` holds as for requests. Put it below the decorator that registers the tool::

        @tools.tool
        @closing_connections
        def find_order(number: int) -> str: ...
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        if any(connection.in_atomic_block for connection in connections.all(True)):
            return function(*args, **kwargs)  # called by code that has a transaction
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return wrapped
