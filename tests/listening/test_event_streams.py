"""Event streams, as far as they need no running agent: order, limits, ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from gpt_agent_sync.events import AgentStopped, Event, RunStarted
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscriptions import Subscription

PATIENCE = 10.0
MOMENT = 0.1

STOPPED = AgentStopped(thread_id="t", reason="shutdown")


def started(number: int) -> RunStarted:
    """Return the event of that number."""
    return RunStarted(thread_id="t", id=f"run_{number}", assistant_id=None)


class Source:
    """What a stream needs of an agent, and the pen that writes to the stream."""

    thread_id = "t"

    def __init__(
        self,
        maxsize: Any = 0,
        *,
        may_block: bool = True,
        on_close: Callable[[EventStream], None] | None = None,
    ) -> None:
        self.may_block = may_block
        self.put: Callable[[Event], None] | None = None
        self.closed = 0
        self.stream = EventStream(
            self.thread_id,
            self._subscribe,
            maxsize,
            on_close=on_close or (lambda stream: None),
            refuse_to_block=self._refuse_to_block,
        )

    def _subscribe(self, put: Callable[[Event], None]) -> Subscription:
        self.put = put
        return cast(Subscription, self)

    def close(self) -> None:
        """Count the calls, in place of the subscription's ``close``."""
        self.closed += 1

    def _refuse_to_block(self, what: str) -> None:
        """Refuse as an agent does in its own callbacks."""
        if not self.may_block:
            raise RuntimeError(f"{what} would wait for itself")

    def write(self, *events: Event) -> None:
        """Write events to the stream."""
        assert self.put is not None
        for event in events:
            self.put(event)

    def write_on_a_thread(self, *events: Event) -> threading.Thread:
        """Write events to the stream on another thread, as a worker does."""
        worker = threading.Thread(target=self.write, args=events, daemon=True)
        worker.start()
        return worker


def test_order() -> None:
    """Events come out in the order in which they went in."""
    source = Source()
    source.write(started(1), started(2), started(3))
    assert [source.stream.get() for _ in range(3)] == [started(1), started(2), started(3)]


def test_get_waits() -> None:
    """``get`` waits for an event that is yet to come."""
    source = Source()
    got: list[Event | None] = []
    reader = threading.Thread(target=lambda: got.append(source.stream.get(PATIENCE)))
    reader.start()
    source.write(started(1))
    reader.join(PATIENCE)
    assert got == [started(1)]


def test_get_gives_up() -> None:
    """``get`` raises ``TimeoutError`` when nothing came in time."""
    with pytest.raises(TimeoutError, match=r"^no event of thread 't' within 0.01 s$"):
        Source().stream.get(timeout=0.01)


def test_get_in_a_callback() -> None:
    """``get`` is refused where it would wait for itself."""
    with pytest.raises(RuntimeError, match=r"^EventStream.get\(\) would wait for itself"):
        Source(may_block=False).stream.get(timeout=0.01)


def test_get_in_a_callback_without_waiting() -> None:
    """``get`` gives what is there already, wherever it is called."""
    source = Source(may_block=False)
    source.write(started(1))
    assert source.stream.get() == started(1)


def test_end_with_the_agent() -> None:
    """The stream ends with ``AgentStopped``, which is its last event."""
    source = Source()
    source.write(started(1), STOPPED)
    assert list(source.stream) == [started(1), STOPPED]


def test_nothing_after_the_end() -> None:
    """What is written after ``AgentStopped`` is not in the stream."""
    source = Source()
    source.write(STOPPED, started(1))
    assert list(source.stream) == [STOPPED]


def test_get_after_the_end() -> None:
    """After the end ``get`` gives ``None``, every time."""
    source = Source()
    source.stream.close()
    assert [source.stream.get(), source.stream.get()] == [None, None]


def test_untaken_events_after_close() -> None:
    """What was untaken when the stream was closed can still be read."""
    source = Source()
    source.write(started(1), started(2))
    source.stream.close()
    assert list(source.stream) == [started(1), started(2)]


def test_close_takes_no_more() -> None:
    """A closed stream takes no more events."""
    source = Source()
    source.stream.close()
    source.write(started(1))
    assert source.stream.get() is None


def test_close_unsubscribes() -> None:
    """Closing the stream closes its subscription."""
    source = Source()
    source.stream.close()
    assert source.closed == 1


def test_close_is_reported() -> None:
    """The callback of the stream is called when it is closed."""
    told: list[EventStream] = []
    source = Source(on_close=told.append)
    source.stream.close()
    assert told == [source.stream]


def test_close_twice() -> None:
    """A stream may be closed again."""
    source = Source()
    source.stream.close()
    source.stream.close()
    assert source.stream.get() is None


def test_close_wakes_a_reader() -> None:
    """A reader that waits when the stream is closed gets its end."""
    source = Source()
    got: list[Event | None] = []
    reader = threading.Thread(target=lambda: got.append(source.stream.get(PATIENCE)))
    reader.start()
    source.stream.close()
    reader.join(PATIENCE)
    assert got == [None]


def test_context_manager() -> None:
    """A stream as a context manager is closed at the end."""
    source = Source()
    with source.stream as stream:
        assert stream is source.stream
    assert source.closed == 1


def test_iterator() -> None:
    """A stream is its own iterator."""
    stream = Source().stream
    assert iter(stream) is stream


def test_writer_waits_for_room() -> None:
    """With a limit the writer waits while so many events are untaken."""
    source = Source(2)
    writer = source.write_on_a_thread(started(1), started(2), started(3))
    writer.join(MOMENT)
    assert writer.is_alive()
    source.stream.close()
    writer.join(PATIENCE)


def test_reader_makes_room() -> None:
    """The writer goes on when an event is taken, and none is lost."""
    source = Source(1)
    writer = source.write_on_a_thread(started(1), started(2), started(3), STOPPED)
    assert list(source.stream) == [started(1), started(2), started(3), STOPPED]
    writer.join(PATIENCE)
    assert not writer.is_alive()


@pytest.mark.parametrize("release", [EventStream.close, EventStream._lift_limit])
def test_waiting_writer_is_release(release: Callable[[EventStream], None]) -> None:
    """A writer that waits for room is released when the stream ends or its limit is lifted."""
    source = Source(1)
    writer = source.write_on_a_thread(started(1), started(2))
    release(source.stream)
    writer.join(PATIENCE)
    assert not writer.is_alive()


def test_no_limit_loses_nothing() -> None:
    """A stream whose limit was lifted keeps what the writer had waiting."""
    source = Source(1)
    writer = source.write_on_a_thread(started(1), started(2), STOPPED)
    source.stream._lift_limit()
    writer.join(PATIENCE)
    assert list(source.stream) == [started(1), started(2), STOPPED]


def test_many_readers() -> None:
    """Of several readers each event goes to one."""
    source = Source()
    lock = threading.Lock()
    got: list[Event] = []

    def read() -> None:
        for event in source.stream:
            with lock:
                got.append(event)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    events = [started(number) for number in range(100)]
    source.write(*events, STOPPED)
    for reader in readers:
        reader.join(PATIENCE)
    assert not any(reader.is_alive() for reader in readers)
    assert sorted(map(repr, got)) == sorted(map(repr, [*events, STOPPED]))


@pytest.mark.parametrize("maxsize", [-1, 1.0, "1", None, True])
def test_unusable_limit(maxsize: object) -> None:
    """A limit is a whole number of 0 or more."""
    with pytest.raises(ValueError, match=r"^maxsize must be a whole number of 0 or more, not"):
        Source(maxsize)
