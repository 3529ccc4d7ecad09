"""The output of a response's model as items and stream events."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.server.models.base import TextDelta, ToolCall
from gpt_agent_sync.server.responses import response_events as responses
from tests.support.wire_client import Json

HEL, LO = TextDelta("Hel"), TextDelta("lo")

ADD, SUB = ToolCall("add", '{"a": 1}'), ToolCall("sub", "{}")

ADDED, DONE = "response.output_item.added", "response.output_item.done"

BEGUN = [ADDED, "response.content_part.added"]

DELTA = "response.output_text.delta"

ENDED = ["response.output_text.done", "response.content_part.done", DONE]

ASKED = [
    ADDED,
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    DONE,
]


class FinishedOutput:
    """The output of a response's model, finished.

    Args:
        chunks: The model's answer.
        cut_short: Why it was cut short, if it was.
    """

    def __init__(self, *chunks: TextDelta | ToolCall, cut_short: str | None = None) -> None:
        output = responses.ResponseOutput()
        events = [event for chunk in chunks for event in output.add(chunk)]
        self.output, last = output.finish(cut_short)
        self.events = [*events, *last]
        self.names = [event.name for event in self.events]

    def data(self, name: str) -> list[Any]:
        """Return the data of the events of a name, without the name."""
        found = [event.data for event in self.events if event.name == name]
        return [
            {key: value for key, value in data.items() if key != "type"}
            for data in found
            if not isinstance(data, str)
        ]


@pytest.mark.parametrize(
    "chunks, cut_short, names",
    [
        ([HEL, LO], None, [*BEGUN, DELTA, DELTA, *ENDED]),
        ([], None, [*BEGUN, *ENDED]),
        ([TextDelta("")], None, [*BEGUN, *ENDED]),
        ([HEL, TextDelta(""), LO], None, [*BEGUN, DELTA, DELTA, *ENDED]),
        ([HEL], "content_filter", [*BEGUN, DELTA, *ENDED]),
        ([], "max_completion_tokens", [*BEGUN, *ENDED]),
        ([ADD], None, ASKED),
        ([ADD, SUB], None, [*ASKED, *ASKED]),
        ([TextDelta(""), ADD], None, ASKED),
        ([HEL, ADD, SUB], None, [*BEGUN, DELTA, *ENDED, *ASKED, *ASKED]),
        ([ADD, HEL], None, [*ASKED, *BEGUN, DELTA, *ENDED]),
        ([HEL, ADD, LO], None, [*BEGUN, DELTA, *ENDED, *ASKED, *BEGUN, DELTA, *ENDED]),
    ],
)
def test_events_of_a_response(
    chunks: list[TextDelta | ToolCall], cut_short: str | None, names: list[str]
) -> None:
    """What a response's model says is event_name in OpenAI's order."""
    assert FinishedOutput(*chunks, cut_short=cut_short).names == names


def test_events_of_a_response_say_their_names() -> None:
    """Every event carries its name as its type."""
    finished = FinishedOutput(HEL, ADD)
    types = [event.data["type"] for event in finished.events if not isinstance(event.data, str)]
    assert types == finished.names


@pytest.mark.parametrize(
    "chunks, places",
    [
        ([HEL, LO], [0] * 7),
        ([ADD, SUB], [0] * 4 + [1] * 4),
        ([HEL, ADD, LO], [0] * 6 + [1] * 4 + [2] * 6),
    ],
)
def test_events_say_their_places(chunks: list[TextDelta | ToolCall], places: list[int]) -> None:
    """Every event carries the place of its item in the output."""
    finished = FinishedOutput(*chunks)
    found = [
        event.data["output_index"] for event in finished.events if isinstance(event.data, dict)
    ]
    assert found == places


def test_events_name_their_items() -> None:
    """Every event names its item, or carries it."""
    finished = FinishedOutput(HEL, ADD, LO)
    for event in finished.events:
        assert isinstance(event.data, dict)
        named = event.data.get("item_id") or event.data["item"]["id"]
        assert named == finished.output[event.data["output_index"]]["id"]


def test_item_of_a_message_begins_empty() -> None:
    """A message is added without anything in it, and then its part is."""
    finished = FinishedOutput(HEL)
    item_id = finished.output[0]["id"]
    begun = {"id": item_id, "type": "message", "status": "in_progress", "role": "assistant"}
    assert finished.data(ADDED) == [{"output_index": 0, "item": {**begun, "content": []}}]
    assert finished.data("response.content_part.added") == [
        {"item_id": item_id, "output_index": 0, "content_index": 0, "part": part("")}
    ]


def part(text: str) -> Json:
    """Return a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def test_text_comes_in_deltas() -> None:
    """Each chunk of text is event_name by itself, and all of them at the end."""
    finished = FinishedOutput(HEL, LO)
    place = {"item_id": finished.output[0]["id"], "output_index": 0, "content_index": 0}
    assert finished.data(DELTA) == [
        {**place, "delta": "Hel", "logprobs": []},
        {**place, "delta": "lo", "logprobs": []},
    ]
    assert finished.data("response.output_text.done") == [
        {**place, "text": "Hello", "logprobs": []}
    ]
    assert finished.data("response.content_part.done") == [{**place, "part": part("Hello")}]


def test_texts_around_calls_are_apart() -> None:
    """What is said before a call and after it are messages of their own."""
    finished = FinishedOutput(HEL, ADD, LO)
    assert [data["text"] for data in finished.data("response.output_text.done")] == ["Hel", "lo"]


@pytest.mark.parametrize(
    "cut_short, status", [(None, "completed"), ("max_completion_tokens", "incomplete")]
)
def test_item_of_a_message_ends(cut_short: str | None, status: str) -> None:
    """A message ends as it stands in the output, whole or not."""
    finished = FinishedOutput(HEL, LO, cut_short=cut_short)
    (item,) = finished.output
    assert finished.data(DONE) == [{"output_index": 0, "item": item}]
    assert (item["status"], item["content"]) == (status, [part("Hello")])


def test_item_of_a_call() -> None:
    """A call is added without its arguments, and ends as it stands in the output."""
    finished = FinishedOutput(ADD)
    (item,) = finished.output
    begun = {**item, "status": "in_progress", "arguments": ""}
    assert finished.data(ADDED) == [{"output_index": 0, "item": begun}]
    assert finished.data(DONE) == [{"output_index": 0, "item": item}]


def test_arguments_of_a_call() -> None:
    """Arguments are event_name as a delta, and whole."""
    finished = FinishedOutput(ADD)
    place = {"item_id": finished.output[0]["id"], "output_index": 0}
    arguments = "response.function_call_arguments"
    assert finished.data(f"{arguments}.delta") == [{**place, "delta": '{"a": 1}'}]
    assert finished.data(f"{arguments}.done") == [{**place, "arguments": '{"a": 1}'}]


def test_done_items_are_the_output() -> None:
    """The items that were event_name as done are the output."""
    finished = FinishedOutput(HEL, ADD, SUB, LO)
    assert [data["item"] for data in finished.data(DONE)] == finished.output


def test_no_answer_is_an_empty_text() -> None:
    """A model that says nothing gave an empty text."""
    (item,) = FinishedOutput().output
    assert item["content"] == [part("")]


@pytest.mark.parametrize(
    "status, name, event_name",
    [
        ("queued", None, "response.queued"),
        ("queued", "created", "response.created"),
        ("in_progress", None, "response.in_progress"),
        ("completed", None, "response.completed"),
        ("incomplete", None, "response.incomplete"),
        ("failed", None, "response.failed"),
        ("cancelled", None, "response.failed"),
    ],
)
def test_response_event_is_named_by_its_status(
    status: str, name: str | None, event_name: str
) -> None:
    """A response's event has the name of its status, unless another is finished."""
    assert responses.response_event({"status": status}, name).name == event_name


def test_response_event_is_as_clients_see_it() -> None:
    """What is kept beside a response is not event_name, and its own status is."""
    event = responses.response_event({"status": "cancelled", "_input": []})
    assert event.data == {"type": "response.failed", "response": {"status": "cancelled"}}
