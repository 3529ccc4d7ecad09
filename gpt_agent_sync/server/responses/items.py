"""The items of conversations: created from a model's output, and checked against each other."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_sync.server.bodies import Json
from gpt_agent_sync.server.responses.errors import (
    duplicate_item,
    no_tool_call,
    no_tool_output,
)
from gpt_agent_sync.server.storage.collection import Object, new_id


def copied(item: Object) -> Object:
    """Return an item once more, with a new id."""
    return {**item, "id": new_id(item["id"].partition("_")[0])}


def output_text(text: str, annotations: Sequence[Json] = ()) -> Json:
    """Return a text part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def reply(text: str, status: str) -> Object:
    """Return the item of an assistant's message."""
    return {
        "id": new_id("msg"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [output_text(text)],
    }


def call(name: str, arguments: str) -> Object:
    """Return the item of a function call."""
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": "completed",
        "call_id": new_id("call"),
        "name": name,
        "arguments": arguments,
    }


def check_calls(history: Sequence[Object], added: Sequence[Object]) -> None:
    """Check that every call has its output, and every output a call that waits for it.

    Args:
        history: The items there are.
        added: The items that come after them.

    Raises:
        WireError: If not.
    """
    # A dict for its order: the refusal names the call that has waited longest.
    waiting: dict[str, None] = {}
    for index, item in enumerate((*history, *added)):
        if item["type"] == "function_call":
            waiting[item["call_id"]] = None
        elif item["type"] == "function_call_output":
            # What clients have added to the conversation before is theirs to judge.
            if item["call_id"] not in waiting and index >= len(history):
                raise no_tool_call(item["call_id"])
            waiting.pop(item["call_id"], None)
    for call_id in waiting:
        raise no_tool_output(call_id)


def check_new(history: Sequence[Object], given: str | Sequence[Json] | None) -> None:
    """Check that no item comes twice.

    Raises:
        WireError: If one has the id of an item that is there.
    """
    # Items of requests get new ids, so that only those that clients read before are known here.
    known = {item["id"] for item in history}
    for item in () if given is None or isinstance(given, str) else given:
        item_id = item.get("id")
        if isinstance(item_id, str) and item_id in known:
            raise duplicate_item(item_id)
