"""The Assistants wire as data."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import Message, RunOptions, ToolCall, Usage
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.http.shapes import read_list, read_usage


def read(**facts: Any) -> Any:
    """Read a run object."""
    return wire.read_run({"id": "r", "status": "queued", **facts}, "GET /x")


def calls(*items: Any) -> dict[str, Any]:
    """Return a required action."""
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": list(items)}}


GOOD = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    "action, expected, unsupported",
    [
        (None, (), None),
        ({}, (), None),
        (calls(), (), None),
        (calls(GOOD), (ToolCall(id="c", name="add", arguments='{"a": 1}'),), None),
        (
            calls({"id": "c", "function": {"name": "add", "arguments": {"a": 1}}}),
            (ToolCall(id="c", name="add", arguments='{"a": 1}'),),
            None,
        ),
        (
            calls({"id": "c", "function": {"name": "add"}}),
            (ToolCall(id="c", name="add", arguments="{}"),),
            None,
        ),
        (calls({"id": None, "function": None}, "x"), (), None),
        ({"type": "submit_tool_approval", "submit_tool_approval": {}}, (), "submit_tool_approval"),
    ],
)
def test_required_action_is_read(
    action: Any, expected: tuple[ToolCall, ...], unsupported: str | None
) -> None:
    """Calls are read out of a required action, and what is none is named."""
    run = read(status="requires_action", required_action=action)
    assert (run.tool_calls, run.unsupported_action) == (expected, unsupported)


@pytest.mark.parametrize("data", [{}, {"id": "r"}, {"status": "x"}, {"id": 3, "status": "x"}])
def test_what_is_no_run_is_refused(data: dict[str, Any]) -> None:
    """Without an id and a status it is no run."""
    with pytest.raises(ProtocolError):
        wire.read_run(data, "GET /x")


def test_azure_may_call_the_assistant_agent() -> None:
    """A run that names its agent names its assistant."""
    assert read(agent_id="a").assistant_id == "a"


@pytest.mark.parametrize(
    "facts, code, message",
    [
        ({"last_error": {"code": "server_error", "message": "oops"}}, "server_error", "oops"),
        ({"incomplete_details": {"reason": "max_prompt_tokens"}}, "max_prompt_tokens", None),
        ({"last_error": None, "incomplete_details": None}, None, None),
    ],
)
def test_reasons_are_read(facts: dict[str, Any], code: str | None, message: str | None) -> None:
    """The reason of a failed or incomplete run is read."""
    run = read(**facts)
    assert (run.error_code, run.error_message) == (code, message)


@pytest.mark.parametrize(
    "data, expected",
    [
        (None, None),
        ({}, None),
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 4},
            Usage(input_tokens=1, output_tokens=2, total_tokens=4),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 2},
            Usage(input_tokens=1, output_tokens=2, total_tokens=3),
        ),
        (
            {"prompt_tokens": None, "completion_tokens": 2.0},
            Usage(input_tokens=0, output_tokens=2, total_tokens=2),
        ),
    ],
)
def test_usage_is_read(data: Any, expected: Usage | None) -> None:
    """Tokens are read, as far as the server counts them."""
    assert read_usage(data, "prompt_tokens", "completion_tokens") == expected


@pytest.mark.parametrize(
    "content, text",
    [
        (
            [{"type": "text", "text": {"value": "a"}}, {"type": "text", "text": {"value": "b"}}],
            "ab",
        ),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ([{"type": "text", "text": None}], ""),
        ("plain", "plain"),
        (None, ""),
        ([], ""),
    ],
)
def test_text_of_a_message_is_joined(content: Any, text: str) -> None:
    """The text parts of a message are joined, and there may be none."""
    message = wire.read_message({"id": "m", "role": "assistant", "content": content})
    assert message is not None
    assert message.content == text


def test_parts_of_a_message_are_kept_raw() -> None:
    """All parts are kept as the wire gave them."""
    parts = [{"type": "refusal", "refusal": "no"}, {"type": "image_file", "image_file": {}}]
    message = wire.read_message({"id": "m", "content": parts})
    assert message is not None
    assert list(message.parts) == parts


def test_what_has_no_id_is_no_message() -> None:
    """An item of a list without an id is passed over."""
    assert read_list({"data": [{"x": 1}, {"id": "m"}, 3]}, "GET /x", wire.read_message) == [
        Message(id="m", role="")
    ]


def test_answer_without_data_is_no_list() -> None:
    """A list answer has its items in ``data``."""
    with pytest.raises(ProtocolError, match="'data'"):
        read_list({"items": []}, "GET /x", wire.read_message)


def test_option_objects_go_as_they_are() -> None:
    """An option that is an object of the wire is sent as it is."""
    options = RunOptions(truncation={"type": "last_messages", "last_messages": 3})
    body = wire.run_body("a", options, None, "token")
    assert body["truncation_strategy"] == {"type": "last_messages", "last_messages": 3}
