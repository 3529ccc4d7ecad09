"""Streams over HTTP on both wires: lines, ends, readers that go, servers that stop."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.server import streams
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.assistants.run_work import RunWork, finish_cancelling
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import TextDelta
from gpt_agent_sync.server.responses.response_work import ResponseWork
from gpt_agent_sync.server.storage import Storage
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.chunk_model import ChunkModel
from tests.support.event_lines import EventReader
from tests.support.polling import wait_for
from tests.support.responses_client import ResponsesClient
from tests.support.scripted_model import ScriptedModel
from tests.support.server_setup import (
    MakeStreamSetup,
    ScriptedStreamSetup,
    StreamSetup,
    change_stored,
    drop_table,
    object_of,
    wait_until_idle,
)
from tests.support.wire_client import Json, calls_of

PATIENCE = 20.0

CALL = CallTools(("add", {"a": 1}))
WIRES = ("runs", "responses")


def run_path(run: Json) -> str:
    """Give where a run is."""
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


# Lines and headers.


@pytest.mark.parametrize("wire", WIRES)
def test_content_type(stream_setup: MakeStreamSetup, wire: str) -> None:
    """A stream says that it is one."""
    answer = stream_setup(Reply("hello")).stream_either(wire).answer
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("wire", WIRES)
def test_stream_is_not_to_be_kept(stream_setup: MakeStreamSetup, wire: str) -> None:
    """Nobody on the way is to keep a stream, and it has a request id like any answer."""
    headers = stream_setup(Reply("hello")).stream_either(wire).answer.headers
    assert headers["Cache-Control"] == "no-cache"
    assert headers["x-request-id"].startswith("req_")


def blocks(reader: EventReader) -> list[list[str]]:
    """Give the lines of each event of a stream."""
    text = reader.answer.text
    assert text.endswith("\n\n")
    return [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")]


@pytest.mark.parametrize("wire", WIRES)
def test_lines(stream_setup: MakeStreamSetup, wire: str) -> None:
    """Every event is one line with its name and one with its data."""
    found = blocks(stream_setup(Reply("a\nb\n\nc\u2028d", "ä")).stream_either(wire))
    fields = [[line.partition(": ")[0] for line in lines] for lines in found]
    assert fields == [["event", "data"]] * len(found)
    assert len(found) > 8


def test_runs_end_with_done(stream_setup: MakeStreamSetup) -> None:
    """The last event of a run's stream is no JSON."""
    assert blocks(stream_setup(Reply("hello")).stream_run())[-1] == ["event: done", "data: [DONE]"]


@pytest.mark.parametrize("step", [Reply("ok"), CALL, Fail(), Incomplete()])
def test_every_run_ends_with_done(stream_setup: MakeStreamSetup, step: Any) -> None:
    """Whatever comes of a run, its stream ends as streams do on this wire, once."""
    names = stream_setup(step).stream_run().names()
    assert (names[-1], names.count("done")) == ("done", 1)


def test_responses_have_no_done(stream_setup: MakeStreamSetup) -> None:
    """The last event of a response's stream is the response."""
    received = stream_setup(Reply("hello")).stream_response().rest()
    assert received[-1].name == "response.completed"
    assert "done" not in {event.name for event in received}


def test_response_events_are_named_twice(stream_setup: MakeStreamSetup) -> None:
    """On the Responses wire the data says the event's name as well."""
    received = stream_setup(Reply("hello")).stream_response().rest()
    assert [event.data["type"] for event in received] == [event.name for event in received]


def test_created_run_is_queued(stream_setup: MakeStreamSetup) -> None:
    """A run is told as created and as queued before anybody works on it."""
    received = stream_setup(Reply("hello")).stream_run().rest()[:3]
    assert [(event.name, event.data["status"]) for event in received] == [
        ("thread.run.created", "queued"),
        ("thread.run.queued", "queued"),
        ("thread.run.in_progress", "in_progress"),
    ]


def test_created_response_is_queued(stream_setup: MakeStreamSetup) -> None:
    """A response is told as created and as queued before anybody works on it."""
    received = stream_setup(Reply("hello")).stream_response().rest()[:3]
    assert [(event.name, object_of(event)["status"]) for event in received] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
    ]


@pytest.mark.parametrize("wire", WIRES)
def test_nothing_kept_beside_is_told(stream_setup: MakeStreamSetup, wire: str) -> None:
    """No event shows what the server keeps for itself."""
    received = stream_setup(CALL).stream_either(wire).rest()
    objects = [object_of(event) for event in received if isinstance(event.data, dict)]
    assert [key for data in objects for key in data if key.startswith("_")] == []


@pytest.mark.parametrize("value", [False, None])
def test_no_stream_is_json(stream_setup: MakeStreamSetup, value: bool | None) -> None:
    """Who wants no stream gets JSON, on both wires."""
    setup = stream_setup()
    thread_id, assistant_id = setup.wire.thread("hi"), setup.wire.assistant()
    run = setup.wire.post(
        f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "stream": value}
    )
    response = setup.wire.respond(stream=value)
    assert (run["object"], response["object"]) == ("thread.run", "response")


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/responses", {"model": "no-such-model", "input": "hi"}, 400),
        ("/responses", {"model": "any", "input": "hi", "conversation": "conv_x"}, 404),
        ("/threads/thread_x/runs", {"assistant_id": "asst_x"}, 404),
        ("/threads/runs", {"assistant_id": "asst_x"}, 404),
        ("/threads/thread_x/runs/run_x/submit_tool_outputs", {"tool_outputs": []}, 404),
    ],
)
def test_refusals_are_json(
    stream_setup: MakeStreamSetup, path: str, body: Json, status: int
) -> None:
    """A stream that is refused is answered as any request that is refused."""
    answer = stream_setup().wire.send("POST", path, json={**body, "stream": True})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json()["error"]["message"]


def test_streams_need_the_key() -> None:
    """A stream is given to those only who have the key."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret")
    client = ResponsesClient(server.base_url, "wrong")
    status, _ = client.refused(stream=True)
    client.close()
    server.stop()
    assert status == 401


@pytest.mark.parametrize("wire", WIRES)
def test_connection_goes_on_after_a_stream(stream_setup: MakeStreamSetup, wire: str) -> None:
    """A stream that was read to its end leaves its connection to the next request."""
    setup = stream_setup(Reply("hello"))
    setup.stream_either(wire).rest()
    assert setup.wire.respond()["status"] == "completed"


@pytest.mark.parametrize("wire", WIRES)
def test_silence_is_broken_by_comments(
    monkeypatch: pytest.MonkeyPatch, stream_setup: MakeStreamSetup, wire: str
) -> None:
    """A reader who waits for a slow model gets comments."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    lines = stream_setup(Hold()).stream_either(wire).answer.iter_lines(chunk_size=None)
    assert next(line for line in lines if line.startswith(b":")) == b": still there"


def test_comments_are_no_events(
    monkeypatch: pytest.MonkeyPatch, stream_setup: MakeStreamSetup
) -> None:
    """Comments leave the events and their numbers as they are."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.001)
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_response()
    setup.in_progress(reader)
    setup.release()
    numbers = [event.data["sequence_number"] for event in reader]
    assert numbers == list(range(1, len(numbers) + 1))


# A slow model.


@pytest.mark.parametrize(
    "wire, name", [("runs", "thread.message.delta"), ("responses", "response.output_text.delta")]
)
def test_pieces_come_before_the_end(wire: str, name: str) -> None:
    """Each piece of a slow model's text is read before the model says the next one."""
    model = ChunkModel(TextDelta("one"), TextDelta("two"), held=True)
    setup = StreamSetup(model)
    reader = setup.stream_either(wire)
    received = []
    for _ in range(2):
        model.go_on()
        received.append(json.dumps(reader.until(name).data))
    model.go_on()
    rest = reader.names()
    setup.hang_up()
    setup.stop()
    assert ["one" in received[0], "two" in received[1], len(rest)] == [True, True, 4]


@pytest.mark.parametrize("wire", WIRES)
def test_beginning_is_told_before_the_model_speaks(
    stream_setup: MakeStreamSetup, wire: str
) -> None:
    """A reader sees the work go on though its model says nothing yet."""
    reader = stream_setup(Hold()).stream_either(wire)
    name = "thread.run.in_progress" if wire == "runs" else "response.in_progress"
    assert object_of(reader.until(name))["status"] == "in_progress"


# What is there while a stream goes on, and afterwards.


def test_run_is_read_while_it_is_streamed(stream_setup: MakeStreamSetup) -> None:
    """A streamed run is found at work meanwhile, and holds its thread."""
    setup = stream_setup(Hold())
    run = setup.in_progress(setup.stream_run())
    status, error = setup.wire.refusal(
        "POST", f"/threads/{run['thread_id']}/messages", json={"role": "user", "content": "x"}
    )
    assert (status, run["id"] in error["message"]) == (400, True)
    assert setup.wire.get(run_path(run))["status"] == "in_progress"


def test_streamed_run_frees_its_thread(stream_setup: MakeStreamSetup) -> None:
    """Who reads the end of a run may begin the next one."""
    setup = stream_setup(Reply("one"), Reply("two"))
    thread_id = setup.wire.thread("hi")
    for _ in range(2):
        setup.stream_run(thread_id).rest()
    assert setup.wire.texts(thread_id) == ["hi", "one", "two"]


def test_response_is_read_while_it_is_streamed(stream_setup: MakeStreamSetup) -> None:
    """A streamed response is found at work meanwhile, and locks its conversation."""
    setup = stream_setup(Hold())
    conversation_id = setup.wire.conversation()
    response = setup.in_progress(setup.stream_response(conversation=conversation_id))
    _, error = setup.wire.refused(conversation=conversation_id)
    assert error["code"] == "conversation_locked"
    assert setup.wire.response(response["id"])["status"] == "in_progress"


def test_streamed_response_frees_its_conversation(stream_setup: MakeStreamSetup) -> None:
    """Who reads the end of a response may ask for the next one."""
    setup = stream_setup(Reply("one"), Reply("two"))
    conversation_id = setup.wire.conversation()
    for _ in range(2):
        setup.stream_response(conversation=conversation_id).rest()
    assert setup.wire.item_texts(conversation_id) == ["hi", "one", "hi", "two"]


def test_stream_of_outputs(stream_setup: MakeStreamSetup) -> None:
    """Each leg of a run has a stream of its own."""
    setup = stream_setup(CALL, Reply("2"))
    run, first = setup.stream_until_waiting()
    outputs = [{"tool_call_id": call["id"], "output": "2"} for call in calls_of(run)]
    second = setup.stream(f"{run_path(run)}/submit_tool_outputs", tool_outputs=outputs).rest()
    assert (first[-2].name, second[-2].name) == (
        "thread.run.requires_action",
        "thread.run.completed",
    )
    assert "thread.run.created" not in {event.name for event in second}


def test_unstored_response_leaves_nothing(stream_setup: MakeStreamSetup) -> None:
    """A streamed response that is not to be stored is told, and then gone."""
    setup = stream_setup(Reply("hello"))
    received = setup.stream_response(store=False).rest()
    assert object_of(received[-1])["output"][0]["content"][0]["text"] == "hello"
    with setup.engine.storage.read() as connection:
        assert setup.engine.storage.responses.get(connection, object_of(received[-1])["id"]) is None


@pytest.mark.parametrize("streamed", [False, True])
def test_unstored_response_without_time_leaves_nothing(
    stream_setup: MakeStreamSetup, streamed: bool
) -> None:
    """A response that is not begun in time is answered as failed, and kept only if it is to be."""
    setup = stream_setup(run_seconds=0)
    if streamed:
        response = object_of(setup.stream_response(store=False).rest()[-1])
    else:
        response = setup.wire.respond(store=False)
    assert response["status"] == "failed"
    with setup.engine.storage.read() as connection:
        assert setup.engine.storage.responses.get(connection, response["id"]) is None


def test_failed_unstored_response_leaves_nothing(stream_setup: MakeStreamSetup) -> None:
    """A streamed response that fails and is not to be stored is gone as well."""
    setup = stream_setup(Fail())
    response = object_of(setup.stream_response(store=False).rest()[-1])
    with setup.engine.storage.read() as connection:
        assert setup.engine.storage.responses.get(connection, response["id"]) is None


# Reading again.


@pytest.mark.parametrize("after, first", [(-1, 0), (-7, 0), (0, 1), (3, 4)])
def test_stream_begins_after_a_number(
    stream_setup: MakeStreamSetup, after: int, first: int
) -> None:
    """A response is read again from the event after a number on; there are none below 0."""
    setup = stream_setup(Reply("hello"))
    received = setup.stream_response(background=True).rest()
    again = setup.resume(object_of(received[-1])["id"], starting_after=after).rest()
    assert again == received[first:]


def test_stream_begins_after_its_end(stream_setup: MakeStreamSetup) -> None:
    """Who has read everything gets an empty stream."""
    setup = stream_setup(Reply("hello"))
    received = setup.stream_response(background=True).rest()
    assert setup.resume(object_of(received[-1])["id"], starting_after=len(received)).rest() == []


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_spellings_of_a_stream(stream_setup: MakeStreamSetup, value: str) -> None:
    """A stream is asked for in a query by any word for yes."""
    setup = stream_setup(Reply("hello"))
    received = setup.stream_response(background=True).rest()
    assert setup.resume(object_of(received[-1])["id"], stream=value).rest() == received


@pytest.mark.parametrize(
    "query, param",
    [({"stream": "perhaps"}, "stream"), ({"starting_after": "x"}, "starting_after")],
)
def test_bad_queries(stream_setup: MakeStreamSetup, query: Json, param: str) -> None:
    """A value that is none is refused by its parameter."""
    setup = stream_setup(Reply("hello"))
    response = setup.wire.respond()
    status, error = setup.wire.refusal("GET", f"/responses/{response['id']}", params=query)
    assert (status, error["param"]) == (400, param)


def test_other_queries_are_passed_over(stream_setup: MakeStreamSetup) -> None:
    """A query that means nothing here is taken."""
    setup = stream_setup(Reply("hello"))
    response = setup.wire.respond()
    found = setup.wire.get(f"/responses/{response['id']}", include_obfuscation="false", x="y")
    assert found == response


def test_many_readers_of_a_response(stream_setup: MakeStreamSetup) -> None:
    """All who read a response while it is made get all of it."""
    setup = stream_setup(Hold(Reply("hello")))
    first = setup.stream_response(background=True)
    created = next(first)
    others = [setup.resume(object_of(created)["id"]) for _ in range(5)]
    setup.release()
    received = [created, *first.rest()]
    assert [other.rest() for other in others] == [received] * 5


def test_stream_of_a_deleted_response(stream_setup: MakeStreamSetup) -> None:
    """A response that was deleted is not read again."""
    setup = stream_setup(Reply("hello"))
    received = setup.stream_response(background=True).rest()
    response_id = object_of(received[-1])["id"]
    setup.wire.delete(f"/responses/{response_id}")
    params = {"stream": "true"}
    assert setup.wire.refusal("GET", f"/responses/{response_id}", params=params)[0] == 404


# Cancellation, while the model says nothing and goes on to do so.


def test_cancelled_run_ends_its_stream(stream_setup: MakeStreamSetup) -> None:
    """A run that is cancelled at work tells so at once, and has no more to tell."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.post(f"{run_path(run)}/cancel")
    assert reader.names()[-3:] == ["thread.run.cancelling", "thread.run.cancelled", "done"]


def test_cancelled_run_is_told_as_it_is(stream_setup: MakeStreamSetup) -> None:
    """What is told of a cancelled run is what is found."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.post(f"{run_path(run)}/cancel")
    assert reader.until("thread.run.cancelled").data == setup.wire.get(run_path(run))


def test_cancelled_response_ends_its_stream(stream_setup: MakeStreamSetup) -> None:
    """A response that is cancelled at work tells so at once, as a failure."""
    setup = stream_setup(Hold())
    reader = setup.stream_response(background=True)
    response = setup.in_progress(reader)
    cancelled = setup.wire.cancel(response["id"])
    last = reader.rest()[-1]
    assert (last.name, object_of(last)) == ("response.failed", cancelled)
    assert cancelled["status"] == "cancelled"


def test_late_reply_of_a_cancelled_response_is_not_told(stream_setup: MakeStreamSetup) -> None:
    """What a model says after the cancellation is not in the stream, read again or not."""
    setup = stream_setup(Hold(Reply("too late")))
    reader = setup.stream_response(background=True)
    response = setup.in_progress(reader)
    setup.wire.cancel(response["id"])
    reader.rest()
    setup.release()
    wait_until_idle()
    assert setup.resume(response["id"]).names()[2:] == [
        "response.in_progress",
        "response.failed",
    ]


def test_cancelled_while_it_waits(stream_setup: MakeStreamSetup) -> None:
    """A run that is cancelled while it waits for outputs is cancelled, its stream long over."""
    setup = stream_setup(CALL)
    run, _ = setup.stream_until_waiting()
    assert setup.wire.post(f"{run_path(run)}/cancel")["status"] == "cancelled"


def test_foreground_stream_is_not_cancelled(stream_setup: MakeStreamSetup) -> None:
    """A response that is streamed in the foreground cannot be cancelled, and is told to its end."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    status, _ = setup.wire.refusal("POST", f"/responses/{response['id']}/cancel")
    setup.release()
    assert (status, reader.names()[-1]) == (400, "response.completed")


# Time.


def test_expired_run(stream_setup: MakeStreamSetup) -> None:
    """A run out of time is told as expired when its model is done, as it is found."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.clock.now += 600
    setup.release()
    expired, done = reader.rest()[-2:]
    assert (expired.name, done.name) == ("thread.run.expired", "done")
    assert expired.data == setup.wire.get(run_path(run))


def test_run_that_was_seen_to_expire(stream_setup: MakeStreamSetup) -> None:
    """A run that somebody has found expired is told as expired all the same."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.clock.now += 600
    assert setup.wire.get(run_path(run))["status"] == "expired"
    setup.release()
    assert reader.names()[-2:] == ["thread.run.expired", "done"]


def test_run_without_time(stream_setup: MakeStreamSetup) -> None:
    """A run whose time is up before it is taken up is told as expired, and ends."""
    names = stream_setup(run_seconds=0).stream_run().names()
    assert names == ["thread.run.created", "thread.run.queued", "thread.run.expired", "done"]


def test_response_without_time(stream_setup: MakeStreamSetup) -> None:
    """A response whose time is up before it is taken up is told as failed, and ends."""
    names = stream_setup(run_seconds=0).stream_response().names()
    assert names == ["response.created", "response.queued", "response.failed"]


# What is deleted or broken meanwhile.


def test_thread_deleted_meanwhile(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup
) -> None:
    """The stream of a run whose thread is deleted ends with its model, without an outcome."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.delete(f"/threads/{run['thread_id']}")
    setup.release()
    names = reader.names()
    wait_until_idle()
    assert "thread.run.completed" not in names
    assert names[-1] == "thread.message.delta"
    assert caplog.records == []


def test_response_deleted_meanwhile(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup
) -> None:
    """The stream of a response that is deleted ends with its model, without an outcome."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    setup.wire.delete(f"/responses/{response['id']}")
    setup.release()
    names = reader.names()
    wait_until_idle()
    assert "response.completed" not in names
    assert names[-1] == "response.output_text.delta"
    assert caplog.records == []


def test_conversation_deleted_meanwhile(stream_setup: MakeStreamSetup) -> None:
    """The stream of a response whose conversation is deleted is told to its end."""
    setup = stream_setup(Hold(Reply("hello")))
    conversation_id = setup.wire.conversation()
    reader = setup.stream_response(conversation=conversation_id)
    setup.in_progress(reader)
    setup.wire.delete(f"/conversations/{conversation_id}")
    setup.release()
    assert reader.names()[-1] == "response.completed"


@pytest.mark.parametrize("wire", WIRES)
def test_database_that_breaks_meanwhile(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup, tmp_path: Path, wire: str
) -> None:
    """A stream whose work cannot be kept ends, without an outcome."""
    location = tmp_path / "a.db"
    setup = stream_setup(Hold(Reply("hello")), location=str(location))
    reader = setup.stream_either(wire)
    setup.in_progress(reader)
    drop_table(location, wire)
    setup.release()
    names = reader.names()
    assert names[-1] in ("thread.message.delta", "response.output_text.delta")
    assert "could not be kept" in caplog.text


# Readers that go, and servers that stop.


@pytest.mark.parametrize("wire", WIRES)
def test_reader_that_goes(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup, wire: str
) -> None:
    """A reader that hangs up does not stop the work, and nothing is complained of."""
    setup = stream_setup(Hold(Reply(*["hello "] * 500)))
    reader = setup.stream_either(wire)
    found = setup.in_progress(reader)
    reader.close()
    setup.release()
    path = run_path(found) if wire == "runs" else f"/responses/{found['id']}"
    wait_until_idle()
    assert setup.wire.get(path)["status"] == "completed"
    assert caplog.records == []


def test_reader_that_goes_in_silence(
    monkeypatch: pytest.MonkeyPatch, stream_setup: MakeStreamSetup
) -> None:
    """A reader that hangs up is noticed while the model says nothing."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    before = set(threading.enumerate())
    setup = stream_setup(Hold())
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    answering = answerers(before)
    reader.close()
    wait_for(lambda: answerers(before), lambda left: len(left) < len(answering))
    assert setup.wire.response(response["id"])["status"] == "in_progress"


def answerers(before: set[threading.Thread]) -> set[threading.Thread]:
    """Give the threads that answer requests, the server's own and the work's executor."""
    return {
        thread
        for thread in set(threading.enumerate()) - before
        if not thread.name.startswith("gpt-agent-")
    }


@pytest.mark.parametrize("wire", WIRES)
def test_server_that_stops(
    caplog: pytest.LogCaptureFixture, executor: ThreadPoolExecutor, wire: str
) -> None:
    """A server stops though streams are open and models hold, and the readers are let go."""
    setup = ScriptedStreamSetup(*[Hold()] * 3)
    readers = [setup.stream_either(wire) for _ in range(3)]
    wait_for(lambda: setup.model.requests, lambda asked: len(asked) == 3)
    reading = [executor.submit(reader.names) for reader in readers]
    executor.submit(setup.stop).result(PATIENCE)
    ends = [read.result(PATIENCE)[-1] for read in reading]
    setup.release()
    wait_until_idle()
    setup.hang_up()
    begun = "thread.run.in_progress" if wire == "runs" else "response.in_progress"
    assert ends == [begun] * 3
    assert caplog.records == []


def test_many_streams_at_once(stream_setup: MakeStreamSetup) -> None:
    """Two hundred streams that are open at once are all told to their ends."""
    setup = stream_setup(*[Hold(Reply("hello"))] * 200)
    assistant_id = setup.wire.assistant()
    readers = [setup.stream_response() for _ in range(100)]
    readers += [setup.stream("/threads/runs", assistant_id=assistant_id) for _ in range(100)]
    wait_for(lambda: setup.model.requests, lambda asked: len(asked) == 200)
    setup.release()
    ends = [reader.names()[-2:] for reader in readers]
    assert ends == [
        *[["response.output_item.done", "response.completed"]] * 100,
        *[["thread.run.completed", "done"]] * 100,
    ]


# The work by itself.


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Give an engine in memory whose model says nothing."""
    engine = Engine(Storage(":memory:"), [ScriptedModel([Reply()])])
    yield engine
    engine.close()


def told_of_run(engine: Engine, run: Json | None) -> list[str]:
    """Have a run worked on, and give the names of the events of its stream, which must end."""
    if run is not None:
        with engine.storage.write() as connection:
            engine.storage.runs.insert(connection, run)
    stream = engine.streams.open("run_1")
    engine.do(RunWork(engine, "run_1", stream))
    return [event.split(b"\n")[0].decode() for event in stream.read()]


def test_stream_of_a_run_that_is_gone(engine: Engine) -> None:
    """The stream of a run that was deleted before anybody took it up just ends."""
    assert told_of_run(engine, None) == []


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_stream_of_a_run_that_is_over(engine: Engine, status: str) -> None:
    """The stream of a run that was over before anybody took it up tells so, and ends."""
    assert told_of_run(engine, {"id": "run_1", "status": status}) == [
        f"event: thread.run.{status}",
        "event: done",
    ]


def told_of_response(engine: Engine, status: str | None) -> list[str]:
    """Have a response worked on, and give the names of the events of its stream."""
    response = {"id": "resp_1", "status": "queued", "_stored": True}
    if status is not None:
        with engine.storage.write() as connection:
            engine.storage.responses.insert(connection, {**response, "status": status})
    stream = engine.streams.open("resp_1", numbered=True)
    engine.do(ResponseWork(engine, response, stream))
    return [event.split(b"\n")[0].decode() for event in stream.read()][2:]


@pytest.mark.parametrize("status, told", [(None, []), ("cancelled", ["event: response.failed"])])
def test_stream_of_a_response_that_is_over(
    engine: Engine, status: str | None, told: list[str]
) -> None:
    """The stream of a response that was gone or cancelled before anybody took it up ends."""
    assert told_of_response(engine, status) == told


@pytest.mark.parametrize(
    "status, told",
    [
        ("cancelling", ["thread.run.cancelling", "thread.run.cancelled", "done"]),
        ("cancelled", ["thread.run.cancelled", "done"]),
    ],
)
def test_run_cancelled_by_another_server(
    stream_setup: MakeStreamSetup, tmp_path: Path, status: str, told: list[str]
) -> None:
    """A stream tells of a cancellation by another server when its model is done."""
    location = tmp_path / "a.db"
    setup = stream_setup(Hold(Reply()), location=str(location))
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    change_stored(location, "runs", run["id"], status=status)
    setup.release()
    assert reader.names()[-len(told) :] == told
    assert setup.wire.get(run_path(run))["status"] == "cancelled"


@pytest.mark.parametrize("status", ["cancelling", "cancelled"])
def test_finished_cancelling_gives_the_run(engine: Engine, status: str) -> None:
    """Who cancels a run gets it as it is then, whoever was first."""
    run = {
        "id": "run_1",
        "status": status,
        "_usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    with engine.storage.write() as connection:
        engine.storage.runs.insert(connection, run)
    found = finish_cancelling(engine, "run_1")
    assert found is not None
    assert found["status"] == "cancelled"


class StoppedWork(ResponseWork):
    """Be begun just when the server stops."""

    def begin(self) -> bool:
        """Stop."""
        self._engine.close()
        return True


def test_work_begun_when_the_server_stops(caplog: pytest.LogCaptureFixture, engine: Engine) -> None:
    """Work that finds the server stopped is left as it is, and its stream ends."""
    stream = engine.streams.open("resp_1")
    response = {"id": "resp_1", "status": "queued", "instructions": None, "conversation": None}
    engine.do(StoppedWork(engine, response, stream))
    assert len(list(stream.read())) == 2
    assert caplog.records == []
