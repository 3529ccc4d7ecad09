"""Items by reference, token counts, short forms of conversations, and bounds of calls."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.server.responses import compaction
from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply
from tests.support.responses_client import (
    ResponsesClient,
    call,
    message,
    output,
    outputs_of,
    text_of,
)
from tests.support.server_setup import MakeResponseSetup
from tests.support.wire_client import Json

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


def reference(item: Json, **fields: Any) -> Json:
    """Return a reference to an item."""
    return {"type": "item_reference", "id": item["id"], **fields}


# References.


@pytest.mark.parametrize("kind", ["item_reference", None, "left out"])
def test_reference_to_a_reply(response_setup: MakeResponseSetup, kind: str | None) -> None:
    """A reply of a response that is stored can be given again by its id alone."""
    setup = response_setup(Reply("hello"), Reply("bye"))
    (said,) = setup.wire.respond()["output"]
    given = {"id": said["id"]} if kind == "left out" else reference(said, type=kind)
    assert setup.chat_of(input=[message("hi"), given, message("go")]) == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "go"),
    ]


def test_reference_to_a_call(response_setup: MakeResponseSetup) -> None:
    """A call can be answered where it is given by its id."""
    setup = response_setup(CallTools(("add", {})), Reply("done"))
    response = setup.wire.respond(tools=[TOOL])
    (asked,) = response["output"]
    answered = setup.wire.respond(
        input=[message("hi"), reference(asked), *outputs_of(response, "1")]
    )
    assert answered["output"][0]["content"][0]["text"] == "done"


def test_reference_into_a_conversation(response_setup: MakeResponseSetup) -> None:
    """An item of one conversation becomes one of another, with an id of its own."""
    setup = response_setup(Reply("hello"), Reply("bye"))
    first, other = setup.wire.conversation(), setup.wire.conversation()
    setup.wire.respond(conversation=first)
    said = setup.wire.items(first)[-1]
    setup.wire.respond(conversation=other, input=[reference(said), message("go")])
    assert setup.wire.item_texts(other) == ["hello", "go", "bye"]
    assert said["id"] not in [item["id"] for item in setup.wire.items(other)]


@pytest.mark.parametrize("item_id", ["msg_1", "", "\x00"])
def test_reference_to_nothing(wire: ResponsesClient, item_id: str) -> None:
    """A reference to an item that is not there is refused."""
    status, error = wire.refused(input=[{"type": "item_reference", "id": item_id}])
    assert (status, error["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("how", ["deleted", "not stored"])
def test_reference_to_what_was_not_kept(response_setup: MakeResponseSetup, how: str) -> None:
    """Items of responses that are deleted, or were not stored, are not there."""
    setup = response_setup(Reply("hello"))
    response = setup.wire.respond(store=how == "deleted")
    if how == "deleted":
        setup.wire.delete(f"/responses/{response['id']}")
    status, _ = setup.wire.refused(input=[reference(response["output"][0])])
    assert status == 404


def test_reference_to_what_is_there_already(response_setup: MakeResponseSetup) -> None:
    """An item that the history has already is not given again."""
    setup = response_setup(Reply("hello"))
    response = setup.wire.respond()
    status, error = setup.wire.refused(
        previous_response_id=response["id"], input=[reference(response["output"][0])]
    )
    assert (status, error["param"]) == (400, "input")


# Token counts.


def test_input_tokens(wire: ResponsesClient) -> None:
    """Tokens are counted of all that a response would be asked, and nothing is asked."""
    count = [
        wire.post("/responses/input_tokens", body)["input_tokens"]
        for body in (
            {"model": "any", "input": "hi"},
            {"model": "any", "input": [message("hi"), message("there")]},
            {"model": "any", "input": "hi", "instructions": "Be kind."},
            {"model": "any", "input": "hi", "tools": [TOOL]},
        )
    ]
    assert count[0] > 0
    assert min(count[1:]) > count[0]


def test_input_tokens_of_a_history(wire: ResponsesClient) -> None:
    """What came before counts, in a conversation and after a response."""
    conversation_id = wire.conversation(message("a long time ago"))
    response = wire.respond(input="a long time ago")
    alone = wire.post("/responses/input_tokens", {"input": "hi"})
    in_it = wire.post("/responses/input_tokens", {"input": "hi", "conversation": conversation_id})
    after = wire.post(
        "/responses/input_tokens", {"input": "hi", "previous_response_id": response["id"]}
    )
    assert alone["object"] == "response.input_tokens"
    assert min(in_it["input_tokens"], after["input_tokens"]) > alone["input_tokens"]


def test_input_tokens_of_two_histories(wire: ResponsesClient) -> None:
    """Only one history counts."""
    body = {"input": "hi", "conversation": "conv_1", "previous_response_id": "resp_1"}
    status, error = wire.refusal("POST", "/responses/input_tokens", json=body)
    assert (status, error["code"]) == (400, "mutually_exclusive_parameters")


# Compaction.


def test_compacted_conversation(response_setup: MakeResponseSetup) -> None:
    """A short form has what the user said, and an item with the model's summary."""
    setup = response_setup(Reply("They greeted."))
    given = [message("hi"), message("hello", "assistant"), call(), output(), message("bye")]
    answer = setup.wire.post("/responses/compact", {"model": "any", "input": given})
    assert [text_of(item) for item in answer["output"]] == ["hi", "bye", "compaction"]
    assert (answer["object"], set(answer)) == (
        "response.compaction",
        {"id", "object", "created_at", "output", "usage"},
    )
    assert setup.last_chat()[-1] == ("user", compaction.INSTRUCTIONS)


def test_conversation_goes_on_from_its_short_form(response_setup: MakeResponseSetup) -> None:
    """A model that is given a short form reads the summary in it."""
    setup = response_setup(Reply("They greeted."), Reply("ok"))
    short = setup.wire.post("/responses/compact", {"model": "any", "input": "hi"})["output"]
    assert setup.chat_of(input=[*short, message("go")]) == [
        ("user", "hi"),
        ("system", f"{compaction.INTRODUCTION}\nThey greeted."),
        ("user", "go"),
    ]


def test_compaction_after_a_response(response_setup: MakeResponseSetup) -> None:
    """A stored response's history can be made short, with instructions of one's own."""
    setup = response_setup(Reply("hello"), Reply("short"))
    response = setup.wire.respond()
    body = {"model": "any", "previous_response_id": response["id"], "instructions": "In French."}
    setup.wire.post("/responses/compact", body)
    role, asked = setup.last_chat()[-1]
    assert setup.last_chat()[:-1] == [("user", "hi"), ("assistant", "hello")]
    assert (role, asked.startswith("In French.\n")) == ("user", True)


@pytest.mark.parametrize(
    "content", ["", "gAAAAA", "gas1.", "gas1.?", "gas1.e30=", "gas1.eyJzdW1tYXJ5IjogMX0="]
)
def test_short_form_of_another_server(wire: ResponsesClient, content: str) -> None:
    """An item that this server has not made cannot be read, and is refused."""
    given = {"type": "compaction", "encrypted_content": content}
    status, error = wire.refused(input=[given])
    assert (status, error["code"]) == (400, "invalid_encrypted_content")


@pytest.mark.parametrize(
    "path, fields, param",
    [
        ("compact", {"model": "any", "service_tier": "priority"}, "service_tier"),
        ("input_tokens", {"tool_choice": "any"}, "tool_choice"),
        ("input_tokens", {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ("input_tokens", {"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ("input_tokens", {"reasoning": {"summary": "auto"}}, "reasoning.summary"),
    ],
)
def test_what_is_not_asked_of_a_model(
    wire: ResponsesClient, path: str, fields: Json, param: str
) -> None:
    """What a response would be refused for is refused where it is only asked about."""
    status, error = wire.refusal("POST", f"/responses/{path}", json={"input": "hi", **fields})
    assert (status, error["param"]) == (400, param)


def test_compaction_of_nothing(wire: ResponsesClient) -> None:
    """There has to be something to make short."""
    status, error = wire.refusal("POST", "/responses/compact", json={"model": "any"})
    assert (status, error["param"]) == (400, "input")


@pytest.mark.parametrize("code, status", [("server_error", 502), ("rate_limit_exceeded", 429)])
def test_compaction_that_fails(response_setup: MakeResponseSetup, code: str, status: int) -> None:
    """A model that cannot summarize is told as such."""
    setup = response_setup(Fail(code, "No."))
    body = {"model": "any", "input": "hi"}
    answered, error = setup.wire.refusal("POST", "/responses/compact", json=body)
    assert (answered, error["message"], error["code"]) == (status, "No.", code)


# Calls, and what is shown.


@pytest.mark.parametrize("most, names", [(None, ["add", "sub"]), (1, ["add"]), (2, ["add", "sub"])])
def test_most_tool_calls(
    response_setup: MakeResponseSetup, most: int | None, names: list[str]
) -> None:
    """A response has no more calls than it may."""
    setup = response_setup(CallTools(("add", {}), ("sub", {})))
    response = setup.wire.respond(max_tool_calls=most)
    assert [item["name"] for item in response["output"]] == names


OPEN_RESPONSES = frozenset(
    {
        *("id", "object", "created_at", "status", "model", "output", "tools", "tool_choice"),
        *("truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty"),
        *("frequency_penalty", "temperature", "top_logprobs", "store", "background"),
        *("service_tier", "metadata"),
    }
)
"""The fields of a response that the Open Responses specification has not null."""

NULLABLE = frozenset(
    {
        *("completed_at", "incomplete_details", "previous_response_id", "instructions", "error"),
        *("reasoning", "usage", "max_output_tokens", "max_tool_calls", "safety_identifier"),
        "prompt_cache_key",
    }
)
"""Those that it demands, and that may be null."""


def test_fields_of_open_responses(response_setup: MakeResponseSetup) -> None:
    """A response has every field that Open Responses demands, at each of its states."""
    setup = response_setup(Hold(Reply("hello")))
    _, response_id = setup.in_progress()
    found = [setup.wire.response(response_id)]
    setup.release()
    found.append(setup.wire.final(response_id))
    for response in found:
        assert response.keys() >= NULLABLE
        assert [name for name in OPEN_RESPONSES if response.get(name) is None] == []
