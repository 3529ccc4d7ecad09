"""Items that requests bring: read, and refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.responses import input_items
from tests.support.responses_client import assistant_message, call, message, output, user_message
from tests.support.wire_client import Json

IMAGE = {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"}


MISSING, INVALID = "missing_required_parameter", "invalid_value"
WRONG_TYPE, UNKNOWN, UNSUPPORTED = "invalid_type", "unknown_parameter", "unsupported_parameter"


def read(item: Json) -> Json:
    """Return an item as it is kept, without its id."""
    (kept,) = input_items.read_input([item])
    return {name: value for name, value in kept.items() if name != "id"}


def refused(check: Callable[[], object]) -> tuple[str | None, str | None]:
    """Return parameter and code of a refusal."""
    with pytest.raises(WireError) as caught:
        check()
    assert caught.value.status == 400
    return caught.value.param, caught.value.code


@pytest.mark.parametrize("given", [None, []])
def test_no_input(given: list[Json] | None) -> None:
    """No input is no items."""
    assert input_items.read_input(given) == []


def test_text_is_a_message() -> None:
    """A text is a message of the user's."""
    (kept,) = input_items.read_input("hi")
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


def test_phase_is_kept() -> None:
    """What a reply was in its turn is kept, as models are to see it again."""
    said = {**message("hi", "assistant"), "phase": "commentary"}
    assert read(said)["phase"] == "commentary"


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
    one, other = input_items.read_input([{**item, "id": "x"}] * 2)
    assert {kept["id"].split("_")[0] for kept in (one, other)} == {prefix}
    assert one["id"] != other["id"]


@pytest.mark.parametrize("status", ["in_progress", "completed", "incomplete"])
@pytest.mark.parametrize("item", [message("hi"), call(), output()], ids=["message", "call", "out"])
def test_items_keep_their_status(item: Json, status: str) -> None:
    """An item that says how far it is is kept so."""
    assert read({**item, "status": status})["status"] == status


@pytest.mark.parametrize(
    "item, place, code",
    [
        ({"type": "nothing"}, "type", INVALID),
        ({"type": "item_reference", "id": "msg_1"}, "type", INVALID),
        ({"type": ["message"]}, "type", INVALID),
        ({}, "role", MISSING),
        (message("hi", "tool"), "role", INVALID),
        ({**message("hi"), "role": ["user"]}, "role", WRONG_TYPE),
        ({"role": "user"}, "content", MISSING),
        ({"role": "user", "content": 5}, "content", WRONG_TYPE),
        ({**message("hi"), "status": "over"}, "status", INVALID),
        ({**call(), "status": ["completed"]}, "status", WRONG_TYPE),
        ({**output(), "status": 5}, "status", WRONG_TYPE),
        (user_message({"type": "text", "text": "x"}), "content[0].type", INVALID),
        (user_message({"type": "refusal", "refusal": "x"}), "content[0].type", INVALID),
        (user_message({}), "content[0].type", INVALID),
        ({"role": "user", "content": ["x"]}, "content[0]", WRONG_TYPE),
        (user_message({"type": "input_text"}), "content[0].text", MISSING),
        (user_message(IMAGE, {"type": "input_text", "text": 5}), "content[1].text", WRONG_TYPE),
        (user_message({"type": "input_image"}), "content[0].image_url", MISSING),
        (user_message({"type": "input_image", "image_url": ""}), "content[0].image_url", MISSING),
        (
            user_message({"type": "input_image", "image_url": {"url": "http://x/y.png"}}),
            "content[0].image_url",
            WRONG_TYPE,
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
            WRONG_TYPE,
        ),
        ({"type": "function_call", "name": "a", "arguments": "{}"}, "call_id", MISSING),
        ({"type": "function_call", "call_id": "a", "arguments": "{}"}, "name", MISSING),
        ({"type": "function_call", "call_id": "a", "name": "a"}, "arguments", MISSING),
        ({**call(), "arguments": {}}, "arguments", WRONG_TYPE),
        ({"type": "function_call_output", "output": "1"}, "call_id", MISSING),
        ({"type": "function_call_output", "call_id": "a"}, "output", MISSING),
        (output("a", 5), "output", WRONG_TYPE),
        (output("a", [{"type": "output_text", "text": "x"}]), "output[0].type", INVALID),
        ({**message("hi"), "status": False}, "status", WRONG_TYPE),
        ({**message("hi"), "name": "Ann"}, "name", UNKNOWN),
        (user_message({**IMAGE, "detail": {}}), "content[0].detail", WRONG_TYPE),
        (user_message({**IMAGE, "detail": "huge"}), "content[0].detail", INVALID),
        (user_message({"type": "input_text", "text": "x", "y": 1}), "content[0].y", UNKNOWN),
        (
            assistant_message({"type": "output_text", "text": "x", "annotations": [0]}),
            "content[0].annotations[0]",
            WRONG_TYPE,
        ),
        (
            assistant_message({"type": "output_text", "text": "x", "annotations": [{}]}),
            "content[0].annotations[0].type",
            INVALID,
        ),
        ({**call(), "call_id": ""}, "call_id", INVALID),
        ({**call(), "name": "a\0b"}, "name", INVALID),
        ({**call(), "namespace": "mail"}, "namespace", UNSUPPORTED),
        ({**call(), "caller": {"type": "direct"}}, "caller", UNSUPPORTED),
        ({**output(), "call_id": ""}, "call_id", INVALID),
        ({"type": "reasoning", "summary": [5]}, "summary[0]", WRONG_TYPE),
        ({"type": "reasoning", "summary": "x"}, "summary", WRONG_TYPE),
        ({"type": False}, "type", INVALID),
    ],
)
def test_items_that_are_not_of_the_wire(item: Json, place: str, code: str) -> None:
    """A bad item is refused by its place among the others."""
    given = [message("good"), item]
    assert refused(lambda: input_items.read_input(given, "items")) == (f"items[1].{place}", code)


def test_refusal_names_what_is_taken() -> None:
    """The refusal of a value says which ones there are."""
    with pytest.raises(WireError) as caught:
        input_items.read_input([message("hi", "tool")])
    assert caught.value.message == (
        "Invalid value: 'tool'. Supported values are: 'assistant', 'developer', 'system', 'user'."
    )
