"""Many agents at once."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.testing import CallTools, EventRecorder, Reply, ScriptedService, ScriptStep
from tests.support.scripted_model import ScriptedServer
from tests.support.talk import PATIENCE

AGENTS = 200

TURN = [
    "UserMessageAdded",
    "RunStarted",
    "ToolCallRequested",
    "ToolCallRequested",
    "ToolCallOutputRecorded",
    "ToolCallOutputRecorded",
    "RunCompleted",
    "AssistantMessageAdded",
    "AgentStopped",
]


def script(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Ask for two tools, and then tell what they gave."""
    if not outputs:
        return CallTools(("double", {"text": text}), ("shout", {"text": text}))
    return Reply(f"{outputs['double']} {outputs['shout']}")


def is_text(event: gpt.Event) -> bool:
    """Tell a piece of text, of which there are as many as the service makes."""
    return isinstance(event, gpt.AssistantMessageDelta)


@pytest.mark.timeout(170)
@pytest.mark.parametrize("over", ["scripted", "assistants"])
def test_two_hundred_agents_at_once(over: str, make_server: Callable[..., ScriptedServer]) -> None:
    """Each event of each of 200 agents comes once, in order, on that agent's one worker."""

    @gpt.tool
    def double(text: str) -> str:
        """Double."""
        return text * 2

    @gpt.tool
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    service: Service = ScriptedService(script)
    if over == "assistants":
        service = gpt.AssistantsService(make_server(script).base_url, "key", timeout=60)
    assistant_id = gpt.create_assistant(model="any", service=service)
    recorder = EventRecorder()
    agents = [
        gpt.connect(
            gpt.create_thread(service=service), assistant_id, service=service, on_event=recorder
        )
        for _ in range(AGENTS)
    ]
    for number, agent in enumerate(agents):
        agent.add_user_message(f"n{number}")
    for agent in agents:
        agent.wait(PATIENCE * 6)
    gpt.shutdown_all(PATIENCE)

    events, threads = defaultdict(list), defaultdict(set)
    for event, thread in zip(recorder.events, recorder.threads, strict=True):
        events[event.thread_id].append(event)
        threads[event.thread_id].add(thread)
    assert len(events) == AGENTS
    for number, agent in enumerate(agents):
        told = [event for event in events[agent.thread_id] if not is_text(event)]
        assert [type(event).__name__ for event in told] == TURN
        assert threads[agent.thread_id] == {f"gpt-agent-{agent.thread_id}"}
        reply = told[-2]
        assert isinstance(reply, gpt.AssistantMessageAdded)
        assert reply.content == f"n{number}n{number} N{number}"
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("gpt-agent-")]
    assert [name for name in left if not name.startswith("gpt-agent-server")] == []
    service.close()
