"""Servers that mean harm, over both wires: time and size are bounded, and errors are ours."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.services.http import paging, repeats
from gpt_agent_sync.testing import EventRecorder
from tests.plugins.services import WIRES
from tests.support import hostile
from tests.support.hostile import MIB, STREAMS, TOO_LARGE, TRICKLES, UNREADABLE, HostileServer

PATIENCE = 20.0

BRIEF = 0.3
"""Seconds that a request, or a caller, has in these tests."""

THREADS = {"assistants": "t", "responses": "c"}

Ask = Callable[[gpt.Service, str], object]


def write(service: gpt.Service, thread_id: str) -> object:
    """Make something."""
    return service.create_thread()


def read(service: gpt.Service, thread_id: str) -> object:
    """Look something up."""
    return service.open_thread(thread_id)


def page_on(service: gpt.Service, thread_id: str) -> object:
    """Read a list."""
    return [message.id for message in service.messages(thread_id)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests repeated at once."""
    monkeypatch.setattr(repeats, "FIRST_BACKOFF", 0.01)


@pytest.fixture
def serve() -> Iterator[Callable[[hostile.Answer], HostileServer]]:
    """Return a maker of hostile servers; they are stopped."""
    servers: list[HostileServer] = []

    def make(answer: hostile.Answer) -> HostileServer:
        servers.append(HostileServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


Serve = Callable[[hostile.Answer], HostileServer]


def service_at(wire: str, server: HostileServer) -> gpt.Service:
    """Return a service over a hostile server."""
    return WIRES[wire](server.base_url, "sk-hostile")


each_wire = pytest.mark.parametrize("wire", WIRES)
each_request = pytest.mark.parametrize("ask", [write, read, page_on])


# time


@each_wire
@each_request
@pytest.mark.parametrize("trickle", TRICKLES)
def test_request_has_a_bounded_time(serve: Serve, wire: str, ask: Ask, trickle: str) -> None:
    """However an answer trickles in, its request ends in time, and what it did is in doubt."""
    gpt.configure(request_timeout=BRIEF, read_timeout=BRIEF, http_retries=0)
    service = service_at(wire, serve(TRICKLES[trickle]))
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        ask(service, THREADS[wire])
    assert (failed.value.in_doubt, failed.value.timed_out) == (True, True)


@each_wire
def test_request_that_trickled_is_not_repeated(serve: Serve, wire: str) -> None:
    """A request that had all its time would need it again."""
    gpt.configure(request_timeout=BRIEF, read_timeout=BRIEF)
    server = serve(TRICKLES["body"])
    with pytest.raises(gpt.ServiceUnavailableError):
        read(service_at(wire, server), THREADS[wire])
    assert len(server.lines) == 1


def test_proxy_that_trickles_is_no_doubt(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that never got past its proxy was not made."""
    gpt.configure(request_timeout=BRIEF, read_timeout=BRIEF, connect_timeout=PATIENCE)
    proxy = serve(TRICKLES["head"]).base_url.removesuffix("/v1")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    service = gpt.ResponsesService("https://service.invalid/v1", "sk-hostile")
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        service.create_thread()
    assert (failed.value.in_doubt, failed.value.timed_out) == (False, True)


def amid(answers: Mapping[str, object], otherwise: hostile.Answer) -> hostile.Answer:
    """Answer requests by a table, and those that are not in it in a hostile way."""

    def answer(line: str, over: threading.Event) -> Iterator[bytes]:
        method, _, target = line.partition(" ")
        path = target.partition("?")[0].removeprefix("/v1")
        known = answers.get(f"{method} {path}")
        if callable(known):
            known = known()
        if known is None:
            return otherwise(line, over)
        return iter([known if isinstance(known, bytes) else hostile.whole(known)])

    return answer


NOTHING = {"object": "list", "data": [], "has_more": False}
QUIET: dict[str, object] = {
    "GET /threads/t": {"id": "t"},
    "GET /threads/t/runs": NOTHING,
    "GET /conversations/c": {"id": "c", "metadata": {}},
    "POST /conversations/c": {"id": "c", "metadata": {}},
    "GET /conversations/c/items": NOTHING,
}
"""What connecting needs, on either wire."""


def connected(wire: str, server: HostileServer, recorder: EventRecorder | None = None) -> gpt.Agent:
    """Return an agent over a server that lets it connect."""
    service = service_at(wire, server)
    return gpt.connect(THREADS[wire], "m", service=service, on_event=recorder)


@each_wire
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("trickle", TRICKLES)
def test_timeout_of_a_verb_bounds_its_requests(
    serve: Serve, wire: str, streaming: bool, trickle: str
) -> None:
    """A caller's time is up when it is, whatever the service does in the meantime."""
    gpt.configure(streaming=streaming)
    agent = connected(wire, serve(amid(QUIET, TRICKLES[trickle])))
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        agent.ask("hello", timeout=BRIEF)
    assert failed.value.in_doubt
    assert not agent.running


@each_wire
@pytest.mark.parametrize("when_busy", ["raise", "wait", "queue"])
def test_timeout_bounds_a_post_too(serve: Serve, wire: str, when_busy: str) -> None:
    """A message that is only added is bounded by its caller's time as well."""
    agent = connected(wire, serve(amid(QUIET, TRICKLES["body"])))
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        agent.add_user_message("hello", when_busy=when_busy, timeout=BRIEF)  # type: ignore[arg-type]  # each of the words
    assert failed.value.in_doubt


@each_wire
@each_request
def test_shutdown_ends_requests(serve: Serve, wire: str, ask: Ask) -> None:
    """No request goes on when all agents have been shut down, and it is not made again."""
    server = serve(TRICKLES["head"])
    with ThreadPoolExecutor(1) as aside:
        asking = aside.submit(ask, service_at(wire, server), THREADS[wire])
        until = time.monotonic() + PATIENCE
        while not asking.done() and time.monotonic() < until:
            gpt.shutdown_all(0.05)
        with pytest.raises(gpt.ServiceUnavailableError, match="shutdown") as failed:
            asking.result(PATIENCE)
    assert not failed.value.timed_out
    assert len(server.lines) <= 1


# size


@each_wire
@each_request
@pytest.mark.parametrize("answer", TOO_LARGE)
def test_answer_has_a_bounded_size(serve: Serve, wire: str, ask: Ask, answer: str) -> None:
    """An answer of any length, packed or not, is refused where it becomes too large, once."""
    gpt.configure(max_answer_bytes=MIB)
    server = serve(TOO_LARGE[answer])
    with pytest.raises(gpt.ProtocolError, match="max_answer_bytes") as failed:
        ask(service_at(wire, server), THREADS[wire])
    assert failed.value.in_doubt
    assert len(server.lines) == 1


@pytest.mark.parametrize("answer", ["bomb", "endless"])
def test_memory_is_bounded(serve: Serve, answer: str) -> None:
    """What an answer takes while it is read is of the order of what it may have."""
    gpt.configure(max_answer_bytes=4 * MIB)
    service = service_at("assistants", serve(TOO_LARGE[answer]))
    tracemalloc.start()
    try:
        with pytest.raises(gpt.ProtocolError):
            service.create_thread()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB


def test_answer_of_just_that_size_is_read(serve: Serve) -> None:
    """The bound itself is no trouble."""
    body = b'{"id": "thread_1"}'
    gpt.configure(max_answer_bytes=len(body))
    server = serve(hostile.fixed(hostile.whole(body)))
    assert service_at("assistants", server).create_thread() == "thread_1"


@each_wire
@each_request
@pytest.mark.parametrize("answer", UNREADABLE)
def test_answer_that_cannot_be_read_is_an_error_of_ours(
    serve: Serve, wire: str, ask: Ask, answer: str
) -> None:
    """Whatever is wrong with an answer, a program meets one family of errors."""
    gpt.configure(http_retries=1)
    service = service_at(wire, serve(UNREADABLE[answer]))
    with pytest.raises((gpt.ServiceError, gpt.InvalidThreadIdError)) as failed:
        ask(service, THREADS[wire])
    assert len(str(failed.value)) < 5000


OPENINGS = {
    "assistants": b'event: thread.run.created\ndata: {"id": "r", "status": "queued"}\n\n',
    "responses": b'event: response.created\ndata: {"type": "response.created", '
    b'"sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress"}}\n\n',
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "run_id": "r",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hello"}],
}
POSTED = {"id": "msg_0", "role": "user", "content": []}
TURNS: dict[str, dict[str, object]] = {
    "assistants": {
        "POST /threads/t/messages": POSTED,
        "GET /threads/t/runs/r": {"id": "r", "status": "completed"},
        "GET /threads/t/messages": {
            "data": [{**MESSAGE, "content": [{"type": "text", "text": {"value": "hello"}}]}]
        },
    },
    "responses": {
        "GET /responses/resp_1": {"id": "resp_1", "status": "completed", "output": [MESSAGE]},
    },
}
"""What a run looks like that has ended."""


@each_wire
@pytest.mark.parametrize("stream", STREAMS)
def test_stream_whose_event_cannot_be_held_is_polled(serve: Serve, wire: str, stream: str) -> None:
    """A run whose stream turns hostile is looked at, and its reply told."""

    def turn(line: str, over: threading.Event) -> Iterator[bytes]:
        head, *rest = STREAMS[stream](line, over), OPENINGS[wire]
        if stream == "bomb":
            return iter(head)
        return opened(head, rest[0])

    server = serve(amid({**QUIET, **TURNS[wire]}, turn))
    gpt.configure(read_timeout=PATIENCE)
    agent = connected(wire, server)
    if stream == "bomb":
        with pytest.raises(gpt.ServiceUnavailableError, match="more than 16777216") as failed:
            agent.ask("hello", timeout=PATIENCE)
        assert failed.value.in_doubt
    else:
        assert agent.ask("hello", timeout=PATIENCE) == "hello"


def opened(said: Iterator[bytes], opening: bytes) -> Iterator[bytes]:
    """Put an opening event before what a stream says."""
    first = next(said)
    yield hostile.STREAM + opening + first.removeprefix(hostile.STREAM)
    yield from said


@each_wire
@pytest.mark.parametrize("look", ["deep", "huge-number", "bomb", "endless", "no-object"])
def test_bad_look_does_not_end_a_run(serve: Serve, wire: str, look: str) -> None:
    """A look at a run that cannot be read is followed by another one."""
    gpt.configure(streaming=False, max_answer_bytes=MIB, http_retries=0, heartbeat_interval=0.02)
    bad = {**UNREADABLE, **TOO_LARGE, "no-object": hostile.fixed(hostile.whole({}))}[look]
    looks = iter([None])
    turn = dict(TURNS[wire])
    line = next(name for name in turn if name.endswith(("/runs/r", "/resp_1")))
    good = turn.pop(line)
    starts: dict[str, object] = {
        "POST /threads/t/runs": {"id": "r", "status": "queued"},
        "POST /responses": {"id": "resp_1", "status": "in_progress", "output": []},
        line: lambda: next(looks, good),
    }
    agent = connected(wire, serve(amid({**QUIET, **turn, **starts}, bad)))
    assert agent.ask("hello", timeout=PATIENCE) == "hello"


# lists


def entry(entry_id: str) -> dict[str, object]:
    """Return a user's message as either wire lists it."""
    return {"id": entry_id, "type": "message", "role": "user", "content": []}


@each_wire
def test_pages_that_lead_back_are_not_read_again(serve: Serve, wire: str) -> None:
    """A list whose pages lead to each other comes to an end."""
    server = serve(hostile.alternating(entry))
    assert page_on(service_at(wire, server), THREADS[wire]) == ["a", "b", "a"]


@each_wire
def test_pages_are_bounded(serve: Serve, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that goes on for ever is given up, and its reader is told so."""
    monkeypatch.setattr(paging, "MOST_PAGES", 5)
    server = serve(hostile.unending(entry))
    with pytest.raises(gpt.ProtocolError, match="5 pages"):
        page_on(service_at(wire, server), THREADS[wire])
    assert len(server.lines) == 5


@each_wire
def test_list_is_not_read_on_by_what_is_no_id(serve: Serve, wire: str) -> None:
    """A place in a list that is longer than any id is not sent back."""
    server = serve(hostile.unending(lambda number: entry("x" * 100_000 + number)))
    assert len(page_on(service_at(wire, server), THREADS[wire])) == 1  # type: ignore[arg-type]  # a list
    assert len(server.lines) == 1


@each_wire
def test_write_over_a_programs_session_is_in_doubt(serve: Serve, wire: str) -> None:
    """Nobody tells how far a request came over a session that is not ours: it may have arrived."""
    gpt.configure(request_timeout=BRIEF, read_timeout=BRIEF, http_retries=0)
    server = serve(TRICKLES["silence"])
    service = WIRES[wire](server.base_url, "sk-hostile", session=requests.Session())
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        service.create_thread()
    assert failed.value.in_doubt
