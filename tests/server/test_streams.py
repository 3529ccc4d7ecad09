"""What is told of work as it goes: the events, and the streams that carry them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gpt_agent_sync.server import streams
from gpt_agent_sync.server.assistants import run_events as runs
from gpt_agent_sync.server.models.base import TextDelta, ToolCall
from gpt_agent_sync.server.responses import response_events as responses
from gpt_agent_sync.server.streams import Stream, StreamEvent, Streams, stream_response
from tests.support.wire_client import Json

PATIENCE = 10.0

ONE, TWO, THREE = (StreamEvent("said", {"what": word}) for word in ("one", "two", "three"))


def encoded(*events: StreamEvent) -> list[bytes]:
    """Give events as they go over the wire."""
    return [event.encode() for event in events]


def ended_stream(*events: StreamEvent) -> Stream:
    """Give a stream that was told these events, and no more to come."""
    stream = Stream()
    stream.publish(*events, last=True)
    return stream


# How an event is spelled.


def test_event_is_spelled_with_its_name() -> None:
    """An event has a line for its name, a line for its data, and an empty one."""
    assert StreamEvent("said", {"what": 1}).encode() == b'event: said\ndata: {"what": 1}\n\n'


def test_text_is_spelled_as_it_is() -> None:
    """Data that is a text is not made JSON."""
    assert StreamEvent("done", "[DONE]").encode() == b"event: done\ndata: [DONE]\n\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\n\nb", "a\u2028b", "data: x", "ä😀", "\x85"])
def test_texts_stay_on_one_line(text: str) -> None:
    """Whatever a text holds, its event is three lines, and the text comes back."""
    lines = StreamEvent("said", {"what": text}).encode().decode().splitlines()
    assert json.loads(lines[1].removeprefix("data: ")) == {"what": text}
    assert len(lines) == 3


# Readers.


def test_reader_gets_what_was_told() -> None:
    """Who comes late gets everything, in order."""
    assert list(ended_stream(ONE, TWO).read()) == encoded(ONE, TWO)


def test_reader_gets_what_is_told_by_and_by() -> None:
    """Events may be told together or one after the other."""
    stream = Stream()
    stream.publish(ONE, TWO)
    stream.publish(THREE, last=True)
    assert list(stream.read()) == encoded(ONE, TWO, THREE)


def test_reader_need_not_wait_for_the_end() -> None:
    """What was told is read before more comes."""
    stream = Stream()
    stream.publish(ONE)
    assert next(stream.read()) == ONE.encode()


def test_reader_waits_for_more(executor: ThreadPoolExecutor) -> None:
    """A reader who has everything gets the next event when it is told."""
    stream = Stream()
    stream.publish(ONE)
    reader = stream.read()
    next(reader)
    waiting = executor.submit(next, reader)
    stream.publish(TWO)
    assert waiting.result(PATIENCE) == TWO.encode()


def test_reader_waits_for_the_end(executor: ThreadPoolExecutor) -> None:
    """A reader who has everything is let go at the end."""
    stream = Stream()
    stream.publish(ONE)
    reader = stream.read()
    next(reader)
    waiting = executor.submit(list, reader)
    stream.end()
    assert waiting.result(PATIENCE) == []


def test_every_reader_gets_everything(executor: ThreadPoolExecutor) -> None:
    """Readers do not take events from each other."""
    stream = Stream()
    readers = [executor.submit(list, stream.read()) for _ in range(4)]
    for event in (ONE, TWO, THREE):
        stream.publish(event)
    stream.end()
    assert [reader.result(PATIENCE) for reader in readers] == [encoded(ONE, TWO, THREE)] * 4


def test_reader_that_goes_takes_nobody_along() -> None:
    """A reader that is closed leaves the others as they are."""
    stream = ended_stream(ONE, TWO)
    gone, other = stream.read(), stream.read()
    next(gone)
    gone.close()  # type: ignore[attr-defined]  # it is a generator
    assert list(other) == encoded(ONE, TWO)


@pytest.mark.parametrize(
    "begin, found",
    [(0, [ONE, TWO, THREE]), (1, [TWO, THREE]), (2, [THREE]), (3, []), (9, [])],
)
def test_reader_may_begin_in_the_middle(begin: int, found: list[StreamEvent]) -> None:
    """A reader gets the events from a place on; past the end there are none."""
    assert list(ended_stream(ONE, TWO, THREE).read(begin)) == encoded(*found)


def test_reader_may_begin_with_what_is_not_told_yet(executor: ThreadPoolExecutor) -> None:
    """A place that is not reached yet is waited for, and what comes before it passed over."""
    stream = Stream()
    stream.publish(ONE)
    waiting = executor.submit(list, stream.read(2))
    stream.publish(TWO)
    stream.publish(THREE, last=True)
    assert waiting.result(PATIENCE) == [THREE.encode()]


def test_nothing_is_told_after_the_last() -> None:
    """What comes after the last event is dropped."""
    stream = ended_stream(ONE)
    stream.publish(TWO, last=True)
    assert list(stream.read()) == [ONE.encode()]


def test_stream_may_end_without_an_event() -> None:
    """A stream that was told nothing ends all the same."""
    assert list(ended_stream().read()) == []


def test_stream_may_end_twice() -> None:
    """Ending again changes nothing."""
    stream = ended_stream(ONE)
    stream.end()
    assert list(stream.read()) == [ONE.encode()]


def test_silence_is_broken_by_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who waits for long gets a comment, again and again."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    reader = Stream().read()
    assert [next(reader), next(reader)] == [b": still there\n\n"] * 2


def test_comments_are_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a comment no event is missing."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    stream = Stream()
    reader = stream.read()
    next(reader)
    stream.publish(ONE, TWO, last=True)
    assert list(reader) == encoded(ONE, TWO)


# Numbers.


def numbers(stream: Stream) -> list[int]:
    """Give the sequence numbers of a stream that has ended."""
    lines = [event.decode().splitlines()[1] for event in stream.read()]
    return [json.loads(line.removeprefix("data: "))["sequence_number"] for line in lines]


def test_numbers_count_from_zero() -> None:
    """Each event carries its number, however many are told together."""
    stream = Stream(numbered=True)
    stream.publish(ONE)
    stream.publish(TWO, THREE)
    stream.publish(ONE, last=True)
    assert numbers(stream) == [0, 1, 2, 3]


def test_numbers_are_added() -> None:
    """An event keeps its data beside the number."""
    stream = Stream(numbered=True)
    stream.publish(ONE, last=True)
    (event,) = stream.read()
    assert event == b'event: said\ndata: {"what": "one", "sequence_number": 0}\n\n'


def test_numbers_leave_what_was_told_alone() -> None:
    """The number is not written into the data that was given."""
    data = {"what": "one"}
    Stream(numbered=True).publish(StreamEvent("said", data))
    assert data == {"what": "one"}


def test_texts_are_not_numbered() -> None:
    """Data that is a text has no place for a number."""
    stream = Stream(numbered=True)
    stream.publish(StreamEvent("done", "[DONE]"), last=True)
    assert list(stream.read()) == [b"event: done\ndata: [DONE]\n\n"]


def test_many_tellers_get_numbers_of_their_own(executor: ThreadPoolExecutor) -> None:
    """Events told by many threads at once are numbered without a gap."""
    stream = Stream(numbered=True)
    list(executor.map(lambda _: stream.publish(ONE, TWO), range(50)))
    stream.end()
    assert numbers(stream) == list(range(100))


# All streams.


def test_unknown_stream() -> None:
    """Work of which nothing is told has no stream."""
    assert Streams().get("run_1") is None


def test_stream_is_found_by_its_work() -> None:
    """A stream is found by the id of its work, after its end too."""
    kept = Streams()
    stream = kept.open("run_1")
    stream.end()
    assert kept.get("run_1") is stream


def test_new_stream_takes_the_place_of_the_old() -> None:
    """Work that is told of again has the new stream."""
    kept = Streams()
    old, new = kept.open("run_1"), kept.open("run_1")
    assert kept.get("run_1") is new
    assert new is not old


@pytest.mark.parametrize("numbered", [False, True])
def test_streams_may_be_numbered(numbered: bool) -> None:
    """A stream is numbered if that is asked for."""
    stream = Streams().open("run_1", numbered=numbered)
    stream.publish(ONE, last=True)
    assert (b"sequence_number" in b"".join(stream.read())) == numbered


def test_oldest_streams_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more streams are kept than there is room for."""
    monkeypatch.setattr(streams, "MAX_STREAMS", 2)
    kept = Streams()
    for number in range(4):
        kept.open(str(number))
    assert [number for number in range(4) if kept.get(str(number))] == [2, 3]


def test_stream_that_is_opened_again_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is told of again is not the oldest any more."""
    monkeypatch.setattr(streams, "MAX_STREAMS", 2)
    kept = Streams()
    for work_id in ("a", "b", "a", "c"):
        kept.open(work_id)
    assert [work_id for work_id in "abc" if kept.get(work_id)] == ["a", "c"]


def test_dropped_stream_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who read a stream that is dropped still get all of it."""
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    kept = Streams()
    stream = kept.open("a")
    kept.open("b")
    stream.publish(ONE, last=True)
    assert list(stream.read()) == [ONE.encode()]


def test_close_lets_all_readers_go(executor: ThreadPoolExecutor) -> None:
    """When all is closed readers get what there is, and go."""
    kept = Streams()
    readers = []
    for work_id in "abc":
        stream = kept.open(work_id)
        stream.publish(ONE)
        readers.append(executor.submit(list, stream.read()))
    kept.close()
    assert [reader.result(PATIENCE) for reader in readers] == [[ONE.encode()]] * 3


def test_stream_after_close_has_ended() -> None:
    """What is opened too late ends at once."""
    kept = Streams()
    kept.close()
    assert list(kept.open("a").read()) == []


def test_answer_is_an_event_stream() -> None:
    """A stream is answered as one that nobody is to keep."""
    answer = stream_response(ended_stream(ONE))
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/event-stream", "no-cache")


def test_answer_may_begin_in_the_middle() -> None:
    """An answer begins where it is asked to."""
    assert stream_response(ended_stream(ONE, TWO), 1).get_data() == TWO.encode()


# What is told of a run.

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


# What is told of a response.

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


class Given:
    """Hold what a response's model said, and what was told of it.

    Args:
        pieces: What it said.
        cut_short: Why it was cut short, if it was.
    """

    def __init__(self, *pieces: TextDelta | ToolCall, cut_short: str | None = None) -> None:
        output = responses.ResponseOutput()
        events = [event for piece in pieces for event in output.add(piece)]
        self.output, last = output.finish(cut_short)
        self.events = [*events, *last]
        self.names = [event.name for event in self.events]

    def data(self, name: str) -> list[Any]:
        """Give the data of the events of a name, without the name."""
        found = [event.data for event in self.events if event.name == name]
        return [
            {key: value for key, value in data.items() if key != "type"}
            for data in found
            if not isinstance(data, str)
        ]


@pytest.mark.parametrize(
    "pieces, cut_short, names",
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
    pieces: list[TextDelta | ToolCall], cut_short: str | None, names: list[str]
) -> None:
    """What a response's model says is told in OpenAI's order."""
    assert Given(*pieces, cut_short=cut_short).names == names


def test_events_of_a_response_say_their_names() -> None:
    """Every event carries its name as its type."""
    given = Given(HEL, ADD)
    types = [event.data["type"] for event in given.events if not isinstance(event.data, str)]
    assert types == given.names


@pytest.mark.parametrize(
    "pieces, places",
    [
        ([HEL, LO], [0] * 7),
        ([ADD, SUB], [0] * 4 + [1] * 4),
        ([HEL, ADD, LO], [0] * 6 + [1] * 4 + [2] * 6),
    ],
)
def test_events_say_their_places(pieces: list[TextDelta | ToolCall], places: list[int]) -> None:
    """Every event carries the place of its item in the output."""
    given = Given(*pieces)
    found = [event.data["output_index"] for event in given.events if isinstance(event.data, dict)]
    assert found == places


def test_events_name_their_items() -> None:
    """Every event names its item, or carries it."""
    given = Given(HEL, ADD, LO)
    for event in given.events:
        assert isinstance(event.data, dict)
        named = event.data.get("item_id") or event.data["item"]["id"]
        assert named == given.output[event.data["output_index"]]["id"]


def test_item_of_a_message_begins_empty() -> None:
    """A message is added without anything in it, and then its part is."""
    given = Given(HEL)
    item_id = given.output[0]["id"]
    begun = {"id": item_id, "type": "message", "status": "in_progress", "role": "assistant"}
    assert given.data(ADDED) == [{"output_index": 0, "item": {**begun, "content": []}}]
    assert given.data("response.content_part.added") == [
        {"item_id": item_id, "output_index": 0, "content_index": 0, "part": part("")}
    ]


def part(text: str) -> Json:
    """Give a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def test_text_comes_in_deltas() -> None:
    """Each piece of text is told by itself, and all of them at the end."""
    given = Given(HEL, LO)
    place = {"item_id": given.output[0]["id"], "output_index": 0, "content_index": 0}
    assert given.data(DELTA) == [
        {**place, "delta": "Hel", "logprobs": []},
        {**place, "delta": "lo", "logprobs": []},
    ]
    assert given.data("response.output_text.done") == [{**place, "text": "Hello", "logprobs": []}]
    assert given.data("response.content_part.done") == [{**place, "part": part("Hello")}]


def test_texts_around_calls_are_apart() -> None:
    """What is said before a call and after it are messages of their own."""
    given = Given(HEL, ADD, LO)
    assert [data["text"] for data in given.data("response.output_text.done")] == ["Hel", "lo"]


@pytest.mark.parametrize(
    "cut_short, status", [(None, "completed"), ("max_completion_tokens", "incomplete")]
)
def test_item_of_a_message_ends(cut_short: str | None, status: str) -> None:
    """A message ends as it stands in the output, whole or not."""
    given = Given(HEL, LO, cut_short=cut_short)
    (item,) = given.output
    assert given.data(DONE) == [{"output_index": 0, "item": item}]
    assert (item["status"], item["content"]) == (status, [part("Hello")])


def test_item_of_a_call() -> None:
    """A call is added without its arguments, and ends as it stands in the output."""
    given = Given(ADD)
    (item,) = given.output
    begun = {**item, "status": "in_progress", "arguments": ""}
    assert given.data(ADDED) == [{"output_index": 0, "item": begun}]
    assert given.data(DONE) == [{"output_index": 0, "item": item}]


def test_arguments_of_a_call() -> None:
    """Arguments are told as a delta, and whole."""
    given = Given(ADD)
    place = {"item_id": given.output[0]["id"], "output_index": 0}
    arguments = "response.function_call_arguments"
    assert given.data(f"{arguments}.delta") == [{**place, "delta": '{"a": 1}'}]
    assert given.data(f"{arguments}.done") == [{**place, "arguments": '{"a": 1}'}]


def test_done_items_are_the_output() -> None:
    """The items that were told as done are the output."""
    given = Given(HEL, ADD, SUB, LO)
    assert [data["item"] for data in given.data(DONE)] == given.output


def test_no_answer_is_an_empty_text() -> None:
    """A model that says nothing gave an empty text."""
    (item,) = Given().output
    assert item["content"] == [part("")]


@pytest.mark.parametrize(
    "status, name, told",
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
def test_response_is_told_by_its_status(status: str, name: str | None, told: str) -> None:
    """A response's event has the name of its status, unless another is given."""
    assert responses.response_event({"status": status}, name).name == told


def test_response_is_told_as_clients_see_it() -> None:
    """What is kept beside a response is not told, and its own status is."""
    event = responses.response_event({"status": "cancelled", "_input": []})
    assert event.data == {"type": "response.failed", "response": {"status": "cancelled"}}
