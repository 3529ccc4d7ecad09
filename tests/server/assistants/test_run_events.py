"""The output of a run's model as messages, calls and stream events."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.server.assistants import run_events as runs
from gpt_agent_sync.server.models.base import Finish, TextDelta, ToolCall
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

DELTA = "thread.run.step.delta"
CALL = [DELTA, DELTA]


class FinishedOutput:
    """The output of a run's model, finished.

    Args:
        chunks: The model's answer.
        cut_short: Why it was cut short, if it was.
    """

    def __init__(self, *chunks: TextDelta | ToolCall, cut_short: str | None = None) -> None:
        output = runs.RunOutput(RUN, 100.9)
        events = [event for chunk in chunks for event in output.add(chunk)]
        last = output.finish(Finish(cut_short or "stop", 4, 3), 105.9)
        self.messages = output.messages
        self.calls = output.calls
        self.events = [*events, *last]
        self.names = [event.name for event in self.events]

    def data(self, name: str) -> list[Any]:
        """Return the data of the events of a name."""
        return [event.data for event in self.events if event.name == name]


@pytest.mark.parametrize(
    "chunks, cut_short, names",
    [
        ([HEL, LO], None, [*WRITING, TEXT, TEXT, *WRITTEN]),
        ([], None, [*WRITING, *WRITTEN]),
        ([TextDelta("")], None, [*WRITING, *WRITTEN]),
        ([HEL, TextDelta(""), LO], None, [*WRITING, TEXT, TEXT, *WRITTEN]),
        ([HEL], "content_filter", [*WRITING, TEXT, *CUT]),
        ([], "max_completion_tokens", [*WRITING, *CUT]),
        ([ADD], None, [*CALLING, *CALL]),
        ([ADD, SUB], None, [*CALLING, *CALL, *CALL]),
        ([TextDelta(""), ADD], None, [*CALLING, *CALL]),
        ([ADD], "max_completion_tokens", [*CALLING, *CALL]),
        ([HEL, ADD, SUB], None, [*WRITING, TEXT, *WRITTEN, *CALLING, *CALL, *CALL]),
        ([HEL, ADD], "content_filter", [*WRITING, TEXT, *WRITTEN, *CALLING, *CALL]),
        ([ADD, HEL], None, [*CALLING, *CALL, *WRITING, TEXT, *WRITTEN]),
        (
            [HEL, ADD, LO, SUB],
            None,
            [*WRITING, TEXT, *WRITTEN, *CALLING, *CALL, *WRITING, TEXT, *WRITTEN, *CALL],
        ),
    ],
)
def test_events_of_a_run(
    chunks: list[TextDelta | ToolCall], cut_short: str | None, names: list[str]
) -> None:
    """A run's output has its events in OpenAI's order."""
    assert FinishedOutput(*chunks, cut_short=cut_short).names == names


def test_message_begins_empty() -> None:
    """A message has an event when it begins, without anything in it."""
    output = FinishedOutput(HEL, LO)
    (created,) = output.data("thread.message.created")
    assert created == {
        "id": output.messages[0]["id"],
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
    assert output.data("thread.message.in_progress") == [created]


def test_text_deltas_name_their_message() -> None:
    """Each delta of text has its message and its place."""
    output = FinishedOutput(HEL, LO)
    assert output.data(TEXT) == [
        {
            "id": output.messages[0]["id"],
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
    """The event of a whole message has it as it is kept."""
    output = FinishedOutput(HEL, LO)
    (begun,) = output.data("thread.message.created")
    whole = {
        **begun,
        "status": "completed",
        "completed_at": 105,
        "content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
    }
    assert output.data("thread.message.completed") == output.messages == [whole]


@pytest.mark.parametrize(
    "reason, message_reason",
    [("max_completion_tokens", "max_tokens"), ("content_filter", "content_filter")],
)
def test_message_ends_cut_short(reason: str, message_reason: str) -> None:
    """The event of a message cut short has it as it is kept, with a message's reason."""
    output = FinishedOutput(HEL, cut_short=reason)
    (begun,) = output.data("thread.message.created")
    cut = {
        **begun,
        "status": "incomplete",
        "incomplete_at": 105,
        "incomplete_details": {"reason": message_reason},
        "content": [{"type": "text", "text": {"value": "Hel", "annotations": []}}],
    }
    assert output.data("thread.message.incomplete") == output.messages == [cut]


def test_no_answer_is_an_empty_message() -> None:
    """A model that says nothing wrote an empty message."""
    (message,) = FinishedOutput().messages
    assert message["content"][0]["text"]["value"] == ""


@pytest.mark.parametrize("chunks", [[ADD], [ADD, SUB], [TextDelta(""), ADD]])
def test_calls_are_no_message(chunks: list[TextDelta | ToolCall]) -> None:
    """A model that only calls tools wrote no message."""
    assert FinishedOutput(*chunks).messages == []


def test_text_around_calls_is_two_messages() -> None:
    """What is said before a call and after it are messages of their own."""
    output = FinishedOutput(HEL, ADD, LO)
    texts = [message["content"][0]["text"]["value"] for message in output.messages]
    assert texts == ["Hel", "lo"]
    assert output.data("thread.message.completed") == output.messages


def test_step_of_a_message() -> None:
    """Writing a message is a step of the run."""
    output = FinishedOutput(HEL)
    (created,) = output.data("thread.run.step.created")
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
            "message_creation": {"message_id": output.messages[0]["id"]},
        },
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "metadata": {},
        "usage": None,
    }


@pytest.mark.parametrize("chunks", [[HEL], [HEL, ADD], [ADD, HEL]])
def test_step_of_a_message_is_completed(chunks: list[TextDelta | ToolCall]) -> None:
    """The step that ends is the one in which the message was written."""
    output = FinishedOutput(*chunks)
    (begun,) = [step for step in output.data("thread.run.step.created") if is_writing(step)]
    (completed,) = output.data("thread.run.step.completed")
    changed = {"status": "completed", "completed_at": completed["completed_at"]}
    assert completed == {**begun, **changed, "usage": completed["usage"]}


def is_writing(step: Json) -> bool:
    """Return whether a step is one of writing a message."""
    return bool(step["type"] == "message_creation")


def test_step_of_calls() -> None:
    """Calling tools is a step that is in progress until the outputs are there."""
    (created,) = FinishedOutput(HEL, ADD, LO, SUB).data("thread.run.step.created")[1:2]
    assert (created["type"], created["status"], created["step_details"]) == (
        "tool_calls",
        "in_progress",
        {"type": "tool_calls", "tool_calls": []},
    )


@pytest.mark.parametrize("chunks", [[ADD, SUB], [HEL, ADD, SUB], [ADD, HEL, SUB]])
def test_call_deltas_are_the_calls(chunks: list[TextDelta | ToolCall]) -> None:
    """A call comes in two deltas in one step: what it is, and then its arguments."""
    output = FinishedOutput(*chunks)
    (step,) = [step for step in output.data("thread.run.step.created") if not is_writing(step)]
    deltas = output.data(DELTA)
    assert {(delta["id"], delta["object"]) for delta in deltas} == {(step["id"], DELTA)}
    parts = [delta["delta"]["step_details"]["tool_calls"] for delta in deltas]
    begun, more = parts[::2], parts[1::2]
    assert begun == [
        [
            {
                "index": place,
                **call,
                "function": {**call["function"], "arguments": "", "output": None},
            }
        ]
        for place, call in enumerate(output.calls)
    ]
    assert more == [
        [
            {
                "index": place,
                "type": "function",
                "function": {"arguments": call["function"]["arguments"]},
            }
        ]
        for place, call in enumerate(output.calls)
    ]


def test_calls_of_a_run() -> None:
    """Calls are kept in their order, with ids of their own."""
    calls = FinishedOutput(ADD, SUB).calls
    assert [(call["type"], call["function"]) for call in calls] == [
        ("function", {"name": "add", "arguments": '{"a": 1}'}),
        ("function", {"name": "sub", "arguments": "{}"}),
    ]
    assert len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize(
    "status, name",
    [(None, "thread.run.in_progress"), ("created", "thread.run.created")],
)
def test_run_event_is_named_by_its_status(status: str | None, name: str) -> None:
    """A run's event has the name of its status, unless another is given."""
    assert runs.run_event(RUN, status).name == name


def test_run_event_is_as_clients_see_it() -> None:
    """The event of a run leaves out what is kept beside it."""
    shown = {name: value for name, value in RUN.items() if name != "_rounds"}
    assert runs.run_event(RUN).data == shown
