"""Fixtures of the tests of services: stub servers of both wires."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.http import repeats
from gpt_agent_sync.services.responses import (
    ResponsesService,
    creation,
    submitting,
    tracking,
)
from tests.support.assistants_stub import ServeAssistants
from tests.support.responses_stub import QUIET, Serve
from tests.support.stub import Answerer, StubServer, table


@pytest.fixture
def serve_assistants(make_stub: Callable[[Answerer], StubServer]) -> ServeAssistants:
    """Return a maker of a service over a stub that answers by a table."""

    def make(
        answers: Mapping[str, Any] | Answerer, **options: Any
    ) -> tuple[AssistantsService, StubServer]:
        stub = make_stub(answers if callable(answers) else table(answers))
        # Stubs answer for servers that know nothing of messages with runs, unless a test says so.
        options = {"additional_messages": False, **options}
        return AssistantsService(stub.base_url, "sk-secret", **options), stub

    return make


@pytest.fixture
def serve_responses(
    make_stub: Callable[[Answerer], StubServer], monkeypatch: pytest.MonkeyPatch
) -> Serve:
    """Return a maker of a service over a stub that answers by a table, else as ``QUIET`` does."""
    # Stubs answer for OpenAI, which locks conversations, unless a test says so.
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ("127.0.0.1",))

    def make(
        answers: Mapping[str, Any] | Answerer, **options: Any
    ) -> tuple[ResponsesService, StubServer]:
        stub = make_stub(answers if callable(answers) else table({**QUIET, **answers}))
        return ResponsesService(stub.base_url, "sk-secret", **options), stub

    return make


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of requests, so that no test waits long for what comes at once."""
    monkeypatch.setattr(repeats, "FIRST_BACKOFF", 0.02)
    monkeypatch.setattr(creation, "SHORTEST_LOCK_PAUSE", 0.01)
    monkeypatch.setattr(creation, "LONGEST_LOCK_PAUSE", 0.02)
    monkeypatch.setattr(submitting, "ITEMS_DELAY_PAUSE", 0.01)
    monkeypatch.setattr(tracking, "ITEMS_DELAY_PAUSE", 0.01)
    monkeypatch.setattr(tracking, "ITEMS_DELAY", 0.1)
    monkeypatch.setattr(tracking, "NOTE_DELAY", 0.1)
    monkeypatch.setattr(tracking, "NOTE_DELAY_PAUSE", 0.01)
