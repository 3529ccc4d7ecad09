"""Conversations that are too long for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import (
    ChatObject,
    ContextLengthError,
    Finish,
    Model,
    ModelChunk,
    ModelRequest,
    TextDelta,
)
from gpt_agent_sync.server.models.shortening import Shortening, shortened
from tests.support.responses_client import ResponsesClient
from tests.support.stub import Answerer, Request, Response, StubServer
from tests.support.wire_client import Json

MakeStub = Callable[[Answerer], StubServer]

HELLO: list[ModelChunk] = [TextDelta("hello"), Finish()]


def said(*words: str) -> tuple[ChatObject, ...]:
    """Return messages: ``s`` is the system's, ``u`` a user's, ``c`` calls a tool, ``t`` answers."""
    roles = {"s": "system", "u": "user", "a": "assistant", "c": "assistant", "t": "tool"}
    return tuple({"role": roles[word[0]], "content": word} for word in words)


def words(messages: tuple[ChatObject, ...] | None) -> str | None:
    """Return messages as their words."""
    return None if messages is None else " ".join(each["content"] for each in messages)


class Short(Model):
    """A model with a context of so many messages.

    Args:
        most: How many it takes.
        first: What it says before it notices.
    """

    def __init__(self, most: int, *first: ModelChunk) -> None:
        self._most = most
        self._first = first
        self.asked: list[int] = []

    def serves(self, name: str) -> bool:
        """Return whether it is its name."""
        return name == "short"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield a reply to what is not too long."""
        self.asked.append(len(request.messages))
        yield from self._first
        if len(request.messages) > self._most:
            raise ContextLengthError("invalid_prompt", "too long")
        yield from HELLO


def ask(model: Model, *messages: str, may_shorten: bool = True) -> list[ModelChunk]:
    """Return the reply to some messages."""
    request = ModelRequest(model="m", messages=said(*messages), may_shorten=may_shorten)
    return list(Shortening(model).reply(request))


@pytest.mark.parametrize(
    "messages, left",
    [
        ("u1 a1 u2", "a1 u2"),
        ("u1 a1 u2 a2 u3 a3 u4", "u2 a2 u3 a3 u4"),
        ("s u1 a1 u2", "s a1 u2"),
        ("u1 c1 t1 t2 a1 u2", "c1 t1 t2 a1 u2"),
        ("c1 t1 t2 a1 u2", "a1 u2"),
        ("s u1 c1 t1", None),
        ("u1", None),
        ("s", None),
        ("s a1 a2", None),
        ("", None),
    ],
)
def test_shortened(messages: str, left: str | None) -> None:
    """The oldest go; instructions, the newest message of the user's and what follows it stay."""
    assert words(shortened(said(*messages.split()))) == left


def test_shortening_comes_to_an_end() -> None:
    """However many there are, what has to stay is left after not so many steps."""
    messages, steps = said("s", *["u", "a"] * 5000, "u", "c", "t"), 0
    while (shorter := shortened(messages)) is not None:
        messages, steps = shorter, steps + 1
    assert (words(messages), steps < 30) == ("s u c t", True)


def test_what_fits_is_asked_once() -> None:
    """A conversation that is not too long goes to the model as it is."""
    model = Short(9)
    assert (ask(model, "u1", "a1", "u2"), model.asked) == (HELLO, [3])


def test_what_is_too_long_is_shortened() -> None:
    """A conversation that is too long is asked with less and less, until it fits."""
    model = Short(3)
    assert ask(model, *["u", "a"] * 4, "u") == HELLO
    assert model.asked == [9, 7, 5, 4, 3]


@pytest.mark.parametrize(
    "model, messages, may_shorten",
    [
        (Short(2), ["u1", "a1", "u2"], False),
        (Short(0), ["u1", "a1", "u2"], True),
        (Short(2, TextDelta("well, ")), ["u1", "a1", "u2"], True),
    ],
    ids=["not allowed", "nothing left", "begun"],
)
def test_what_stays_too_long(model: Model, messages: list[str], may_shorten: bool) -> None:
    """Where nothing may be left out, or text was told already, the model's error is told."""
    with pytest.raises(ContextLengthError, match="too long"):
        ask(model, *messages, may_shorten=may_shorten)


def test_names_are_the_models() -> None:
    """It serves what the model behind it does."""
    assert [Shortening(Short(1)).serves(name) for name in ("short", "x")] == [True, False]


MOST = 4
TOO_LONG = {"error": {"message": "This model's maximum context length is 4 messages."}}
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "hello"}}], "usage": None}


@pytest.fixture
def wire(make_stub: MakeStub) -> Iterator[ResponsesClient]:
    """Yield a client of a server whose upstream takes four messages."""

    def answer(request: Request) -> Response:
        is_too_long = len(request.body["messages"]) > MOST
        return Response(TOO_LONG, status=400) if is_too_long else Response(ANSWER)

    server = EmbeddedServer(make_engine(":memory:", upstream=make_stub(answer).base_url))
    client = ResponsesClient(server.base_url)
    yield client
    client.close()
    server.stop()


def history(count: int) -> list[Json]:
    """Return so many messages, the last one the user's."""
    return [{"role": "user", "content": f"m{number}"} for number in range(count)]


@pytest.mark.parametrize(
    "fields, status, code",
    [
        ({"truncation": "auto"}, "completed", None),
        ({"truncation": "disabled"}, "failed", "invalid_prompt"),
        ({}, "failed", "invalid_prompt"),
    ],
)
def test_truncation_of_responses(
    wire: ResponsesClient, fields: Json, status: str, code: str | None
) -> None:
    """A response that is too long fails, and with ``auto`` it goes on without the oldest items."""
    response = wire.respond(input=history(9), **fields)
    error: Any = response["error"] or {}
    assert (response["status"], error.get("code")) == (status, code)


@pytest.mark.parametrize(
    "strategy, status",
    [
        (None, "completed"),
        ({"type": "auto"}, "completed"),
        ({"type": "last_messages", "last_messages": 3}, "completed"),
        ({"type": "last_messages", "last_messages": 5}, "failed"),
    ],
)
def test_truncation_of_runs(wire: ResponsesClient, strategy: Json | None, status: str) -> None:
    """A run leaves out what is too much for its model, or as much as it was told to."""
    thread_id = wire.post("/threads", {"messages": history(9)})["id"]
    run = wire.start(thread_id, model="any", truncation_strategy=strategy)
    assert wire.settled(thread_id, run)["status"] == status


def test_chat_that_is_too_long(wire: ResponsesClient) -> None:
    """Whoever keeps a conversation itself is told that it is too long."""
    status, error = wire.refusal(
        "POST", "/chat/completions", json={"model": "any", "messages": history(5)}
    )
    assert (status, error["code"]) == (400, "context_length_exceeded")
