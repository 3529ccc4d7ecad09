"""Events: frozen facts that go through JSON and come back the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.events import EVENT_TYPES, Event
from gpt_agent_sync.records import Usage

AT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
PARTS = ({"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}})

EXAMPLES: list[Event] = [
    gpt.UserMessageAdded(thread_id="t", at=AT, id="msg_1", content="hi"),
    gpt.UserMessageAdded(thread_id="t", at=AT, id="msg_1", content=PARTS),
    gpt.RunStarted(thread_id="t", at=AT, id="run_1", assistant_id="a"),
    gpt.RunStarted(thread_id="t", at=AT, id="run_1", assistant_id=None),
    gpt.RunCompleted(thread_id="t", at=AT, id="run_1", assistant_id="a"),
    gpt.RunCompleted(
        thread_id="t",
        at=AT,
        id="run_1",
        assistant_id="a",
        usage=Usage(input_tokens=1, output_tokens=2, total_tokens=3),
    ),
    gpt.RunFailed(
        thread_id="t",
        at=AT,
        id="run_1",
        assistant_id="a",
        status="failed",
        code="boom",
        message="It broke.",
    ),
    gpt.RunFailed(thread_id="t", at=AT, id=None, assistant_id=None, status="expired"),
    gpt.RunCancelled(thread_id="t", at=AT, id="run_1", assistant_id="a"),
    gpt.RunCancelled(thread_id="t", at=AT, id=None, assistant_id=None),
    gpt.RateLimited(
        thread_id="t",
        at=AT,
        run_id="run_1",
        assistant_id="a",
        retry_in=1.5,
        retries_remaining=9,
    ),
    gpt.RateLimitRetriesExhausted(thread_id="t", at=AT, run_id="run_1", assistant_id="a"),
    gpt.QuotaExceeded(thread_id="t", at=AT, run_id=None, assistant_id="a"),
    gpt.AssistantMessageAdded(
        thread_id="t",
        at=AT,
        message_id="msg_2",
        run_id="run_1",
        assistant_id="a",
        content="hi",
        parts=PARTS,
    ),
    gpt.AssistantMessageAdded(
        thread_id="t", at=AT, message_id="msg_2", run_id=None, assistant_id=None, content=""
    ),
    gpt.AssistantMessageDelta(thread_id="t", at=AT, message_id="msg_2", run_id="run_1", text="h"),
    gpt.ToolCallRequested(
        thread_id="t", at=AT, id="call_1", run_id="run_1", name="add", arguments={"a": [1]}
    ),
    gpt.ToolCallRequested(
        thread_id="t", at=AT, id="call_1", run_id="run_1", name="add", arguments="{broken"
    ),
    gpt.ToolCallOutputRecorded(
        thread_id="t", at=AT, id="call_1", run_id="run_1", name="add", output="5"
    ),
    gpt.ToolCallInterrupted(
        thread_id="t", at=AT, id="call_1", run_id="run_1", name="add", arguments={}, attempt=2
    ),
    gpt.ToolCallFailed(
        thread_id="t", at=AT, id="call_1", run_id="run_1", name="add", message="It broke."
    ),
    gpt.ToolOutputSubmissionFailed(thread_id="t", at=AT, run_id="run_1", message="no"),
    gpt.EventsMissed(thread_id="t", at=AT, after="1-2"),
    gpt.AgentStopped(thread_id="t", at=AT, reason="shutdown", cursor="1-3"),
]

BASES = (gpt.Event, gpt.RunEvent, gpt.ToolEvent)

all_examples = pytest.mark.parametrize(
    "event", EXAMPLES, ids=lambda event: str(type(event).__name__)
)


def test_table_is_complete() -> None:
    """The table that events are read back by has every concrete event class."""
    defined = {
        event_class
        for event_class in vars(gpt.events).values()
        if isinstance(event_class, type) and issubclass(event_class, Event)
    }
    assert set(EVENT_TYPES.values()) == defined - set(BASES)


def test_examples_are_complete() -> None:
    """Every event is among the examples that these tests go through."""
    assert {type(event) for event in EXAMPLES} == set(EVENT_TYPES.values())


@pytest.mark.parametrize("event_class", [*BASES, *EVENT_TYPES.values()])
def test_public(event_class: type[Event]) -> None:
    """Every event class can be had from the package itself."""
    assert getattr(gpt, event_class.__name__) is event_class
    assert event_class.__name__ in gpt.__all__


@pytest.mark.parametrize("event_class", EVENT_TYPES.values())
def test_name(event_class: type[Event]) -> None:
    """An event is known by its class's name."""
    assert EVENT_TYPES[event_class.__name__] is event_class


@all_examples
def test_type(event: Event) -> None:
    """The data names the event's class first."""
    assert next(iter(event.to_dict().items())) == ("type", type(event).__name__)


@all_examples
def test_fields(event: Event) -> None:
    """The data has every field of the event; its cursor where it has one."""
    names = [field.name for field in attrs.fields(type(event))]
    if event.cursor is None:
        names.remove("cursor")
    assert sorted(event.to_dict()) == sorted(["type", *names])


@all_examples
def test_round_trip(event: Event) -> None:
    """An event comes back the same from its data."""
    assert Event.from_dict(event.to_dict()) == event


@all_examples
def test_round_trip_through_json(event: Event) -> None:
    """An event comes back the same from its data's JSON."""
    assert Event.from_dict(json.loads(json.dumps(event.to_dict(), allow_nan=False))) == event


@all_examples
def test_time_comes_back(event: Event) -> None:
    """An event's moment comes back to the microsecond."""
    assert Event.from_dict(event.to_dict()).at == AT


@all_examples
def test_data_is_left_alone(event: Event) -> None:
    """Reading an event does not change the data it is read from."""
    data = event.to_dict()
    Event.from_dict(data)
    assert data == event.to_dict()


@all_examples
def test_time_is_not_compared(event: Event) -> None:
    """Two events that differ in their moment only are equal."""
    assert attrs.evolve(event, at=AT + timedelta(days=1)) == event


@all_examples
def test_thread_id_is_compared(event: Event) -> None:
    """Events of two threads are not equal."""
    assert attrs.evolve(event, thread_id="other") != event


@all_examples
def test_frozen(event: Event) -> None:
    """An event cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.thread_id = "other"  # type: ignore[misc]  # the point


@all_examples
def test_keyword_only(event: Event) -> None:
    """An event's fields are given by name."""
    with pytest.raises(TypeError, match="positional"):
        type(event)("t")  # type: ignore[call-arg]  # the point


def test_time_is_now_in_utc() -> None:
    """An event notes the moment it was made, in UTC."""
    before = datetime.now(timezone.utc)
    at = gpt.AgentStopped(thread_id="t", reason="idle").at
    assert before <= at <= datetime.now(timezone.utc)
    assert at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "base, names",
    [
        (gpt.Event, list(EVENT_TYPES)),
        (
            gpt.RunEvent,
            [
                "RunStarted",
                "RunCompleted",
                "RunFailed",
                "RunCancelled",
                "RateLimited",
                "RateLimitRetriesExhausted",
                "QuotaExceeded",
            ],
        ),
        (
            gpt.ToolEvent,
            [
                "ToolCallRequested",
                "ToolCallOutputRecorded",
                "ToolCallFailed",
                "ToolCallInterrupted",
                "ToolOutputSubmissionFailed",
            ],
        ),
    ],
)
def test_base_classes(base: type[Event], names: list[str]) -> None:
    """A base class stands for the events of its kind."""
    assert [name for name, event in EVENT_TYPES.items() if issubclass(event, base)] == names


def test_data_of_an_event() -> None:
    """The data is plain: texts, numbers, lists and dictionaries."""
    event = gpt.RunCompleted(
        thread_id="t", at=AT, id="run_1", assistant_id=None, usage=Usage(total_tokens=3)
    )
    assert event.to_dict() == {
        "type": "RunCompleted",
        "thread_id": "t",
        "at": "2024-01-02T03:04:05.678901+00:00",
        "id": "run_1",
        "assistant_id": None,
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 3},
    }


def test_defaults_may_be_missing() -> None:
    """Data without the fields that have defaults can be read."""
    data = {"type": "RunCompleted", "thread_id": "t", "id": "run_1", "assistant_id": None}
    assert Event.from_dict(data) == gpt.RunCompleted(thread_id="t", id="run_1", assistant_id=None)


STOPPED = {"type": "AgentStopped", "thread_id": "t", "reason": "idle"}
COMPLETED = {"type": "RunCompleted", "thread_id": "t", "id": "r", "assistant_id": "a"}
ADDED = {"type": "UserMessageAdded", "thread_id": "t", "id": "m", "content": "hi"}
REPLIED = {
    "type": "AssistantMessageAdded",
    "thread_id": "t",
    "message_id": "m",
    "run_id": "r",
    "assistant_id": "a",
    "content": "hi",
}


@pytest.mark.parametrize(
    "data, words",
    [
        ({}, "no event type None; known: UserMessageAdded, "),
        ({"type": "Nothing"}, "no event type 'Nothing'; known: UserMessageAdded, "),
        ({"type": "Event", "thread_id": "t"}, "no event type 'Event'"),
        ({"type": "RunEvent", "thread_id": "t"}, "no event type 'RunEvent'"),
        ({"type": ["AgentStopped"]}, r"no event type \['AgentStopped'\]"),
        ({"type": "AgentStopped", "thread_id": "t"}, "not a AgentStopped event: .*'reason'"),
        ({"type": "AgentStopped", "reason": "idle"}, "not a AgentStopped event: .*'thread_id'"),
        ({**STOPPED, "mood": "good"}, "not a AgentStopped event: .*'mood'"),
        ({**STOPPED, "usage": {}}, "not a AgentStopped event: .*'usage'"),
        ({**STOPPED, "at": "yesterday"}, "yesterday"),
        ({**STOPPED, "at": 7}, "AgentStopped"),
        ({**COMPLETED, "usage": {"tokens": 7}}, "RunCompleted"),
        ({**COMPLETED, "usage": 7}, "RunCompleted"),
        ({**ADDED, "content": 7}, "UserMessageAdded"),
        ({**REPLIED, "parts": 7}, "AssistantMessageAdded"),
    ],
)
def test_data_of_no_event(data: Mapping[str, Any], words: str) -> None:
    """Data of an unknown type, or with a field missing, unknown or unusable, is refused."""
    with pytest.raises(ValueError, match=words):
        Event.from_dict(data)


@pytest.mark.parametrize("reason", ["SHUTDOWN", "IDLE", "ERROR"])
def test_reasons_to_stop(reason: str) -> None:
    """The reasons to stop have names on the class."""
    assert getattr(gpt.AgentStopped, reason) == reason.lower()
