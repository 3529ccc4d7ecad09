"""Fixtures of the Assistants wire's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.scripted_model import ScriptedServer
from tests.support.server_setup import MakeClient, MakeServer
from tests.support.wire_client import WireClient


@pytest.fixture
def make_client(make_server: MakeServer) -> Iterator[MakeClient]:
    """Yield a maker of servers that follow steps; it returns a client of each."""
    clients: list[WireClient] = []

    def make(*steps: Any, **options: Any) -> WireClient:
        clients.append(WireClient(make_server(steps, **options).base_url))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def wire() -> Iterator[WireClient]:
    """Yield a client of a server that always says ok, one for all tests of a module."""
    server = ScriptedServer()
    client = WireClient(server.base_url)
    yield client
    client.close()
    server.stop()
