"""Requests and answers that every JSON parser takes, on both wires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gpt_agent_sync.server import strict_json
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from tests.support.wire_client import Json, WireClient

DEEP = "[" * 200 + "]" * 200
VERY_DEEP = "[" * 100_000 + "]" * 100_000
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
SURROGATES = [r'"\ud800"', r'"\uDFFF x"', r'{"\ud83d": 1}']
PATHS = ["/assistants", "/threads", "/threads/runs", "/conversations", "/responses"]

JSON_TYPE = {"Content-Type": "application/json"}


def refuse_constant(text: str) -> Any:
    """Refuse what is no JSON."""
    raise AssertionError(text)


@pytest.mark.parametrize("value", [*NUMBERS, *SURROGATES, DEEP, VERY_DEEP], ids=lambda v: v[:12])
@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_not_strict(wire: WireClient, path: str, value: str) -> None:
    """What some parsers take and others do not is refused, wherever it is in a body."""
    body = f'{{"metadata": {{"a": "b"}}, "x": [{{"y": {value}}}]}}'
    status, error = wire.refusal("POST", path, data=body.encode(), headers=JSON_TYPE)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith("The request body is not strict JSON: ")


@pytest.mark.parametrize("body", [b'{"a": "\xed\xa0\x80"}', b'{"a": "\xff"}', b"{", b'{"a": \x00}'])
def test_bodies_that_are_no_json(wire: WireClient, body: bytes) -> None:
    """A body that is no JSON, or not in UTF-8, is refused."""
    status, error = wire.refusal("POST", "/threads", data=body, headers=JSON_TYPE)
    assert (status, error["message"]) == (400, "The request body must be a JSON object.")


@pytest.mark.parametrize("text", ["\U0001f600", "\\ud83d", "1e999", "NaN"])
def test_texts_that_look_alike(wire: WireClient, text: str) -> None:
    """Whole characters, and texts that only look like what is refused, are taken."""
    thread_id = wire.thread(text)
    assert wire.texts(thread_id) == [text]


@pytest.mark.parametrize(
    "value, text",
    [
        (float("nan"), "null"),
        ([float("inf"), {"a": float("-inf")}], '[null, {"a": null}]'),
        ("a\ud800b", '"a\\ufffdb"'),
        ("\U0001f600", '"\\ud83d\\ude00"'),
        ({"\udfff": 1.5}, '{"\\ufffd": 1.5}'),
    ],
)
def test_answers_are_strict(value: object, text: str) -> None:
    """What JSON does not have, out of a model or an old database, is replaced."""
    assert strict_json.encode(value) == text
    json.loads(text, parse_constant=refuse_constant)


@pytest.fixture(scope="module")
def wire() -> Iterator[WireClient]:
    """Yield a client of a server with the offline model; both are stopped."""
    server = EmbeddedServer(make_engine(":memory:"))
    client = WireClient(server.base_url)
    yield client
    client.close()
    server.stop()


FUNCTION: Json = {"name": "add", "parameters": {"type": "object", "properties": {}}}


def tool(wire_name: str, **changes: Any) -> Json:
    """Return a function tool as a wire has it."""
    function = {**FUNCTION, **changes}
    nested = wire_name == "assistants"
    return {"type": "function", **({"function": function} if nested else function)}


def refused_tools(wire: WireClient, wire_name: str, tools: list[Json]) -> tuple[int, Json]:
    """Offer tools that a wire does not take, and return its refusal."""
    body = {"model": "demo", "tools": tools}
    if wire_name == "responses":
        body["input"] = "hi"
    return wire.refusal("POST", f"/{wire_name}", json=body)


@pytest.mark.parametrize("wire_name, place", [("assistants", ".function"), ("responses", "")])
@pytest.mark.parametrize(
    "changes, field, code",
    [
        ({"name": None}, "name", "missing_required_parameter"),
        ({"name": "a b"}, "name", "invalid_value"),
        ({"name": "a" * 65}, "name", "invalid_value"),
        ({"name": 3}, "name", "invalid_value"),
        ({"description": 3}, "description", "invalid_type"),
        ({"strict": "yes"}, "strict", "invalid_type"),
        *(
            ({"parameters": parameters}, "parameters", "invalid_function_parameters")
            for parameters in [
                *({}, {"type": "string"}, [], "object", {"type": ["object"]}),
                {"type": "object", "properties": []},
                {"type": "object", "required": "a"},
                {"type": "object", "properties": {"a": 3}},
                {"type": "object", "properties": {"a": {"type": "text"}}},
                {"type": "object", "properties": {"a": {"anyOf": {}}}},
                {"type": "object", "$defs": {"a": {"enum": "x"}}},
                {"type": "object", "properties": {"a": {"type": "array", "items": "x"}}},
            ]
        ),
    ],
)
def test_malformed_tools(
    wire: WireClient, wire_name: str, place: str, changes: Json, field: str, code: str
) -> None:
    """A function tool is refused as the real services do it, with its place."""
    status, error = refused_tools(wire, wire_name, [tool(wire_name, **changes)])
    assert (status, error["param"], error["code"]) == (400, f"tools[0]{place}.{field}", code)


@pytest.mark.parametrize("wire_name", ["assistants", "responses"])
def test_too_many_tools(wire: WireClient, wire_name: str) -> None:
    """More tools than a request may have are refused."""
    status, error = refused_tools(wire, wire_name, [tool(wire_name)] * 129)
    assert (status, error["code"]) == (400, "array_above_max_length")


def test_unknown_kinds_of_tools(wire: WireClient) -> None:
    """A tool of a kind that the wire does not have is refused."""
    status, error = refused_tools(wire, "assistants", [{"type": "magic"}])
    assert (status, error["param"]) == (400, "tools[0].type")


def test_schemas_that_are_taken(wire: WireClient) -> None:
    """References, choices, nested objects and schemas that are true or false are taken."""
    parameters = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/x"},
            "b": {"anyOf": [{"type": "null"}, {"type": ["string", "integer"]}]},
            "c": True,
            "d": {"type": "array", "items": {"type": "object", "additionalProperties": False}},
        },
        "required": ["a"],
        "$defs": {"x": {"enum": [1, "a", None]}},
    }
    assert wire.assistant(model="demo", tools=[tool("assistants", parameters=parameters)])
