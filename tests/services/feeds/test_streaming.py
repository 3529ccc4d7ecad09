"""Runs followed by the service's stream, and what happens where it ends, breaks or is refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import RateLimitError, RequestRejectedError, ServiceUnavailableError
from gpt_agent_sync.records import (
    FeedUpdate,
    Message,
    RunRequest,
    RunSnapshot,
    TextDelta,
    ToolOutput,
)
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.services.http import sse
from tests.support.event_streams import (
    DONE,
    RUN_LOOK,
    RUN_MESSAGES,
    RUN_START,
    RUN_SUBMIT,
    Told,
    event,
    finished,
    message,
    run,
    waiting,
    waits,
    wrote,
)
from tests.support.responses_stub import LOOK, MAKE, NOTE, Serve, begin, going, response, said
from tests.support.responses_stub import REQUEST as RESPONSES_REQUEST
from tests.support.stub import (
    Answerer,
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
SAFE = {RUN_LOOK: [COMPLETED], RUN_MESSAGES: [LISTED], "GET /threads/t/runs": [listing()]}
"""The answers of a server on which the run is over, and its message is there."""

Assistants = Callable[..., tuple[AssistantsService, StubServer]]


@pytest.fixture
def serve_assistants(make_stub: Callable[[Answerer], StubServer]) -> Assistants:
    """Give a maker of a service over a stub that answers by a table, else as ``SAFE`` does."""

    def make(answers: Mapping[str, Any], **options: Any) -> tuple[AssistantsService, StubServer]:
        stub = make_stub(table({**SAFE, **answers}))
        return AssistantsService(stub.base_url, "key", http_retries=1, **options), stub

    return make


def shown(updates: list[FeedUpdate]) -> list[str]:
    """Give what updates say: statuses, pieces in quotes, messages in brackets."""
    return [_shown(update) for update in updates]


def _shown(update: FeedUpdate) -> str:
    if isinstance(update, TextDelta):
        return f"'{update.text}'"
    if isinstance(update, Message):
        return f"[{update.content}]"
    return update.status


def start(service: Service, request: RunRequest = ASSISTANTS_REQUEST) -> list[str]:
    """Follow a run that is started, and give what its feed said."""
    return shown(list(service.start_run(request)))


WHOLE = (
    run("queued", "thread.run.created"),
    run("queued"),
    run("in_progress"),
    event("thread.run.step.created", {"id": "s"}),
    event("thread.message.created", message("")),
    wrote("hel"),
    wrote("lo"),
    finished("hello"),
    run("completed"),
    DONE,
)

# the whole stream


def test_run_is_told_by_its_stream_alone(serve_assistants: Assistants) -> None:
    """A stream that tells everything needs no further request."""
    service, stub = serve_assistants({RUN_START: [stream(*WHOLE)]})
    told = start(service)
    assert told == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_response_is_told_by_its_stream_alone(serve_responses: Serve) -> None:
    """A response's stream needs no look; the note is for other processes."""
    told = Told()
    pieces = [told.response("queued"), told.response("in_progress"), told.wrote("hel")]
    service, stub = serve_responses(
        {MAKE: [stream(*pieces, told.wrote("lo"), told.completed("hello"))]}
    )
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.lines == [MAKE, "GET /conversations/c", NOTE]


def test_deltas_that_nobody_hears_are_left_out(serve_assistants: Assistants) -> None:
    """Where nobody listens to text the feed gives the whole message only."""
    service, stub = serve_assistants({RUN_START: [stream(*WHOLE)]})
    deaf = attrs.evolve(ASSISTANTS_REQUEST, wants_deltas=lambda: False)
    assert start(service, deaf) == ["queued", "in_progress", "[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_streams_share_a_connection(serve_assistants: Assistants) -> None:
    """A stream that was read to its end leaves its connection to the next one."""
    service, stub = serve_assistants({RUN_START: [stream(*WHOLE), stream(*WHOLE)]})
    assert start(service) == start(service)
    assert stub.connections == 1


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [run("queued", ""), wrote("hello", name=""), finished("hello", name="")],
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
    serve_assistants: Assistants, pieces: list[bytes]
) -> None:
    """Events without names, with unknown ones, and comments are no trouble."""
    service, stub = serve_assistants({RUN_START: [stream(*pieces, run("completed"))]})
    assert start(service)[-2:] == ["[hello]", "completed"]
    assert stub.lines == [RUN_START]


def test_body_is_believed_over_the_name(serve_assistants: Assistants) -> None:
    """A run that is said to be completed, and shown to wait, waits."""
    pieces = [run("queued"), event("thread.run.completed", waiting("c"))]
    service, _ = serve_assistants({RUN_START: [stream(*pieces)]})
    assert start(service) == ["queued", "requires_action"]


def test_text_without_its_message_is_read_from_the_list(serve_assistants: Assistants) -> None:
    """A server that streams pieces and no finished message has it in the list."""
    service, stub = serve_assistants(
        {RUN_START: [stream(run("queued"), wrote("hel"), run("completed"))]}
    )
    assert start(service) == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines == [RUN_START, RUN_MESSAGES]


def test_messages_before_the_first_word_of_the_run_are_read_from_the_list(
    serve_assistants: Assistants,
) -> None:
    """What a stream tells before it names its run is not lost."""
    service, _ = serve_assistants({RUN_START: [stream(finished("hello"), run("completed"))]})
    assert start(service) == ["in_progress", "[hello]", "completed"]


def test_items_stand_for_an_output_that_is_left_out(serve_responses: Serve) -> None:
    """A response whose end shows no output has what its items said."""
    told = Told()
    pieces = [
        told.response("queued"),
        told.event("response.output_item.done", item=said("hello")),
        told.response("completed"),
    ]
    service, _ = serve_responses({MAKE: [stream(*pieces)]})
    assert shown(list(begin(service, REQUEST))) == ["queued", "[hello]", "completed"]


# tool rounds


def outputs(service: Service, request: RunRequest, run_id: str = "r") -> list[str]:
    """Follow a run that gets an output."""
    given = [ToolOutput(tool_call_id="c", output="1")]
    return shown(list(service.submit_tool_outputs(request, run_id, given)))


def test_waiting_run_ends_its_stream(serve_assistants: Assistants) -> None:
    """A run that waits for outputs has given its messages, and says so."""
    pieces = [run("queued"), finished("wait"), waits("c"), DONE]
    service, _ = serve_assistants({RUN_START: [stream(*pieces)]})
    *before, last = service.start_run(ASSISTANTS_REQUEST)
    assert shown(before) == ["queued", "[wait]"]
    assert isinstance(last, RunSnapshot)
    assert last.messages_known
    assert [call.id for call in last.tool_calls] == ["c"]


def test_outputs_are_answered_by_a_stream(serve_assistants: Assistants) -> None:
    """After outputs the run goes on in a stream of its own."""
    service, stub = serve_assistants(
        {RUN_SUBMIT: [stream(run("queued"), finished("hello"), run("completed"), DONE)]}
    )
    assert outputs(service, ASSISTANTS_REQUEST) == ["queued", "[hello]", "completed"]
    assert stub.lines == [RUN_SUBMIT]


def test_messages_missed_before_are_read_at_the_end(serve_assistants: Assistants) -> None:
    """Where an earlier part of the run was not streamed the list tells all its messages."""
    service, stub = serve_assistants(
        {RUN_SUBMIT: [stream(run("queued"), finished("hello"), run("completed"), DONE)]}
    )
    outputs(service, attrs.evolve(ASSISTANTS_REQUEST, messages_known=False))
    assert stub.lines == [RUN_SUBMIT, RUN_MESSAGES]


# lost streams

BROKEN: dict[str, list[Any]] = {
    "it ends": [run("queued"), wrote("hel")],
    "it breaks": [run("queued"), wrote("hel"), HangUp],
    "an event is cut": [run("queued"), wrote("hel"), b"event: thread.mess"],
    "an event is broken": [run("queued"), wrote("hel"), event("thread.run.completed", "{oh")],
    "an event is no run": [run("queued"), wrote("hel"), event("thread.run.failed", {"id": "r"})],
    "it tells an error": [run("queued"), wrote("hel"), event("error", {"message": "oh"})],
}


@pytest.mark.parametrize("how", BROKEN)
def test_lost_stream_is_no_loss(
    serve_assistants: Assistants, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of a stream, the run is looked at, and told once."""
    service, _ = serve_assistants({RUN_START: [stream(*BROKEN[how])]})
    with caplog.at_level(logging.INFO, "gpt_agent_sync.services.feeds.streaming"):
        assert start(service) == ["queued", "'hel'", "[hello]", "completed"]
    assert ["is lost" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("pieces", [[], [HangUp], [event("thread.created", {"id": "t"}), HangUp]])
def test_stream_that_is_lost_before_the_run_is_a_lost_answer(
    serve_assistants: Assistants, pieces: list[Any]
) -> None:
    """A run that was begun is found again, and not begun twice."""
    found = listing({"id": "r", "status": "in_progress"})
    service, stub = serve_assistants({RUN_START: [stream(*pieces)], "GET /threads/t/runs": [found]})
    assert start(service) == ["in_progress", "[hello]", "completed"]
    assert stub.lines.count(RUN_START) == 1


def test_run_that_is_over_before_the_look_is_told_once(serve_assistants: Assistants) -> None:
    """A message told by the stream, and by the list again, is one."""
    service, _ = serve_assistants(
        {RUN_START: [stream(run("in_progress"), finished("hello"), HangUp)]}
    )
    assert start(service) == ["in_progress", "[hello]", "completed"]


def test_silence_is_a_lost_stream(serve_assistants: Assistants) -> None:
    """A stream that says nothing for longer than the read timeout is given up."""
    silent = threading.Event()
    service, _ = serve_assistants(
        {RUN_START: [stream(run("queued"), lambda: silent.wait(PATIENCE))]}, timeout=0.2
    )
    assert start(service) == ["queued", "[hello]", "completed"]
    silent.set()


def test_signs_of_life_do_not_hide_the_end(
    serve_assistants: Assistants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose stream only stays awake is looked at now and then."""
    monkeypatch.setattr(sse, "SIGNS_OF_LIFE", 0.0)
    waits_for_us = threading.Event()
    service, _ = serve_assistants(
        {
            RUN_START: [
                stream(run("in_progress"), b": ping\n\n", lambda: waits_for_us.wait(PATIENCE))
            ]
        }
    )
    assert start(service) == ["in_progress", "[hello]", "completed"]
    waits_for_us.set()


def test_losses_are_told_once_a_service(
    serve_assistants: Assistants, caplog: pytest.LogCaptureFixture
) -> None:
    """The second lost stream is no news at INFO."""
    service, _ = serve_assistants(
        {RUN_START: [stream(run("queued"), HangUp), stream(run("queued"), HangUp)]}
    )
    with caplog.at_level(logging.INFO, "gpt_agent_sync.services.feeds.streaming"):
        start(service)
        start(service)
    assert len(caplog.records) == 1


def test_lost_background_response_is_resumed(serve_responses: Serve) -> None:
    """What a response tells after its stream was lost is asked for from there on."""
    told = Told()
    first: list[Any] = [
        told.response("queued"),
        told.response("in_progress"),
        told.wrote("hel"),
        HangUp,
    ]
    first.extend([told.wrote("hel"), HangUp])
    rest = [told.wrote("lo"), told.completed("hello")]
    service, stub = serve_responses({MAKE: [stream(*first)], LOOK: [stream(*rest)]})
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "in_progress", "'hel'", "'lo'", "[hello]", "completed"]
    assert stub.requests[-1].query == {"stream": "true", "starting_after": "2"}


def test_resume_that_begins_anew_tells_nothing_twice(serve_responses: Serve) -> None:
    """Events that were told are passed over, and a resume without news is the last one."""
    told, again = Told(), Told()
    first: list[Any] = [told.response("queued"), told.wrote("hel"), HangUp]
    replay = [again.response("queued"), again.wrote("hel")]
    service, stub = serve_responses(
        {MAKE: [stream(*first)], LOOK: [stream(*replay), response(said("hello"))]}
    )
    updates = shown(list(begin(service, REQUEST)))
    assert updates == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines.count(LOOK) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "This response cannot be streamed."),
        error(503, "busy"),
        going(),
    ],
)
def test_response_that_cannot_be_resumed_is_looked_at(
    serve_responses: Serve, refusal: Response
) -> None:
    """Where a stream cannot be resumed the response itself tells its end."""
    told = Told()
    service, stub = serve_responses(
        {
            MAKE: [stream(told.response("queued"), told.wrote("hel"), HangUp)],
            LOOK: [refusal, response(said("hello"))],
        }
    )
    assert shown(list(begin(service, REQUEST))) == ["queued", "'hel'", "[hello]", "completed"]
    assert stub.lines.count(LOOK) == 2


# services that do not stream


def test_plain_answer_is_followed_by_looks(
    serve_assistants: Assistants, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answers with the run is looked at, and asked for no stream again."""
    service, stub = serve_assistants({RUN_START: [Response({"id": "r", "status": "queued"})]})
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
def test_refused_stream_is_done_without(serve_assistants: Assistants, how: str) -> None:
    """A server that refuses to stream gets the request without, and is not asked again."""
    plain = Response({"id": "r", "status": "queued"})
    service, stub = serve_assistants({RUN_START: [REFUSALS[how], plain]})
    start(service)
    start(service)
    starts = [request.body for request in stub.requests if request.line == RUN_START]
    assert [body.get("stream") for body in starts] == [True, None, None]


def test_failing_stream_is_done_without(serve_assistants: Assistants) -> None:
    """A server that breaks on streams, and on nothing else, runs without."""
    broken = error(500, "oh")
    service, stub = serve_assistants(
        {RUN_START: [broken, broken, Response({"id": "r", "status": "queued"})]}
    )
    assert start(service) == ["queued", "[hello]", "completed"]
    starts = [request.body for request in stub.requests if request.line == RUN_START]
    assert [body.get("stream") for body in starts] == [True, True, None]


def test_refusal_of_the_run_itself_is_told(serve_assistants: Assistants) -> None:
    """What is refused with a stream and without is refused; the service streams all the same."""
    service, stub = serve_assistants(
        {RUN_START: [error(400, "no such model"), error(400, "no such model"), stream(*WHOLE)]}
    )
    with pytest.raises(RequestRejectedError, match="no such model"):
        start(service)
    start(service)
    assert stub.requests[-1].body["stream"]


def test_service_that_has_streamed_is_not_suspected(serve_assistants: Assistants) -> None:
    """A refusal by a service that streams is not tried again without."""
    service, stub = serve_assistants(
        {RUN_START: [stream(*WHOLE), error(400, "the upstream is closed")]}
    )
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
    serve_assistants: Assistants, told: Mapping[str, Any], expected: type[Exception]
) -> None:
    """A stream that begins with an error tells what the request comes to."""
    pieces = [stream(event("error", told)) for _ in range(3)]
    service, _ = serve_assistants({RUN_START: pieces})
    with pytest.raises(expected):
        start(service)


def test_doubtful_error_has_the_run_looked_for(serve_assistants: Assistants) -> None:
    """An error that does not say whether there is a run does not begin another one."""
    found = listing({"id": "r", "status": "in_progress"})
    service, stub = serve_assistants(
        {
            RUN_START: [stream(event("error", {"message": "oh"}))],
            "GET /threads/t/runs": [found],
        }
    )
    assert start(service) == ["in_progress", "[hello]", "completed"]
    assert stub.lines.count(RUN_START) == 1


@pytest.mark.parametrize(
    "refusal, kept",
    [
        ("background with stream is not supported", {"background": True}),
        ("background is not supported", {"stream": True}),
    ],
)
def test_response_is_made_with_what_the_server_has(
    serve_responses: Serve, refusal: str, kept: dict[str, Any]
) -> None:
    """Of background and stream the one goes that is refused; both: the stream."""
    told = Told()
    made = stream(told.response("queued"), told.completed("hello"))
    answer = made if "stream" in kept else going()
    refused = [error(400, refusal)] * (1 if "stream" in refusal else 2)
    service, stub = serve_responses({MAKE: [*refused, answer], LOOK: [response(said("hello"))]})
    assert shown(list(begin(service, REQUEST)))[-1] == "completed"
    body = [request.body for request in stub.requests if request.line == MAKE][-1]
    assert {name: body[name] for name in ("background", "stream") if body.get(name)} == kept


# the end of interest


def test_closing_wakes_a_silent_stream(serve_assistants: Assistants) -> None:
    """A feed that waits for its stream ends at once when another thread closes it."""
    silent = threading.Event()
    service, _ = serve_assistants(
        {RUN_START: [stream(run("queued"), lambda: silent.wait(PATIENCE))]}
    )
    feed = service.start_run(ASSISTANTS_REQUEST)
    assert _shown(next(feed)) == "queued"
    ended = read_on_another_thread(feed)
    feed.close()
    silent.set()
    assert ended.wait(PATIENCE / 2)


def test_closing_wakes_a_stream_that_has_not_begun(serve_assistants: Assistants) -> None:
    """A feed whose stream has not told of its run yet ends at once too."""
    silent, asked = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        silent.wait(PATIENCE)

    service, _ = serve_assistants({RUN_START: [stream(b": hi\n\n", wait, run("queued"))]})
    feed = service.start_run(ASSISTANTS_REQUEST)
    ended = read_on_another_thread(feed)
    assert asked.wait(PATIENCE)
    feed.close()
    silent.set()
    assert ended.wait(PATIENCE / 2)


def test_closing_ends_a_look_under_way(serve_assistants: Assistants) -> None:
    """A feed that is closed while a look waits for its answer ends with that, and tells nothing."""
    silent, asked = threading.Event(), threading.Event()
    stub_answers = table({RUN_START: [Response({"id": "r", "status": "queued"})]})

    def answer(request: Any) -> Response:
        if request.line == RUN_LOOK:
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
    """Read a feed to its end, and tell when that is."""
    ended = threading.Event()

    def read() -> None:
        list(feed)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    return ended
