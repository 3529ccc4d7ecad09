"""Fixtures of the Responses wire's tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Hold, Reply
from tests.support.polling import wait_for
from tests.support.responses_client import ResponsesClient
from tests.support.scripted_model import ScriptedServer
from tests.support.server_setup import (
    MakeForeground,
    MakeResponseSetup,
    ResponseSetup,
    stored_ids,
)
from tests.support.wire_client import Json


@pytest.fixture(scope="module")
def wire() -> Iterator[ResponsesClient]:
    """Yield a client of a server that always says ok, one for all tests of a module."""
    server = ScriptedServer()
    client = ResponsesClient(server.base_url)
    yield client
    client.close()
    server.stop()


@pytest.fixture
def foreground(
    executor: ThreadPoolExecutor, response_setup: MakeResponseSetup, tmp_path: Path
) -> Iterator[MakeForeground]:
    """Yield a maker of foreground responses in progress: setup, id, and the answer to come."""
    clients: list[ResponsesClient] = []

    def make(**fields: Any) -> tuple[ResponseSetup, str, Future[Json]]:
        setup = response_setup(Hold(Reply("hello")), location=str(tmp_path / "a.db"))
        client = ResponsesClient(setup.server.base_url)
        clients.append(client)
        answer = executor.submit(client.respond, **fields)
        wait_for(lambda: setup.model.requests, bool)
        (response_id,) = stored_ids(tmp_path / "a.db", "responses")
        return setup, response_id, answer

    yield make
    for client in clients:
        client.close()
