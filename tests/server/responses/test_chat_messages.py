"""Items, tools, choices and formats in the words of chats."""

from __future__ import annotations

import pytest

from gpt_agent_sync.server.responses import input_items, options, response_work
from tests.support.responses_client import assistant_message, call, message, output, user_message
from tests.support.wire_client import Json

IMAGE = {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"}


SCHEMA = {"type": "json_schema", "name": "sum", "schema": {"type": "object"}}


def asked(call_id: str) -> Json:
    """Return a call as chats have it."""
    return {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}


EMPTY: Json = {"type": "object"}
"""The schema of a tool without parameters."""


@pytest.mark.parametrize(
    "given, said",
    [
        ([], []),
        ([message("hi")], [{"role": "user", "content": "hi"}]),
        ([message("hi", "system")], [{"role": "system", "content": "hi"}]),
        ([message("hi", "developer")], [{"role": "system", "content": "hi"}]),
        ([message("hi", "assistant")], [{"role": "assistant", "content": "hi"}]),
        (
            [assistant_message({"type": "refusal", "refusal": "No."})],
            [{"role": "assistant", "content": "No."}],
        ),
        (
            [
                user_message(
                    {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}
                )
            ],
            [{"role": "user", "content": "a\nb"}],
        ),
        (
            [user_message({"type": "input_text", "text": "a"}, IMAGE)],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "http://x/y.png", "detail": "low"},
                        },
                    ],
                }
            ],
        ),
        ([user_message()], [{"role": "user", "content": ""}]),
        ([message("hi"), {"type": "reasoning"}], [{"role": "user", "content": "hi"}]),
        (
            [call("a")],
            [{"role": "assistant", "content": None, "tool_calls": [asked("a")]}],
        ),
        (
            [call("a"), call("b")],
            [{"role": "assistant", "content": None, "tool_calls": [asked("a"), asked("b")]}],
        ),
        (
            [message("Let me see.", "assistant"), {"type": "reasoning"}, call("a")],
            [{"role": "assistant", "content": "Let me see.", "tool_calls": [asked("a")]}],
        ),
        (
            [message("hi"), call("a"), output("a", "1"), call("b")],
            [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
                {"role": "assistant", "content": None, "tool_calls": [asked("b")]},
            ],
        ),
        (
            [output("a", [{"type": "input_text", "text": "1"}])],
            [{"role": "tool", "tool_call_id": "a", "content": "1"}],
        ),
    ],
)
def test_items_as_chat(given: list[Json], said: list[Json]) -> None:
    """Items are converted to messages of chats; what chats have no words for is left out."""
    assert response_work.chat_messages(input_items.read_input(given)) == said


@pytest.mark.parametrize(
    "tool, function",
    [
        ({"name": "add", "strict": None}, {"name": "add"}),
        (
            {
                "name": "add",
                "description": "Add.",
                "parameters": {"type": "object"},
                "strict": False,
            },
            {
                "name": "add",
                "description": "Add.",
                "parameters": {"type": "object"},
                "strict": False,
            },
        ),
        ({"name": "add", "strict": False, "allowed_callers": []}, {"name": "add", "strict": False}),
    ],
    ids=["bare", "full", "more"],
)
def test_tools_as_chat(tool: Json, function: Json) -> None:
    """A tool is converted to one of chats, without what was left open or chats do not know."""
    (shown,) = options.check_tools([{"type": "function", **tool}])
    assert response_work.chat_tool(shown) == {"type": "function", "function": function}


@pytest.mark.parametrize(
    "choice, said",
    [
        ("auto", "auto"),
        ("required", "required"),
        (
            {"type": "function", "name": "add"},
            {"type": "function", "function": {"name": "add"}},
        ),
    ],
)
def test_choices_as_chat(choice: str | Json, said: str | Json) -> None:
    """A choice of tools is converted to one of chats."""
    assert response_work.chat_choice(choice) == said


@pytest.mark.parametrize(
    "form, said",
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {**SCHEMA, "strict": True},
            {
                "type": "json_schema",
                "json_schema": {"name": "sum", "schema": {"type": "object"}, "strict": True},
            },
        ),
    ],
    ids=["text", "object", "schema"],
)
def test_formats_as_chat(form: Json, said: Json | None) -> None:
    """A text format is converted to one of chats; plain text needs no words."""
    assert response_work.chat_format(form) == said
