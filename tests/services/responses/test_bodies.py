"""The bodies of requests on the Responses wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    RunOptions,
    ToolOutput,
    ToolSchema,
    UserMessage,
)
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.wire import METADATA_PAIRS, PREVIOUS_KEY, RUN_KEY

Item = dict[str, Any]

URL = "https://example.org/x.png"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = ToolSchema(name="add", description="Add.", parameters=SCHEMA)
SENT_ADD = {
    "type": "function",
    "name": "add",
    "description": "Add.",
    "parameters": SCHEMA,
    "strict": False,
}
HELLO = {"type": "message", "role": "user", "content": "hello"}
ANSWER = {"type": "function_call_output", "call_id": "c", "output": "1"}
PLAIN = AssistantDefinition(model="m")


def make(
    options: RunOptions | None = None,
    definition: AssistantDefinition = PLAIN,
    handlers: tuple[ToolSchema, ...] = (),
    **facts: Any,
) -> dict[str, Any]:
    """Return the body of a response that a message asks for."""
    chosen = {"background": False, **facts}
    return bodies.response_body(
        "conv", definition, options or RunOptions(), handlers, [HELLO], **chosen
    )


# items


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_history_keeps_who_said_what(role: str) -> None:
    """A message of the history goes out as a message of its role."""
    item = bodies.history_item(Message(id="", role=role, content="hi"))
    assert item == {"type": "message", "role": role, "content": "hi"}


@pytest.mark.parametrize(
    "part, sent",
    [
        ({"type": "text", "text": "hi"}, {"type": "input_text", "text": "hi"}),
        (
            {"type": "image_url", "image_url": {"url": URL}},
            {"type": "input_image", "image_url": URL, "detail": "auto"},
        ),
        (
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "input_image", "image_url": URL, "detail": "low"},
        ),
        (
            {"type": "image_file", "image_file": {"file_id": "f"}},
            {"type": "input_image", "file_id": "f", "detail": "auto"},
        ),
        (
            {"type": "image_file", "image_file": {"file_id": "f", "detail": "high"}},
            {"type": "input_image", "file_id": "f", "detail": "high"},
        ),
        (
            {"type": "image_url", "image_url": {"url": URL, "detail": None}},
            {"type": "input_image", "image_url": URL, "detail": "auto"},
        ),
    ],
)
def test_parts_have_the_names_of_the_wire(part: Item, sent: Item) -> None:
    """Texts and images of a message go out as this wire spells them."""
    assert bodies.message_item(UserMessage(content=(part,)))["content"] == [sent]


def test_parts_keep_their_order() -> None:
    """The parts of a message go out in their order."""
    parts = tuple({"type": "text", "text": text} for text in "abc")
    sent = bodies.message_item(UserMessage(content=parts))["content"]
    assert [part["text"] for part in sent] == ["a", "b", "c"]


def test_text_goes_as_text() -> None:
    """A message that is a text is no list of parts."""
    assert bodies.message_item(UserMessage(content="hello")) == HELLO


@pytest.mark.parametrize("content", ["hello", ({"type": "text", "text": "hello"},)])
def test_content_of_an_item_is_parts(content: Any) -> None:
    """However a message was sent, its content can be held against what a server shows."""
    item = bodies.message_item(UserMessage(content=content))
    assert bodies.content_of(item) == ({"type": "input_text", "text": "hello"},)


def test_output_answers_its_call() -> None:
    """A tool's output goes out by the id of its call."""
    assert bodies.output_item(ToolOutput(tool_call_id="c", output="1")) == ANSWER


SHOWN = {
    "type": "message",
    "id": "m1",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": "hello"}],
}
SAID = {"type": "message", "id": "m0", "role": "assistant", "content": []}
CALL = {"type": "function_call", "id": "fc", "call_id": "c", "name": "add", "arguments": "{}"}
SHOWN_ANSWER = {**ANSWER, "id": "o", "status": "completed"}
AGAIN = {"type": "message", "role": "user", "content": SHOWN["content"]}


@pytest.mark.parametrize(
    "shown, again",
    [
        ([], ()),
        ([SHOWN], (AGAIN,)),
        ([{"role": "user", "content": "hello"}], (HELLO,)),
        ([SAID, SHOWN], (AGAIN,)),
        ([SHOWN, SAID, SHOWN], (AGAIN,)),
        ([SHOWN_ANSWER], (ANSWER,)),
        ([SHOWN, CALL, SHOWN_ANSWER], (ANSWER,)),
        (
            [SHOWN, CALL, {**CALL, "call_id": "d"}, SHOWN_ANSWER, {**SHOWN_ANSWER, "call_id": "d"}],
            (ANSWER, {**ANSWER, "call_id": "d"}),
        ),
        (
            [SHOWN, CALL, SHOWN_ANSWER, {**CALL, "call_id": "d"}, {**SHOWN_ANSWER, "call_id": "d"}],
            ({**ANSWER, "call_id": "d"},),
        ),
        ([SHOWN, SAID], ()),
    ],
)
def test_newest_input_is_made_anew(shown: list[Item], again: tuple[Item, ...]) -> None:
    """What a response was made from is told from the history before it, and has no ids."""
    assert bodies.newest_input(shown) == again


# a response


def test_plain_body() -> None:
    """A response is asked for with model, conversation and input, and no more than that."""
    assert make() == {"model": "m", "conversation": "conv", "input": [HELLO], "store": True}


@pytest.mark.parametrize("given_items", [(), (HELLO,), (ANSWER, HELLO)])
def test_input_is_what_is_new(given_items: tuple[Item, ...]) -> None:
    """The input is a list even where there is nothing new: some servers demand it."""
    body = bodies.response_body("conv", PLAIN, RunOptions(), (), given_items, background=False)
    assert body["input"] == list(given_items)


@pytest.mark.parametrize("background, sent", [(True, {"background": True}), (False, {})])
def test_background_is_named_only_where_it_is_wanted(background: bool, sent: Item) -> None:
    """A server that knows no background is not told of it."""
    body = make(background=background)
    assert {name: body[name] for name in body if name == "background"} == sent


@pytest.mark.parametrize(
    "own, options, sent",
    [
        ("", {}, None),
        ("own", {}, "own"),
        ("own", {"instructions": "other"}, "other"),
        ("own", {"instructions": ""}, None),
        ("", {"instructions": "other"}, "other"),
        ("own", {"additional_instructions": "more"}, "own\nmore"),
        ("own", {"instructions": "other", "additional_instructions": "more"}, "other\nmore"),
        ("own", {"instructions": "", "additional_instructions": "more"}, "more"),
        ("", {"additional_instructions": "more"}, "more"),
        ("own", {"additional_instructions": ""}, "own"),
    ],
)
def test_instructions(own: str, options: dict[str, Any], sent: str | None) -> None:
    """The run's instructions stand in place of the assistant's, and additional ones after them."""
    definition = AssistantDefinition(model="m", instructions=own)
    assert make(RunOptions(**options), definition).get("instructions") == sent


@pytest.mark.parametrize(
    "option, field, sent",
    [
        ({"model": "other"}, "model", "other"),
        ({"temperature": 0}, "temperature", 0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"max_output_tokens": 7}, "max_output_tokens", 7),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"reasoning_effort": "low"}, "reasoning", {"effort": "low"}),
        ({"truncation": "auto"}, "truncation", "auto"),
        ({"truncation": "disabled"}, "truncation", "disabled"),
        ({"truncation": {"type": "auto"}}, "truncation", "auto"),
        ({"metadata": {"k": "v"}}, "metadata", {"k": "v"}),
        ({"tool_choice": "required"}, "tool_choice", "required"),
        ({"tool_choice": "none"}, "tool_choice", "none"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "add"}}},
            "tool_choice",
            {"type": "function", "name": "add"},
        ),
        (
            {"tool_choice": {"type": "function", "name": "add"}},
            "tool_choice",
            {"type": "function", "name": "add"},
        ),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", {"type": "file_search"}),
        ({"response_format": "json_object"}, "text", {"format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_object"}},
            "text",
            {"format": {"type": "json_object"}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
                }
            },
            "text",
            {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}},
        ),
        (
            {"response_format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
            "text",
            {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
        ),
    ],
)
def test_options_have_the_names_of_the_wire(
    option: dict[str, Any], field: str, sent: object
) -> None:
    """Each option goes out as this wire spells it, whichever wire's words it was given in."""
    assert {**make(), field: sent} == make(RunOptions(**option))


@pytest.mark.parametrize("option", [{}, {"response_format": "auto"}])
def test_option_that_is_left_to_the_wire(option: dict[str, Any]) -> None:
    """A format that the wire is to choose is not sent."""
    assert make(RunOptions(**option)) == make()


numbers = st.floats(0, 1, allow_nan=False)
options_of_any_kind = st.builds(
    RunOptions,
    model=st.none() | st.just("other"),
    instructions=st.none() | st.text(max_size=5),
    additional_instructions=st.none() | st.text(max_size=5),
    temperature=st.none() | numbers,
    top_p=st.none() | numbers,
    max_output_tokens=st.none() | st.integers(1, 99),
    tool_choice=st.none() | st.sampled_from(["auto", "none", "required"]),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | st.sampled_from(["auto", "json_object", "text"]),
    reasoning_effort=st.none() | st.sampled_from(["low", "high"]),
    metadata=st.none() | st.just({"k": "v"}),
    truncation=st.none() | st.sampled_from(["auto", "disabled"]),
)
FIELDS = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_output_tokens",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "text",
    "reasoning_effort": "reasoning",
    "metadata": "metadata",
    "truncation": "truncation",
    "instructions": "instructions",
    "additional_instructions": "instructions",
}


@given(options=options_of_any_kind)
def test_only_what_was_given_is_sent(options: RunOptions) -> None:
    """However options come together, no field is sent that none of them asks for."""
    asked = {FIELDS[name] for name in options.given()}
    assert make(options).keys() - make().keys() <= asked


@given(options=options_of_any_kind)
def test_no_field_is_sent_empty(options: RunOptions) -> None:
    """However options come together, nothing goes out as null."""
    assert None not in make(options).values()


@given(options=options_of_any_kind)
def test_options_go_with_every_response_of_a_run(options: RunOptions) -> None:
    """A response that goes on is made under the same options but for choice and metadata."""
    apart = {"tool_choice", "metadata"}
    first, further = make(options), make(options, run_id="r", previous_id="r")
    assert {name: first[name] for name in first.keys() - apart} == {
        name: further[name] for name in further.keys() - apart
    }


@pytest.mark.parametrize(
    "choice, sent",
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", None),
        ({"type": "function", "name": "add"}, None),
        ({"type": "function", "function": {"name": "add"}}, None),
        ({"type": "file_search"}, None),
    ],
)
def test_choice_that_forces_a_call_is_for_the_first_response(choice: Any, sent: Any) -> None:
    """A response to outputs is not forced to call a tool again, or the run had no end."""
    body = bodies.response_body(
        *("c", PLAIN, RunOptions(tool_choice=choice), (), [ANSWER]),
        background=False,
        run_id="r",
        previous_id="r",
    )
    assert body.get("tool_choice") == sent


# tools


@pytest.mark.parametrize(
    "own, handlers, sent",
    [
        ((), (), None),
        ((ADD,), (), [SENT_ADD]),
        ((), (ADD,), [SENT_ADD]),
        ((ADD,), (ADD,), [SENT_ADD]),
        (({"type": "function", "function": {"name": "add"}},), (ADD,), ["add"]),
        (({"type": "function", "name": "add"},), (ADD,), ["add"]),
        (({"type": "function", "name": "sub"},), (ADD,), ["sub", "add"]),
        (({"type": "web_search"},), (ADD,), [{"type": "web_search"}, SENT_ADD]),
        (({"type": "custom", "name": "add"},), (ADD,), [{"type": "custom", "name": "add"}, "add"]),
    ],
)
def test_tools(own: Any, handlers: Any, sent: list[Any] | None) -> None:
    """The assistant's own tools come first, and only handlers that it lacks are added."""
    body = make(definition=AssistantDefinition(model="m", tools=own), handlers=handlers)
    tools = body.get("tools")
    names = [isinstance(wanted, str) for wanted in sent or ()]
    told = tools and [
        tool["name"] if is_name else tool for tool, is_name in zip(tools, names, strict=True)
    ]
    assert told == sent


# metadata


def pairs(count: int, prefix: str = "k") -> dict[str, str]:
    """Return so many pairs."""
    return {f"{prefix}{number}": "v" for number in range(count)}


@pytest.mark.parametrize(
    "of_run, of_message, sent",
    [
        (None, None, None),
        ({"a": "1"}, None, {"a": "1"}),
        (None, {"b": "2"}, {"b": "2"}),
        ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}),
        ({}, {}, None),
    ],
)
def test_metadata_of_run_and_message(of_run: Any, of_message: Any, sent: Any) -> None:
    """The response keeps the pairs of run and message together, the message's over the run's."""
    body = make(RunOptions(metadata=of_run), metadata=of_message)
    assert body.get("metadata") == sent


@pytest.mark.parametrize(
    "count, ours",
    [
        (0, {RUN_KEY: "r", PREVIOUS_KEY: "s"}),
        (14, {RUN_KEY: "r", PREVIOUS_KEY: "s"}),
        (15, {RUN_KEY: "r"}),
        (16, {}),
    ],
)
def test_metadata_of_ours_go_where_there_is_room(count: int, ours: dict[str, str]) -> None:
    """The program's pairs come first, and ours go along as far as there is room."""
    body = make(RunOptions(metadata=pairs(count)), run_id="r", previous_id="s")
    assert body["metadata"] == {**pairs(count), **ours}


@given(of_run=st.integers(0, 16), of_message=st.integers(0, 16))
def test_metadata_are_never_too_many(of_run: int, of_message: int) -> None:
    """Pairs are refused before the request, or there is room for all that is sent."""
    options, own = RunOptions(metadata=pairs(of_run)), pairs(of_message, "m")
    if of_run + of_message > METADATA_PAIRS:
        with pytest.raises(ConfigurationError, match="metadata"):
            make(options, metadata=own, run_id="r", previous_id="s")
    else:
        sent = make(options, metadata=own, run_id="r", previous_id="s")["metadata"]
        assert len(sent) <= METADATA_PAIRS


# what is refused before any request


@pytest.mark.parametrize(
    "truncation", ["last_messages", {"type": "last_messages", "last_messages": 3}, {}, 3]
)
def test_truncation_that_the_wire_does_not_have(truncation: Any) -> None:
    """A truncation of the other wire is refused by its name."""
    with pytest.raises(ConfigurationError, match="no truncation"):
        bodies.check_options(RunOptions(truncation=truncation))


def is_refused(act: Callable[[RunOptions], object], options: RunOptions) -> bool:
    """Return whether options are refused."""
    try:
        act(options)
    except ConfigurationError:
        return True
    return False


truncations = st.sampled_from(["auto", "disabled", "last_messages", ""])


@given(truncation=truncations | st.fixed_dictionaries({}, optional={"type": truncations}))
def test_options_are_refused_before_a_body_is_made(truncation: Any) -> None:
    """The check refuses just those options that no body can be made of."""
    options = RunOptions(truncation=truncation)
    assert is_refused(bodies.check_options, options) == is_refused(make, options)


@given(options=options_of_any_kind)
def test_options_that_the_wire_has(options: RunOptions) -> None:
    """However options come together, those that the wire has are let pass."""
    assert not is_refused(bodies.check_options, options)


def test_attachments_are_refused() -> None:
    """The wire has no attachments, and the error says what to do in their place."""
    message = UserMessage(content="hello", attachments=({"file_id": "f", "tools": []},))
    with pytest.raises(ConfigurationError, match="no attachments: .* vector_store_ids"):
        bodies.check_message(message, RunOptions())


@pytest.mark.parametrize("of_run, of_message", [(9, 8), (16, 1), (1, 16)])
def test_metadata_that_are_too_many_together(of_run: int, of_message: int) -> None:
    """A message whose pairs have no room beside the run's is refused with their number."""
    message = UserMessage(content="hello", metadata=pairs(of_message, "m"))
    with pytest.raises(ConfigurationError, match="17 pairs are more than 16"):
        bodies.check_message(message, RunOptions(metadata=pairs(of_run)))


@pytest.mark.parametrize("of_run, of_message", [(None, 16), (16, 0), (8, 8)])
def test_message_that_the_wire_can_carry(of_run: int | None, of_message: int) -> None:
    """A message with text, images and pairs that have room is let pass, and can be sent."""
    content = ({"type": "image_url", "image_url": {"url": URL}},)
    message = UserMessage(content=content, metadata=pairs(of_message, "m"))
    options = RunOptions(metadata=None if of_run is None else pairs(of_run))
    bodies.check_message(message, options)
    assert len(make(options, metadata=message.metadata)["metadata"]) == 16


@pytest.mark.parametrize(
    "tool, words",
    [
        ({"type": "file_search"}, "file_search tool needs 'vector_store_ids'"),
        ({"type": "code_interpreter"}, "code_interpreter tool needs 'container'"),
        ({"type": "function"}, "a function tool needs a name"),
        ({"type": "function", "function": {"description": "x"}}, "a function tool needs a name"),
        ({"type": "function", "name": 3}, "a function tool needs a name"),
    ],
)
def test_tool_that_the_wire_cannot_take(tool: Item, words: str) -> None:
    """A tool is refused with what it lacks on this wire."""
    with pytest.raises(ConfigurationError, match=words):
        bodies.check_definition(AssistantDefinition(model="m", tools=(ADD, tool)))


@pytest.mark.parametrize(
    "tool",
    [
        ADD,
        {"type": "function", "name": "add"},
        {"type": "function", "function": {"name": "add"}},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "web_search"},
    ],
)
def test_tool_that_the_wire_can_take(tool: Any) -> None:
    """A tool that has what the wire needs is let pass, and goes out."""
    definition = AssistantDefinition(model="m", tools=(tool,))
    bodies.check_definition(definition)
    assert len(make(definition=definition)["tools"]) == 1
