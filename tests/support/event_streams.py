"""Server-sent events as servers of both wires spell them, for stub servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.support.responses_stub import called, said

RUN_LOOK = "GET /threads/t/runs/r"
RUN_START = "POST /threads/t/runs"
RUN_SUBMIT = "POST /threads/t/runs/r/submit_tool_outputs"
RUN_MESSAGES = "GET /threads/t/messages"


def event(name: str, data: Mapping[str, Any] | str) -> bytes:
    """Spell an event; without a name it has only data."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def run(status: str, name: str | None = None, **facts: Any) -> bytes:
    """Tell of a run of the Assistants wire."""
    data = {"id": "r", "object": "thread.run", "status": status, **facts}
    return event(f"thread.run.{status}" if name is None else name, data)


def waiting(*call_ids: str) -> dict[str, Any]:
    """Give what a run has that waits for outputs."""
    calls = [{"id": call_id, "function": {"name": "go", "arguments": "{}"}} for call_id in call_ids]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return {"id": "r", "status": "requires_action", "required_action": action}


def waits(*call_ids: str) -> bytes:
    """Tell of a run that waits for outputs."""
    return event("thread.run.requires_action", waiting(*call_ids))


def message(text: str, message_id: str = "m1") -> dict[str, Any]:
    """Give an assistant's message of the Assistants wire."""
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return {
        "id": message_id,
        "object": "thread.message",
        "status": "completed",
        "role": "assistant",
        "run_id": "r",
        "content": content,
    }


def wrote(text: str, message_id: str = "m1", *, name: str = "thread.message.delta") -> bytes:
    """Tell of a piece of text."""
    part = {"index": 0, "type": "text", "text": {"value": text}}
    delta = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
    return event(name, delta)


def finished(text: str, message_id: str = "m1", *, name: str = "thread.message.completed") -> bytes:
    """Tell of a finished message."""
    return event(name, message(text, message_id))


DONE = event("done", "[DONE]")


class Told:
    """Spell the events of a response, numbered.

    Args:
        response_id: The response.
        first: The number of the first event.
    """

    def __init__(self, response_id: str = "resp_1", first: int = 0) -> None:
        self._id = response_id
        self._numbers = itertools.count(first)

    def event(self, kind: str, **data: Any) -> bytes:
        """Spell an event."""
        return event(kind, {"type": kind, "sequence_number": next(self._numbers), **data})

    def response(self, status: str, *output: Mapping[str, Any], **facts: Any) -> bytes:
        """Tell of the response."""
        shown = {"id": self._id, "status": status, "output": list(output), **facts}
        name = "created" if status == "queued" else status
        return self.event(f"response.{name}", response=shown)

    def wrote(self, text: str, item_id: str = "msg_1") -> bytes:
        """Tell of a piece of text."""
        return self.event("response.output_text.delta", item_id=item_id, delta=text)

    def completed(self, text: str) -> bytes:
        """Tell of its end, with a message."""
        return self.response("completed", said(text))

    def calls(self, *call_ids: str) -> bytes:
        """Tell of its end, with calls."""
        return self.response("completed", *called(*call_ids))
