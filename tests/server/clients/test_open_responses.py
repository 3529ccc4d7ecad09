"""Open Responses: answers and events as its description has them, by the models made from that."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.server.clients.demo import KEY, DemoServer
from tests.support.wire_client import Json

types: Any = pytest.importorskip("openresponses_types.types")

EVENTS = {
    next(iter(model.model_fields["type"].annotation)).value: model
    for name, model in vars(types).items()
    if name.endswith("StreamingEvent")
}

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "A city."}},
        "required": ["location"],
    },
}


def said(content: object, role: str = "user") -> Json:
    """Return a message."""
    return {"type": "message", "role": role, "content": content}


IMAGE = [
    {"type": "input_text", "text": "What is this?"},
    {"type": "input_image", "image_url": DOT},
]
ASKED = {"input": [said("What's the weather in Oslo?")], "tools": [WEATHER]}

CASES = [
    pytest.param({"input": [said("Say hello.")]}, "message", id="text"),
    pytest.param({"input": "Say hello."}, "message", id="plain text"),
    pytest.param({"input": [said("Be short.", "system"), said("Hi.")]}, "message", id="system"),
    pytest.param(ASKED, "function_call", id="tool"),
    pytest.param({"input": [said(IMAGE)]}, "message", id="image"),
    pytest.param(
        {"input": [said("I am Ann."), said("Hello Ann!", "assistant"), said("Who am I?")]},
        "message",
        id="turns",
    ),
    pytest.param({"input": "hi", "truncation": "auto", "top_p": 0.5}, "message", id="options"),
]


def post(demo: DemoServer, fields: Json) -> requests.Response:
    """Ask for a response."""
    answer = requests.post(
        f"{demo.base_url}/responses",
        json={"model": "demo", **fields},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer


def check(response: Json, kind: str) -> None:
    """Check a response, and that something of a kind came out of it."""
    read = types.ResponseResource.model_validate(response)
    assert read.status == "completed"
    assert kind in [item["type"] for item in response["output"]]


@pytest.mark.parametrize("fields, kind", CASES)
def test_responses(demo: DemoServer, fields: Json, kind: str) -> None:
    """A response has every field that the description demands, each of its type."""
    check(post(demo, fields).json(), kind)


@pytest.mark.parametrize("fields, kind", CASES)
def test_streams(demo: DemoServer, fields: Json, kind: str) -> None:
    """Each event of a stream is one of the description's, and the last one has the response."""
    lines = post(demo, {**fields, "stream": True}).text.splitlines()
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    events = [json.loads(data) for data in told if data != "[DONE]"]
    for event in events:
        EVENTS[event["type"]].model_validate(event)
    check(events[-1]["response"], kind)


def test_streamed_call(demo: DemoServer) -> None:
    """A call of a tool is told by its item's begin, its arguments, and its item's end."""
    lines = post(demo, {**ASKED, "stream": True}).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    told = [
        event["type"]
        for event in events
        if event.get("item", {}).get("type") == "function_call" or "arguments" in event["type"]
    ]
    assert told == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
