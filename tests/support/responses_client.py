"""A bare client of the Responses wire, for tests of what a server answers."""

from __future__ import annotations

from typing import Any

from tests.support.polling import wait_for
from tests.support.wire_client import Json, WireClient

LIVE = frozenset({"queued", "in_progress"})
"""The statuses of a response that are not final."""


class ResponsesClient(WireClient):
    """A bare client of the Responses wire, and of the other wire beside it.

    Args:
        base_url: The server's URL, below which the wires lie.
        api_key: The bearer key, if it wants one.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        super().__init__(base_url, api_key)
        del self._session.headers["OpenAI-Beta"]

    def conversation(self, *items: Json) -> str:
        """Create a conversation of items and return its id."""
        return str(self.post("/conversations", {"items": list(items)})["id"])

    def respond(self, **fields: Any) -> Json:
        """Create a response, and return it as it is answered."""
        return self.post("/responses", {"model": "any", "input": "hi", **fields})

    def start_background(self, conversation_id: str, **fields: Any) -> str:
        """Create a background response in a conversation, and return its id."""
        response = self.respond(conversation=conversation_id, background=True, **fields)
        return str(response["id"])

    def response(self, response_id: str) -> Json:
        """Return a response as it is now."""
        return self.get(f"/responses/{response_id}")

    def final(self, response_id: str) -> Json:
        """Wait until a response is final, and return it."""
        return wait_for(
            lambda: self.response(response_id), lambda response: response["status"] not in LIVE
        )

    def cancel(self, response_id: str) -> Json:
        """Cancel a response, and return it as it is answered."""
        return self.post(f"/responses/{response_id}/cancel")

    def refused(self, **fields: Any) -> tuple[int, Json]:
        """Ask for a response that must be refused, and return the status and the error."""
        body = {"model": "any", "input": "hi", **fields}
        given = {name: value for name, value in body.items() if value is not None}
        return self.refusal("POST", "/responses", json=given)

    def items(self, conversation_id: str) -> list[Json]:
        """Return the items of a conversation, oldest first."""
        found = self.get(f"/conversations/{conversation_id}/items", order="asc", limit=100)
        return list(found["data"])

    def item_texts(self, conversation_id: str) -> list[str]:
        """Return the texts of messages, and the types of other items, oldest first."""
        return [text_of(item) for item in self.items(conversation_id)]


def text_of(item: Json) -> str:
    """Return the text of a message, and the type of any other item."""
    kind = str(item["type"])
    return str(item["content"][0]["text"]) if kind == "message" else kind


def message(text: str, role: str = "user") -> Json:
    """Return a message as requests have it."""
    return {"role": role, "content": text}


def user_message(*parts: Json) -> Json:
    """Return a user's message of parts, as requests have it."""
    return {"role": "user", "content": list(parts)}


def assistant_message(*parts: Json) -> Json:
    """Return an assistant's message of parts, as requests have it."""
    return {"role": "assistant", "content": list(parts)}


def call(call_id: str = "call_a", name: str = "add", arguments: str = "{}") -> Json:
    """Return a function call as requests have it."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str = "call_a", said: Any = "1") -> Json:
    """Return the output of a function call as requests have it."""
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def outputs_of(response: Json, *said: str) -> list[Json]:
    """Return outputs for the calls of a response, in their order."""
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    return [output(call["call_id"], text) for call, text in zip(calls, said, strict=True)]
