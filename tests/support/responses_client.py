"""A bare client of the Responses wire, for tests of what a server answers."""

from __future__ import annotations

from typing import Any

from tests.support.polling import wait_for
from tests.support.wire_client import Json, WireClient

LIVE = frozenset({"queued", "in_progress"})
"""The statuses in which a response is not over."""


class ResponsesClient(WireClient):
    """Speak the Responses wire to one server, beside the other wire.

    Args:
        base_url: Where the wires begin.
        api_key: The bearer key, if it wants one.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        super().__init__(base_url, api_key)
        del self._session.headers["OpenAI-Beta"]

    def conversation(self, *items: Json) -> str:
        """Make a conversation of items and give its id."""
        return str(self.post("/conversations", {"items": list(items)})["id"])

    def respond(self, **fields: Any) -> Json:
        """Have a response made, and give it as it is answered."""
        return self.post("/responses", {"model": "any", "input": "hi", **fields})

    def start_background(self, conversation_id: str, **fields: Any) -> str:
        """Have a response made for a conversation in the background, and give its id."""
        response = self.respond(conversation=conversation_id, background=True, **fields)
        return str(response["id"])

    def response(self, response_id: str) -> Json:
        """Give a response as it is now."""
        return self.get(f"/responses/{response_id}")

    def final(self, response_id: str) -> Json:
        """Wait until a response is over, and give it."""
        return wait_for(
            lambda: self.response(response_id), lambda response: response["status"] not in LIVE
        )

    def cancel(self, response_id: str) -> Json:
        """Cancel a response, and give it as it is answered."""
        return self.post(f"/responses/{response_id}/cancel")

    def refused(self, **fields: Any) -> tuple[int, Json]:
        """Ask for a response that must be refused, and give the status and the error."""
        body = {"model": "any", "input": "hi", **fields}
        given = {name: value for name, value in body.items() if value is not None}
        return self.refusal("POST", "/responses", json=given)

    def items(self, conversation_id: str) -> list[Json]:
        """Give the items of a conversation, oldest first."""
        found = self.get(f"/conversations/{conversation_id}/items", order="asc", limit=100)
        return list(found["data"])

    def item_texts(self, conversation_id: str) -> list[str]:
        """Give the texts of a conversation's messages, oldest first, and the kinds of the rest."""
        return [text_of(item) for item in self.items(conversation_id)]


def text_of(item: Json) -> str:
    """Give the text of a message, and the kind of any other item."""
    kind = str(item["type"])
    return str(item["content"][0]["text"]) if kind == "message" else kind


def message(text: str, role: str = "user") -> Json:
    """Give a message as requests spell it."""
    return {"role": role, "content": text}


def call(call_id: str = "call_a", name: str = "add", arguments: str = "{}") -> Json:
    """Give a function call as requests spell it."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str = "call_a", said: Any = "1") -> Json:
    """Give the output of a function call as requests spell it."""
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def outputs_of(response: Json, *said: str) -> list[Json]:
    """Give outputs for the calls of a response, in their order."""
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    return [output(call["call_id"], text) for call, text in zip(calls, said, strict=True)]
