"""Server-sent events as servers of both wires write them, for stub servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.support import assistants_stub
from tests.support.responses_stub import said


def event(name: str, data: Mapping[str, Any] | str) -> bytes:
    """Write an event; without a name it has only data."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def run(status: str, name: str | None = None, **fields: Any) -> bytes:
    """Write the event of a run of the Assistants wire."""
    data = assistants_stub.run(status, object="thread.run", **fields)
    return event(f"thread.run.{status}" if name is None else name, data)


def waits(*call_ids: str) -> bytes:
    """Write the event of a run that waits for outputs."""
    return event("thread.run.requires_action", assistants_stub.waiting(*call_ids))


def message(text: str, message_id: str = "m1") -> dict[str, Any]:
    """Return an assistant's message of the Assistants wire, as events and lists hold it."""
    fields = {"object": "thread.message", "status": "completed", "run_id": "r"}
    return assistants_stub.message(message_id, text, **fields)


def delta(text: str, message_id: str = "m1", *, name: str = "thread.message.delta") -> bytes:
    """Write the event of a delta of text."""
    part = {"index": 0, "type": "text", "text": {"value": text}}
    data = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
    return event(name, data)


def finished(text: str, message_id: str = "m1", *, name: str = "thread.message.completed") -> bytes:
    """Write the event of a finished message."""
    return event(name, message(text, message_id))


DONE = event("done", "[DONE]")


class ResponseEvents:
    """The events of a response, numbered.

    Args:
        response_id: The response.
    """

    def __init__(self, response_id: str = "resp_1") -> None:
        self._id = response_id
        self._numbers = itertools.count()

    def event(self, kind: str, **data: Any) -> bytes:
        """Write an event."""
        return event(kind, {"type": kind, "sequence_number": next(self._numbers), **data})

    def response(self, status: str, *output: Mapping[str, Any], **fields: Any) -> bytes:
        """Write the event of the response in a status."""
        shown = {"id": self._id, "status": status, "output": list(output), **fields}
        name = "created" if status == "queued" else status
        return self.event(f"response.{name}", response=shown)

    def delta(self, text: str, item_id: str = "msg_1") -> bytes:
        """Write the event of a delta of text."""
        return self.event("response.output_text.delta", item_id=item_id, delta=text)

    def completed(self, text: str) -> bytes:
        """Write the event of its end, with a message."""
        return self.response("completed", said(text))
