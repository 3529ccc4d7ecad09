"""A log of requests: one JSON object a line, when the answer is over."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gpt_agent_sync.server.metrics import metrics
from gpt_agent_sync.server.paths import WsgiApp

logger = logging.getLogger("gpt_agent_sync.server.access")


def with_access_log(app: WsgiApp) -> WsgiApp:
    """Return a WSGI application that logs, at INFO, the requests that another one answers.

    A line has ``method``, ``path`` (without the query), ``status``, ``seconds`` to the answer's
    head, ``total_seconds`` to its end, ``bytes``, ``client`` and ``request_id``.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        record = _Record(environ)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            record.begin(status, headers)
            return start_response(status, headers, *rest)

        return _Body(app(environ, start), record.end)

    return answer


class _Record:
    """What is known of one request.

    Args:
        environ: Its WSGI environment.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._began = time.monotonic()
        self._environ = environ
        self._status = 500
        self._seconds = 0.0
        self._request_id: str | None = None

    def begin(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Take note of the answer's head."""
        self._status = int(status[:3])
        self._seconds = time.monotonic() - self._began
        named = {name.lower(): value for name, value in headers}
        self._request_id = named.get("x-request-id")

    def end(self, size: int) -> None:
        """Log it.

        Args:
            size: How many bytes the body has.
        """
        environ = self._environ
        method, path = environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")
        metrics.count_request(method, self._status, self._seconds)
        if not logger.isEnabledFor(logging.INFO):
            return
        told = {
            "method": method,
            "path": path.encode("latin-1", "replace").decode("utf-8", "replace"),
            "status": self._status,
            "seconds": round(self._seconds, 6),
            "total_seconds": round(time.monotonic() - self._began, 6),
            "bytes": size,
            "client": environ.get("REMOTE_ADDR"),
            "request_id": self._request_id,
        }
        # Escaped: what others write into a path forges no line.
        logger.info("%s", json.dumps(told))


class _Body:
    """An answer's body, which tells when it is over.

    Args:
        body: The body.
        on_end: Called with its size, once, when it is closed.
    """

    def __init__(self, body: Iterable[bytes], on_end: Callable[[int], None]) -> None:
        self._body = body
        self._on_end = on_end
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._size += len(piece)
            yield piece

    def close(self) -> None:
        """Close the body, and tell."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._on_end(self._size)
