"""What the server does not have: refused by its name, before anything is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpt_agent_sync.server.features import says_something
from tests.support.responses_client import ResponsesClient, message, user_message
from tests.support.scripted_model import ScriptedServer
from tests.support.wire_client import Json

UNSUPPORTED = "unsupported_parameter"

CODE = {"type": "code_interpreter"}
SEARCH = {"type": "file_search"}
FILE = {"file_id": "file_1", "tools": [SEARCH]}
IMAGE_FILE = {"type": "image_file", "image_file": {"file_id": "file_1"}}
SAID = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def wire() -> Iterator[ResponsesClient]:
    """Yield a client of a server whose model always answers."""
    server = ScriptedServer()
    client = ResponsesClient(server.base_url)
    yield client
    client.close()
    server.stop()


@pytest.mark.parametrize(
    "path, fields, param",
    [
        ("/assistants", {"model": "any", "tools": [CODE]}, "tools[0].type"),
        ("/assistants", {"model": "any", "tools": [SEARCH]}, "tools[0].type"),
        (
            "/assistants",
            {"model": "any", "tool_resources": {"file_search": {"vector_store_ids": ["vs"]}}},
            "tool_resources.file_search",
        ),
        (
            "/threads",
            {"tool_resources": {"code_interpreter": {"file_ids": ["f"]}}},
            "tool_resources.code_interpreter",
        ),
        ("/threads", {"messages": [{**SAID, "attachments": [FILE]}]}, "attachments"),
        ("/threads", {"messages": [{**SAID, "content": [IMAGE_FILE]}]}, "content"),
    ],
)
def test_files_of_assistants(wire: ResponsesClient, path: str, fields: Json, param: str) -> None:
    """Tools that work on files, and the files, are refused where they are named."""
    status, error = wire.refusal("POST", path, json=fields)
    assert (status, error["param"], error["code"]) == (400, param, UNSUPPORTED)
    assert "This server does not support" in error["message"]


@pytest.mark.parametrize(
    "resources", [None, {}, {"code_interpreter": {"file_ids": []}, "file_search": {}}]
)
def test_no_files_are_no_feature(wire: ResponsesClient, resources: Json | None) -> None:
    """Clients that say that there are no files are served."""
    assert wire.post("/threads", {"tool_resources": resources})["object"] == "thread"


@pytest.mark.parametrize(
    "fields, param, code",
    [
        ({"tools": [CODE]}, "tools[0].type", UNSUPPORTED),
        ({"tools": [{"type": "browser"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", UNSUPPORTED),
        ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
        (
            {"tool_choice": {"type": "function"}},
            "tool_choice.function.name",
            "missing_required_parameter",
        ),
        ({"truncation_strategy": {"type": "newest"}}, "truncation_strategy.type", "invalid_value"),
        (
            {"truncation_strategy": {"type": "last_messages"}},
            "truncation_strategy.last_messages",
            "missing_required_parameter",
        ),
        (
            {"truncation_strategy": {"type": "last_messages", "last_messages": 0}},
            "truncation_strategy.last_messages",
            "integer_below_min_value",
        ),
        (
            {"truncation_strategy": {"type": "last_messages", "last_messages": "2"}},
            "truncation_strategy.last_messages",
            "invalid_type",
        ),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value"),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
        ({"response_format": "xml"}, "response_format", "invalid_value"),
        ({"response_format": {"type": "grammar"}}, "response_format", "invalid_value"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        ({"additional_messages": [{**SAID, "attachments": [FILE]}]}, "attachments", UNSUPPORTED),
    ],
)
def test_fields_of_runs(wire: ResponsesClient, fields: Json, param: str, code: str) -> None:
    """A run is refused for what would not be honoured, and locks no thread."""
    thread_id = wire.thread("hi")
    body = {"assistant_id": wire.assistant(), **fields}
    status, error = wire.refusal("POST", f"/threads/{thread_id}/runs", json=body)
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert wire.get(f"/threads/{thread_id}/runs")["data"] == []
    assert wire.texts(thread_id) == ["hi"]


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"include": ["web_search_call.action.sources"]}, "include"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"background_options": {"a": 1}}, "background_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        (
            {"input": [user_message({"type": "input_file", "file_data": "x"})]},
            "input[0].content[0]",
        ),
        (
            {"input": [user_message({"type": "input_image", "file_id": "f"})]},
            "input[0].content[0].file_id",
        ),
    ],
)
def test_fields_of_responses(wire: ResponsesClient, fields: Json, param: str) -> None:
    """A response is refused for what would not be honoured."""
    status, error = wire.refused(**fields)
    assert (status, error["param"], error["code"]) == (400, param, UNSUPPORTED)


@pytest.mark.parametrize(
    "fields",
    [
        {"include": []},
        {"include": ["reasoning.encrypted_content"]},
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"top_logprobs": 0},
        {"reasoning": {"effort": "low"}},
        {"stream_options": {"include_obfuscation": False}},
        {"prompt_cache_key": "k", "safety_identifier": "s", "user": "u"},
    ],
)
def test_fields_that_ask_for_nothing(wire: ResponsesClient, fields: Json) -> None:
    """What asks for nothing that there is not is taken, and shown where the wire shows it."""
    response = wire.respond(**fields)
    shown = {name: fields[name] for name in ("prompt_cache_key", "user") if name in fields}
    assert (response["status"], shown.items() <= response.items()) == ("completed", True)


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"temperature": 3}, "decimal_above_max_value"),
        ({"presence_penalty": -2.5}, "decimal_below_min_value"),
        ({"max_output_tokens": 0}, "integer_below_min_value"),
        ({"max_tool_calls": 0}, "integer_below_min_value"),
    ],
)
def test_numbers_of_responses(wire: ResponsesClient, fields: Json, code: str) -> None:
    """Numbers that are out of their range are refused."""
    assert wire.refused(**fields)[1]["code"] == code


@pytest.mark.parametrize(
    "value, said",
    [
        (None, False),
        ({}, False),
        ([[], {"a": None}], False),
        ({"a": {"b": [0]}}, True),
        ("", True),
        (False, True),
    ],
)
def test_says_something(value: Any, said: bool) -> None:
    """Nested objects and lists with nothing in them say nothing."""
    assert says_something(value) is said


def test_message_is_still_a_message(wire: ResponsesClient) -> None:
    """What is there goes on."""
    assert wire.respond(input=[message("hi")])["status"] == "completed"
