"""What the Responses wire refuses, and in which words; what it ignores."""

from __future__ import annotations

import pytest

from tests.support.responses_client import (
    ResponsesClient,
    call,
    message,
)
from tests.support.wire_client import Json, plain_error


@pytest.mark.parametrize(
    "method, path, text",
    [
        ("GET", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("POST", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("DELETE", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/conv_x/items", "Conversation with id 'conv_x' not found."),
        ("POST", "/conversations/conv_x/items", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/conv_x/items/msg_x", "Conversation with id 'conv_x' not found."),
        ("DELETE", "/conversations/conv_x/items/msg_x", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/{conversation}/items/msg_x", "Item with id 'msg_x' not found."),
        ("DELETE", "/conversations/{conversation}/items/msg_x", "Item with id 'msg_x' not found."),
        ("GET", "/conversations/{conversation}/items?after=x", "Item with id 'x' not found."),
        ("GET", "/responses/resp_x", "Response with id 'resp_x' not found."),
        ("DELETE", "/responses/resp_x", "Response with id 'resp_x' not found."),
        ("POST", "/responses/resp_x/cancel", "Response with id 'resp_x' not found."),
        ("GET", "/responses/resp_x/input_items", "Response with id 'resp_x' not found."),
        ("GET", "/responses/{response}/input_items?after=x", "Item with id 'x' not found."),
    ],
)
def test_unknown_ids(wire: ResponsesClient, method: str, path: str, text: str) -> None:
    """An id that is not there is refused by its kind and name."""
    path = path.format(conversation=wire.conversation(), response=wire.respond()["id"])
    body: Json = {"json": {"metadata": {}}} if method == "POST" else {}
    if path.endswith("/items") and method == "POST":
        body = {"json": {"items": []}}
    assert wire.refusal(method, path, **body) == (404, plain_error(text))


@pytest.mark.parametrize("kind", ["conversations", "responses"])
def test_delete_twice(wire: ResponsesClient, kind: str) -> None:
    """What has been deleted is not found to be deleted again."""
    made = wire.conversation() if kind == "conversations" else wire.respond()["id"]
    wire.delete(f"/{kind}/{made}")
    assert wire.refusal("DELETE", f"/{kind}/{made}")[0] == 404


@pytest.mark.parametrize(
    "method, path, param, prefixed",
    [
        ("GET", "/conversations/x", "conversation_id", "conv"),
        ("DELETE", "/conversations/x", "conversation_id", "conv"),
        ("GET", "/conversations/x/items", "conversation_id", "conv"),
        ("GET", "/conversations/x/items/msg_x", "conversation_id", "conv"),
        ("GET", "/responses/x", "response_id", "resp"),
        ("DELETE", "/responses/x", "response_id", "resp"),
        ("POST", "/responses/x/cancel", "response_id", "resp"),
        ("GET", "/responses/x/input_items", "response_id", "resp"),
    ],
)
def test_malformed_ids(
    wire: ResponsesClient, method: str, path: str, param: str, prefixed: str
) -> None:
    """What cannot be an id is refused with how ids begin."""
    assert wire.refusal(method, path) == (
        400,
        plain_error(
            f"Invalid '{param}': 'x'. Expected an ID that begins with '{prefixed}'.",
            param=param,
            code="invalid_value",
        ),
    )


@pytest.mark.parametrize(
    "fields, status, param, code",
    [
        ({"conversation": "conv_x"}, 404, None, None),
        ({"conversation": {"id": "conv_x"}}, 404, None, None),
        ({"conversation": "x"}, 400, "conversation", "invalid_value"),
        ({"conversation": {}}, 400, "conversation.id", "missing_required_parameter"),
        ({"conversation": {"id": "conv_x", "x": 1}}, 400, "conversation.x", "unknown_parameter"),
        (
            {"previous_response_id": "resp_x"},
            400,
            "previous_response_id",
            "previous_response_not_found",
        ),
        ({"previous_response_id": "x"}, 400, "previous_response_id", "invalid_value"),
        (
            {"previous_response_id": "resp_x", "conversation": "conv_x"},
            400,
            None,
            "mutually_exclusive_parameters",
        ),
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": "no-such-model"}, 400, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": 5}, 400, "input", "invalid_type"),
        ({"input": ["hi"]}, 400, "input[0]", "invalid_type"),
        ({"input": [{"type": "nothing"}]}, 400, "input[0].type", "invalid_value"),
        (
            {"input": [{"type": "item_reference"}]},
            400,
            "input[0].id",
            "missing_required_parameter",
        ),
        ({"input": [{"role": "tool", "content": "x"}]}, 400, "input[0].role", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            400,
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            {"input": [message("x"), {"role": "user"}]},
            400,
            "input[1].content",
            "missing_required_parameter",
        ),
        ({"tools": [{"type": "web_search"}]}, 400, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].name", "missing_required_parameter"),
        ({"tools": {}}, 400, "tools", "invalid_type"),
        ({"tool_choice": "sometimes"}, 400, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "mcp"}}, 400, "tool_choice.type", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format.type", "invalid_value"),
        ({"text": {"x": 1}}, 400, "text.x", "unknown_parameter"),
        ({"reasoning": {"x": 1}}, 400, "reasoning.x", "unknown_parameter"),
        ({"truncation": "some"}, 400, "truncation", "invalid_value"),
        ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({"metadata": {"k" * 65: "x"}}, 400, "metadata", None),
        ({"stream": "yes"}, 400, "stream", "invalid_type"),
        ({"stream_options": {"x": 1}}, 400, "stream_options.x", "unknown_parameter"),
        ({"reasoning": {"effort": "most"}}, 400, "reasoning.effort", "invalid_value"),
        ({"reasoning": {"mode": "pro"}}, 400, "reasoning.mode", "unsupported_parameter"),
        ({"text": {"verbosity": "endless"}}, 400, "text.verbosity", "invalid_value"),
        ({"moderation": {"model": "x"}}, 400, "moderation", "unsupported_parameter"),
        ({"tool_choice": {"type": "function", "name": "add"}}, 400, "tool_choice", None),
        ({"thread_id": "x"}, 400, "thread_id", "unknown_parameter"),
    ],
)
def test_bad_parameters(
    wire: ResponsesClient, fields: Json, status: int, param: str | None, code: str | None
) -> None:
    """A bad parameter is refused by its place, with a code where the wire has one."""
    given, error = wire.refused(**fields)
    assert (given, error["param"], error["code"]) == (status, param, code)


@pytest.mark.parametrize(
    "path, body, param, code",
    [
        ("/conversations", {"x": 1}, "x", "unknown_parameter"),
        ("/conversations", {"items": {}}, "items", "invalid_type"),
        ("/conversations", {"items": [{"role": "x"}]}, "items[0].role", "invalid_value"),
        ("/conversations/{conversation}", {}, "metadata", "missing_required_parameter"),
        ("/conversations/{conversation}", {"metadata": {"a": 1}}, "metadata[...]", "invalid_type"),
        ("/conversations/{conversation}/items", {}, "items", "missing_required_parameter"),
        (
            "/conversations/{conversation}/items",
            {"items": [call(), {"type": "function_call_output", "call_id": "call_a"}]},
            "items[1].output",
            "missing_required_parameter",
        ),
    ],
)
def test_bad_parameters_of_conversations(
    wire: ResponsesClient, path: str, body: Json, param: str, code: str | None
) -> None:
    """A bad parameter of a conversation is refused by its place."""
    status, error = wire.refusal("POST", path.format(conversation=wire.conversation()), json=body)
    assert (status, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    "path",
    [
        "/conversations",
        "/conversations/{conversation}",
        "/conversations/{conversation}/items",
        "/responses",
    ],
)
@pytest.mark.parametrize("data", ["{broken", "[1]", '"text"', "[]"])
def test_bodies_that_are_no_objects(wire: ResponsesClient, path: str, data: str) -> None:
    """A body that is not a JSON object is refused everywhere."""
    path = path.format(conversation=wire.conversation())
    headers = {"Content-Type": "application/json"}
    assert wire.refusal("POST", path, data=data, headers=headers) == (
        400,
        plain_error("The request body must be a JSON object."),
    )


@pytest.mark.parametrize(
    "path", ["/conversations/{conversation}/items", "/responses/{response}/input_items"]
)
def test_bad_query(wire: ResponsesClient, path: str) -> None:
    """A limit out of range is refused in the wire's words."""
    path = path.format(conversation=wire.conversation(), response=wire.respond()["id"])
    status, error = wire.refusal("GET", path, params={"limit": 101})
    assert (status, error["param"]) == (400, "limit")


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/conversations", 405),
        ("GET", "/responses", 405),
        ("PUT", "/conversations/conv_x", 405),
        ("GET", "/responses/resp_x/nothing", 404),
    ],
)
def test_unknown_routes(wire: ResponsesClient, method: str, path: str, status: int) -> None:
    """A path or a method that the wire does not have is refused as JSON."""
    assert wire.refusal(method, path) == (status, plain_error(f"Invalid URL ({method} /v1{path})"))


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_stream_of_a_foreground_response_is_refused(wire: ResponsesClient, value: str) -> None:
    """A response that was not made in the background is not given as a stream."""
    path = f"/responses/{wire.respond()['id']}"
    status, error = wire.refusal("GET", path, params={"stream": value})
    assert (status, error["param"]) == (400, "stream")


@pytest.mark.parametrize("fields", [{"stream": False}, {"stream": None}])
def test_no_stream_is_no_matter(wire: ResponsesClient, fields: Json) -> None:
    """A request that says that it wants no stream is answered."""
    assert wire.respond(**fields)["status"] == "completed"


def test_response_is_read_without_a_stream(wire: ResponsesClient) -> None:
    """A response is given to those who say that they want no stream."""
    response = wire.respond()
    assert wire.get(f"/responses/{response['id']}", stream="false") == response


@pytest.mark.parametrize(
    "fields",
    [
        {"include": ["reasoning.encrypted_content"]},
        {"max_tool_calls": 5},
        {"prompt_cache_key": "x"},
        {"stream_options": {"include_obfuscation": False}},
        {"prompt_cache_options": {"ttl": "30m"}},
        {"prompt_cache_retention": "24h"},
        {"safety_identifier": "x"},
        {"service_tier": "auto"},
        {"top_logprobs": 0},
        {"user": "x"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_parameters_that_mean_nothing(wire: ResponsesClient, fields: Json) -> None:
    """Parameters of the wire that mean nothing here are taken."""
    assert wire.respond(**fields)["status"] == "completed"
