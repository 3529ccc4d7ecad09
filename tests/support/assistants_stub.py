"""Objects of Assistants v2 as stub servers answer with them, with as little in them as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpt_agent_sync.services.assistants.service import AssistantsService
from tests.support.stub import StubServer

RUN_POLL = "GET /threads/t/runs/r"
RUN_START = "POST /threads/t/runs"
RUN_SUBMIT = "POST /threads/t/runs/r/submit_tool_outputs"
RUN_MESSAGES = "GET /threads/t/messages"

ServeAssistants = Callable[..., tuple[AssistantsService, StubServer]]


def run(status: str, run_id: str = "r", **fields: Any) -> dict[str, Any]:
    """Return a run object."""
    return {"id": run_id, "status": status, **fields}


def waiting(*call_ids: str) -> dict[str, Any]:
    """Return a run that waits for outputs."""
    calls = [
        {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}
        for call_id in call_ids
    ]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return run("requires_action", required_action=action)


def message(message_id: str, text: str, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    """Return a message object."""
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return {"id": message_id, "role": role, "content": content, **fields}
