"""OpenAI's own client against the streams of responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import FunctionToolParam, Response, ResponseStreamEvent

from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply
from tests.support.server_setup import (
    STEPS,
    TWO_CALLS,
    MakeOpenAISetup,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


TOOL: FunctionToolParam = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "strict": True,
}


def text_of(events: Iterable[ResponseStreamEvent]) -> str:
    """Return the deltas of a response's text, joined."""
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def last_of(events: Iterable[ResponseStreamEvent]) -> Response:
    """Return the response that the last event carries."""
    last = list(events)[-1]
    assert last.type in ("response.completed", "response.incomplete", "response.failed")
    return last.response


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_response_events_are_valid(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """Events of every kind have the fields that OpenAI's types demand."""
    client = openai_setup(step).client
    events = list(client.responses.create(model="any", input="hi", tools=[TOOL], stream=True))
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert events


@pytest.mark.parametrize(
    "step, said",
    [
        (
            Reply("Hel", "lo"),
            [
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ],
        ),
        (
            CallTools(("add", {"a": 1})),
            [
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
            ],
        ),
        (Fail(), ["response.failed"]),
    ],
    ids=["reply", "calls", "failure"],
)
def test_order_of_response_events(
    openai_setup: MakeOpenAISetup, step: Any, said: list[str]
) -> None:
    """A response has events from its creation to its end."""
    events = openai_setup(step).client.responses.create(model="any", input="hi", stream=True)
    begun = ["response.created", "response.queued", "response.in_progress"]
    assert [event.type for event in events] == [*begun, *said]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_response_events_are_numbered(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """Events are numbered from 0 without a gap."""
    events = list(openai_setup(step).client.responses.create(model="any", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    "step, text",
    [(Reply("Hel", "lo"), "Hello"), (Reply(), ""), (STEPS["cut short"], "Hel")],
)
def test_response_deltas_are_the_text(openai_setup: MakeOpenAISetup, step: Any, text: str) -> None:
    """The deltas joined are the text of the final response."""
    events = list(openai_setup(step).client.responses.create(model="any", input="hi", stream=True))
    assert text_of(events) == last_of(events).output_text == text


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_last_response_is_the_kept_one(openai_setup: MakeOpenAISetup, step: Any) -> None:
    """The response of the last event is the one that is found afterwards."""
    client = openai_setup(step).client
    final = last_of(client.responses.create(model="any", input="hi", stream=True))
    assert client.responses.retrieve(final.id).to_dict() == final.to_dict()


def test_response_is_kept_before_its_last_event(openai_setup: MakeOpenAISetup) -> None:
    """Who sees the last event finds the items in the conversation."""
    client = openai_setup(Reply("hello")).client
    conversation = client.conversations.create()
    stream = client.responses.create(
        model="any", input="hi", conversation=conversation.id, stream=True
    )
    (last,) = [event for event in stream if event.type == "response.completed"]
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.to_dict() for item in items[1:]] == [
        item.to_dict() for item in last.response.output
    ]
    assert len(items) == 2


def test_response_goes_on_in_streams(openai_setup: MakeOpenAISetup) -> None:
    """A streamed response is gone on from as any other."""
    setup = openai_setup(Reply("one"), Reply("two"))
    first = last_of(setup.client.responses.create(model="any", input="hi", stream=True))
    events = setup.client.responses.create(
        model="any", input="more", previous_response_id=first.id, stream=True
    )
    assert text_of(events) == "two"
    said = [message["content"] for message in setup.server.model.requests[1].messages]
    assert said == ["hi", "one", "more"]


def test_stream_helper_gives_the_response(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper puts the response together."""
    client = openai_setup(Reply("Hel", "lo")).client
    with client.responses.stream(model="any", input="hi") as stream:
        assert stream.get_final_response().output_text == "Hello"


def test_stream_helper_adds_up_the_text(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper shows the text so far."""
    client = openai_setup(Reply("Hel", "lo", "!")).client
    with client.responses.stream(model="any", input="hi") as stream:
        shown = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
    assert shown == ["Hel", "Hello", "Hello!"]


def test_stream_helper_gives_calls(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper parses the arguments of calls of strict tools."""
    client = openai_setup(TWO_CALLS).client
    with client.responses.stream(model="any", input="hi", tools=[TOOL]) as stream:
        output = stream.get_final_response().output
    parsed = [item.parsed_arguments for item in output if item.type == "function_call"]
    assert parsed == [{"a": 1}, {"a": 2}]


def test_stream_helper_shows_arguments(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper shows the arguments of each call."""
    client = openai_setup(TWO_CALLS).client
    with client.responses.stream(model="any", input="hi", tools=[TOOL]) as stream:
        shown = [
            event.snapshot
            for event in stream
            if event.type == "response.function_call_arguments.delta"
        ]
    assert [json.loads(text) for text in shown] == [{"a": 1}, {"a": 2}]


def test_stream_helper_takes_text_and_calls(mixed_client: openai.OpenAI) -> None:
    """The client's helper takes a text with calls after it."""
    with mixed_client.responses.stream(model="any", input="hi", tools=[TOOL]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text == "Let me see."


class Weather(pydantic.BaseModel):
    """The content of a structured reply."""

    city: str
    degrees: int


def test_stream_helper_parses_structured_output(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper reads a reply of a given form."""
    client = openai_setup(Reply('{"city": "Oslo",', ' "degrees": 5}')).client
    with client.responses.stream(model="any", input="hi", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(city="Oslo", degrees=5)


def test_stream_of_structured_output_asks_for_its_form(openai_setup: MakeOpenAISetup) -> None:
    """The form that is asked for reaches the model of a streamed response."""
    setup = openai_setup(Reply('{"city": "Oslo", "degrees": 5}'))
    with setup.client.responses.stream(model="any", input="hi", text_format=Weather) as stream:
        stream.until_done()
    asked = setup.server.model.requests[0].options["response_format"]
    assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "Weather")


def test_streamed_conversation(openai_setup: MakeOpenAISetup) -> None:
    """Calls and their outputs go through a conversation in streams."""
    setup = openai_setup(TWO_CALLS, Reply("3"))
    conversation = setup.client.conversations.create()
    with setup.client.responses.stream(
        model="any", input="hi", conversation=conversation.id, tools=[TOOL]
    ) as stream:
        output = stream.get_final_response().output
    calls = [item.call_id for item in output if item.type == "function_call"]
    events = setup.client.responses.create(
        model="any",
        input=[{"type": "function_call_output", "call_id": call, "output": "1"} for call in calls],
        conversation=conversation.id,
        stream=True,
    )
    assert text_of(events) == "3"
    kinds = [item.type for item in setup.client.conversations.items.list(conversation.id)][::-1]
    assert kinds == [
        "message",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
        "message",
    ]


def test_failed_response_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """The event of a failure has its code and message."""
    client = openai_setup(Fail("rate_limit_exceeded", "Slow down.")).client
    final = last_of(client.responses.create(model="any", input="hi", stream=True))
    assert final.status == "failed"
    assert final.error is not None
    assert (final.error.code, final.error.message) == ("rate_limit_exceeded", "Slow down.")


def test_response_cut_short_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """The event of a response cut short has the reason, and its text as it is."""
    client = openai_setup(STEPS["cut short"]).client
    final = last_of(client.responses.create(model="any", input="hi", stream=True))
    assert final.incomplete_details is not None
    assert (final.status, final.incomplete_details.reason, final.output_text) == (
        "incomplete",
        "max_output_tokens",
        "Hel",
    )


def test_cancelled_response_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """A cancelled response ends its stream at once, as failed, with its true status."""
    client = openai_setup(Hold()).client
    stream = client.responses.create(model="any", input="hi", background=True, stream=True)
    first = next(stream)
    assert first.type == "response.created"
    cancelled = client.responses.cancel(first.response.id)
    rest = list(stream)
    assert (rest[-1].type, last_of(rest).status) == ("response.failed", "cancelled")
    assert last_of(rest).to_dict() == cancelled.to_dict()


def test_cancelled_response_is_valid(openai_setup: MakeOpenAISetup) -> None:
    """The event of a cancelled response has the fields that OpenAI's type demands."""
    client = openai_setup(Hold()).client
    stream = client.responses.create(model="any", input="hi", background=True, stream=True)
    first = next(stream)
    assert first.type == "response.created"
    client.responses.cancel(first.response.id)
    last = list(stream)[-1]
    assert type(last).model_validate(last.to_dict()) == last


def test_expired_response_is_streamed(openai_setup: MakeOpenAISetup) -> None:
    """A response that takes too long ends its stream as failed, without an output."""
    setup = openai_setup(Hold())
    stream = setup.client.responses.create(model="any", input="hi", stream=True)
    next(event for event in stream if event.type == "response.in_progress")
    setup.clock.now += 600
    setup.release()
    final = last_of(stream)
    assert (final.status, final.output) == ("failed", [])
    assert setup.client.responses.retrieve(final.id).to_dict() == final.to_dict()


@pytest.mark.parametrize("after", [0, 2, 5, 9, 10, 99])
def test_stream_is_resumed(openai_setup: MakeOpenAISetup, after: int) -> None:
    """A response made in the background is read again from any event on."""
    client = openai_setup(Reply("Hel", "lo")).client
    events = list(client.responses.create(model="any", input="hi", background=True, stream=True))
    again = client.responses.retrieve(last_of(events).id, stream=True, starting_after=after)
    assert list(again) == events[after + 1 :]
    assert len(events) == 11


def test_stream_is_read_again_from_its_beginning(openai_setup: MakeOpenAISetup) -> None:
    """Without a number the whole stream comes again."""
    client = openai_setup(Reply("Hel", "lo")).client
    events = list(client.responses.create(model="any", input="hi", background=True, stream=True))
    assert list(client.responses.retrieve(last_of(events).id, stream=True)) == events


def test_stream_is_resumed_under_work(openai_setup: MakeOpenAISetup) -> None:
    """A reader who lost the stream goes on with the next event, and gets the rest."""
    setup = openai_setup(Hold(Reply("hello")))
    stream = setup.client.responses.create(model="any", input="hi", background=True, stream=True)
    created, queued = next(stream), next(stream)
    stream.close()
    assert created.type == "response.created"
    again = setup.client.responses.retrieve(
        created.response.id, stream=True, starting_after=queued.sequence_number
    )
    first = next(again)
    setup.release()
    rest = list(again)
    assert (first.type, text_of(rest)) == ("response.in_progress", "hello")


def test_stream_helper_resumes(openai_setup: MakeOpenAISetup) -> None:
    """The client's helper takes a response up that is being made in the background."""
    client = openai_setup(Reply("Hel", "lo")).client
    events = list(client.responses.create(model="any", input="hi", background=True, stream=True))
    with client.responses.stream(response_id=last_of(events).id, starting_after=5) as stream:
        assert [event.sequence_number for event in stream] == [6, 7, 8, 9, 10]
        assert stream.get_final_response().output_text == "Hello"


def bad_request(ask: Callable[[], object]) -> tuple[str | None, str | None]:
    """Return code and parameter of a request that is refused."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask()
    return caught.value.code, caught.value.param


def test_stream_of_an_unknown_model(openai_setup: MakeOpenAISetup) -> None:
    """What is refused is refused before the stream begins."""
    client = openai_setup().client
    refusal = bad_request(
        lambda: client.responses.create(model="no-such-model", input="hi", stream=True)
    )
    assert refusal == ("model_not_found", "model")


def test_stream_for_a_locked_conversation(openai_setup: MakeOpenAISetup) -> None:
    """A conversation is locked while a response is streamed, and a stream does not get in."""
    client = openai_setup(Hold()).client
    conversation = client.conversations.create()

    def ask() -> openai.Stream[ResponseStreamEvent]:
        return client.responses.create(
            model="any", input="hi", conversation=conversation.id, stream=True
        )

    with ask() as stream:
        next(stream)
        assert bad_request(ask) == ("conversation_locked", "conversation")


@pytest.mark.parametrize("how", [{"stream": True}, {"background": True}, {}], ids=str)
def test_streams_that_are_not_read_again(
    openai_setup: MakeOpenAISetup, how: dict[str, bool]
) -> None:
    """Only a response of a stream in the background is read as a stream again."""
    client = openai_setup().client
    made: Any = client.responses.create(model="any", input="hi", **how)  # type: ignore[call-overload]
    response_id = last_of(made).id if how.get("stream") else made.id
    refusal = bad_request(lambda: client.responses.retrieve(response_id, stream=True))
    assert refusal == (None, "stream")


def test_stream_that_is_not_stored(openai_setup: MakeOpenAISetup) -> None:
    """A streamed response that is not to be stored is not found afterwards."""
    client = openai_setup().client
    final = last_of(client.responses.create(model="any", input="hi", stream=True, store=False))
    assert final.status == "completed"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(final.id)


def test_stream_options_are_taken(openai_setup: MakeOpenAISetup) -> None:
    """A client may say that it wants no obfuscation."""
    events = openai_setup(Reply("hello")).client.responses.create(
        model="any", input="hi", stream=True, stream_options={"include_obfuscation": False}
    )
    assert text_of(events) == "hello"
