"""How streams end over HTTP: cancelled, expired, deleted, broken, hung up, stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from gpt_agent_sync.server import streams
from gpt_agent_sync.server.assistants.run_work import RunWork
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.responses.response_work import ResponseWork
from gpt_agent_sync.server.streams import Stream
from gpt_agent_sync.testing import Hold, Reply
from tests.support.polling import wait_for
from tests.support.server_setup import (
    CALL,
    MakeStreamSetup,
    ScriptedStreamSetup,
    change_stored,
    drop_table,
    object_of,
    run_path,
    wait_until_idle,
)
from tests.support.wire_client import Json

PATIENCE = 20.0


WIRES = ("runs", "responses")


def test_cancelled_run_ends_its_stream(stream_setup: MakeStreamSetup) -> None:
    """A run that is cancelled in progress ends its stream at once with the events of that."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.post(f"{run_path(run)}/cancel")
    assert reader.names()[-3:] == ["thread.run.cancelling", "thread.run.cancelled", "done"]


def test_cancelled_run_is_streamed_as_it_is(stream_setup: MakeStreamSetup) -> None:
    """The event of a cancelled run has what is found."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.post(f"{run_path(run)}/cancel")
    assert reader.until("thread.run.cancelled").data == setup.wire.get(run_path(run))


def test_cancelled_response_ends_its_stream(stream_setup: MakeStreamSetup) -> None:
    """A response that is cancelled in progress ends its stream at once, as a failure."""
    setup = stream_setup(Hold())
    reader = setup.stream_response(background=True)
    response = setup.in_progress(reader)
    cancelled = setup.wire.cancel(response["id"])
    last = reader.rest()[-1]
    assert (last.name, object_of(last)) == ("response.failed", cancelled)
    assert cancelled["status"] == "cancelled"


def test_late_reply_of_a_cancelled_response_is_not_streamed(stream_setup: MakeStreamSetup) -> None:
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
    """A response streamed in the foreground cannot be cancelled, and goes to its end."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    status, _ = setup.wire.refusal("POST", f"/responses/{response['id']}/cancel")
    setup.release()
    assert (status, reader.names()[-1]) == (400, "response.completed")


def test_expired_run(stream_setup: MakeStreamSetup) -> None:
    """An expired run ends its stream when its model is done, as it is found."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.clock.now += 600
    setup.release()
    expired, done = reader.rest()[-2:]
    assert (expired.name, done.name) == ("thread.run.expired", "done")
    assert expired.data == setup.wire.get(run_path(run))


def test_run_that_was_seen_to_expire(stream_setup: MakeStreamSetup) -> None:
    """A run that somebody has found expired ends its stream as expired all the same."""
    setup = stream_setup(Hold())
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.clock.now += 600
    assert setup.wire.get(run_path(run))["status"] == "expired"
    setup.release()
    assert reader.names()[-2:] == ["thread.run.expired", "done"]


def test_run_without_time(stream_setup: MakeStreamSetup) -> None:
    """A run whose time is up before it is taken up streams that it expired, and ends."""
    names = stream_setup(run_seconds=0).stream_run().names()
    assert names == ["thread.run.created", "thread.run.queued", "thread.run.expired", "done"]


def test_response_without_time(stream_setup: MakeStreamSetup) -> None:
    """A response whose time is up before it is taken up streams that it failed, and ends."""
    names = stream_setup(run_seconds=0).stream_response().names()
    assert names == ["response.created", "response.queued", "response.failed"]


def test_thread_deleted_meanwhile(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup
) -> None:
    """The stream of a run whose thread is deleted ends at once, without an outcome."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    setup.wire.delete(f"/threads/{run['thread_id']}")
    setup.release()
    names = reader.names()
    wait_until_idle()
    assert "thread.run.completed" not in names
    assert names[-1] == "thread.run.in_progress"
    assert caplog.records == []


def test_response_deleted_meanwhile(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup
) -> None:
    """The stream of a response that is deleted ends at once, without an outcome."""
    setup = stream_setup(Hold(Reply("hello")))
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    setup.wire.delete(f"/responses/{response['id']}")
    setup.release()
    names = reader.names()
    wait_until_idle()
    assert "response.completed" not in names
    assert names[-1] == "response.in_progress"
    assert caplog.records == []


def test_conversation_deleted_meanwhile(stream_setup: MakeStreamSetup) -> None:
    """The stream of a response whose conversation is deleted goes to its end."""
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


@pytest.mark.parametrize("kind", ["run", "background response"])
def test_reader_that_goes(
    caplog: pytest.LogCaptureFixture, stream_setup: MakeStreamSetup, kind: str
) -> None:
    """A reader that hangs up does not stop the work, and nothing is complained of."""
    setup = stream_setup(Hold(Reply(*["hello "] * 500)))
    reader = setup.stream_run() if kind == "run" else setup.stream_response(background=True)
    found = setup.in_progress(reader)
    reader.close()
    setup.release()
    path = run_path(found) if kind == "run" else f"/responses/{found['id']}"
    wait_until_idle()
    assert setup.wire.get(path)["status"] == "completed"
    assert caplog.records == []


def test_reader_of_a_foreground_response_that_goes(stream_setup: MakeStreamSetup) -> None:
    """A foreground response whose only reader hangs up is cancelled, and its model stopped."""
    setup = stream_setup(Hold())
    reader = setup.stream_response()
    response = setup.in_progress(reader)
    reader.close()
    cancelled = wait_for(
        lambda: setup.wire.response(response["id"]), lambda found: found["status"] == "cancelled"
    )
    assert setup.model.requests[0].cancellation.is_cancelled
    assert cancelled["output"] == []


def test_caller_of_a_foreground_response_that_goes(stream_setup: MakeStreamSetup) -> None:
    """A response whose caller hangs up frees its conversation at once."""
    setup = stream_setup(Hold(), Reply("hello"))
    conversation_id = setup.wire.conversation()
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{setup.base_url}/responses",
            json={"model": "any", "input": "hi", "conversation": conversation_id},
            timeout=(5, 0.5),
        )
    answered = wait_for(
        lambda: setup.wire.send(
            "POST",
            "/responses",
            json={"model": "any", "input": "again", "conversation": conversation_id},
        ),
        lambda answer: answer.ok,
    )
    assert answered.json()["status"] == "completed"
    assert setup.wire.item_texts(conversation_id) == ["again", "hello"]


def test_reader_that_goes_in_silence(
    monkeypatch: pytest.MonkeyPatch, stream_setup: MakeStreamSetup
) -> None:
    """A reader that hangs up is noticed while the model says nothing."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    setup = stream_setup(Hold())
    reader = setup.stream_response(background=True)
    response = setup.in_progress(reader)
    wait_for(lambda: setup.is_busy, bool)
    reader.close()
    wait_for(lambda: setup.is_busy, lambda busy: not busy)
    assert setup.wire.response(response["id"])["status"] == "in_progress"


@pytest.mark.parametrize("wire", WIRES)
def test_server_that_stops(
    caplog: pytest.LogCaptureFixture, executor: ThreadPoolExecutor, wire: str
) -> None:
    """A server stops though streams are open and models hold, and the readers are told so."""
    setup = ScriptedStreamSetup(*[Hold()] * 3)
    readers = [setup.stream_either(wire) for _ in range(3)]
    wait_for(lambda: setup.model.requests, lambda asked: len(asked) == 3)
    reading = [executor.submit(reader.names) for reader in readers]
    executor.submit(setup.stop).result(PATIENCE)
    ends = [read.result(PATIENCE)[-1] for read in reading]
    setup.release()
    wait_until_idle()
    setup.hang_up()
    assert ends == ["done" if wire == "runs" else "response.failed"] * 3
    assert caplog.records == []


def test_many_streams_at_once(stream_setup: MakeStreamSetup) -> None:
    """Two hundred streams that are open at once all come to their ends."""
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


def events_of_run(engine: Engine, run: Json | None) -> list[str]:
    """Do the work of a run, and return the names of the events of its stream, which must end."""
    if run is not None:
        with engine.storage.write() as connection:
            engine.storage.runs.insert(connection, run)
    stream = Stream()
    engine.do(RunWork(engine, run or {"id": "run_1"}, stream))
    return [event.split(b"\n")[0].decode() for event in stream.read()]


def test_stream_of_a_run_that_is_gone(engine: Engine) -> None:
    """The stream of a run that was deleted before anybody took it up just ends."""
    assert events_of_run(engine, None) == []


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_stream_of_a_run_that_is_final(engine: Engine, status: str) -> None:
    """The stream of a run that was final before anybody took it up has that event, and ends."""
    assert events_of_run(engine, {"id": "run_1", "status": status, "expires_at": None}) == [
        f"event: thread.run.{status}",
        "event: done",
    ]


def events_of_response(engine: Engine, status: str | None) -> list[str]:
    """Do the work of a response, and return the names of the events of its stream."""
    response = {"id": "resp_1", "status": "queued", "_stored": True}
    if status is not None:
        with engine.storage.write() as connection:
            engine.storage.responses.insert(connection, {**response, "status": status})
    stream = Stream(numbered=True)
    engine.do(ResponseWork(engine, response, stream))
    return [event.split(b"\n")[0].decode() for event in stream.read()][2:]


@pytest.mark.parametrize("status, names", [(None, []), ("cancelled", ["event: response.failed"])])
def test_stream_of_a_response_that_is_final(
    engine: Engine, status: str | None, names: list[str]
) -> None:
    """The stream of a response that was gone or cancelled before anybody took it up ends."""
    assert events_of_response(engine, status) == names


@pytest.mark.parametrize(
    "status, names",
    [
        ("cancelling", ["thread.run.cancelling", "thread.run.cancelled", "done"]),
        ("cancelled", ["thread.run.cancelled", "done"]),
    ],
)
def test_run_cancelled_by_another_server(
    stream_setup: MakeStreamSetup, tmp_path: Path, status: str, names: list[str]
) -> None:
    """A stream has the cancel by another server when its model is done."""
    location = tmp_path / "a.db"
    setup = stream_setup(Hold(Reply()), location=str(location))
    reader = setup.stream_run()
    run = setup.in_progress(reader)
    change_stored(location, "runs", run["id"], status=status)
    setup.release()
    assert reader.names()[-len(names) :] == names
    assert setup.wire.get(run_path(run))["status"] == "cancelled"


class StoppedWork(ResponseWork):
    """Work that begins just when the server stops."""

    def begin(self) -> bool:
        """Stop."""
        self._engine.close()
        return True


def test_work_begun_when_the_server_stops(caplog: pytest.LogCaptureFixture, engine: Engine) -> None:
    """Work that finds the server stopped is left as it is, and its stream ends."""
    stream = Stream()
    response = {"id": "resp_1", "status": "queued", "instructions": None, "conversation": None}
    engine.do(StoppedWork(engine, response, stream))
    assert len(list(stream.read())) == 2
    assert caplog.records == []
