"""Streams of background responses: resumed later, and at another process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.server import keeper, streams
from gpt_agent_sync.server.models.base import TextDelta
from gpt_agent_sync.server.storage.collection import OWNER
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.server.streams import StoredStream, Stream, StreamEvent, Streams
from tests.support.chunk_model import ChunkModel
from tests.support.event_lines import ReceivedEvent
from tests.support.polling import wait_for
from tests.support.server_setup import StreamSetup, change_stored, object_of

TEXTS = ("Hel", "lo", "!")


class Pair:
    """Two servers on one file; the first one works.

    Args:
        folder: Where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self.location = folder / "a.db"
        self.model = ChunkModel(*map(TextDelta, TEXTS), held=True)
        self.one = StreamSetup(self.model, str(self.location))
        self.other = StreamSetup(ChunkModel(), str(self.location))

    def begin(self) -> str:
        """Start a background response that is streamed; return its id when it says something."""
        reader = self.one.stream_response(background=True)
        response_id = str(object_of(next(reader))["id"])
        self.model.go_on()
        reader.until("response.output_text.delta")
        reader.close()
        return response_id

    def stop(self) -> None:
        """Let the model end, and stop both."""
        self.model.go_on(100)
        for setup in (self.one, self.other):
            setup.hang_up()
            setup.stop()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Yield two servers on one file."""
    monkeypatch.setattr(streams, "FEED_SECONDS", 0.02)
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.05)
    both = Pair(tmp_path)
    yield both
    both.stop()


def told(events: list[ReceivedEvent]) -> list[Any]:
    """Return the data of events."""
    return [event.data for event in events]


def test_stream_of_another_process(pair: Pair) -> None:
    """A stream that is asked for at another process comes as it does at the one that works."""
    response_id = pair.begin()
    reader = pair.other.resume(response_id)
    before = [next(reader) for _ in range(6)]
    pair.model.go_on(10)
    found = told([*before, *reader.rest()])
    assert found == told(pair.one.resume(response_id).rest())
    assert [event["delta"] for event in found if event["type"].endswith("text.delta")] == [*TEXTS]
    assert [event["sequence_number"] for event in found] == [*range(len(found))]


@pytest.mark.parametrize("after", [0, 4, 100])
def test_stream_of_another_process_from_a_place_on(pair: Pair, after: int) -> None:
    """A stream is resumed at another process where it was lost."""
    response_id = pair.begin()
    pair.model.go_on(10)
    whole = told(pair.one.resume(response_id).rest())
    found = told(pair.other.resume(response_id, starting_after=after).rest())
    assert found == (whole[after + 1 :] or found)
    assert found[-1]["type"] == "response.completed"


def test_stream_whose_process_is_gone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that its process cannot end any more ends with the true event."""
    monkeypatch.setattr(streams, "FLUSH_PATIENCE", 0.1)
    response_id = pair.begin()
    reader = pair.other.resume(response_id)
    reader.until("response.output_text.delta")
    change_stored(pair.location, "responses", response_id, status="failed", **{OWNER: None})
    last = reader.rest()[-1]
    assert last.name == "response.failed"
    assert object_of(last)["id"] == response_id


def test_stream_of_what_is_deleted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that is deleted while it is streamed ends its stream everywhere."""
    monkeypatch.setattr(streams, "FLUSH_PATIENCE", 0.1)
    response_id = pair.begin()
    reader = pair.other.resume(response_id)
    reader.until("response.output_text.delta")
    pair.other.wire.delete(f"/responses/{response_id}")
    assert reader.names()[-1] == "response.failed"


def test_stream_that_ended_long_ago(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is kept for ten minutes after its end, and then refused by name."""
    response_id = pair.begin()
    pair.model.go_on(10)
    pair.one.resume(response_id).rest()
    storage = pair.other.engine.storage
    wait_for(
        lambda: kept_names(storage, response_id)[-1:], lambda last: last == ["response.completed"]
    )
    with storage.write() as connection:
        storage.events.remove_before(connection, pair.one.clock.now + 1)
    pair.other.clock.now += 601
    answer = pair.other.wire.send("GET", f"/responses/{response_id}?stream=true")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    assert "ended too long ago" in answer.text


def kept_names(storage: Storage, response_id: str) -> list[str]:
    """Return the names of a response's events in the database."""
    with storage.read() as connection:
        return [name for _, name, _ in storage.events.after(connection, response_id, 0)]


def test_old_events_leave_the_database(pair: Pair) -> None:
    """Events that are older than a stream can be resumed are removed."""
    storage = pair.other.engine.storage
    now = pair.other.clock.now
    with storage.write() as connection:
        storage.events.add(connection, "old", 0, [("a", "{}")], now - 601)
        storage.events.add(connection, "new", 0, [("a", "{}")], now - 599)
    pair.other.engine._keeper._clean()
    assert (kept_names(storage, "old"), kept_names(storage, "new")) == ([], ["a"])


# Without servers.


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """Yield a storage in a file."""
    opened = Storage(str(tmp_path / "a.db"))
    yield opened
    opened.close()


def test_events_are_kept_once(storage: Storage) -> None:
    """What is in the database is not written again, and the last events are."""
    kept = Streams(storage, lambda: 5.0)
    stream = kept.open("resp_1")
    stream.publish(StreamEvent("a", {"n": 1}))
    kept.flush()
    stream.publish(StreamEvent("b", {"n": 2}), last=True)
    kept.flush()
    kept.flush()
    with storage.read() as connection:
        found = storage.events.after(connection, "resp_1", 0)
    assert [(name, json.loads(data)) for _, name, data in found] == [
        ("a", {"n": 1, "sequence_number": 0}),
        ("b", {"n": 2, "sequence_number": 1}),
    ]
    assert not kept.are_live


def test_events_that_are_there_already(storage: Storage) -> None:
    """A write whose answer was lost is made again without harm, and nothing after it is held up."""
    kept = Streams(storage, lambda: 5.0)
    stream = kept.open("resp_1")
    stream.publish(StreamEvent("a", {"n": 1}))
    with storage.write() as connection:
        storage.events.add(connection, "resp_1", 0, [("a", "{}")], 5.0)
    stream.publish(StreamEvent("b", {"n": 2}), last=True)
    kept.flush()
    assert kept_names(storage, "resp_1") == ["a", "b"]
    assert not kept.are_live


def test_beginning_of_a_long_stream_is_kept(storage: Storage) -> None:
    """The events of a stream go together, when its last one is old."""
    with storage.write() as connection:
        storage.events.add(connection, "long", 0, [("a", "{}")], 1.0)
        storage.events.add(connection, "long", 1, [("b", "{}")], 900.0)
        storage.events.remove_before(connection, 300.0)
    assert kept_names(storage, "long") == ["a", "b"]


def test_last_events_come_after_a_long_silence(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the working process writes a moment after the end is told before the end."""
    monkeypatch.setattr(streams, "FEED_SECONDS", 0.01)
    ending = StreamEvent("response.completed", {})
    asked: list[StreamEvent | None] = [None] * 300

    def end() -> StreamEvent | None:
        if asked:
            return asked.pop()
        if len(kept_names(storage, "resp_1")) == 1:
            with storage.write() as connection:
                logged = [("last", "{}"), (ending.name, "{}")]
                storage.events.add(connection, "resp_1", 1, logged, 5.0)
        return ending

    with storage.write() as connection:
        storage.events.add(connection, "resp_1", 0, [("first", "{}")], 5.0)
    names = [
        piece.split(b"\n")[0]
        for piece in StoredStream(storage, "resp_1", end).read()
        if piece[:1] == b"e"
    ]
    assert names == [b"event: first", b"event: last", b"event: response.completed"]


def test_database_in_memory_keeps_no_events() -> None:
    """A database that no other process has needs none."""
    opened = Storage(":memory:")
    kept = Streams(opened, lambda: 5.0)
    kept.open("resp_1").publish(StreamEvent("a", {}))
    kept.flush()
    assert (kept_names(opened, "resp_1"), kept.are_live) == ([], False)
    opened.close()


def test_silence_is_broken_by_comments(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing comes a comment is sent now and then, so that a reader who left is noticed."""
    monkeypatch.setattr(streams, "FEED_SECONDS", 0.001)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.005)
    reader = StoredStream(storage, "resp_1", lambda: None).read()
    assert next(reader) == streams.HEARTBEAT_COMMENT


def test_one_reader_forgets_what_is_read_by_turns() -> None:
    """A stream for one reader never has more than what is still to be read."""
    stream = Stream(keep=False)
    reader = stream.read()
    for number in range(5):
        stream.publish(StreamEvent("a", {"n": number}))
        assert json.loads(next(reader).split(b"data: ")[1]) == {"n": number}
    assert stream.since(5) == []
