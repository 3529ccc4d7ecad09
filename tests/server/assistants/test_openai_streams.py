"""OpenAI's own client against the streams of runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai.lib.streaming import AssistantEventHandler
from openai.types.beta import AssistantStreamEvent
from openai.types.beta.threads import Message, Run

from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.server_setup import (
    STEPS,
    TWO_CALLS,
    MakeOpenAISetup,
    OpenAISetup,
    outputs_for,
    thread_and_assistant,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def streamed(client: openai.OpenAI) -> openai.Stream[AssistantStreamEvent]:
    """Begin a run on a new thread, and return its stream."""
    thread_id, assistant_id = thread_and_assistant(client)
    return client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)


def run_of(events: Iterable[AssistantStreamEvent]) -> Run:
    """Return the run that the last event carries."""
    data = list(events)[-1].data
    assert isinstance(data, Run)
    return data


def names_of(events: Iterable[AssistantStreamEvent]) -> list[str]:
    """Return the names of events."""
    return [event.event for event in events]


def deltas_of(events: Iterable[AssistantStreamEvent]) -> str:
    """Return the deltas of the messages' texts, joined."""
    return "".join(
        part.text.value or ""
        for event in events
        if event.event == "thread.message.delta"
        for part in event.data.delta.content or ()
        if part.type == "text" and part.text is not None
    )


def messages_of(client: openai.OpenAI, thread_id: str) -> list[Message]:
    """Return the assistant's messages of a thread, oldest first."""
    found = client.beta.threads.messages.list(thread_id, order="asc")
    return [message for message in found if message.role == "assistant"]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_run_events_are_valid(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """Events of every kind have the fields that OpenAI's types demand."""
    events = list(streamed(openai_setup(step).client))
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert events


@pytest.mark.parametrize(
    "step, said",
    [
        (
            Reply("Hel", "lo"),
            [
                "thread.run.step.created",
                "thread.run.step.in_progress",
                "thread.message.created",
                "thread.message.in_progress",
                "thread.message.delta",
                "thread.message.delta",
                "thread.message.completed",
                "thread.run.step.completed",
                "thread.run.completed",
            ],
        ),
        (
            TWO_CALLS,
            [
                "thread.run.step.created",
                "thread.run.step.in_progress",
                *["thread.run.step.delta"] * 4,
                "thread.run.requires_action",
            ],
        ),
        (
            STEPS["cut short at once"],
            [
                "thread.run.step.created",
                "thread.run.step.in_progress",
                "thread.message.created",
                "thread.message.in_progress",
                "thread.message.incomplete",
                "thread.run.step.completed",
                "thread.run.incomplete",
            ],
        ),
        (Fail(), ["thread.run.failed"]),
    ],
    ids=["reply", "calls", "cut short", "failure"],
)
def test_order_of_run_events(openai_setup: MakeOpenAISetup, step: Any, said: list[str]) -> None:
    """A run has events from its creation to its end."""
    begun = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert names_of(streamed(openai_setup(step).client)) == [*begun, *said]


@pytest.mark.parametrize(
    "step, text",
    [(Reply("Hel", "lo"), "Hello"), (Reply(), ""), (STEPS["cut short"], "Hel")],
)
def test_run_deltas_are_the_text(openai_setup: MakeOpenAISetup, step: Any, text: str) -> None:
    """The deltas joined are the text of the message that is found afterwards."""
    client = openai_setup(step).client
    events = list(streamed(client))
    (message,) = messages_of(client, run_of(events).thread_id)
    (part,) = message.content
    assert part.type == "text"
    assert deltas_of(events) == part.text.value == text


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_last_run_is_the_kept_one(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """The run of the last event is the one that is found afterwards."""
    client = openai_setup(step).client
    run = run_of(streamed(client))
    found = client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    assert found.to_dict() == run.to_dict()


@pytest.mark.parametrize("step", [Reply("Hel", "lo"), Reply(), STEPS["cut short"]])
def test_last_message_is_the_kept_one(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """The message in its last event is the one that is found afterwards."""
    client = openai_setup(step).client
    events = list(streamed(client))
    (streamed_data,) = [
        event.data
        for event in events
        if event.event in ("thread.message.completed", "thread.message.incomplete")
    ]
    (found,) = messages_of(client, run_of(events).thread_id)
    assert found.to_dict() == streamed_data.to_dict()


def test_call_deltas_are_the_calls(openai_setup: MakeOpenAISetup) -> None:
    """The calls of the deltas are those that the run waits for."""
    events = list(streamed(openai_setup(TWO_CALLS).client))
    streamed_data: list[Any] = [
        call.to_dict()
        for event in events
        if event.event == "thread.run.step.delta"
        and event.data.delta.step_details is not None
        and event.data.delta.step_details.type == "tool_calls"
        for call in event.data.delta.step_details.tool_calls or ()
    ]
    action = run_of(events).required_action
    assert action is not None
    told: dict[int, list[str]] = {}
    for call in streamed_data:
        told.setdefault(call["index"], []).append(call["function"]["arguments"])
    calls = action.submit_tool_outputs.tool_calls
    assert told == {place: ["", call.function.arguments] for place, call in enumerate(calls)}
    assert [call["id"] for call in streamed_data[::2]] == [call.id for call in calls]


class Recorder(AssistantEventHandler):
    """A handler of OpenAI's client that records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[str, Any]] = []

    def on_message_created(self, message: Message) -> None:
        """Record it."""
        self.received.append(("message", message.status))

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        """Record it."""
        self.received.append((delta.value, snapshot.value))

    def on_text_done(self, text: Any) -> None:
        """Record it."""
        self.received.append(("text", text.value))

    def on_message_done(self, message: Message) -> None:
        """Record it."""
        self.received.append(("message", message.status))

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Record it."""
        self.received.append(("call", tool_call.function.arguments))

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        """Record it."""
        self.received.append((delta.function.arguments, snapshot.function.arguments))

    def on_end(self) -> None:
        """Record it."""
        self.received.append(("end", None))


def test_handler_is_called_for_a_message(openai_setup: MakeOpenAISetup) -> None:
    """The client's handler is called for each part of a message."""
    client = openai_setup(Reply("Hel", "lo")).client
    thread_id, assistant_id = thread_and_assistant(client)
    recorder = Recorder()
    with client.beta.threads.runs.stream(
        thread_id=thread_id, assistant_id=assistant_id, event_handler=recorder
    ) as handler:
        handler.until_done()
    assert recorder.received == [
        ("message", "in_progress"),
        ("Hel", "Hel"),
        ("lo", "Hello"),
        ("text", "Hello"),
        ("message", "completed"),
        ("end", None),
    ]


def test_handler_is_called_for_calls(openai_setup: MakeOpenAISetup) -> None:
    """The client's handler is called for each tool call."""
    client = openai_setup(TWO_CALLS).client
    thread_id, assistant_id = thread_and_assistant(client)
    recorder = Recorder()
    with client.beta.threads.runs.stream(
        thread_id=thread_id, assistant_id=assistant_id, event_handler=recorder
    ) as handler:
        handler.until_done()
    assert recorder.received == [
        ("call", ""),
        ('{"a": 1}', '{"a": 1}'),
        ("call", ""),
        ('{"a": 2}', '{"a": 2}'),
        ("end", None),
    ]


def test_handler_gives_the_texts(openai_setup: MakeOpenAISetup) -> None:
    """The client's handler gives the deltas of text one by one."""
    client = openai_setup(Reply("Hel", "lo")).client
    thread_id, assistant_id = thread_and_assistant(client)
    with client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as handler:
        assert list(handler.text_deltas) == ["Hel", "lo"]


@pytest.mark.parametrize(
    "step, status",
    [
        (Reply("ok"), "completed"),
        (TWO_CALLS, "requires_action"),
        (Fail(), "failed"),
        (Incomplete(), "incomplete"),
    ],
)
def test_handler_gives_the_run(openai_setup: MakeOpenAISetup, step: Any, status: str) -> None:
    """The client's handler gives the run as it is at the end."""
    client = openai_setup(step).client
    thread_id, assistant_id = thread_and_assistant(client)
    with client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as handler:
        assert handler.get_final_run().status == status


def test_handler_gives_text_and_calls(mixed_client: openai.OpenAI) -> None:
    """The client's handler takes a text with calls after it, each as a step of its own."""
    thread_id, assistant_id = thread_and_assistant(mixed_client)
    with mixed_client.beta.threads.runs.stream(
        thread_id=thread_id, assistant_id=assistant_id
    ) as handler:
        writing, calling = handler.get_final_run_steps()
    assert (writing.type, calling.type) == ("message_creation", "tool_calls")
    assert calling.step_details.type == "tool_calls"
    assert len(calling.step_details.tool_calls) == 2


def test_text_before_calls_is_kept(mixed_client: openai.OpenAI) -> None:
    """Text before a call has its final event, and is found in the thread."""
    events = list(streamed(mixed_client))
    (streamed_data,) = [event.data for event in events if event.event == "thread.message.completed"]
    (found,) = messages_of(mixed_client, run_of(events).thread_id)
    assert found.to_dict() == streamed_data.to_dict()
    assert deltas_of(events) == "Let me see."


def test_text_and_call_events_are_valid(mixed_client: openai.OpenAI) -> None:
    """Events of a text with calls after it have the fields that OpenAI's types demand."""
    events = list(streamed(mixed_client))
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert run_of(events).status == "requires_action"


def test_outputs_are_submitted_in_a_stream(openai_setup: MakeOpenAISetup) -> None:
    """The client's handler follows a run that goes on with outputs."""
    client = openai_setup(TWO_CALLS, Reply("do", "ne")).client
    run = run_of(streamed(client))
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run)
    ) as handler:
        assert "".join(handler.text_deltas) == "done"
    assert handler.get_final_run().status == "completed"


def test_order_of_events_after_outputs(openai_setup: MakeOpenAISetup) -> None:
    """A resumed run has events from the end of its calls on."""
    client = openai_setup(TWO_CALLS, CallTools(("add", {"a": 3}))).client
    run = run_of(streamed(client))
    events = client.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run), stream=True
    )
    assert names_of(events) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.delta",
        "thread.run.requires_action",
    ]


def test_run_that_was_not_streamed_goes_on_in_a_stream(openai_setup: MakeOpenAISetup) -> None:
    """Outputs may be streamed though the run's beginning was not."""
    client = openai_setup(TWO_CALLS, Reply("done")).client
    thread_id, assistant_id = thread_and_assistant(client)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    events = client.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=thread_id, tool_outputs=outputs_for(run), stream=True
    )
    assert deltas_of(events) == "done"


def test_streamed_run_goes_on_without_a_stream(openai_setup: MakeOpenAISetup) -> None:
    """Outputs need not be streamed though the run's beginning was."""
    client = openai_setup(TWO_CALLS, Reply("done")).client
    run = run_of(streamed(client))
    over = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run)
    )
    assert over.status == "completed"


def test_thread_and_run_are_created_in_a_stream(openai_setup: MakeOpenAISetup) -> None:
    """The client's handler follows a run from the making of its thread."""
    client = openai_setup(Reply("hello")).client
    assistant = client.beta.assistants.create(model="any")
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "hi"}]}
    ) as handler:
        events = list(handler)
    assert names_of(events)[:4] == [
        "thread.created",
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
    ]
    assert deltas_of(events) == "hello"


def test_created_thread_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """The event of a thread that is created with a run has it as it is found afterwards."""
    client = openai_setup(Reply("hello")).client
    assistant = client.beta.assistants.create(model="any")
    stream = client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
    (thread,) = [event.data for event in stream if event.event == "thread.created"]
    assert client.beta.threads.retrieve(thread.id).to_dict() == thread.to_dict()


def test_failed_run_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """The event of a failure has its code and message."""
    run = run_of(streamed(openai_setup(Fail("rate_limit_exceeded", "Slow down.")).client))
    assert run.last_error is not None
    assert (run.status, run.last_error.code, run.last_error.message) == (
        "failed",
        "rate_limit_exceeded",
        "Slow down.",
    )


def test_run_cut_short_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """The event of a run cut short has the reason."""
    run = run_of(streamed(openai_setup(STEPS["cut short"]).client))
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")


def cancelled(setup: OpenAISetup) -> list[AssistantStreamEvent]:
    """Start a run, cancel it in progress, and return the events from then on."""
    stream = streamed(setup.client)
    run = run_of([next(stream)])
    next(event for event in stream if event.event == "thread.run.in_progress")
    wait_for(lambda: setup.server.model.requests, bool)
    setup.client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    return list(stream)


def test_cancelled_run_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """A cancelled run ends its stream at once, by way of being cancelled."""
    events = cancelled(openai_setup(Hold()))
    assert names_of(events) == ["thread.run.cancelling", "thread.run.cancelled"]
    assert [run_of([event]).status for event in events] == ["cancelling", "cancelled"]


def test_cancelled_run_is_the_kept_one(openai_setup: MakeOpenAISetup) -> None:
    """The run in the event of its cancel is the one that is found afterwards."""
    setup = openai_setup(Hold())
    run = run_of(cancelled(setup))
    found = setup.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    assert found.to_dict() == run.to_dict()


def test_cancelled_run_is_valid(openai_setup: MakeOpenAISetup) -> None:
    """The events of a cancelled run have the fields that OpenAI's types demand."""
    events = cancelled(openai_setup(Hold()))
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert events


def test_expired_run_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """A run that takes too long ends its stream as expired, and leaves no message."""
    setup = openai_setup(Hold())
    stream = streamed(setup.client)
    next(event for event in stream if event.event == "thread.run.in_progress")
    setup.clock.now += 600
    setup.release()
    last = list(stream)[-1]
    assert type(last).model_validate(last.to_dict()) == last
    assert last.event == "thread.run.expired"
    assert messages_of(setup.client, run_of([last]).thread_id) == []


def test_stream_on_a_busy_thread(openai_setup: MakeOpenAISetup) -> None:
    """A thread takes no second run while one is streamed."""
    client = openai_setup(Hold()).client
    thread_id, assistant_id = thread_and_assistant(client)
    with client.beta.threads.runs.create(
        thread_id, assistant_id=assistant_id, stream=True
    ) as stream:
        next(stream)
        with pytest.raises(openai.BadRequestError, match="already has an active run"):
            client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)


def test_stream_of_outputs_that_nobody_waits_for(openai_setup: MakeOpenAISetup) -> None:
    """Outputs for a run that is over are refused before a stream begins."""
    client = openai_setup(Reply("ok")).client
    run = run_of(streamed(client))
    with pytest.raises(openai.BadRequestError, match="do not accept tool outputs"):
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=[], stream=True
        )


def test_stream_of_an_unknown_assistant(openai_setup: MakeOpenAISetup) -> None:
    """A run of nobody is refused before a stream begins, and leaves no thread busy."""
    client = openai_setup(Reply("ok")).client
    thread_id, assistant_id = thread_and_assistant(client)
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.runs.create(thread_id, assistant_id="asst_x", stream=True)
    events = client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)
    assert deltas_of(events) == "ok"
