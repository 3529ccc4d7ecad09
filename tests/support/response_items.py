"""Items and usage of the Responses wire, as its tests read them."""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.records import ToolCall, Usage
from gpt_agent_sync.services.responses.turns import ConversationTurn
from tests.support import responses_stub

Item = dict[str, Any]

TEXT, IMAGE = {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "x"}


def user(text: str = "hello", item_id: str = "u") -> Item:
    """Return the item of a user's message."""
    return responses_stub.said(text, item_id, "user")


def said(text: str = "hi", item_id: str = "m") -> Item:
    """Return the item of an assistant's message."""
    return responses_stub.said(text, item_id)


def call(call_id: str = "c") -> Item:
    """Return the item of a function call."""
    (item,) = responses_stub.called(call_id)
    return item


def output(call_id: str = "c") -> Item:
    """Return the item of an output."""
    return responses_stub.gave(call_id)


def add(call_id: str = "c") -> ToolCall:
    """Return the call that the item of its id is read as."""
    return ToolCall(id=call_id, name="add", arguments="{}")


def make_turn(*items: Item) -> ConversationTurn:
    """Return a turn of items, oldest first."""
    return ConversationTurn(items=items)


def usage(number: int) -> Usage:
    """Return the usage of so many tokens each way."""
    return Usage(input_tokens=number, output_tokens=number, total_tokens=2 * number)
