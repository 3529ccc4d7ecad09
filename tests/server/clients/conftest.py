"""Fixtures of the tests of other people's clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.clients.demo import DemoServer

LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0")  # noqa: S104
"""The names of this host; waitress asks for the last one, whatever it listens on."""

TELEMETRY = {
    "AZURE_TRACING_ENABLED": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}

LEADS_AWAY = ("OPENAI_", "AZURE_", "LANGCHAIN_", "LANGSMITH_", "LITELLM_")
"""What variables begin with that clients read for where to go, and as whom."""

PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep from clients what this process's environment says, and have them tell nobody."""
    for name in list(os.environ):
        if name.startswith(LEADS_AWAY) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    for name, value in TELEMETRY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections to other hosts, and see that none was tried."""
    tried: list[str] = []

    def guard(call: Callable[..., Any], host_of: Callable[..., object]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            host = host_of(*arguments)
            if isinstance(host, bytes):
                host = host.decode()
            if isinstance(host, str) and host not in LOOPBACK:
                tried.append(host)
                raise ConnectionRefusedError(f"not loopback: {host}")
            return call(*arguments, **options)

        return guarded

    def host_of_peer(_: socket.socket, address: Any) -> object:
        return address[0] if isinstance(address, tuple) else None

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guard(getattr(socket.socket, name), host_of_peer))
    monkeypatch.setattr(
        socket, "getaddrinfo", guard(socket.getaddrinfo, lambda host, *_others: host)
    )
    yield
    assert tried == []


@pytest.fixture
def demo() -> Iterator[DemoServer]:
    """Return a server whose demo model keeps what it was asked."""
    server = DemoServer()
    yield server
    server.stop()


@pytest.fixture
def cities() -> list[str]:
    """Return the cities of which ``get_weather`` was asked."""
    return []


@pytest.fixture
def get_weather(cities: list[str]) -> Callable[[str], str]:
    """Return a tool that keeps what it was asked."""

    def get_weather(city: str) -> str:
        """Tell the weather.

        :param city: The city.
        """
        cities.append(city)
        return f"sunny in {city}"

    return get_weather
