"""Streams over HTTP on both wires: lines, headers, and what is readable meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpt_agent_sync.server import streams
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import TextDelta
from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.chunk_model import ChunkModel
from tests.support.event_lines import EventReader
from tests.support.responses_client import ResponsesClient
from tests.support.server_setup import (
    CALL,
    MakeStreamSetup,
    StreamSetup,
    object_of,
    run_path,
)
from tests.support.wire_client import Json, calls_of

WIRES = ("runs", "responses")


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
    """Return the lines of each event of a stream."""
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
    """A run has events as created and as queued before anybody works on it."""
    received = stream_setup(Reply("hello")).stream_run().rest()[:3]
    assert [(event.name, event.data["status"]) for event in received] == [
        ("thread.run.created", "queued"),
        ("thread.run.queued", "queued"),
        ("thread.run.in_progress", "in_progress"),
    ]


def test_created_response_is_queued(stream_setup: MakeStreamSetup) -> None:
    """A response has events as created and as queued before anybody works on it."""
    received = stream_setup(Reply("hello")).stream_response().rest()[:3]
    assert [(event.name, object_of(event)["status"]) for event in received] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
    ]


@pytest.mark.parametrize("wire", WIRES)
def test_nothing_kept_beside_is_streamed(stream_setup: MakeStreamSetup, wire: str) -> None:
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


@pytest.mark.parametrize(
    "wire, name", [("runs", "thread.message.delta"), ("responses", "response.output_text.delta")]
)
def test_deltas_come_before_the_end(wire: str, name: str) -> None:
    """Each part of a slow model's text is read before the model yields the next one."""
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
def test_beginning_is_streamed_before_the_model_answers(
    stream_setup: MakeStreamSetup, wire: str
) -> None:
    """A reader sees the work go on though its model says nothing yet."""
    reader = stream_setup(Hold()).stream_either(wire)
    name = "thread.run.in_progress" if wire == "runs" else "response.in_progress"
    assert object_of(reader.until(name))["status"] == "in_progress"


def test_run_is_read_while_it_is_streamed(stream_setup: MakeStreamSetup) -> None:
    """A streamed run is in progress meanwhile, and locks its thread."""
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
    """A streamed response is in progress meanwhile, and locks its conversation."""
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
    """A streamed response that is not to be stored is streamed, and then gone."""
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
def test_values_of_the_stream_parameter(stream_setup: MakeStreamSetup, value: str) -> None:
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
