"""Services to work over: one without HTTP, and each wire, streamed and polled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services.assistants import AssistantsService
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.testing import EventRecorder, ScriptedService
from gpt_agent_sync.testing.script import Script
from tests.support.scripted_model import ScriptedServer

WIRES: dict[str, type[AssistantsService | ResponsesService]] = {
    "assistants": AssistantsService,
    "responses": ResponsesService,
}

MakeService = Callable[[Script], Service]


@pytest.fixture
def recorder() -> EventRecorder:
    """Return a recorder of events."""
    return EventRecorder()


@pytest.fixture(
    params=["scripted", "assistants", "assistants-polled", "responses", "responses-polled"]
)
def make_service(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]
) -> Iterator[MakeService]:
    """Return a maker of services that follow a script: one without HTTP, and two over each wire.

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
