"""Runs followed by the service's stream, and what happens where it ends, breaks or is refused."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import requests

from gpt_agent_sync.errors import RateLimitError, RequestRejectedError, ServiceUnavailableError
from gpt_agent_sync.records import (
    RunRequest,
    RunSnapshot,
    ToolOutput,
)
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.services.feeds import run_streams
from gpt_agent_sync.services.http import sse
from gpt_agent_sync.services.http.transport import RawStream
from tests.support.assistants_stub import (
    RUN_MESSAGES,
    RUN_POLL,
    RUN_START,
    RUN_SUBMIT,
    ServeAssistants,
    waiting,
)
from tests.support.event_streams import (
    DONE,
    ResponseEvents,
    delta,
    event,
    finished,
    message,
    run,
    waits,
)
from tests.support.feeds import shown
from tests.support.responses_stub import (
    CREATE,
    NOTE,
    POLL,
    Serve,
    begin,
    in_progress,
    response,
    said,
)
from tests.support.responses_stub import REQUEST as RESPONSES_REQUEST
from tests.support.stub import (
    HangUp,
    Response,
    StubServer,
    error,
    listing,
    stream,
    table,
)

pytestmark = pytest.mark.usefixtures("short_pauses")

ASSISTANTS_REQUEST = RunRequest(
    thread_id="t", assistant_id="a", heartbeat_interval=0.02, streaming=True
)
REQUEST = attrs.evolve(RESPONSES_REQUEST, streaming=True)
PATIENCE = 10.0

COMPLETED = Response({"id": "r", "status": "completed"})
LISTED = listing(message("hello"))
SAFE = {RUN_POLL: [COMPLETED], RUN_MESSAGES: [LISTED], "GET /threads/t/runs": [listing()]}
"""The answers of a server on which the run is over, and its message is there."""


@pytest.fixture
def serve_runs(serve_assistants: ServeAssistants) -> ServeAssistants:
    """Return a maker of a service over a stub that answers by a table, else as ``SAFE`` does."""

    def make(answers: Mapping[str, Any], **options: Any) -> tuple[AssistantsService, StubServer]:
        return serve_assistants({**SAFE, **answers}, http_retries=1, **options)

    return make


def start(service: Service, request: RunRequest = ASSISTANTS_REQUEST) -> list[str]:
    """Follow a run that is started, and return what its feed yielded, in short."""
    return shown(list(service.start_run(request)))


WHOLE = (
    run("queued", "thread.run.created"),
    run("queued"),
    run("in_progress"),
    event("thread.run.step.created", {"id": "s"}),
    event("thread.message.created", message("")),
    delta("hel"),
    delta("lo"),
    finished("hello"),
    run("completed"),
    DONE,
)

# the whole stream


def test_run_is_told_by_its_stream_alone(serve_runs: ServeAssistants) -> None:
    """A whole stream needs no further request."""
    service, stub = serve_runs({RUN_START: [stream(*WHOLE)]})
    told = start(service)
    assert told == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_response_is_told_by_its_stream_alone(serve_responses: Serve) -> None:
    """A response's stream needs no poll; the note is for other processes."""
    events = ResponseEvents()
    pieces = [events.response("queued"), events.response("in_progress"), events.delta("hel")]
    service, stub = serve_responses(
        {CREATE: [stream(*pieces, events.delta("lo"), events.completed("hello"))]}
    )
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.lines == [CREATE, "GET /conversations/c", NOTE]


def test_deltas_that_nobody_hears_are_left_out(serve_runs: ServeAssistants) -> None:
    """Where nobody listens to text the feed gives the whole message only."""
    service, stub = serve_runs({RUN_START: [stream(*WHOLE)]})
    deaf = attrs.evolve(ASSISTANTS_REQUEST, wants_deltas=lambda: False)
    assert start(service, deaf) == ["queued", "in_progress", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_streams_share_a_connection(serve_runs: ServeAssistants) -> None:
    """A stream that was read to its end leaves its connection to the next one."""
    service, stub = serve_runs({RUN_START: [stream(*WHOLE), stream(*WHOLE)]})
    assert start(service) == start(service)
    assert stub.connections == 1


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [run("queued", ""), delta("hello", name=""), finished("hello", name="")],
            id="without names",
        ),
        pytest.param(
            [event("ping", "awake"), run("queued"), event("thread.new", {}), finished("hello")],
            id="unknown names",
        ),
        pytest.param([b": hi\n\n", run("queued"), b": ping\n\n", finished("hello")], id="comments"),
    ],
)
def test_streams_of_other_servers_are_read(
    serve_runs: ServeAssistants, pieces: list[bytes]
) -> None:
    """Events without names, with unknown ones, and comments are no trouble."""
    service, stub = serve_runs({RUN_START: [stream(*pieces, run("completed"))]})
    assert start(service)[-2:] == ["[hello]", "completed"]
    assert stub.lines == [RUN_START]


def wrapped(name: str, data: Any, *, outer: str = "", data_first: bool = False) -> bytes:
    """Write an event whose data hold the event: its name, and its data."""
    pairs = {"data": data, "event": name} if data_first else {"event": name, "data": data}
    return event(outer, pairs)


@pytest.mark.parametrize("outer", ["", "message", "thread.event"])
@pytest.mark.parametrize("data_first", [False, True])
def test_wrapped_events_are_read(serve_runs: ServeAssistants, outer: str, data_first: bool) -> None:
    """Some servers put name and body together into the data; nothing is lost of the run."""
    how: dict[str, Any] = {"outer": outer, "data_first": data_first}
    text = {"index": 0, "type": "text", "text": {"value": "hel"}}
    part = {"id": "m1", "object": "thread.message.delta", "delta": {"content": [text]}}
    queued, completed = ({"id": "r", "status": status} for status in ("queued", "completed"))
    answer = stream(
        wrapped("thread.created", {"id": "t"}, **how),
        wrapped("thread.run.queued", queued, **how),
        wrapped("thread.message.created", {"id": "m1"}, **how),
        wrapped("thread.message.delta", part, **how),
        wrapped("thread.message.completed", message("hello"), **how),
        wrapped("thread.run.completed", completed, **how),
        wrapped("done", "[DONE]", **how),
    )
    service, stub = serve_runs({RUN_START: [answer]})
    assert start(service) == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_wrapped_data_may_be_text(serve_runs: ServeAssistants) -> None:
    """The body may be JSON that was written into JSON."""
    queued, completed = (
        json.dumps({"id": "r", "status": status}) for status in ("queued", "completed")
    )
    answer = stream(
        wrapped("thread.run.queued", queued),
        wrapped("thread.message.completed", json.dumps(message("hello"))),
        wrapped("thread.run.completed", completed),
    )
    service, stub = serve_runs({RUN_START: [answer]})
    assert start(service) == ["queued", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_wrapped_error_refuses_the_run(serve_runs: ServeAssistants) -> None:
    """An error that comes in place of the run is the service's refusal."""
    problem = {"message": "no such assistant", "code": None, "type": "invalid_request_error"}
    service, _ = serve_runs({RUN_START: [stream(wrapped("error", problem))]})
    with pytest.raises(RequestRejectedError, match="no such assistant"):
        start(service)


def test_object_with_data_of_its_own_is_no_wrapper(serve_runs: ServeAssistants) -> None:
    """What only looks like a wrapper is read as it stands."""
    odd = {"data": [], "id": "r", "object": "thread.run", "status": "completed"}
    answer = stream(event("thread.run.queued", {"id": "r", "status": "queued"}), event("", odd))
    service, _ = serve_runs({RUN_START: [answer]})
    assert start(service)[-1] == "completed"


def test_body_is_believed_over_the_name(serve_runs: ServeAssistants) -> None:
    """A run that is said to be completed, and shown to wait, waits."""
    pieces = [run("queued"), event("thread.run.completed", waiting("c"))]
    service, _ = serve_runs({RUN_START: [stream(*pieces)]})
    assert start(service) == ["queued", "requires_action"]


def test_text_without_its_message_is_read_from_the_list(serve_runs: ServeAssistants) -> None:
    """A server that streams pieces and no finished message has it in the list."""
    service, stub = serve_runs({RUN_START: [stream(run("queued"), delta("hel"), run("completed"))]})
    assert start(service) == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines == [RUN_START, RUN_MESSAGES]


def test_messages_before_the_first_word_of_the_run_are_read_from_the_list(
    serve_runs: ServeAssistants,
) -> None:
    """Messages that a stream holds before it names its run are not lost."""
    service, _ = serve_runs({RUN_START: [stream(finished("hello"), run("completed"))]})
    assert start(service) == ["in_progress", "[hello]", "completed"]


def test_items_stand_for_an_output_that_is_left_out(serve_responses: Serve) -> None:
    """A response whose end shows no output has what its items said."""
    events = ResponseEvents()
    pieces = [
        events.response("queued"),
        events.event("response.output_item.done", item=said("hello")),
        events.response("completed"),
    ]
    service, _ = serve_responses({CREATE: [stream(*pieces)]})
    assert shown(list(begin(service, REQUEST))) == ["queued", "[hello]", "completed"]


# tool rounds


def outputs(service: Service, request: RunRequest, run_id: str = "r") -> list[str]:
    """Follow a run that gets an output."""
    given = [ToolOutput(tool_call_id="c", output="1")]
    return shown(list(service.submit_tool_outputs(request, run_id, given)))


def test_waiting_run_ends_its_stream(serve_runs: ServeAssistants) -> None:
    """A run that waits for outputs has given its messages, and says so."""
    pieces = [run("queued"), finished("wait"), waits("c"), DONE]
    service, _ = serve_runs({RUN_START: [stream(*pieces)]})
    *before, last = service.start_run(ASSISTANTS_REQUEST)
    assert shown(before) == ["queued", "[wait]"]
    assert isinstance(last, RunSnapshot)
    assert last.messages_known
    assert [call.id for call in last.tool_calls] == ["c"]


def test_outputs_are_answered_by_a_stream(serve_runs: ServeAssistants) -> None:
    """After outputs the run goes on in a stream of its own."""
    service, stub = serve_runs(
        {RUN_SUBMIT: [stream(run("queued"), finished("hello"), run("completed"), DONE)]}
    )
    assert outputs(service, ASSISTANTS_REQUEST) == ["queued", "[hello]", "completed"]
    assert stub.lines == [RUN_SUBMIT]


def test_messages_missed_before_are_read_at_the_end(serve_runs: ServeAssistants) -> None:
    """Where an earlier part of the run was not streamed all its messages are read from the list."""
    service, stub = serve_runs(
        {RUN_SUBMIT: [stream(run("queued"), finished("hello"), run("completed"), DONE)]}
    )
    outputs(service, attrs.evolve(ASSISTANTS_REQUEST, messages_known=False))
    assert stub.lines == [RUN_SUBMIT, RUN_MESSAGES]


# lost streams

BROKEN: dict[str, list[Any]] = {
    "it ends": [run("queued"), delta("hel")],
    "it breaks": [run("queued"), delta("hel"), HangUp],
    "an event is cut": [run("queued"), delta("hel"), b"event: thread.mess"],
    "an event is broken": [run("queued"), delta("hel"), event("thread.run.completed", "{oh")],
    "an event is no run": [run("queued"), delta("hel"), event("thread.run.failed", {"id": "r"})],
    "it holds an error": [run("queued"), delta("hel"), event("error", {"message": "oh"})],
}


@pytest.mark.parametrize("how", BROKEN)
def test_lost_stream_is_no_loss(
    serve_runs: ServeAssistants, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of a stream, the run is polled, and the loss logged once."""
    service, _ = serve_runs({RUN_START: [stream(*BROKEN[how])]})
    with caplog.at_level(logging.INFO, "gpt_agent_sync.services.feeds.streaming"):
        assert start(service) == ["queued", "'hel'", "[hello]", "completed"]
    assert ["is lost" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("pieces", [[], [HangUp], [event("thread.created", {"id": "t"}), HangUp]])
def test_stream_that_is_lost_before_the_run_is_a_lost_answer(
    serve_runs: ServeAssistants, pieces: list[Any]
) -> None:
    """A run that was begun is found again, and not begun twice."""
    found = listing({"id": "r", "status": "in_progress"})
    service, stub = serve_runs({RUN_START: [stream(*pieces)], "GET /threads/t/runs": [found]})
    assert start(service) == ["in_progress", "[hello]", "completed"]
    assert stub.lines.count(RUN_START) == 1


def test_run_that_is_over_before_the_poll_is_told_once(serve_runs: ServeAssistants) -> None:
    """A message told by the stream, and by the list again, is one."""
    service, _ = serve_runs({RUN_START: [stream(run("in_progress"), finished("hello"), HangUp)]})
    assert start(service) == ["in_progress", "[hello]", "completed"]


def test_silence_is_a_lost_stream(serve_runs: ServeAssistants) -> None:
    """A stream that says nothing for longer than the read timeout is given up."""
    silent = threading.Event()
    service, _ = serve_runs(
        {RUN_START: [stream(run("queued"), lambda: silent.wait(PATIENCE))]}, timeout=0.2
    )
    assert start(service) == ["queued", "[hello]", "completed"]
    silent.set()


def test_signs_of_life_do_not_hide_the_end(
    serve_runs: ServeAssistants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose stream only stays awake is polled now and then."""
    monkeypatch.setattr(sse, "SIGNS_OF_LIFE", 0.0)
    waits_for_us = threading.Event()
    service, _ = serve_runs(
        {
            RUN_START: [
                stream(run("in_progress"), b": ping\n\n", lambda: waits_for_us.wait(PATIENCE))
            ]
        }
    )
    assert start(service) == ["in_progress", "[hello]", "completed"]
    waits_for_us.set()


def test_events_that_mean_nothing_do_not_hide_the_end(
    serve_runs: ServeAssistants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose stream tells nothing of it is polled now and then, as events go on for ever."""
    monkeypatch.setattr(run_streams, "SIGNS_OF_LIFE", 0.0)
    noise = [b'event: thread.noise\ndata: {"object": "noise"}\n\n'] * 1000
    over = threading.Event()
    answer = stream(run("in_progress"), *noise, lambda: over.wait(PATIENCE))
    service, _ = serve_runs({RUN_START: [answer]})
    assert start(service) == ["in_progress", "[hello]", "completed"]
    over.set()


def test_losses_are_told_once_a_service(
    serve_runs: ServeAssistants, caplog: pytest.LogCaptureFixture
) -> None:
    """The second lost stream is no news at INFO."""
    service, _ = serve_runs(
        {RUN_START: [stream(run("queued"), HangUp), stream(run("queued"), HangUp)]}
    )
    with caplog.at_level(logging.INFO, "gpt_agent_sync.services.feeds.streaming"):
        start(service)
        start(service)
    assert len(caplog.records) == 1


def test_lost_background_response_is_resumed(serve_responses: Serve) -> None:
    """The events of a response after its stream was lost are asked for from there on."""
    events = ResponseEvents()
    first: list[Any] = [
        events.response("queued"),
        events.response("in_progress"),
        events.delta("hel"),
        HangUp,
    ]
    first.extend([events.delta("hel"), HangUp])
    rest = [events.delta("lo"), events.completed("hello")]
    service, stub = serve_responses({CREATE: [stream(*first)], POLL: [stream(*rest)]})
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.requests[-1].query == {"stream": "true", "starting_after": "2"}


def test_resume_that_begins_anew_tells_nothing_twice(serve_responses: Serve) -> None:
    """Events that were told are passed over, and a resume without news is the last one."""
    events, again = ResponseEvents(), ResponseEvents()
    first: list[Any] = [events.response("queued"), events.delta("hel"), HangUp]
    replay = [again.response("queued"), again.delta("hel")]
    service, stub = serve_responses(
        {CREATE: [stream(*first)], POLL: [stream(*replay), response(said("hello"))]}
    )
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines.count(POLL) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "This response cannot be streamed."),
        error(503, "busy"),
        in_progress(),
    ],
)
def test_response_that_cannot_be_resumed_is_polled(
    serve_responses: Serve, refusal: Response
) -> None:
    """Where a stream cannot be resumed the response itself shows its end."""
    events = ResponseEvents()
    service, stub = serve_responses(
        {
            CREATE: [stream(events.response("queued"), events.delta("hel"), HangUp)],
            POLL: [refusal, response(said("hello"))],
        }
    )
    assert shown(list(begin(service, REQUEST))) == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines.count(POLL) == 2


# services that do not stream


def test_plain_answer_is_followed_by_polls(
    serve_runs: ServeAssistants, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answers with the run is polled, and asked for no stream again."""
    service, stub = serve_runs({RUN_START: [Response({"id": "r", "status": "queued"})]})
    with caplog.at_level(logging.INFO, "gpt_agent_sync.services.feeds.streaming"):
        assert start(service) == ["queued", "[hello]", "completed"]
        start(service)
    starts = [request.body for request in stub.requests if request.line == RUN_START]
    assert [body.get("stream") for body in starts] == [True, None]
    assert len(caplog.records) == 1


REFUSALS = {
    "by name": error(400, "Unknown parameter: 'stream'."),
    "as unprocessable": error(422, "body.stream: extra fields not permitted"),
    "as not built": error(501, "streaming is not implemented"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_refused_stream_is_done_without(serve_runs: ServeAssistants, how: str) -> None:
    """A server that refuses to stream gets the request without, and is not asked again."""
    plain = Response({"id": "r", "status": "queued"})
    service, stub = serve_runs({RUN_START: [REFUSALS[how], plain]})
    start(service)
    start(service)
    starts = [request.body for request in stub.requests if request.line == RUN_START]
    assert [body.get("stream") for body in starts] == [True, None, None]


def test_failing_stream_is_done_without(serve_runs: ServeAssistants) -> None:
    """A server that breaks on streams, and on nothing else, runs without."""
    broken = error(500, "oh")
    service, stub = serve_runs(
        {RUN_START: [broken, broken, Response({"id": "r", "status": "queued"})]}
    )
    assert start(service) == ["queued", "[hello]", "completed"]
    starts = [request.body for request in stub.requests if request.line == RUN_START]
    assert [body.get("stream") for body in starts] == [True, True, None]


def test_refusal_of_the_run_itself_is_told(serve_runs: ServeAssistants) -> None:
    """What is refused with a stream and without is refused; the service streams all the same."""
    service, stub = serve_runs(
        {RUN_START: [error(400, "no such model"), error(400, "no such model"), stream(*WHOLE)]}
    )
    with pytest.raises(RequestRejectedError, match="no such model"):
        start(service)
    start(service)
    assert stub.requests[-1].body["stream"]


def test_service_that_has_streamed_is_not_suspected(serve_runs: ServeAssistants) -> None:
    """A refusal by a service that streams is not tried again without."""
    service, stub = serve_runs({RUN_START: [stream(*WHOLE), error(400, "the upstream is closed")]})
    start(service)
    with pytest.raises(RequestRejectedError):
        start(service)
    assert stub.lines.count(RUN_START) == 2


@pytest.mark.parametrize(
    "told, expected",
    [
        ({"message": "slow down", "code": "rate_limit_exceeded"}, RateLimitError),
        ({"message": "no", "type": "invalid_request_error"}, RequestRejectedError),
        ({"error": {"message": "oh", "code": "server_error"}}, ServiceUnavailableError),
        ({"message": "oh"}, ServiceUnavailableError),
    ],
)
def test_error_in_place_of_a_run_is_an_error(
    serve_runs: ServeAssistants, told: Mapping[str, Any], expected: type[Exception]
) -> None:
    """A stream that begins with an error makes the request raise it."""
    pieces = [stream(event("error", told)) for _ in range(3)]
    service, _ = serve_runs({RUN_START: pieces})
    with pytest.raises(expected):
        start(service)


def test_doubtful_error_has_the_run_polled_for(serve_runs: ServeAssistants) -> None:
    """An error that does not say whether there is a run does not begin another one."""
    found = listing({"id": "r", "status": "in_progress"})
    service, stub = serve_runs(
        {
            RUN_START: [stream(event("error", {"message": "oh"}))],
            "GET /threads/t/runs": [found],
        }
    )
    assert start(service) == ["in_progress", "[hello]", "completed"]
    assert stub.lines.count(RUN_START) == 1


# the end of interest


def test_closing_wakes_a_silent_stream(serve_runs: ServeAssistants) -> None:
    """A feed that waits for its stream ends at once when another thread closes it."""
    silent = threading.Event()
    service, _ = serve_runs({RUN_START: [stream(run("queued"), lambda: silent.wait(PATIENCE))]})
    feed = service.start_run(ASSISTANTS_REQUEST)
    assert shown([next(feed)]) == ["queued"]
    ended = read_on_another_thread(feed)
    feed.close()
    assert ended.wait(PATIENCE / 2)
    silent.set()


def test_closing_wakes_a_stream_that_has_not_begun(serve_runs: ServeAssistants) -> None:
    """A feed whose stream has not told of its run yet ends at once too."""
    silent, asked = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        silent.wait(PATIENCE)

    service, _ = serve_runs({RUN_START: [stream(b": hi\n\n", wait, run("queued"))]})
    feed = service.start_run(ASSISTANTS_REQUEST)
    ended = read_on_another_thread(feed)
    assert asked.wait(PATIENCE)
    feed.close()
    assert ended.wait(PATIENCE / 2)
    silent.set()


def test_stream_that_comes_after_the_closing_is_closed(
    serve_runs: ServeAssistants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that is closed just as its stream begins leaves no connection to the collector."""
    monkeypatch.delattr(RawStream, "__del__")
    feeds: list[Feed] = []
    answers: list[requests.Response] = []

    def close_feed(answer: requests.Response, **options: Any) -> None:
        answers.append(answer)
        feeds[0].close()

    with requests.Session() as session:
        session.hooks["response"].append(close_feed)
        service, _ = serve_runs({RUN_START: [stream(*WHOLE)]}, session=session)
        feeds.append(service.start_run(ASSISTANTS_REQUEST))
        assert list(feeds[0]) == []
    assert answers[0].raw.closed


def test_closing_ends_a_poll_under_way(serve_runs: ServeAssistants) -> None:
    """A feed that is closed while a poll waits for its answer ends with that, and tells nothing."""
    silent, asked = threading.Event(), threading.Event()
    stub_answers = table({RUN_START: [Response({"id": "r", "status": "queued"})]})

    def answer(request: Any) -> Response:
        if request.line == RUN_POLL:
            asked.set()
            silent.wait(PATIENCE)
        return stub_answers(request)

    stub = StubServer(answer)
    service = AssistantsService(stub.base_url, "key")
    feed = service.start_run(attrs.evolve(ASSISTANTS_REQUEST, streaming=False))
    ended = read_on_another_thread(feed)
    assert asked.wait(PATIENCE)
    feed.close()
    silent.set()
    assert ended.wait(PATIENCE / 2)
    service.close()
    stub.stop()


def read_on_another_thread(feed: Feed) -> threading.Event:
    """Read a feed to its end, and return what is set then."""
    ended = threading.Event()

    def read() -> None:
        list(feed)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    return ended
