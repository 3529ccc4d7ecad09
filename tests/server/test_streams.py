"""Streams of events and their readers, without a server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt_agent_sync.server import streams
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.server.streams import Stream, StreamEvent, Streams, stream_response

PATIENCE = 10.0

ONE, TWO, THREE = (StreamEvent("said", {"what": word}) for word in ("one", "two", "three"))


@pytest.fixture
def kept() -> Iterator[Streams]:
    """Yield the streams of a server whose database is in memory."""
    storage = Storage(":memory:")
    yield Streams(storage, time.time)
    storage.close()


def encoded(*events: StreamEvent) -> list[bytes]:
    """Return events as they go over the wire."""
    return [event.encode() for event in events]


def ended_stream(*events: StreamEvent) -> Stream:
    """Return a stream with these events that has ended."""
    stream = Stream()
    stream.publish(*events, last=True)
    return stream


def test_event_is_encoded_with_its_name() -> None:
    """An event has a line for its name, a line for its data, and an empty one."""
    assert StreamEvent("said", {"what": 1}).encode() == b'event: said\ndata: {"what": 1}\n\n'


def test_text_is_encoded_as_it_is() -> None:
    """Data that is a text is not made JSON."""
    assert StreamEvent("done", "[DONE]").encode() == b"event: done\ndata: [DONE]\n\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\n\nb", "a\u2028b", "data: x", "ä😀", "\x85"])
def test_texts_stay_on_one_line(text: str) -> None:
    """Whatever a text holds, its event is three lines, and the text comes back."""
    lines = StreamEvent("said", {"what": text}).encode().decode().splitlines()
    assert json.loads(lines[1].removeprefix("data: ")) == {"what": text}
    assert len(lines) == 3


def test_reader_gets_what_was_published() -> None:
    """Who comes late gets everything, in order."""
    assert list(ended_stream(ONE, TWO).read()) == encoded(ONE, TWO)


def test_reader_gets_what_is_published_by_and_by() -> None:
    """Events may be published together or one after the other."""
    stream = Stream()
    stream.publish(ONE, TWO)
    stream.publish(THREE, last=True)
    assert list(stream.read()) == encoded(ONE, TWO, THREE)


def test_reader_need_not_wait_for_the_end() -> None:
    """What is published is read before more comes."""
    stream = Stream()
    stream.publish(ONE)
    assert next(stream.read()) == ONE.encode()


def test_reader_waits_for_more(executor: ThreadPoolExecutor) -> None:
    """A reader who has everything gets the next event when it is published."""
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


def test_reader_may_begin_with_what_is_not_published_yet(executor: ThreadPoolExecutor) -> None:
    """A place that is not reached yet is waited for, and what comes before it passed over."""
    stream = Stream()
    stream.publish(ONE)
    waiting = executor.submit(list, stream.read(2))
    stream.publish(TWO)
    stream.publish(THREE, last=True)
    assert waiting.result(PATIENCE) == [THREE.encode()]


def test_nothing_is_published_after_the_last() -> None:
    """What comes after the last event is dropped."""
    stream = ended_stream(ONE)
    stream.publish(TWO, last=True)
    assert list(stream.read()) == [ONE.encode()]


def test_stream_may_end_without_an_event() -> None:
    """A stream without events ends all the same."""
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


def numbers(stream: Stream) -> list[int]:
    """Return the sequence numbers of a stream that has ended."""
    lines = [event.decode().splitlines()[1] for event in stream.read()]
    return [json.loads(line.removeprefix("data: "))["sequence_number"] for line in lines]


def test_numbers_count_from_zero() -> None:
    """Each event carries its number, however many are published together."""
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


def test_numbers_leave_what_was_published_alone() -> None:
    """The number is not written into the data that was given."""
    data = {"what": "one"}
    Stream(numbered=True).publish(StreamEvent("said", data))
    assert data == {"what": "one"}


def test_texts_are_not_numbered() -> None:
    """Data that is a text has no place for a number."""
    stream = Stream(numbered=True)
    stream.publish(StreamEvent("done", "[DONE]"), last=True)
    assert list(stream.read()) == [b"event: done\ndata: [DONE]\n\n"]


def test_many_publishers_get_numbers_of_their_own(executor: ThreadPoolExecutor) -> None:
    """Events published by many threads at once are numbered without a gap."""
    stream = Stream(numbered=True)
    list(executor.map(lambda _: stream.publish(ONE, TWO), range(50)))
    stream.end()
    assert numbers(stream) == list(range(100))


def test_unknown_stream(kept: Streams) -> None:
    """Work without events has no stream."""
    assert kept.get("run_1") is None


def test_stream_is_found_by_its_work(kept: Streams) -> None:
    """A stream is found by the id of its work, after its end too."""
    stream = kept.open("run_1")
    stream.end()
    assert kept.get("run_1") is stream


def test_new_stream_takes_the_place_of_the_old(kept: Streams) -> None:
    """Work that opens a stream again has the new one."""
    old, new = kept.open("run_1"), kept.open("run_1")
    assert kept.get("run_1") is new
    assert new is not old


@pytest.mark.parametrize("numbered", [False, True])
def test_streams_may_be_numbered(numbered: bool) -> None:
    """A stream is numbered if that is asked for."""
    stream = Stream(numbered=numbered)
    stream.publish(ONE, last=True)
    assert (b"sequence_number" in b"".join(stream.read())) == numbered


def test_what_one_reader_has_read_is_forgotten() -> None:
    """A stream for one reader keeps no more than that one has still to read."""
    stream = Stream(keep=False)
    stream.publish(ONE, TWO)
    reader = stream.read()
    assert [next(reader), next(reader)] == encoded(ONE, TWO)
    assert stream.since(2) == []
    stream.publish(THREE, last=True)
    assert list(reader) == encoded(THREE)


def test_numbers_go_on_after_what_is_forgotten() -> None:
    """A numbered stream counts all its events, those that are forgotten too."""
    stream = Stream(numbered=True, keep=False)
    stream.publish(ONE)
    reader = stream.read()
    next(reader)
    stream.publish(TWO, last=True)
    assert b'"sequence_number": 1' in next(reader)


def test_streams_that_ended_long_ago_are_forgotten(
    kept: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream goes when nobody can resume it any more, and one that is live does not."""
    kept.open("ended").publish(ONE, last=True)
    kept.open("live").publish(ONE)
    kept.clean()
    assert kept.get("ended") is not None
    monkeypatch.setattr(streams, "RESUMABLE_SECONDS", 0.0)
    kept.clean()
    assert (kept.get("ended"), kept.get("live") is None) == (None, False)


def test_close_lets_all_readers_go(kept: Streams, executor: ThreadPoolExecutor) -> None:
    """When all is closed nobody waits any more."""
    readers = []
    for work_id in "abc":
        stream = kept.open(work_id)
        readers.append(executor.submit(list, stream.read()))
    kept.close()
    assert [reader.result(PATIENCE) for reader in readers] == [[]] * 3


def test_stream_after_close_has_ended(kept: Streams) -> None:
    """What is opened too late ends at once."""
    kept.close()
    assert list(kept.open("a").read()) == []


def test_answer_is_an_event_stream() -> None:
    """A stream is answered as one that nobody is to keep."""
    answer = stream_response(ended_stream(ONE))
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/event-stream", "no-cache")


def test_answer_may_begin_in_the_middle() -> None:
    """An answer begins where it is asked to."""
    assert stream_response(ended_stream(ONE, TWO), 1).get_data() == TWO.encode()
