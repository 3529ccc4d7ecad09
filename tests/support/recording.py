"""What the services of this package send, recorded on its way out."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from gpt_agent_sync.services.http.transport import RawAnswer, Transport
from tests.support.stub import Request


class Recording:
    """The requests of this process, recorded and sent all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        send = Transport.send

        def record(
            transport: Transport,
            method: str,
            url: str,
            headers: Mapping[str, str],
            body: bytes | None,
            *rest: Any,
            **options: Any,
        ) -> RawAnswer:
            self._keep(method, url, headers, body)
            return send(transport, method, url, headers, body, *rest, **options)

        monkeypatch.setattr(Transport, "send", record)

    def _keep(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> None:
        parts = urlsplit(url)
        request = Request(
            method=method,
            path=parts.path.removeprefix("/v1"),
            query=dict(parse_qsl(parts.query)),
            headers=headers,
            body=json.loads(body) if body else None,
        )
        with self._lock:
            self._requests.append(request)

    @property
    def requests(self) -> list[Request]:
        """The requests so far."""
        with self._lock:
            return list(self._requests)
