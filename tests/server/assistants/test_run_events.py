"""The output of a run's model as messages, calls and stream events."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.server.assistants import run_events as runs
from gpt_agent_sync.server.models.base import TextDelta, ToolCall
from tests.support.wire_client import Json

RUN: Json = {
    "id": "run_1",
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "in_progress",
    "_rounds": [],
}

HEL, LO = TextDelta("Hel"), TextDelta("lo")

ADD, SUB = ToolCall("add", '{"a": 1}'), ToolCall("sub", "{}")

WRITING = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]

TEXT = "thread.message.delta"

WRITTEN = ["thread.message.completed", "thread.run.step.completed"]

CUT = ["thread.message.incomplete", "thread.run.step.completed"]

CALLING = ["thread.run.step.created", "thread.run.step.in_progress"]

CALL = "thread.run.step.delta"


class Said:
    """Hold what a run's model said, and what was told of it.

    Args:
        pieces: What it said.
        cut_short: Why it was cut short, if it was.
    """

    def __init__(self, *pieces: TextDelta | ToolCall, cut_short: str | None = None) -> None:
        output = runs.RunOutput(RUN, 100.9)
        events = [event for piece in pieces for event in output.add(piece)]
        self.messages, last = output.finish(cut_short, 105.9)
        self.calls = output.calls
        self.events = [*events, *last]
        self.names = [event.name for event in self.events]

    def data(self, name: str) -> list[Any]:
        """Give the data of the events of a name."""
        return [event.data for event in self.events if event.name == name]


@pytest.mark.parametrize(
    "pieces, cut_short, names",
    [
        ([HEL, LO], None, [*WRITING, TEXT, TEXT, *WRITTEN]),
        ([], None, [*WRITING, *WRITTEN]),
        ([TextDelta("")], None, [*WRITING, *WRITTEN]),
        ([HEL, TextDelta(""), LO], None, [*WRITING, TEXT, TEXT, *WRITTEN]),
        ([HEL], "content_filter", [*WRITING, TEXT, *CUT]),
        ([], "max_completion_tokens", [*WRITING, *CUT]),
        ([ADD], None, [*CALLING, CALL]),
        ([ADD, SUB], None, [*CALLING, CALL, CALL]),
        ([TextDelta(""), ADD], None, [*CALLING, CALL]),
        ([ADD], "max_completion_tokens", [*CALLING, CALL]),
        ([HEL, ADD, SUB], None, [*WRITING, TEXT, *WRITTEN, *CALLING, CALL, CALL]),
        ([HEL, ADD], "content_filter", [*WRITING, TEXT, *WRITTEN, *CALLING, CALL]),
        ([ADD, HEL], None, [*CALLING, CALL, *WRITING, TEXT, *WRITTEN]),
        (
            [HEL, ADD, LO, SUB],
            None,
            [*WRITING, TEXT, *WRITTEN, *CALLING, CALL, *WRITING, TEXT, *WRITTEN, CALL],
        ),
    ],
)
def test_events_of_a_run(
    pieces: list[TextDelta | ToolCall], cut_short: str | None, names: list[str]
) -> None:
    """What a run's model says is told in OpenAI's order."""
    assert Said(*pieces, cut_short=cut_short).names == names


def test_message_begins_empty() -> None:
    """A message is told of when it begins, without anything in it."""
    said = Said(HEL, LO)
    (created,) = said.data("thread.message.created")
    assert created == {
        "id": said.messages[0]["id"],
        "object": "thread.message",
        "created_at": 100,
        "thread_id": "thread_1",
        "status": "in_progress",
        "incomplete_details": None,
        "completed_at": None,
        "incomplete_at": None,
        "role": "assistant",
        "content": [],
        "assistant_id": "asst_1",
        "run_id": "run_1",
        "attachments": [],
        "metadata": {},
    }
    assert said.data("thread.message.in_progress") == [created]


def test_text_deltas_name_their_message() -> None:
    """Each piece of text is told with its message and its place."""
    said = Said(HEL, LO)
    assert said.data(TEXT) == [
        {
            "id": said.messages[0]["id"],
            "object": "thread.message.delta",
            "delta": {
                "content": [
                    {"index": 0, "type": "text", "text": {"value": text, "annotations": []}}
                ]
            },
        }
        for text in ("Hel", "lo")
    ]


def test_message_ends_whole() -> None:
    """A whole message is told of as it is kept."""
    said = Said(HEL, LO)
    (begun,) = said.data("thread.message.created")
    whole = {
        **begun,
        "status": "completed",
        "completed_at": 105,
        "content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
    }
    assert said.data("thread.message.completed") == said.messages == [whole]


@pytest.mark.parametrize(
    "reason, spelled_reason",
    [("max_completion_tokens", "max_tokens"), ("content_filter", "content_filter")],
)
def test_message_ends_cut_short(reason: str, spelled_reason: str) -> None:
    """A message cut short is told of as it is kept, with the reason in a message's words."""
    said = Said(HEL, cut_short=reason)
    (begun,) = said.data("thread.message.created")
    cut = {
        **begun,
        "status": "incomplete",
        "incomplete_at": 105,
        "incomplete_details": {"reason": spelled_reason},
        "content": [{"type": "text", "text": {"value": "Hel", "annotations": []}}],
    }
    assert said.data("thread.message.incomplete") == said.messages == [cut]


def test_no_answer_is_an_empty_message() -> None:
    """A model that says nothing wrote an empty message."""
    (message,) = Said().messages
    assert message["content"][0]["text"]["value"] == ""


@pytest.mark.parametrize("pieces", [[ADD], [ADD, SUB], [TextDelta(""), ADD]])
def test_calls_are_no_message(pieces: list[TextDelta | ToolCall]) -> None:
    """A model that only calls tools wrote no message."""
    assert Said(*pieces).messages == []


def test_text_around_calls_is_two_messages() -> None:
    """What is said before a call and after it are messages of their own."""
    said = Said(HEL, ADD, LO)
    texts = [message["content"][0]["text"]["value"] for message in said.messages]
    assert texts == ["Hel", "lo"]
    assert said.data("thread.message.completed") == said.messages


def test_step_of_a_message() -> None:
    """Writing a message is a step of the run."""
    said = Said(HEL)
    (created,) = said.data("thread.run.step.created")
    assert created.pop("id").startswith("step_")
    assert created == {
        "object": "thread.run.step",
        "created_at": 100,
        "run_id": "run_1",
        "assistant_id": "asst_1",
        "thread_id": "thread_1",
        "type": "message_creation",
        "status": "in_progress",
        "step_details": {
            "type": "message_creation",
            "message_creation": {"message_id": said.messages[0]["id"]},
        },
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "metadata": {},
        "usage": None,
    }


@pytest.mark.parametrize("pieces", [[HEL], [HEL, ADD], [ADD, HEL]])
def test_step_of_a_message_is_completed(pieces: list[TextDelta | ToolCall]) -> None:
    """The step that ends is the one in which the message was written."""
    said = Said(*pieces)
    (begun,) = [step for step in said.data("thread.run.step.created") if is_writing(step)]
    (completed,) = said.data("thread.run.step.completed")
    changed = {"status": "completed", "completed_at": completed["completed_at"]}
    assert completed == {**begun, **changed}


def is_writing(step: Json) -> bool:
    """Tell whether a step is one of writing a message."""
    return bool(step["type"] == "message_creation")


def test_step_of_calls() -> None:
    """Calling tools is a step that is at work until the outputs are there."""
    (created,) = Said(HEL, ADD, LO, SUB).data("thread.run.step.created")[1:2]
    assert (created["type"], created["status"], created["step_details"]) == (
        "tool_calls",
        "in_progress",
        {"type": "tool_calls", "tool_calls": []},
    )


@pytest.mark.parametrize("pieces", [[ADD, SUB], [HEL, ADD, SUB], [ADD, HEL, SUB]])
def test_call_deltas_are_the_calls(pieces: list[TextDelta | ToolCall]) -> None:
    """The calls are told by their places, in one step, as the run will wait for them."""
    said = Said(*pieces)
    (step,) = [step for step in said.data("thread.run.step.created") if not is_writing(step)]
    assert said.data(CALL) == [
        {
            "id": step["id"],
            "object": "thread.run.step.delta",
            "delta": {
                "step_details": {"type": "tool_calls", "tool_calls": [{"index": place, **call}]}
            },
        }
        for place, call in enumerate(said.calls)
    ]


def test_calls_of_a_run() -> None:
    """Calls are kept in their order, with ids of their own."""
    calls = Said(ADD, SUB).calls
    assert [(call["type"], call["function"]) for call in calls] == [
        ("function", {"name": "add", "arguments": '{"a": 1}'}),
        ("function", {"name": "sub", "arguments": "{}"}),
    ]
    assert len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize(
    "status, name",
    [(None, "thread.run.in_progress"), ("created", "thread.run.created")],
)
def test_run_is_told_by_its_status(status: str | None, name: str) -> None:
    """A run's event has the name of its status, unless another is given."""
    assert runs.run_event(RUN, status).name == name


def test_run_is_told_as_clients_see_it() -> None:
    """What is kept beside a run is not told."""
    shown = {name: value for name, value in RUN.items() if name != "_rounds"}
    assert runs.run_event(RUN).data == shown
