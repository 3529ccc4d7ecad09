"""Fixtures of the server's tests: servers that follow steps, and clients of either wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import Finish, TextDelta, ToolCall
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.testing import Reply
from tests.support.chunk_model import ChunkModel
from tests.support.scripted_model import ScriptedModel
from tests.support.server_setup import (
    MakeOpenAISetup,
    MakeResponseSetup,
    MakeRunSetup,
    MakeServer,
    MakeStreamSetup,
    OpenAISetup,
    ResponseSetup,
    RunSetup,
    ScriptedStreamSetup,
    make_setups,
)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Yield threads for what a test does meanwhile."""
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Yield an engine in memory, without a server, whose model's first answer is empty."""
    engine = Engine(Storage(":memory:"), [ScriptedModel([Reply()])])
    yield engine
    engine.close()


@pytest.fixture
def run_setup(make_server: MakeServer) -> Iterator[MakeRunSetup]:
    """Yield a maker of scripted servers with a client of the Assistants wire."""
    yield from make_setups(RunSetup, make_server)


@pytest.fixture
def response_setup(make_server: MakeServer) -> Iterator[MakeResponseSetup]:
    """Yield a maker of scripted servers with a client of the Responses wire."""
    yield from make_setups(ResponseSetup, make_server)


@pytest.fixture
def openai_setup(make_server: MakeServer) -> Iterator[MakeOpenAISetup]:
    """Yield a maker of scripted servers with OpenAI's client."""
    yield from make_setups(OpenAISetup, make_server)


@pytest.fixture
def stream_setup() -> Iterator[MakeStreamSetup]:
    """Yield a maker of scripted servers with a client that reads streams; they are stopped."""
    setups: list[ScriptedStreamSetup] = []

    def make(*steps: Any, **options: Any) -> ScriptedStreamSetup:
        setups.append(ScriptedStreamSetup(*steps, **options))
        return setups[-1]

    yield make
    for setup in setups:
        setup.release()
        setup.hang_up()
        setup.stop()


@pytest.fixture
def connect(make_server: MakeServer) -> Iterator[Callable[..., openai.OpenAI]]:
    """Yield a maker of OpenAI clients of servers that follow steps."""
    clients: list[openai.OpenAI] = []

    def make(*steps: Any) -> openai.OpenAI:
        server = make_server(steps)
        clients.append(openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def mixed_client() -> Iterator[openai.OpenAI]:
    """Yield OpenAI's client of a server whose model says something and then calls a tool twice."""
    model = ChunkModel(
        TextDelta("Let me "),
        TextDelta("see."),
        ToolCall("add", '{"a": 1}'),
        ToolCall("add", '{"a": 2}'),
        Finish(prompt_tokens=1, completion_tokens=2),
    )
    server = EmbeddedServer(make_engine(":memory:", models=[model]))
    with openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0) as client:
        yield client
    server.stop()
