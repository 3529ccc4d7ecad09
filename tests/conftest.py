"""Fixtures of all tests: a clean process before and after each, and services to work over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import configuration
from gpt_agent_sync.services import choosing
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.settings import SETTING_VARIABLES
from gpt_agent_sync.testing import EventRecorder, ScriptedService
from gpt_agent_sync.testing.script import Script
from gpt_agent_sync.tools.toolbox import default_toolbox
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Answerer, StubServer

pytest_plugins = ["tests.support.tls"]

ENVIRONMENT = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

WIRES: dict[str, type[AssistantsService | ResponsesService]] = {
    "assistants": AssistantsService,
    "responses": ResponsesService,
}

MakeService = Callable[[Script], Service]


@pytest.fixture(autouse=True)
def clean_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Begin with quick defaults and no environment; leave no agent, tool or worker behind."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in SETTING_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
    configuration.reset()
    choosing.reset()
    gpt.configure(heartbeat_interval=0.05, http_retries=2, connect_timeout=2.0, read_timeout=10.0)
    yield
    gpt.shutdown_all(10)
    default_toolbox.clear()
    configuration.reset()
    choosing.reset()
    left = [thread.name for thread in threading.enumerate() if _is_ours(thread)]
    assert not left


def _is_ours(thread: threading.Thread) -> bool:
    name = thread.name
    return name.startswith("gpt-agent-") and not name.startswith("gpt-agent-server")


@pytest.fixture
def recorder() -> EventRecorder:
    """Give a recorder of events."""
    return EventRecorder()


@pytest.fixture
def make_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Give a maker of embedded servers whose model follows a script; they are stopped."""
    servers: list[ScriptedServer] = []

    def make(script: Script = (), **options: object) -> ScriptedServer:
        server = ScriptedServer(script, **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def polled() -> None:
    """Have agents look at their runs, and take no streams."""
    gpt.configure(streaming=False)


@pytest.fixture(
    params=["scripted", "assistants", "assistants-polled", "responses", "responses-polled"]
)
def make_service(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]
) -> Iterator[MakeService]:
    """Give a maker of services that follow a script: one without HTTP, and two over each wire.

    One of the two streams, and one is looked at.
    """
    made: list[Service] = []
    wire, _, polled = str(request.param).partition("-")
    gpt.configure(streaming=not polled)

    def make(script: Script = ()) -> Service:
        service: Service
        if wire == "scripted":
            service = ScriptedService(script)
        else:
            service = WIRES[wire](make_server(script).base_url, "key")
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


@pytest.fixture
def local() -> Iterator[gpt.LocalService]:
    """Give the default service over a server in memory."""
    service = gpt.LocalService(":memory:")
    yield service
    service.close()


@pytest.fixture
def make_stub() -> Iterator[Callable[[Answerer], StubServer]]:
    """Give a maker of stub servers; they are stopped."""
    stubs: list[StubServer] = []

    def make(answer: Answerer) -> StubServer:
        stub = StubServer(answer)
        stubs.append(stub)
        return stub

    yield make
    for stub in stubs:
        stub.stop()
