"""Connections over loopback: who uses them, what ends them, and how their requests are spelled."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import queue
import threading
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedIOBase
from typing import Any

import attrs
import pytest
import requests
from urllib3.connection import HTTPConnection

from gpt_agent_sync.errors import ProtocolError, ServiceUnavailableError
from gpt_agent_sync.services.http import sessions
from gpt_agent_sync.services.http.calls import Call
from gpt_agent_sync.services.http.closing import FeedClosed
from gpt_agent_sync.services.http.sessions import USER_AGENT, IdleConnections
from gpt_agent_sync.services.http.transport import (
    RawAnswer,
    RawStream,
    Transport,
)
from tests.support.forks import forks, in_forked_child
from tests.support.plain import PlainServer, Speak, request_lines
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, stream, table
from tests.support.tls import Authority, TlsStub

PATIENCE = 10.0
"""Seconds to wait at most for what must come."""

SILENCE = 30.0
"""Seconds of silence allowed where a wait must be ended by something else."""

AT_ONCE = 8

MOST = 2_000_000
"""Bytes that an answer may have."""

EVENTS = {"Content-Type": "text/event-stream"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EMPTY_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

MakeStub = Callable[[Answerer], StubServer]


class Caller:
    """A transport to a server, and what makes requests over it.

    Args:
        base_url: Where the server, or one behind a proxy, is.
        session: A program's session; ``None`` for one of ours.
    """

    def __init__(self, base_url: str, session: requests.Session | None = None) -> None:
        self.transport = Transport(base_url, session)
        self._base_url = base_url

    def ask(
        self,
        path: str = "/x",
        *,
        body: bytes | None = None,
        read_timeout: float = SILENCE,
        streams: bool = True,
        call: Call | None = None,
        most: int = MOST,
    ) -> RawAnswer:
        """Make a request, and take a stream in answer."""
        return self.transport.send(
            "GET" if body is None else "POST",
            self._base_url + path,
            {"X-Test": "1"},
            body,
            (PATIENCE, read_timeout),
            call or Call(SILENCE),
            most,
            streams=streams,
        )

    def stream(self, **options: Any) -> RawStream:
        """Make a request that is answered by a stream, and return that."""
        opened = self.ask(**options).stream
        assert opened is not None
        return opened


MakeCaller = Callable[..., Caller]


@pytest.fixture
def caller() -> Iterator[MakeCaller]:
    """Return a maker of callers; they are closed."""
    made: list[Caller] = []

    def make(base_url: str, session: requests.Session | None = None) -> Caller:
        made.append(Caller(base_url, session))
        return made[-1]

    yield make
    for each in made:
        each.transport.close()


MakePlain = Callable[[Speak], PlainServer]


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Return threads for what is done meanwhile."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield threads


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """Return what servers wait for that say nothing more; it is set in the end."""
    silence = threading.Event()
    yield silence
    silence.set()


def held(silence: threading.Event, *pieces: bytes, **headers: str) -> Response:
    """Return a stream that is silent after these pieces."""
    answer = stream(*pieces, lambda: silence.wait(PATIENCE))
    return attrs.evolve(answer, headers={**answer.headers, **headers})


def whole(opened: RawStream) -> bytes:
    """Read a stream to its end."""
    return b"".join(iter(opened.read, b""))


# who uses a connection


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_requests_one_after_the_other_share_a_connection(
    make_stub: MakeStub, caller: MakeCaller, status: int
) -> None:
    """An answer of any status leaves its connection to the next request."""
    stub = make_stub(table({"GET /x": [Response(status=status)]}))
    asking = caller(stub.base_url)
    assert [asking.ask().status for _ in range(4)] == [status] * 4
    assert stub.connections == 1


def test_body_goes_out_whole(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A body of any size arrives as it was given, and the next request after it."""
    stub = make_stub(table({"POST /x": [Response()]}))
    asking = caller(stub.base_url)
    text = "x" * 1_000_000
    for _ in range(2):
        asking.ask(body=f'"{text}"'.encode())
    assert [request.body == text for request in stub.requests] == [True, True]
    assert stub.connections == 1


def test_requests_at_once_use_connections_again(
    make_stub: MakeStub, caller: MakeCaller, aside: ThreadPoolExecutor
) -> None:
    """Requests at once have a connection each, and later ones use those again."""
    together = threading.Barrier(AT_ONCE)

    def answer(request: Request) -> Response:
        together.wait(PATIENCE)
        return Response()

    stub = make_stub(answer)
    asking = caller(stub.base_url)
    for _ in range(3):
        assert len(list(aside.map(lambda _: asking.ask(), range(AT_ONCE)))) == AT_ONCE
    assert stub.connections == AT_ONCE


def test_connection_that_the_server_will_close_is_not_used_again(
    make_stub: MakeStub, caller: MakeCaller
) -> None:
    """Where the server says that it closes a connection the next request opens another one."""
    stub = make_stub(table({"GET /x": [Response(headers={"Connection": "close"})]}))
    asking = caller(stub.base_url)
    asking.ask()
    asking.ask()
    assert stub.connections == 2


def test_idle_connection_that_the_server_closed_is_not_used_again(
    make_plain: MakePlain, caller: MakeCaller
) -> None:
    """A connection that the server closed while nobody used it is replaced."""

    def answer_once(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        request_lines(reader)
        writer.write(EMPTY_ANSWER)

    server = make_plain(answer_once)
    asking = caller(server.base_url)
    asking.ask()
    assert server.left.acquire(timeout=PATIENCE)
    assert asking.ask().body == b"{}"


def test_stream_that_was_read_gives_its_connection_back(
    make_stub: MakeStub, caller: MakeCaller
) -> None:
    """A stream read to its end leaves its connection to the next request."""
    stub = make_stub(lambda request: stream(b"data: 1\n\n", b"data: 2\n\n"))
    asking = caller(stub.base_url)
    assert [whole(asking.stream()) for _ in range(3)] == [b"data: 1\n\ndata: 2\n\n"] * 3
    assert stub.connections == 1


def test_stream_that_is_over_gives_nothing(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that was read to its end, and closed after that, has no more to give."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    whole(opened)
    opened.close()
    assert opened.read() == b""
    asking.ask()
    assert stub.connections == 1


def test_stream_with_a_length_ends_there(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that says its length ends without waiting for more, and keeps its connection."""
    stub = make_stub(table({"GET /x": [Response(b"data: 1\n\n", headers=EVENTS)]}))
    asking = caller(stub.base_url)
    assert [whole(asking.stream()) for _ in range(2)] == [b"data: 1\n\n"] * 2
    assert stub.connections == 1


def test_stream_without_a_length_ends_with_its_connection(
    make_plain: MakePlain, caller: MakeCaller
) -> None:
    """A stream that says neither length nor chunks is over when the server closes."""

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        request_lines(reader)
        writer.write(STREAM_HEAD + b"\r\ndata: 1\n\n")

    assert whole(caller(make_plain(say).base_url).stream()) == b"data: 1\n\n"


def test_stream_closed_early_is_not_read_on(
    make_stub: MakeStub, caller: MakeCaller, silence: threading.Event
) -> None:
    """The connection of a stream that was closed before its end is never used again."""
    stub = make_stub(table({"GET /x": [held(silence, b"data: 1\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    assert opened.read() == b"data: 1\n\n"
    opened.close()
    assert opened.read() == b""
    assert asking.ask().body == b"{}"
    assert stub.connections == 2


def endless(gone: threading.Event) -> Speak:
    """Say one event of a stream, and note when the caller has closed the connection."""

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        request_lines(reader)
        writer.write(STREAM_HEAD + b"\r\ndata: 1\n\n")
        with contextlib.suppress(ConnectionError):
            reader.read()
        gone.set()

    return say


def test_stream_closed_early_closes_its_connection(
    make_plain: MakePlain, caller: MakeCaller
) -> None:
    """A server learns at once that a stream was closed before its end."""
    gone = threading.Event()
    opened = caller(make_plain(endless(gone)).base_url).stream()
    assert opened.read() == b"data: 1\n\n"
    opened.close()
    assert gone.wait(PATIENCE)


def test_dropped_stream_closes_its_connection(make_plain: MakePlain, caller: MakeCaller) -> None:
    """A stream that nobody holds any more closes its socket, and nothing is complained of."""
    gone = threading.Event()
    asking = caller(make_plain(endless(gone)).base_url)
    gc.collect()
    opened = asking.stream()
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        del opened
        gc.collect()
    assert gone.wait(PATIENCE)
    assert complaints == []


def drop(held: list[RawStream]) -> bool:
    """Drop the one stream that is held; return whether nobody else holds it."""
    seen = weakref.ref(held[0])
    held.clear()
    gc.collect()
    return seen() is None


def end(held: list[RawStream]) -> bool:
    """End the one stream that is held, as a shutdown does."""
    held[0].end()
    return True


@forks
@pytest.mark.parametrize("let_go", [drop, end])
def test_child_leaves_the_streams_of_its_parent(
    make_stub: MakeStub, caller: MakeCaller, let_go: Callable[[list[RawStream]], bool]
) -> None:
    """A forked child that drops or ends a stream leaves it to its parent."""
    go_on = threading.Event()
    pieces = (b"data: 1\n\n", lambda: go_on.wait(PATIENCE), b"data: 2\n\n")
    stub = make_stub(table({"GET /x": [stream(*pieces)]}))
    held = [caller(stub.base_url).stream()]
    assert held[0].read() == b"data: 1\n\n"
    assert in_forked_child(lambda: let_go(held))
    go_on.set()
    assert whole(held[0]) == b"data: 2\n\n"


def test_closing_closes_idle_connections(make_plain: MakePlain, caller: MakeCaller) -> None:
    """A transport that is closed keeps no connection open."""
    gone = threading.Event()

    def answer_until_closed(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        while request_lines(reader):
            writer.write(EMPTY_ANSWER)
        gone.set()

    asking = caller(make_plain(answer_until_closed).base_url)
    asking.ask()
    asking.transport.close()
    assert gone.wait(PATIENCE)


def test_closing_leaves_streams_to_their_readers(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that is open when its transport is closed can be read to its end."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n", b"data: 2\n\n")]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    asking.transport.close()
    assert whole(opened) == b"data: 1\n\ndata: 2\n\n"


# idle connections


def two_idle(stub: StubServer, asking: Caller) -> None:
    """Have two connections come back, one some time after the other."""
    first, second = asking.stream(), asking.stream()
    whole(first)
    whole(second)
    assert stub.connections == 2


@pytest.mark.parametrize("idle_seconds, connections", [(0.0, 3), (60.0, 2)])
def test_connections_that_were_idle_for_long_are_closed(
    make_stub: MakeStub,
    caller: MakeCaller,
    monkeypatch: pytest.MonkeyPatch,
    idle_seconds: float,
    connections: int,
) -> None:
    """When a connection comes back, those are closed that nobody used for too long."""
    monkeypatch.setattr(sessions, "IDLE_SECONDS", idle_seconds)
    stub = make_stub(lambda request: stream(b"data: 1\n\n"))
    asking = caller(stub.base_url)
    two_idle(stub, asking)
    first, second = asking.stream(), asking.stream()
    assert whole(first) + whole(second) == b"data: 1\n\ndata: 1\n\n"
    assert stub.connections == connections


def test_connection_used_last_is_used_next() -> None:
    """Of idle connections the one that came back last is given first."""
    idle = IdleConnections()
    older, newer = HTTPConnection("127.0.0.1"), HTTPConnection("127.0.0.1")
    idle.put(older)
    idle.put(newer)
    assert [idle.get(), idle.get()] == [newer, older]


def test_without_idle_connections_the_pool_makes_one() -> None:
    """Where no connection is idle none is waited for, whatever the pool began with."""
    idle = IdleConnections(10)
    idle.put(None)
    with pytest.raises(queue.Empty):
        idle.get(block=True, timeout=SILENCE)


# ends from other threads


def raises_feed_closed(under_way: Callable[[], object]) -> bool:
    """Return whether a request is ended, and not answered."""
    try:
        under_way()
    except FeedClosed:
        return True
    return False


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
def test_ending_wakes_a_reader(
    make_stub: MakeStub,
    caller: MakeCaller,
    aside: ThreadPoolExecutor,
    silence: threading.Event,
    headers: dict[str, str],
) -> None:
    """A read that waits for a silent stream ends at once when another thread ends it."""
    stub = make_stub(table({"GET /x": [held(silence, b"data: 1\n\n", **headers)]}))
    opened = caller(stub.base_url).stream()
    assert opened.read() == b"data: 1\n\n"
    reading = aside.submit(raises_feed_closed, opened.read)
    opened.end()
    assert reading.result(PATIENCE / 2)


def test_ending_wakes_a_reader_of_a_stream_without_a_length(
    make_plain: MakePlain, caller: MakeCaller, aside: ThreadPoolExecutor
) -> None:
    """A stream that ends with its connection does not look whole when it was ended."""
    gone = threading.Event()
    opened = caller(make_plain(endless(gone)).base_url).stream()
    assert opened.read() == b"data: 1\n\n"
    reading = aside.submit(raises_feed_closed, opened.read)
    opened.end()
    assert reading.result(PATIENCE / 2)
    assert gone.wait(PATIENCE)


def test_ending_wakes_a_reader_over_tls(
    authority: Authority, aside: ThreadPoolExecutor, silence: threading.Event
) -> None:
    """A read of an encrypted stream ends at once, too, when another thread ends it."""
    with (
        TlsStub(authority, table({"GET /x": [held(silence, b"data: 1\n\n")]})) as stub,
        requests.Session() as session,
    ):
        session.verify = authority.path
        transport = Transport(stub.base_url, session)
        url = f"{stub.base_url}/x"
        answer = transport.send(
            "GET", url, {}, None, (PATIENCE, SILENCE), Call(SILENCE), MOST, streams=True
        )
        opened = answer.stream
        assert opened is not None
        assert opened.read() == b"data: 1\n\n"
        reading = aside.submit(raises_feed_closed, opened.read)
        opened.end()
        assert reading.result(PATIENCE / 2)
        silence.set()


def test_ending_a_stream_that_is_over_does_no_harm(make_stub: MakeStub, caller: MakeCaller) -> None:
    """Who ends a stream that was read does not end the next request on its connection."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    whole(opened)
    opened.end()
    assert asking.ask().body == b"{}"
    assert stub.connections == 1


def test_ended_stream_is_not_used_again(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that was ended gives its connection back to nobody, though all of it had come."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    opened.end()
    assert raises_feed_closed(lambda: whole(opened))
    assert asking.ask().body == b"{}"
    assert stub.connections == 2


# answers that are not whole, or not the answer


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_interim_answer_is_not_taken_for_the_answer(
    make_plain: MakePlain, caller: MakeCaller, status: bytes, own: bool
) -> None:
    """A request that meets an interim answer is in doubt, and the real one goes to nobody else."""
    numbers = itertools.count(1)

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        number = next(numbers)
        while request_lines(reader):
            if number == 1:
                writer.write(b"HTTP/1.1 %s\r\n\r\n" % status)
            body = b'{"connection": %d}' % number
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with requests.Session() as session:
        asking = caller(make_plain(say).base_url, None if own else session)
        assert failure(asking.ask) == (True, False)
        assert asking.ask().body == b'{"connection": 2}'


def test_answer_that_ends_early_is_in_doubt(make_plain: MakePlain, caller: MakeCaller) -> None:
    """An answer that is shorter than it says is none, and its connection is not used again."""
    numbers = itertools.count(1)

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        request_lines(reader)
        short = next(numbers) == 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n%s" % b"{}"[: 1 if short else 2])
        if not short:
            writer.write(b"       ")

    asking = caller(make_plain(say).base_url)
    assert failure(asking.ask) == (True, False)
    assert asking.ask().body == b"{}       "


def test_answer_that_goes_on_is_not_given_to_the_next_request(
    make_plain: MakePlain, caller: MakeCaller
) -> None:
    """What a server says after a whole answer is nobody's answer."""
    numbers, said = itertools.count(1), threading.Event()

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        while request_lines(reader):
            number = next(numbers)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
            if number == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanother")
                said.set()

    asking = caller(make_plain(say).base_url)
    asking.ask()
    assert said.wait(PATIENCE)
    assert asking.ask().body == b"2"


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "Text/Event-Stream", "text/event-stream; charset=utf-8"]
)
def test_events_are_known_by_their_media_type(
    make_stub: MakeStub, caller: MakeCaller, kind: str
) -> None:
    """A stream is one whatever the letter case and the parameters of its content type."""
    answer = Response(b"data: 1\n\n", headers={"Content-Type": kind})
    asking = caller(make_stub(table({"GET /x": [answer]})).base_url)
    assert whole(asking.stream()) == b"data: 1\n\n"


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("begin", [b"data: 1", b"event: x\ndata: 1", b": hello\n\ndata: 1"])
def test_events_are_known_by_how_they_begin(
    make_stub: MakeStub, caller: MakeCaller, headers: dict[str, str], begin: bytes
) -> None:
    """A stream whose content type a proxy has dropped, or changed, is a stream all the same."""
    answer = attrs.evolve(stream(begin, b"\n\n"), headers=headers)
    asking = caller(make_stub(table({"GET /x": [answer]})).base_url)
    assert whole(asking.stream()) == begin + b"\n\n"


@pytest.mark.parametrize("pieces", [[b'{"a": ', b"1}"], [b"<html>", b"</html>"], []])
def test_answer_of_no_stated_type_is_read_whole(
    make_stub: MakeStub, caller: MakeCaller, pieces: list[bytes]
) -> None:
    """What does not begin as events do is no stream, and the connection is used again."""
    answer = attrs.evolve(stream(*pieces), headers={})
    stub = make_stub(table({"GET /x": [answer, Response()]}))
    asking = caller(stub.base_url)
    assert asking.ask().body == b"".join(pieces)
    asking.ask()
    assert stub.connections == 1


# failures


def failure(under_way: Callable[[], object]) -> tuple[bool, bool]:
    """Return of a request that fails whether it is in doubt, and whether time ran out."""
    with pytest.raises(ServiceUnavailableError) as failed:
        under_way()
    return failed.value.in_doubt, failed.value.timed_out


def test_broken_stream_is_in_doubt(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that breaks off may have told of something that was done."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n", HangUp)]}))
    opened = caller(stub.base_url).stream()
    assert opened.read() == b"data: 1\n\n"
    assert failure(opened.read) == (True, False)


def test_broken_stream_is_over(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream that broke off has no more to give, and its connection is not used again."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n", HangUp), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    failure(lambda: whole(opened))
    assert opened.read() == b""
    asking.ask()
    assert stub.connections == 2


def test_silent_stream_has_timed_out(
    make_stub: MakeStub, caller: MakeCaller, silence: threading.Event
) -> None:
    """A stream that is silent for longer than the read timeout is told as such."""
    stub = make_stub(table({"GET /x": [held(silence, b"data: 1\n\n")]}))
    opened = caller(stub.base_url).stream(read_timeout=0.1)
    assert opened.read() == b"data: 1\n\n"
    assert failure(opened.read) == (True, True)


def test_request_without_an_answer_has_timed_out(
    make_stub: MakeStub, caller: MakeCaller, silence: threading.Event
) -> None:
    """A request that is not answered within the read timeout may be worked on still."""

    def answer(request: Request) -> Response:
        silence.wait(PATIENCE)
        return Response()

    asking = caller(make_stub(answer).base_url)
    assert failure(lambda: asking.ask(read_timeout=0.1)) == (True, True)


def test_request_whose_connection_breaks_is_in_doubt(
    make_stub: MakeStub, caller: MakeCaller
) -> None:
    """A connection that is closed without an answer tells nothing of what was done."""
    asking = caller(make_stub(table({"GET /x": [HangUp]})).base_url)
    assert failure(asking.ask) == (True, False)


def test_refused_connection_is_not_in_doubt(caller: MakeCaller) -> None:
    """Where nobody listens nothing was done."""
    server = PlainServer(lambda reader, writer: None)
    server.stop()
    assert failure(caller(server.base_url).ask) == (False, False)


# bodies


@pytest.mark.parametrize("coding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_body_is_read(
    make_stub: MakeStub, caller: MakeCaller, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A body that the server compresses unasked is read."""
    answer = Response(pack(b'{"a": 1}'), headers={"Content-Encoding": coding})
    assert caller(make_stub(table({"GET /x": [answer]})).base_url).ask().body == b'{"a": 1}'


def test_body_whose_compression_is_broken_is_in_doubt(
    make_stub: MakeStub, caller: MakeCaller
) -> None:
    """A body that does not unpack is as good as none."""
    answer = Response(b"no gzip at all", headers={"Content-Encoding": "gzip"})
    asking = caller(make_stub(table({"GET /x": [answer]})).base_url)
    assert failure(asking.ask) == (True, False)


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize("own", [True, False])
def test_body_that_is_too_large_is_not_read_on(
    make_stub: MakeStub, caller: MakeCaller, kind: str, own: bool
) -> None:
    """A body is read as far as it may go, and its connection is not used again."""
    answers = [Response(b"x" * 200_000, headers={"Content-Type": kind}), Response(b"x" * 10)]
    stub = make_stub(table({"GET /x": answers}))
    with requests.Session() as session:
        asking = caller(stub.base_url, None if own else session)
        with pytest.raises(ProtocolError, match="more than 100000 bytes") as failed:
            asking.ask(most=100_000)
        assert failed.value.in_doubt
        assert asking.ask(most=10).body == b"x" * 10
        assert stub.connections == 2


def test_body_that_a_hook_has_read_is_measured_too(make_stub: MakeStub, caller: MakeCaller) -> None:
    """What a program's hook has read counts, and need not be read again."""
    stub = make_stub(table({"GET /x": [Response(b"x" * 10)]}))
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **options: response.content and None)
        asking = caller(stub.base_url, session)
        assert asking.ask(most=10).body == b"x" * 10
        with pytest.raises(ProtocolError):
            asking.ask(most=9)


@pytest.mark.parametrize("own", [True, False])
def test_wait_for_a_body_can_be_ended(
    make_plain: MakePlain, caller: MakeCaller, aside: ThreadPoolExecutor, own: bool
) -> None:
    """A request whose body stays away ends when another thread ends it, whoever's session it is."""
    begun, gone = threading.Event(), threading.Event()

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        request_lines(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        begun.set()
        with contextlib.suppress(ConnectionError):
            reader.read()
        gone.set()

    call = Call(SILENCE)
    with requests.Session() as session:
        asking = caller(make_plain(say).base_url, None if own else session)
        waiting = aside.submit(asking.ask, call=call, streams=False)
        assert begun.wait(PATIENCE)
        # The head may still be on its way: it is ended as long as it takes.
        while not waiting.done():
            call.end()
            gone.wait(0.01)
        assert isinstance(waiting.exception(PATIENCE), ServiceUnavailableError)
        assert call.may_be_sent


@pytest.mark.parametrize("status, streams", [(200, False), (400, True)])
def test_events_that_are_no_stream_are_a_body(
    make_stub: MakeStub, caller: MakeCaller, status: int, streams: bool
) -> None:
    """A refusal, and what was not asked for as a stream, is read whole."""
    answer = Response(b"data: 1\n\n", status=status, headers=EVENTS)
    given = caller(make_stub(table({"GET /x": [answer]})).base_url).ask(streams=streams)
    assert (given.body, given.stream) == (b"data: 1\n\n", None)


# the rest of a stream


def test_finishing_keeps_the_connection(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A stream whose end comes in time leaves its connection to the next request."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n", b"data: 2\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    assert opened.read() == b"data: 1\n\n"
    opened.finish(PATIENCE)
    assert asking.ask().body == b"{}"
    assert stub.connections == 1


def test_finishing_drops_a_connection_that_has_more_to_say(
    make_stub: MakeStub, caller: MakeCaller, silence: threading.Event
) -> None:
    """A stream whose end does not come in time is closed with its connection."""
    stub = make_stub(table({"GET /x": [held(silence, b"data: 1\n\n"), Response()]}))
    asking = caller(stub.base_url)
    opened = asking.stream()
    opened.finish(0.05)
    assert opened.read() == b""
    assert asking.ask().body == b"{}"
    assert stub.connections == 2


def test_finishing_a_broken_stream_is_quiet(make_stub: MakeStub, caller: MakeCaller) -> None:
    """What breaks off while its rest is passed over is no trouble."""
    stub = make_stub(table({"GET /x": [stream(b"data: 1\n\n", HangUp), Response()]}))
    asking = caller(stub.base_url)
    asking.stream().finish(PATIENCE)
    assert asking.ask().body == b"{}"


# how requests are spelled


def test_headers_go_out_as_given(make_stub: MakeStub, caller: MakeCaller) -> None:
    """A request carries the headers that were put together for it, and few others."""
    stub = make_stub(table({"GET /x": [Response()]}))
    caller(stub.base_url).ask()
    host = stub.base_url.removeprefix("http://").removesuffix("/v1")
    assert stub.requests[0].headers == {
        "host": host,
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        "x-test": "1",
    }


@pytest.mark.parametrize(
    "path, arrives",
    [
        ("/a b", "/a%20b"),
        ("/a\r\nX-Evil: 1", "/a%0D%0AX-Evil:%201"),
        ("/a\x00", "/a%00"),
        ("/\u00e9", "/%C3%A9"),
    ],
)
def test_target_is_percent_encoded(
    make_stub: MakeStub, caller: MakeCaller, path: str, arrives: str
) -> None:
    """An address with characters that no URL has cannot become another request."""
    stub = make_stub(lambda request: Response())
    caller(stub.base_url).ask(path)
    assert stub.lines == [f"GET {arrives}"]


def noting(lines: list[bytes]) -> Speak:
    """Keep the lines of the first request, and answer it."""

    def note(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        lines.extend(request_lines(reader))
        writer.write(EMPTY_ANSWER)

    return note


def test_server_is_asked_for_the_path(make_plain: MakePlain, caller: MakeCaller) -> None:
    """Without a proxy the request line has path and query only."""
    lines: list[bytes] = []
    caller(make_plain(noting(lines)).base_url).ask("/x?a=1&b=%20")
    assert lines[0] == b"GET /v1/x?a=1&b=%20 HTTP/1.1"


def test_proxy_is_asked_for_the_whole_address(
    make_plain: MakePlain, caller: MakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where plain HTTP goes through a proxy the request line has the absolute URL."""
    lines: list[bytes] = []
    proxy = make_plain(noting(lines)).base_url.removesuffix("/v1")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    caller("http://service.invalid:81/v1").ask("/x?a=1")
    assert lines[0] == b"GET http://service.invalid:81/v1/x?a=1 HTTP/1.1"
    assert b"Host: service.invalid:81" in lines


def test_proxy_is_told_who_asks(
    make_stub: MakeStub, caller: MakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password of a proxy's address go to the proxy."""
    stub = make_stub(table({"GET /x": [Response()]}))
    address = stub.base_url.removeprefix("http://").removesuffix("/v1")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{address}")
    caller("http://service.invalid/v1").ask()
    assert stub.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_connections_to_a_proxy_are_kept(
    make_stub: MakeStub, caller: MakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and streams through a proxy share a connection too."""
    stub = make_stub(lambda request: stream(b"data: 1\n\n"))
    monkeypatch.setenv("HTTP_PROXY", stub.base_url.removesuffix("/v1"))
    asking = caller("http://service.invalid/v1")
    assert [whole(asking.stream()) for _ in range(3)] == [b"data: 1\n\n"] * 3
    assert stub.connections == 1
