"""Items of conversations: read from requests, created, and checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.responses import items
from tests.support.responses_client import assistant_message, call, message, output, user_message
from tests.support.wire_client import Json

IMAGE = {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"}


def read(item: Json) -> Json:
    """Return an item as it is kept, without its id."""
    (kept,) = items.read_input([item])
    return {name: value for name, value in kept.items() if name != "id"}


def refused(check: Callable[[], object]) -> tuple[str | None, str | None]:
    """Return parameter and code of a refusal."""
    with pytest.raises(WireError) as caught:
        check()
    assert caught.value.status == 400
    return caught.value.param, caught.value.code


def refusal_text(check: Callable[[], object]) -> str | None:
    """Return the text of a refusal, ``None`` when there is none."""
    try:
        check()
    except WireError as exc:
        return exc.message
    return None


@pytest.mark.parametrize("given", [None, []])
def test_no_input(given: list[Json] | None) -> None:
    """No input is no items."""
    assert items.read_input(given) == []


def test_text_is_a_message() -> None:
    """A text is a message of the user's."""
    (kept,) = items.read_input("hi")
    assert kept.pop("id").startswith("msg_")
    assert kept == {
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "hi"}],
    }


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_content_that_is_a_text(role: str) -> None:
    """A text said to the model is one part of input."""
    assert read(message("hi", role))["content"] == [{"type": "input_text", "text": "hi"}]


def test_assistant_content_that_is_a_text() -> None:
    """A text said by the assistant is one part of output."""
    assert read(message("hi", "assistant"))["content"] == [
        {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
    ]


@pytest.mark.parametrize("kind", ["message", None, ""])
def test_message_without_a_type(kind: str | None) -> None:
    """An item that does not say what it is is a message."""
    assert read({**message("hi"), "type": kind})["type"] == "message"


@pytest.mark.parametrize(
    "given, kept",
    [
        ({"type": "input_text", "text": "hi"}, {"type": "input_text", "text": "hi"}),
        (IMAGE, {**IMAGE, "file_id": None}),
        (
            {**IMAGE, "detail": None},
            {**IMAGE, "file_id": None, "detail": "auto"},
        ),
    ],
    ids=["text", "address", "no detail"],
)
def test_parts_of_input(given: Json, kept: Json) -> None:
    """Parts of input are kept with the fields that the wire shows."""
    assert read(user_message(given))["content"] == [kept]


NOTE = {"type": "url_citation", "url": "http://x", "title": "x", "start_index": 0, "end_index": 1}


@pytest.mark.parametrize(
    "given, kept",
    [
        (
            {"type": "output_text", "text": "hi"},
            {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []},
        ),
        (
            {"type": "output_text", "text": "hi", "annotations": [NOTE]},
            {"type": "output_text", "text": "hi", "annotations": [NOTE], "logprobs": []},
        ),
        ({"type": "refusal", "refusal": "No."}, {"type": "refusal", "refusal": "No."}),
    ],
    ids=["text", "notes", "refusal"],
)
def test_parts_of_output(given: Json, kept: Json) -> None:
    """Parts of output are kept with the fields that the wire shows."""
    assert read(assistant_message(given))["content"] == [kept]


def test_call_is_kept() -> None:
    """A function call is kept as it is, and is over."""
    assert read(call("call_a", "add", '{"a": 1}')) == {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_a",
        "name": "add",
        "arguments": '{"a": 1}',
    }


@pytest.mark.parametrize(
    "said, kept",
    [
        ("1", "1"),
        ("", ""),
        ([], []),
        ([{"type": "input_text", "text": "1"}], [{"type": "input_text", "text": "1"}]),
        ([IMAGE], [{**IMAGE, "file_id": None}]),
    ],
    ids=["text", "empty", "no parts", "part", "image"],
)
def test_output_is_kept(said: object, kept: object) -> None:
    """An output is a text or parts of input."""
    assert read(output("call_a", said)) == {
        "type": "function_call_output",
        "status": "completed",
        "call_id": "call_a",
        "output": kept,
    }


@pytest.mark.parametrize("summary", [{}, {"summary": [{"type": "summary_text", "text": "Hm."}]}])
def test_reasoning_is_kept(summary: Json) -> None:
    """Reasoning is kept as it is, with a summary if only an empty one."""
    given = {"type": "reasoning", "id": "rs_1", "encrypted_content": "x", **summary}
    assert read(given) == {
        "type": "reasoning",
        "encrypted_content": "x",
        "summary": summary.get("summary", []),
    }


@pytest.mark.parametrize(
    "item, prefix",
    [
        (message("hi"), "msg"),
        (call(), "fc"),
        (output(), "fco"),
        ({"type": "reasoning"}, "rs"),
    ],
    ids=["message", "call", "output", "reasoning"],
)
def test_items_get_ids_of_their_own(item: Json, prefix: str) -> None:
    """A kept item has a new id of its kind, whatever it came with."""
    one, other = items.read_input([{**item, "id": "x"}] * 2)
    assert {kept["id"].split("_")[0] for kept in (one, other)} == {prefix}
    assert one["id"] != other["id"]


@pytest.mark.parametrize("status", ["in_progress", "completed", "incomplete"])
@pytest.mark.parametrize("item", [message("hi"), call(), output()], ids=["message", "call", "out"])
def test_items_keep_their_status(item: Json, status: str) -> None:
    """An item that says how far it is is kept so."""
    assert read({**item, "status": status})["status"] == status


MISSING, INVALID = "missing_required_parameter", "invalid_value"


@pytest.mark.parametrize(
    "item, place, code",
    [
        ({"type": "nothing"}, "type", INVALID),
        ({"type": "item_reference", "id": "msg_1"}, "type", INVALID),
        ({"type": ["message"]}, "type", INVALID),
        ({}, "role", INVALID),
        (message("hi", "tool"), "role", INVALID),
        ({**message("hi"), "role": ["user"]}, "role", INVALID),
        ({"role": "user"}, "content", MISSING),
        ({"role": "user", "content": 5}, "content", MISSING),
        ({**message("hi"), "status": "over"}, "status", INVALID),
        ({**call(), "status": ["completed"]}, "status", INVALID),
        ({**output(), "status": 5}, "status", INVALID),
        (user_message({"type": "text", "text": "x"}), "content[0].type", INVALID),
        (user_message({"type": "refusal", "refusal": "x"}), "content[0].type", INVALID),
        (user_message({}), "content[0].type", INVALID),
        ({"role": "user", "content": ["x"]}, "content[0].type", INVALID),
        (user_message({"type": "input_text"}), "content[0].text", MISSING),
        (user_message(IMAGE, {"type": "input_text", "text": 5}), "content[1].text", MISSING),
        (user_message({"type": "input_image"}), "content[0].image_url", MISSING),
        (user_message({"type": "input_image", "image_url": ""}), "content[0].image_url", MISSING),
        (
            user_message({"type": "input_image", "image_url": {"url": "http://x/y.png"}}),
            "content[0].image_url",
            MISSING,
        ),
        (
            user_message({"type": "input_image", "file_id": "file_1"}),
            "content[0].file_id",
            "unsupported_parameter",
        ),
        (
            user_message({"type": "input_file", "file_data": "data:,x"}),
            "content[0]",
            "unsupported_parameter",
        ),
        (assistant_message(IMAGE), "content[0].type", INVALID),
        (assistant_message({"type": "input_text", "text": "x"}), "content[0].type", INVALID),
        (assistant_message({"type": "refusal"}), "content[0].refusal", MISSING),
        (
            assistant_message({"type": "output_text", "text": "x", "annotations": "ab"}),
            "content[0].annotations",
            MISSING,
        ),
        ({"type": "function_call", "name": "a", "arguments": "{}"}, "call_id", MISSING),
        ({"type": "function_call", "call_id": "a", "arguments": "{}"}, "name", MISSING),
        ({"type": "function_call", "call_id": "a", "name": "a"}, "arguments", MISSING),
        ({**call(), "arguments": {}}, "arguments", MISSING),
        ({"type": "function_call_output", "output": "1"}, "call_id", MISSING),
        ({"type": "function_call_output", "call_id": "a"}, "output", MISSING),
        (output("a", 5), "output", MISSING),
        (output("a", [{"type": "output_text", "text": "x"}]), "output[0].type", INVALID),
    ],
)
def test_items_that_are_not_of_the_wire(item: Json, place: str, code: str) -> None:
    """A bad item is refused by its place among the others."""
    given = [message("good"), item]
    assert refused(lambda: items.read_input(given, "items")) == (f"items[1].{place}", code)


def test_refusal_names_what_is_taken() -> None:
    """The refusal of a value says which ones there are."""
    with pytest.raises(WireError) as caught:
        items.read_input([message("hi", "tool")])
    assert caught.value.message == (
        "Invalid value: 'tool'. Supported values are: 'user', 'assistant', 'system', 'developer'."
    )


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_reply(status: str) -> None:
    """A reply is a message of the assistant's with a status by whether it is whole."""
    made = items.reply("hi", status)
    assert made.pop("id").startswith("msg_")
    assert made == {"type": "message", **read({**message("hi", "assistant"), "status": status})}


def test_made_call() -> None:
    """A call is made with an id to answer by that is not the item's own."""
    made = items.call("add", "{}")
    assert made["id"].startswith("fc_")
    assert made["call_id"].startswith("call_")
    assert made["id"].removeprefix("fc_") != made["call_id"].removeprefix("call_")


@pytest.mark.parametrize(
    "history, added",
    [
        ([], []),
        ([message("hi")], [message("and?")]),
        ([call("a")], [output("a")]),
        ([call("a"), call("b")], [output("b"), output("a")]),
        ([call("a"), output("a")], []),
        ([call("a"), output("a"), call("a")], [output("a")]),
        ([], [call("a"), output("a")]),
        ([call("a"), message("hi")], [message("and?"), output("a")]),
    ],
)
def test_calls_that_are_answered(history: list[Json], added: list[Json]) -> None:
    """Calls that all have their output, whatever lies between, may be gone on from."""
    before, after = items.read_input(history), items.read_input(added)
    assert refusal_text(lambda: items.check_calls(before, after)) is None


@pytest.mark.parametrize(
    "history, added, text",
    [
        ([call("a")], [], "No tool output found for function call a."),
        ([], [call("a")], "No tool output found for function call a."),
        ([call("a"), call("b")], [output("a")], "No tool output found for function call b."),
        ([call("b"), call("a")], [], "No tool output found for function call b."),
        (
            [call("a"), output("a"), call("a")],
            [],
            "No tool output found for function call a.",
        ),
        (
            [],
            [output("a")],
            "No tool call found for function call output with call_id a.",
        ),
        (
            [call("a"), output("a")],
            [output("a")],
            "No tool call found for function call output with call_id a.",
        ),
        (
            [call("a")],
            [output("b")],
            "No tool call found for function call output with call_id b.",
        ),
        (
            [],
            [output("a"), call("a")],
            "No tool call found for function call output with call_id a.",
        ),
    ],
)
def test_calls_and_outputs_that_do_not_match(
    history: list[Json], added: list[Json], text: str
) -> None:
    """A call without an output, or an output without a call before it, is refused by its id."""
    before, after = items.read_input(history), items.read_input(added)
    assert refusal_text(lambda: items.check_calls(before, after)) == text


THERE = [{"id": "rs_1"}, {"id": "msg_1"}]


@pytest.mark.parametrize(
    "given",
    [
        [{**message("x"), "id": "msg_1"}],
        [message("x"), {**message("x"), "id": "msg_1"}],
    ],
)
def test_item_that_is_there(given: list[Json]) -> None:
    """An item with the id of one that is there is refused by it."""
    assert refusal_text(lambda: items.check_new(THERE, given)) == (
        "Duplicate item found with id msg_1. Remove duplicate items from your input and try again."
    )


@pytest.mark.parametrize(
    "given",
    [
        None,
        "msg_1",
        [],
        [message("x")],
        [{**message("x"), "id": None}],
        [{**message("x"), "id": "msg_2"}],
        [{**message("x"), "id": ["msg_1"]}],
    ],
)
def test_item_that_is_not_there(given: str | list[Json] | None) -> None:
    """An item with no id, or one that is not there, is new."""
    assert refusal_text(lambda: items.check_new(THERE, given)) is None


@pytest.mark.parametrize(
    "tool, shown",
    [
        (
            {"type": "function", "name": "add"},
            {"description": None, "parameters": None, "strict": None},
        ),
        (
            {
                "type": "function",
                "name": "add",
                "description": "Add.",
                "parameters": {"type": "object"},
                "strict": False,
            },
            {"description": "Add.", "parameters": {"type": "object"}, "strict": False},
        ),
    ],
    ids=["bare", "full"],
)
def test_tools_are_shown(tool: Json, shown: Json) -> None:
    """A tool is shown with all the fields that it may have."""
    assert items.check_tools([tool]) == [{"type": "function", "name": "add", **shown}]


@pytest.mark.parametrize(
    "tool, param, code",
    [
        ({"type": "web_search"}, "tools[1].type", INVALID),
        ({"name": "add"}, "tools[1].type", INVALID),
        ({"type": "function"}, "tools[1].name", MISSING),
        ({"type": "function", "name": 5}, "tools[1].name", INVALID),
        ({"type": "function", "function": {"name": "add"}}, "tools[1].name", MISSING),
    ],
)
def test_tools_that_are_not_of_the_wire(tool: Json, param: str, code: str) -> None:
    """A tool that is no function, or has no name, is refused by its place."""
    good = {"type": "function", "name": "add"}
    assert refused(lambda: items.check_tools([good, tool])) == (param, code)


@pytest.mark.parametrize(
    "given, choice",
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "add"}, {"type": "function", "name": "add"}),
    ],
)
def test_choices(given: str | Json | None, choice: str | Json) -> None:
    """A choice of tools is shown as it was given, and is left to the model otherwise."""
    assert items.check_choice(given) == choice


@pytest.mark.parametrize(
    "given, param, code",
    [
        ("sometimes", "tool_choice", INVALID),
        ("", "tool_choice", INVALID),
        ({}, "tool_choice.type", INVALID),
        ({"type": "mcp", "server_label": "x"}, "tool_choice.type", INVALID),
        ({"type": "function"}, "tool_choice.name", MISSING),
        ({"type": "function", "function": {"name": "add"}}, "tool_choice.name", MISSING),
    ],
)
def test_choices_that_are_not_of_the_wire(given: str | Json, param: str, code: str) -> None:
    """A choice that this server does not have is refused by what is wrong with it."""
    assert refused(lambda: items.check_choice(given)) == (param, code)


SCHEMA = {"type": "json_schema", "name": "sum", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    "given, form",
    [
        (None, {"type": "text"}),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (SCHEMA, SCHEMA),
    ],
    ids=["none", "text", "object", "schema"],
)
def test_formats(given: Json | None, form: Json) -> None:
    """A text format is shown as it was given, and is plain text otherwise."""
    assert items.check_format(given) == form


@pytest.mark.parametrize(
    "given, param, code",
    [
        ({}, "text.format.type", INVALID),
        ({"type": "xml"}, "text.format.type", INVALID),
        ({"type": "json_schema", "schema": {"type": "object"}}, "text.format.name", MISSING),
        ({"type": "json_schema", "name": "sum"}, "text.format.schema", MISSING),
        (
            {"type": "json_schema", "json_schema": {"name": "sum"}},
            "text.format.name",
            MISSING,
        ),
    ],
)
def test_formats_that_are_not_of_the_wire(given: Json, param: str, code: str) -> None:
    """A format that is unknown, or lacks what it needs, is refused by what is wrong with it."""
    assert refused(lambda: items.check_format(given)) == (param, code)
