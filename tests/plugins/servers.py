"""Servers on loopback: embedded ones with a scripted model, and stubs that say what a test says."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing.script import Script
from tests.support.plain import PlainServer, Speak
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Answerer, StubServer


@pytest.fixture
def make_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Return a maker of embedded servers whose model follows a script; they are stopped."""
    servers: list[ScriptedServer] = []

    def make(script: Script = (), **options: object) -> ScriptedServer:
        server = ScriptedServer(script, **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def local() -> Iterator[gpt.LocalService]:
    """Return the default service over a server in memory."""
    service = gpt.LocalService(":memory:")
    yield service
    service.close()


@pytest.fixture
def make_stub() -> Iterator[Callable[[Answerer], StubServer]]:
    """Return a maker of stub servers; they are stopped."""
    stubs: list[StubServer] = []

    def make(answer: Answerer) -> StubServer:
        stub = StubServer(answer)
        stubs.append(stub)
        return stub

    yield make
    for stub in stubs:
        stub.stop()


@pytest.fixture
def make_plain() -> Iterator[Callable[[Speak], PlainServer]]:
    """Return a maker of plain servers; they are stopped."""
    servers: list[PlainServer] = []

    def make(speak: Speak) -> PlainServer:
        servers.append(PlainServer(speak))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Return a base URL that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
