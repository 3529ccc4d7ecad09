"""Calls of tools that were not offered."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.models.offered import MOST_ANSWERS, OfferedOnly

ADD: ChatObject = {"type": "function", "function": {"name": "add"}}


class Replies(Model):
    """A model that gives one reply after the other, the last one for ever.

    Args:
        replies: The replies.
    """

    def __init__(self, *replies: list[ModelChunk]) -> None:
        self._replies = list(replies)
        self.requests: list[ModelRequest] = []

    def serves(self, name: str) -> bool:
        """Return ``True``."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the next reply."""
        self.requests.append(request)
        yield from self._replies[min(len(self.requests), len(self._replies)) - 1]


def ask(model: Model, *tools: ChatObject) -> list[ModelChunk]:
    """Return a model's reply to one message."""
    messages = ({"role": "user", "content": "hi"},)
    return list(OfferedOnly(model).reply(ModelRequest(model="m", messages=messages, tools=tools)))


def test_offered_calls_are_passed_on() -> None:
    """Text and calls of offered tools stay as they are."""
    chunks: list[ModelChunk] = [TextDelta("wait"), ToolCall("add", "{}"), Finish("stop", 3, 2)]
    assert ask(Replies(chunks), ADD) == chunks


def test_unknown_call_is_answered_to_the_model() -> None:
    """A call of a tool that was not offered is told to the model, which then answers otherwise."""
    model = Replies(
        [TextDelta("so "), ToolCall("subtract", '{"a": 1}'), Finish("stop", 3, 2)],
        [TextDelta("done"), Finish("stop", 5, 4)],
    )
    assert ask(model, ADD) == [TextDelta("so "), TextDelta("done"), Finish("stop", 8, 6)]
    asked, told = model.requests[1].messages[1:]
    assert (asked["content"], asked["tool_calls"][0]["function"]["name"]) == ("so ", "subtract")
    assert told["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert json.loads(told["content"]) == {
        "error": "there is no tool 'subtract': the tools are add"
    }


def test_model_without_tools_is_told_so() -> None:
    """A model that calls tools though it has none is told that there are none."""
    model = Replies([ToolCall("add", "{}"), Finish()], [TextDelta("done"), Finish()])
    assert ask(model) == [TextDelta("done"), Finish()]
    assert "there are no tools" in model.requests[1].messages[-1]["content"]


def test_unknown_calls_beside_offered_ones_are_left_out() -> None:
    """A client is asked for the calls that it can answer."""
    model = Replies([ToolCall("subtract", "{}"), ToolCall("add", "{}"), Finish()])
    assert ask(model, ADD) == [ToolCall("add", "{}"), Finish()]


def test_model_that_learns_nothing() -> None:
    """A model that calls such tools for ever fails the reply."""
    model = Replies([ToolCall("subtract", "{}"), Finish()])
    with pytest.raises(ModelError, match="not offered") as caught:
        ask(model, ADD)
    assert caught.value.code == "server_error"
    assert len(model.requests) == MOST_ANSWERS + 1


def test_reply_that_is_cut_short() -> None:
    """A reply that met its limit is not asked for again."""
    end = Finish("max_completion_tokens")
    assert ask(Replies([ToolCall("subtract", "{}"), end]), ADD) == [end]
