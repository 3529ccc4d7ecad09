"""OpenAI's own client against the Responses wire of the embedded server."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest
from openai.types.conversations import Conversation, ConversationDeletedResource
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseFunctionToolCall,
    ResponseInputItemParam,
    ResponseInputParam,
)

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.server_setup import TWO_CALLS, Connect

TOOL: FunctionToolParam = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
    "strict": False,
}

HISTORY: dict[str, ResponseInputItemParam] = {
    "user": {"role": "user", "content": "hi"},
    "system": {"role": "system", "content": "Be kind."},
    "developer": {"role": "developer", "content": "Be brief."},
    "assistant": {"role": "assistant", "content": "hello"},
    "image": {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look:"},
            {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"},
        ],
    },
    "call": {"type": "function_call", "call_id": "call_a", "name": "add", "arguments": "{}"},
    "output": {"type": "function_call_output", "call_id": "call_a", "output": "1"},
    "parts": {
        "type": "function_call_output",
        "call_id": "call_a",
        "output": [{"type": "input_text", "text": "1"}],
    },
    "reasoning": {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
    },
}
"""An item of each kind that a conversation takes, as requests have it."""


def final(client: openai.OpenAI, response_id: str) -> Response:
    """Wait until a response is over, and return it."""
    return wait_for(
        lambda: client.responses.retrieve(response_id),
        lambda response: response.status not in ("queued", "in_progress"),
    )


def texts(client: openai.OpenAI, conversation_id: str, **query: Any) -> list[str]:
    """Return the texts of all messages of a conversation, oldest first, through all pages."""
    pages = client.conversations.items.list(conversation_id, order="asc", **query)
    return [
        part.text
        for item in pages
        if item.type == "message"
        for part in item.content
        if part.type in ("input_text", "output_text")
    ]


def kinds(client: openai.OpenAI, conversation_id: str) -> list[str]:
    """Return the kinds of all items of a conversation, oldest first."""
    return [item.type for item in client.conversations.items.list(conversation_id, order="asc")]


def calls_of(response: Response) -> list[ResponseFunctionToolCall]:
    """Return the function calls of a response."""
    return [item for item in response.output if item.type == "function_call"]


def outputs_for(response: Response, *outputs: str) -> ResponseInputParam:
    """Return an output for every function call of a response, in their order."""
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": output}
        for call, output in zip(calls_of(response), outputs, strict=True)
    ]


# Shapes, by OpenAI's own types.


def test_conversation_is_valid(connect: Connect) -> None:
    """A conversation has the fields that OpenAI's type demands."""
    conversation = connect().conversations.create(metadata={"a": "b"})
    assert Conversation.model_validate(conversation.to_dict()) == conversation


@pytest.mark.parametrize("item", HISTORY.values(), ids=HISTORY.keys())
def test_items_are_valid(connect: Connect, item: ResponseInputItemParam) -> None:
    """Items of every kind have the fields that OpenAI's types demand."""
    client = connect()
    conversation = client.conversations.create(items=[item])
    (found,) = client.conversations.items.list(conversation.id)
    assert type(found).model_validate(found.to_dict()) == found


@pytest.mark.parametrize(
    "step, status",
    [
        (Reply("ok"), "completed"),
        (Fail(), "failed"),
        (Incomplete(), "incomplete"),
        (TWO_CALLS, "completed"),
    ],
    ids=["reply", "failure", "cut short", "calls"],
)
def test_responses_are_valid(connect: Connect, step: Any, status: str) -> None:
    """Responses of every end have the fields that OpenAI's type demands."""
    response = connect(step).responses.create(
        model="any", input="hi", tools=[TOOL], metadata={"a": "b"}, reasoning={"effort": "low"}
    )
    assert response.status == status
    assert Response.model_validate(response.to_dict()) == response


def test_live_response_is_valid(connect: Connect) -> None:
    """A response in progress has the fields that OpenAI's type demands."""
    response = connect(Hold()).responses.create(model="any", input="hi", background=True)
    assert response.status == "queued"
    assert Response.model_validate(response.to_dict()) == response


def test_cancelled_response_is_valid(connect: Connect) -> None:
    """A cancelled response has the fields that OpenAI's type demands."""
    client = connect(Hold())
    made = client.responses.create(model="any", input="hi", background=True)
    response = client.responses.cancel(made.id)
    assert response.status == "cancelled"
    assert Response.model_validate(response.to_dict()) == response


@pytest.mark.parametrize("step", [Reply("ok"), TWO_CALLS], ids=["reply", "calls"])
def test_output_items_are_valid(connect: Connect, step: Any) -> None:
    """What a model says is kept as items with the fields that OpenAI's types demand."""
    client = connect(step)
    conversation = client.conversations.create()
    client.responses.create(model="any", input="hi", conversation=conversation.id)
    found = client.conversations.items.list(conversation.id, order="asc").data[1:]
    assert [type(item).model_validate(item.to_dict()) for item in found] == found
    assert found


@pytest.mark.parametrize(
    "kind", [kind for kind in HISTORY if kind not in ("call", "output", "parts")]
)
def test_input_items_are_valid(connect: Connect, kind: str) -> None:
    """The items of a response's input have the fields that OpenAI's types demand."""
    client = connect()
    response = client.responses.create(model="any", input=[HISTORY[kind]])
    (found,) = client.responses.input_items.list(response.id)
    assert type(found).model_validate(found.to_dict()) == found


# Conversations.


def test_conversation_comes_back(connect: Connect) -> None:
    """A conversation is retrieved as it was made."""
    client = connect()
    made = client.conversations.create(metadata={"a": "b"})
    assert client.conversations.retrieve(made.id) == made


def test_conversation_is_updated(connect: Connect) -> None:
    """A conversation's metadata is replaced, and the rest stays."""
    client = connect()
    made = client.conversations.create(metadata={"a": "b"})
    changed = client.conversations.update(made.id, metadata={"c": "d"})
    assert changed == made.model_copy(update={"metadata": {"c": "d"}})


def test_conversation_is_deleted(connect: Connect) -> None:
    """Deleting a conversation answers with a receipt."""
    client = connect()
    made = client.conversations.create()
    assert client.conversations.delete(made.id) == ConversationDeletedResource(
        id=made.id, object="conversation.deleted", deleted=True
    )


def test_deleted_conversation_is_gone(connect: Connect) -> None:
    """A deleted conversation is a ``NotFoundError``."""
    client = connect()
    made = client.conversations.create()
    client.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Conversation with id '{made.id}' not found"):
        client.conversations.retrieve(made.id)


def test_conversation_with_items(connect: Connect) -> None:
    """A conversation may be made with its history."""
    client = connect()
    conversation = client.conversations.create(items=list(HISTORY.values()))
    assert kinds(client, conversation.id) == [
        *["message"] * 5,
        "function_call",
        *["function_call_output"] * 2,
        "reasoning",
    ]


def test_items_are_created(connect: Connect) -> None:
    """Items are added at the end, and answered as they are kept."""
    client = connect()
    conversation = client.conversations.create(items=[HISTORY["user"]])
    added = client.conversations.items.create(
        conversation.id, items=[HISTORY["assistant"], HISTORY["call"]]
    )
    found = client.conversations.items.list(conversation.id, order="asc").data
    assert found[1:] == added.data
    assert texts(client, conversation.id) == ["hi", "hello"]


def test_item_comes_back(connect: Connect) -> None:
    """An item is retrieved as it was made."""
    client = connect()
    conversation = client.conversations.create()
    (made,) = client.conversations.items.create(conversation.id, items=[HISTORY["image"]]).data
    assert made.id is not None
    found = client.conversations.items.retrieve(made.id, conversation_id=conversation.id)
    assert found == made


def test_item_is_deleted(connect: Connect) -> None:
    """Deleting an item answers with its conversation, which is then without it."""
    client = connect()
    conversation = client.conversations.create(items=[HISTORY["user"], HISTORY["assistant"]])
    last = client.conversations.items.list(conversation.id).data[0]
    assert last.id is not None
    answer = client.conversations.items.delete(last.id, conversation_id=conversation.id)
    assert answer == conversation
    assert texts(client, conversation.id) == ["hi"]


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
def test_items_are_listed_by_pages(connect: Connect, limit: int) -> None:
    """The client walks through all pages of items, in order, each item once."""
    client = connect()
    conversation = client.conversations.create()
    said = [str(number) for number in range(25)]
    for few in (said[:20], said[20:]):
        client.conversations.items.create(
            conversation.id, items=[{"role": "user", "content": text} for text in few]
        )
    assert texts(client, conversation.id, limit=limit) == said


def test_items_are_listed_newest_first(connect: Connect) -> None:
    """Without an order the newest item comes first."""
    client = connect()
    conversation = client.conversations.create(items=[HISTORY["user"], HISTORY["call"]])
    found = client.conversations.items.list(conversation.id)
    assert [item.type for item in found] == ["function_call", "message"]


# Responses.


def test_response_to_a_text(connect: Connect) -> None:
    """A text is answered at once when nothing else is asked for."""
    response = connect(Reply("hello")).responses.create(model="any", input="hi")
    assert (response.status, response.output_text) == ("completed", "hello")


def test_response_to_items(connect: Connect) -> None:
    """Items are answered as a text is."""
    client = connect(Reply("hello"))
    response = client.responses.create(
        model="any", input=[HISTORY["user"], HISTORY["assistant"], HISTORY["image"]]
    )
    assert response.output_text == "hello"


def test_response_comes_back(connect: Connect) -> None:
    """A response is retrieved as it was answered."""
    client = connect()
    made = client.responses.create(model="any", input="hi")
    assert client.responses.retrieve(made.id) == made


def test_response_says_how_it_was_made(connect: Connect) -> None:
    """A response carries the parameters that it was asked for with."""
    response = connect().responses.create(
        model="any",
        input="hi",
        instructions="Be kind.",
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=99,
        parallel_tool_calls=False,
        tool_choice="none",
        truncation="auto",
        metadata={"a": "b"},
    )
    assert (
        response.instructions,
        response.temperature,
        response.top_p,
        response.max_output_tokens,
        response.parallel_tool_calls,
        response.tool_choice,
        response.truncation,
        response.metadata,
    ) == ("Be kind.", 0.5, 0.25, 99, False, "none", "auto", {"a": "b"})


def test_response_shows_its_tools(connect: Connect) -> None:
    """A response carries its tools as they were given."""
    response = connect().responses.create(model="any", input="hi", tools=[TOOL])
    assert [tool.to_dict() for tool in response.tools] == [TOOL]


def test_response_counts_tokens(connect: Connect) -> None:
    """A response says what it cost."""
    usage = connect().responses.create(model="any", input="hi").usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (1, 2, 3)


def test_conversation_by_its_id(connect: Connect) -> None:
    """A response for a conversation, named by its id, is kept in it with its input."""
    client = connect(Reply("hello"))
    conversation = client.conversations.create()
    client.responses.create(model="any", input="hi", conversation=conversation.id)
    assert texts(client, conversation.id) == ["hi", "hello"]


def test_conversation_by_an_object(connect: Connect) -> None:
    """A response for a conversation, named by an object, is kept in it with its input."""
    client = connect(Reply("hello"))
    conversation = client.conversations.create()
    client.responses.create(model="any", input="hi", conversation={"id": conversation.id})
    assert texts(client, conversation.id) == ["hi", "hello"]


def test_response_names_its_conversation(connect: Connect) -> None:
    """A response for a conversation names it."""
    client = connect()
    conversation = client.conversations.create()
    response = client.responses.create(model="any", input="hi", conversation=conversation.id)
    assert response.conversation is not None
    assert response.conversation.id == conversation.id


def test_response_after_another(connect: Connect) -> None:
    """A response may go on from another one, and names it."""
    client = connect(Reply("one"), Reply("two"))
    first = client.responses.create(model="any", input="hi")
    second = client.responses.create(model="any", input="and?", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("two", first.id)


def test_background_response(connect: Connect) -> None:
    """A response in the background is polled until it is over."""
    client = connect(Reply("hello"))
    made = client.responses.create(model="any", input="hi", background=True)
    found = final(client, made.id)
    assert (made.status, found.status, found.output_text) == ("queued", "completed", "hello")


def test_failed_response(connect: Connect) -> None:
    """A failed response says why."""
    client = connect(Fail("rate_limit_exceeded", "Rate limit reached."))
    error = client.responses.create(model="any", input="hi").error
    assert error is not None
    assert (error.code, error.message) == ("rate_limit_exceeded", "Rate limit reached.")


@pytest.mark.parametrize(
    "step, reason",
    [
        (Incomplete("max_completion_tokens", "so far"), "max_output_tokens"),
        (Incomplete("content_filter", "so far"), "content_filter"),
    ],
    ids=["length", "filter"],
)
def test_response_cut_short(connect: Connect, step: Any, reason: str) -> None:
    """A response cut short says why, in this wire's words, and what was written until then."""
    response = connect(step).responses.create(model="any", input="hi")
    assert response.incomplete_details is not None
    assert (response.incomplete_details.reason, response.output_text) == (reason, "so far")


def test_response_is_cancelled(connect: Connect) -> None:
    """A response in the background is cancelled, and stays so."""
    client = connect(Hold())
    made = client.responses.create(model="any", input="hi", background=True)
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"


def test_response_is_deleted(connect: Connect) -> None:
    """A deleted response is a ``NotFoundError``."""
    client = connect()
    made = client.responses.create(model="any", input="hi")
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
        client.responses.retrieve(made.id)


def test_response_that_is_not_stored(connect: Connect) -> None:
    """A response that is not to be stored is answered, and not found afterwards."""
    client = connect(Reply("hello"))
    made = client.responses.create(model="any", input="hi", store=False)
    assert made.output_text == "hello"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


@pytest.mark.parametrize("limit", [1, 2, 20])
def test_input_items_are_listed_by_pages(connect: Connect, limit: int) -> None:
    """The client walks through all pages of a response's input, newest first."""
    client = connect()
    given: ResponseInputParam = [{"role": "user", "content": str(number)} for number in range(5)]
    response = client.responses.create(model="any", input=given)
    found = [item.to_dict() for item in client.responses.input_items.list(response.id, limit=limit)]
    assert [item["content"][0]["text"] for item in found] == list("43210")  # type: ignore[index]


def test_input_items_are_those_of_the_conversation(connect: Connect) -> None:
    """The items of a response's input are the ones that its conversation keeps."""
    client = connect()
    conversation = client.conversations.create(items=[HISTORY["system"]])
    response = client.responses.create(model="any", input="hi", conversation=conversation.id)
    (given,) = client.responses.input_items.list(response.id)
    assert given.id in [item.id for item in client.conversations.items.list(conversation.id)]


# Tools.


def test_calls_complete_a_response(connect: Connect) -> None:
    """A response that asks for calls is completed, with the calls in its output."""
    response = connect(TWO_CALLS).responses.create(model="any", input="hi", tools=[TOOL])
    assert response.status == "completed"
    assert [(call.name, json.loads(call.arguments)) for call in calls_of(response)] == [
        ("add", {"a": 1}),
        ("add", {"a": 2}),
    ]


def test_calls_have_two_ids(connect: Connect) -> None:
    """Each call has an id of its own as an item, and another one to be answered by."""
    response = connect(TWO_CALLS).responses.create(model="any", input="hi", tools=[TOOL])
    ids = [name for call in calls_of(response) for name in (call.id, call.call_id)]
    assert len(set(ids)) == 4


def test_parallel_calls_are_answered_together(connect: Connect) -> None:
    """The outputs of all calls are the input of the next response."""
    client = connect(TWO_CALLS, Reply("done"))
    conversation = client.conversations.create()
    first = client.responses.create(
        model="any", input="hi", conversation=conversation.id, tools=[TOOL]
    )
    second = client.responses.create(
        model="any",
        input=outputs_for(first, "1", "2"),
        conversation=conversation.id,
        tools=[TOOL],
    )
    assert second.output_text == "done"
    assert kinds(client, conversation.id) == [
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ]


def test_rounds_of_calls(connect: Connect) -> None:
    """Calls may be answered with further calls, round after round, until there is a reply."""
    client = connect(TWO_CALLS, CallTools(("add", {})), TWO_CALLS, Reply("done"))
    conversation = client.conversations.create()
    response = client.responses.create(model="any", input="hi", conversation=conversation.id)
    rounds = []
    while calls_of(response):
        rounds.append(len(calls_of(response)))
        response = client.responses.create(
            model="any",
            input=outputs_for(response, *("1" for _ in calls_of(response))),
            conversation=conversation.id,
        )
    assert (rounds, response.output_text) == ([2, 1, 2], "done")


def test_rounds_of_calls_in_the_background(connect: Connect) -> None:
    """Calls are answered in the background as well."""
    client = connect(TWO_CALLS, Reply("done"))
    conversation = client.conversations.create()
    made = client.responses.create(
        model="any", input="hi", conversation=conversation.id, background=True
    )
    made = client.responses.create(
        model="any",
        input=outputs_for(final(client, made.id), "1", "2"),
        conversation=conversation.id,
        background=True,
    )
    assert final(client, made.id).output_text == "done"


def test_calls_are_answered_after_a_response(connect: Connect) -> None:
    """Without a conversation calls are answered by naming the response that asked for them."""
    client = connect(TWO_CALLS, Reply("done"))
    first = client.responses.create(model="any", input="hi")
    second = client.responses.create(
        model="any", input=outputs_for(first, "1", "2"), previous_response_id=first.id
    )
    assert second.output_text == "done"


def test_calls_are_answered_without_the_server(connect: Connect) -> None:
    """A client that keeps the history itself sends a response's output back as input."""
    client = connect(TWO_CALLS, Reply("done"))
    given: Any = [HISTORY["user"]]
    first = client.responses.create(model="any", input=given, store=False)
    given += [item.to_dict() for item in first.output]
    given += outputs_for(first, "1", "2")
    second = client.responses.create(model="any", input=given, store=False)
    assert second.output_text == "done"


def test_demo_model_adds() -> None:
    """Without a key or a network the demo model adds two numbers through a tool."""
    server = EmbeddedServer(make_engine(":memory:"))
    with openai.OpenAI(base_url=server.base_url, api_key="none") as client:
        conversation = client.conversations.create()
        first = client.responses.create(
            model="demo", input="What is 2 + 3?", conversation=conversation.id, tools=[TOOL]
        )
        second = client.responses.create(
            model="demo",
            input=outputs_for(first, "5"),
            conversation=conversation.id,
            tools=[TOOL],
        )
    server.stop()
    assert second.output_text == "The demo model asked for help: add gave 5."


# Structured output.


class Sum(pydantic.BaseModel):
    """A sum."""

    total: int


def test_json_schema(connect: Connect) -> None:
    """A response shows the schema that its text was asked to follow."""
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
    }
    response = connect(Reply('{"total": 3}')).responses.create(
        model="any",
        input="hi",
        text={"format": {"type": "json_schema", "name": "sum", "schema": schema, "strict": True}},
    )
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.to_dict() == {
        "type": "json_schema",
        "name": "sum",
        "schema": schema,
        "strict": True,
    }


def test_text_is_parsed(connect: Connect) -> None:
    """The client parses a text by the schema that it asked for."""
    client = connect(Reply('{"total": 3}'))
    response = client.responses.parse(model="any", input="hi", text_format=Sum)
    assert response.output_parsed == Sum(total=3)


def test_arguments_are_parsed(connect: Connect) -> None:
    """The client parses a call's arguments by the schema of a strict tool."""
    client = connect(CallTools(("Sum", {"total": 3})))
    tool = openai.pydantic_function_tool(Sum)["function"]
    response = client.responses.parse(
        model="any",
        input="hi",
        tools=[
            {
                "type": "function",
                "name": tool["name"],
                "parameters": tool["parameters"],
                "strict": True,
            }
        ],
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert call.parsed_arguments == {"total": 3}


# Errors, as the client's exceptions.


def refusal_of(
    caught: pytest.ExceptionInfo[openai.APIStatusError],
) -> tuple[int, str | None, str | None]:
    """Return status, code and parameter of a refusal."""
    return caught.value.status_code, caught.value.code, caught.value.param


def test_unknown_conversation(connect: Connect) -> None:
    """A conversation that is not there is a ``NotFoundError`` with the wire's text."""
    with pytest.raises(openai.NotFoundError) as caught:
        connect().conversations.retrieve("conv_x")
    assert caught.value.body == {
        "message": "Conversation with id 'conv_x' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_response_for_an_unknown_conversation(connect: Connect) -> None:
    """A response for a conversation that is not there is a ``NotFoundError``."""
    with pytest.raises(openai.NotFoundError) as caught:
        connect().responses.create(model="any", input="hi", conversation="conv_x")
    assert refusal_of(caught) == (404, None, None)


def test_malformed_conversation(connect: Connect) -> None:
    """What cannot be a conversation's id is a ``BadRequestError`` about the parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        connect().responses.create(model="any", input="hi", conversation="thread_x")
    assert refusal_of(caught) == (400, "invalid_value", "conversation")


def test_unknown_item(connect: Connect) -> None:
    """An item that is not there is a ``NotFoundError``."""
    client = connect()
    conversation = client.conversations.create()
    with pytest.raises(openai.NotFoundError, match="Item with id 'msg_x' not found"):
        client.conversations.items.retrieve("msg_x", conversation_id=conversation.id)


def test_locked_conversation(connect: Connect) -> None:
    """A second response for a conversation is a ``BadRequestError`` with a code of its own."""
    client = connect(Hold())
    conversation = client.conversations.create()
    client.responses.create(model="any", input="hi", conversation=conversation.id, background=True)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="any", input="x", conversation=conversation.id)
    assert refusal_of(caught) == (400, "conversation_locked", "conversation")


def test_two_histories(connect: Connect) -> None:
    """A conversation together with an earlier response is a ``BadRequestError``."""
    client = connect()
    conversation = client.conversations.create()
    first = client.responses.create(model="any", input="hi")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model="any", input="x", conversation=conversation.id, previous_response_id=first.id
        )
    assert refusal_of(caught) == (400, "mutually_exclusive_parameters", None)


def test_unknown_previous_response(connect: Connect) -> None:
    """Going on from a response that is not there is a ``BadRequestError`` with its own code."""
    with pytest.raises(openai.BadRequestError) as caught:
        connect().responses.create(model="any", input="x", previous_response_id="resp_x")
    assert refusal_of(caught) == (400, "previous_response_not_found", "previous_response_id")


def test_unanswered_call(connect: Connect) -> None:
    """Going on without an output for each call is a ``BadRequestError``."""
    client = connect(TWO_CALLS)
    conversation = client.conversations.create()
    first = client.responses.create(model="any", input="hi", conversation=conversation.id)
    missing = calls_of(first)[1].call_id
    with pytest.raises(openai.BadRequestError, match=f"function call {missing}"):
        client.responses.create(
            model="any", input=outputs_for(first, "1", "2")[:1], conversation=conversation.id
        )


def test_output_that_nobody_waits_for(connect: Connect) -> None:
    """An output without a call is a ``BadRequestError`` about the input."""
    with pytest.raises(openai.BadRequestError, match="No tool call found") as caught:
        connect().responses.create(model="any", input=[HISTORY["output"]])
    assert refusal_of(caught) == (400, None, "input")


def test_too_many_items(connect: Connect) -> None:
    """More than twenty items at once are a ``BadRequestError``."""
    with pytest.raises(openai.BadRequestError) as caught:
        connect().conversations.create(items=[HISTORY["user"]] * 21)
    assert refusal_of(caught) == (400, "array_above_max_length", "items")


def test_cancel_of_a_response_that_is_final(connect: Connect) -> None:
    """Cancelling a response that is over is a ``BadRequestError``."""
    client = connect()
    made = client.responses.create(model="any", input="hi", background=True)
    final(client, made.id)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        client.responses.cancel(made.id)


def test_unknown_model(connect: Connect) -> None:
    """A model that nobody serves is a ``BadRequestError`` with a code and a parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        connect().responses.create(model="no-such-model", input="hi")
    assert refusal_of(caught) == (400, "model_not_found", "model")


def test_wrong_key() -> None:
    """A wrong key is an ``AuthenticationError``."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret")
    with (
        openai.OpenAI(base_url=server.base_url, api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.responses.create(model="demo", input="hi")
    server.stop()
    assert refusal_of(caught) == (401, "invalid_api_key", None)
