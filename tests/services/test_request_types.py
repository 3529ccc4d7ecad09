"""Requests checked against the types of the ``openai`` package.

Nothing unknown is sent, and nothing required is missing, on either wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytest
from typing_extensions import NotRequired, Required, TypedDict

import gpt_agent_sync as gpt
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import WIRES
from tests.support.openai_types import call_of, complaints, complaints_of
from tests.support.recording import Recording
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Request
from tests.support.talk import PATIENCE, Talk

MakeTalk = Callable[..., Talk]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NESTED_TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Add.", "parameters": SCHEMA},
}
FLAT_TOOL = {"type": "function", "name": "sub", "description": "Subtract.", "parameters": SCHEMA}
OPTIONS: dict[str, Any] = {
    "model": "other",
    "instructions": "Be brief.",
    "additional_instructions": "Be kind.",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_output_tokens": 100,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "metadata": {"k": "v"},
    "truncation": "auto",
}
FORMAT = {"name": "sum", "schema": SCHEMA, "strict": True}
SPELLINGS: dict[str, dict[str, Any]] = {
    "nested": {
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {"type": "json_schema", "json_schema": FORMAT},
    },
    "flat": {
        "tool_choice": {"type": "function", "name": "add"},
        "response_format": {"type": "json_schema", **FORMAT},
    },
    "words": {"tool_choice": "required", "response_format": "json_object"},
}


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def plain(make: MakeTalk) -> None:
    """Have a turn."""
    make([Reply("hi")]).say()


def parts(make: MakeTalk) -> None:
    """Say texts and images."""
    image = {"url": "https://example.org/x.png"}
    content: list[str | dict[str, Any]] = [
        "look",
        {"type": "image_url", "image_url": image},
        {"type": "image_url", "image_url": {**image, "detail": "low"}},
        {"type": "text", "text": "at these"},
    ]
    talk = make([Reply("nice")])
    talk.agent.add_user_message(content, metadata={"k": "v"})
    talk.agent.wait(PATIENCE)


def files(make: MakeTalk) -> None:
    """Say an image by its file, which the server of these tests refuses."""
    image = {"type": "image_file", "image_file": {"file_id": "file_1"}}
    with pytest.raises(gpt.RequestRejectedError, match="does not support"):
        make([]).agent.add_user_message(["look", image])


def history(make: MakeTalk) -> None:
    """Begin with a long history and metadata."""
    talk = make([])
    messages = [
        {"role": role, "content": f"text {number}"}
        for number in range(25)
        for role in ("user", "assistant")
    ]
    gpt.create_thread(messages=messages, metadata={"k": "v"}, service=talk.service)


def tools(make: MakeTalk) -> None:
    """Have two rounds of tools, with calls side by side."""
    rounds = [CallTools(("add", {"a": 1}), ("add", {"a": 2})), CallTools(("add", {"a": 3}))]
    make([*rounds, Reply("done")], tools=[add]).say()


def assistant(make: MakeTalk) -> None:
    """Run an assistant with all that it can have, and tools in either spelling."""
    talk = make([Reply("hi")])
    assistant_id = gpt.create_assistant(
        model="any",
        instructions="Add.",
        name="adder",
        description="Adds.",
        tools=[NESTED_TOOL, FLAT_TOOL, {"type": "function", "function": {"name": "bare"}}],
        metadata={"k": "v"},
        service=talk.service,
    )
    talk.agent.set_default_assistant(assistant_id)
    talk.say()


def all_options(spelling: str) -> Callable[[MakeTalk], None]:
    """Return a turn under all options, in one spelling."""

    def turn(make: MakeTalk) -> None:
        options = gpt.RunOptions(**OPTIONS, **SPELLINGS[spelling])
        script = [CallTools(("add", {"a": 1})), Reply("{}")]
        make(script, tools=[add], run_options=options).say(metadata={"m": "1"})

    return turn


def cancelled(make: MakeTalk) -> None:
    """Cancel a run that is going."""
    talk = make([Hold()])
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.cancel_run()
    talk.agent.wait(PATIENCE)


def cancelled_waiting(make: MakeTalk) -> None:
    """Cancel a run that waits for outputs, and go on."""
    talk = make([CallTools(("nobody", {})), Reply("hi")])
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.cancel_run()
    talk.agent.wait(PATIENCE)
    talk.say()


def begun_again(make: MakeTalk) -> None:
    """Have a run begun again that met a rate limit."""
    make([Fail("rate_limit_exceeded", "Please try again in 10ms."), Reply("hi")]).say()


def connected_again(make: MakeTalk) -> None:
    """Stop while a run waits for outputs, connect anew and answer."""
    talk = make([Reply("one"), CallTools(("nobody", {})), Reply("two")])
    talk.say()
    last_message_id = talk.agent.state.last_message_id
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.shutdown(PATIENCE)
    agent = talk.connect(last_message_id=last_message_id)
    requested = talk.recorder.wait_for(gpt.ToolCallRequested, count=2)
    agent.submit_tool_output(requested.id, "1")
    agent.wait(PATIENCE)


RUN = "POST /threads/{thread_id}/runs"
MESSAGE = "POST /threads/{thread_id}/messages"
CANCEL_RUN = "POST /threads/{thread_id}/runs/{run_id}/cancel"
OUTPUTS = "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs"
RESPONSE = "POST /responses"
CANCEL_RESPONSE = "POST /responses/{response_id}/cancel"
ITEMS = "POST /conversations/{conversation_id}/items"
NOTE = "POST /conversations/{conversation_id}"
LIST_ITEMS = "GET /conversations/{conversation_id}/items"

TURNS: dict[str, tuple[Callable[[MakeTalk], None], dict[str, set[str]]]] = {
    "plain": (plain, {"assistants": {"POST /threads", RUN}, "responses": {RESPONSE}}),
    "files": (files, {"assistants": {RUN}, "responses": {RESPONSE}}),
    "parts": (parts, {"assistants": {RUN}, "responses": {RESPONSE}}),
    "history": (
        history,
        {"assistants": {"POST /threads", MESSAGE}, "responses": {"POST /conversations", ITEMS}},
    ),
    "tools": (tools, {"assistants": {RUN, OUTPUTS}, "responses": {RESPONSE}}),
    "assistant": (
        assistant,
        {"assistants": {"POST /assistants", RUN}, "responses": {RESPONSE}},
    ),
    "nested options": (all_options("nested"), {"assistants": {RUN}, "responses": {RESPONSE}}),
    "flat options": (all_options("flat"), {"assistants": {RUN}, "responses": {RESPONSE}}),
    "options in words": (all_options("words"), {"assistants": {RUN}, "responses": {RESPONSE}}),
    "cancelled": (
        cancelled,
        {"assistants": {CANCEL_RUN}, "responses": {NOTE, CANCEL_RESPONSE}},
    ),
    "cancelled waiting": (
        cancelled_waiting,
        {"assistants": {CANCEL_RUN}, "responses": {NOTE, ITEMS}},
    ),
    "begun again": (begun_again, {"assistants": {RUN}, "responses": {RESPONSE}}),
    "connected again": (
        connected_again,
        {"assistants": {OUTPUTS}, "responses": {LIST_ITEMS, RESPONSE}},
    ),
}
"""What is done, and the requests that it must be seen to make on either wire."""


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Return a recording of all requests."""
    return Recording(monkeypatch)


@pytest.fixture
def make_talk(
    make_server: Callable[..., ScriptedServer],
) -> Iterator[Callable[[str], MakeTalk]]:
    """Return a maker of makers of talks over a wire."""
    services: list[AssistantsService | ResponsesService] = []

    def over(wire: str) -> MakeTalk:
        def make(script: Script, **options: Any) -> Talk:
            service = WIRES[wire](make_server(script).base_url, "key")
            services.append(service)
            return Talk(service, **options)

        return make

    yield over
    for service in services:
        service.close()


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("wire", WIRES)
def test_requests_are_those_of_the_package(
    make_talk: Callable[[str], MakeTalk], recording: Recording, wire: str, turn: str
) -> None:
    """A turn sends all that the package's types demand, and nothing that they do not know."""
    run, required = TURNS[turn]
    run(make_talk(wire))
    told = [line for request in recording.requests for line in complaints_of(request)]
    missing = required[wire] - {call_of(request) for request in recording.requests}
    assert (told, missing) == ([], set())


class Inner(TypedDict, total=False):
    """Have one field that must be there, and one that may."""

    name: Required[str]
    count: int


class Outer(TypedDict):
    """Have a field of every kind of type, all of which must be there but one."""

    inner: Inner
    many: Iterable[Inner]
    either: str | list[Inner]
    pairs: dict[str, str]
    word: Literal["a", "b"]
    perhaps: NotRequired[float | None]


RIGHT: dict[str, Any] = {
    "inner": {"name": "x"},
    "many": [{"name": "x"}, {"name": "y", "count": 2}],
    "either": "text",
    "pairs": {"k": "v"},
    "word": "a",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"perhaps": None},
        {"perhaps": 1},
        {"perhaps": 0.5},
        {"many": []},
        {"either": [{"name": "x"}]},
        {"pairs": {}},
    ],
)
def test_value_of_a_type_is_let_pass(changes: dict[str, Any]) -> None:
    """There are no complaints about a value that fits its type."""
    assert complaints({**RIGHT, **changes}, Outer) == []


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"other": 1}, "it has no field 'other'"),
        ({"inner": {"name": "x", "other": 1}}, "it.inner has no field 'other'"),
        ({"many": [{"name": "x", "other": 1}]}, "it.many[0] has no field 'other'"),
        ({"either": [{"name": "x", "other": 1}]}, "it.either[0] has no field 'other'"),
        ({"inner": {}}, "it.inner lacks 'name'"),
        ({"inner": {"count": 1}}, "it.inner lacks 'name'"),
        ({"many": [{"name": "x"}, {}]}, "it.many[1] lacks 'name'"),
        ({"either": [{}]}, "it.either[0] lacks 'name'"),
        ({"inner": None}, "it.inner is no object: None"),
        ({"inner": {"name": 3}}, "it.inner.name is 3, no str"),
        ({"inner": {"name": "x", "count": True}}, "it.inner.count is True, no int"),
        ({"inner": {"name": "x", "count": 1.5}}, "it.inner.count is 1.5, no int"),
        ({"many": {"name": "x"}}, "it.many is no list: {'name': 'x'}"),
        ({"pairs": {"k": 1}}, "it.pairs.k is 1, no str"),
        ({"pairs": []}, "it.pairs is no object: []"),
        ({"word": "c"}, "it.word is 'c', not one of ('a', 'b')"),
    ],
)
def test_value_of_another_type_is_refused(changes: dict[str, Any], told: str) -> None:
    """What a value has that its type does not know, or lacks, is told with its place."""
    assert complaints({**RIGHT, **changes}, Outer) == [told]


@pytest.mark.parametrize("name", RIGHT)
def test_missing_field_is_refused(name: str) -> None:
    """A field that must be there and is not is told by its name."""
    given = {field: value for field, value in RIGHT.items() if field != name}
    assert complaints(given, Outer) == [f"it lacks {name!r}"]


@pytest.mark.parametrize("field", [frozenset, Callable[[], None]])
def test_type_that_cannot_be_checked_is_an_error(field: Any) -> None:
    """A type that the check does not know lets nothing pass by mistake."""
    with pytest.raises(TypeError, match="it has a type that cannot be checked"):
        complaints(1, field)


ITEM = {"type": "message", "role": "user", "content": "hello"}
IMAGE = {"type": "input_image", "image_url": "https://example.org/x.png"}
TOOL = {"type": "function", "name": "add", "parameters": {}, "strict": False}
MAKES: dict[str, Any] = {"model": "m", "conversation": "conv_1", "input": [ITEM]}
OUTPUT = {"tool_call_id": "c", "output": "1"}


def post(path: str, body: dict[str, Any]) -> Request:
    """Return a request."""
    return Request("POST", path, {}, {}, body)


@pytest.mark.parametrize(
    "line, body, told",
    [
        ("/responses", MAKES, None),
        ("/responses", {**MAKES, "thread": "t"}, "it has no field 'thread'"),
        ("/responses", {**MAKES, "input": [{**ITEM, "run": 1}]}, "it.input[0] has no field 'run'"),
        (
            "/responses",
            {**MAKES, "input": [{**ITEM, "content": [IMAGE]}]},
            "it.input[0].content[0] lacks 'detail'",
        ),
        ("/responses", {**MAKES, "tools": [TOOL]}, None),
        (
            "/responses",
            {**MAKES, "tools": [{"type": "function", "name": "add", "parameters": {}}]},
            "it.tools[0] lacks 'strict'",
        ),
        ("/responses", {**MAKES, "metadata": {"k": 1}}, "it.metadata.k is 1, no str"),
        ("/conversations/conv_1", {}, "it lacks 'metadata'"),
        ("/conversations/conv_1/items", {"items": [ITEM]}, None),
        ("/responses/resp_1/cancel", {"why": "so"}, "it has no field 'why'"),
        ("/threads/t/runs", {"assistant_id": "a"}, None),
        ("/threads/t/runs", {}, "it lacks 'assistant_id'"),
        ("/threads/t/runs", {"assistant_id": "a", "top": 1}, "it has no field 'top'"),
        ("/threads/t/runs/r/submit_tool_outputs", {"tool_outputs": [OUTPUT]}, None),
        ("/threads/t/runs/r/submit_tool_outputs", {}, "it lacks 'tool_outputs'"),
        ("/threads/t/messages", {"role": "user", "content": "x"}, None),
        ("/threads/t/messages", {"role": "user"}, "it lacks 'content'"),
    ],
)
def test_requests_are_held_against_the_package(
    line: str, body: dict[str, Any], told: str | None
) -> None:
    """A request is checked by the types that the package has for its path."""
    given = [said.partition(": ")[2] for said in complaints_of(post(line, body))]
    assert given == ([] if told is None else [told])


def test_call_that_the_package_does_not_have_is_refused() -> None:
    """A path that no method of the package's client asks for is told."""
    told = complaints_of(post("/responses/resp_1", {}))
    assert told == ["POST /responses/resp_1: the package has no such call"]


def test_unknown_parameter_of_a_query_is_refused() -> None:
    """What stands in the address is checked too."""
    query = {"order": "asc", "limit": "20", "run": "r"}
    request = Request("GET", "/conversations/conv_1/items", query, {}, None)
    assert [line.partition(": ")[2] for line in complaints_of(request)] == ["it has no field 'run'"]
