"""In which mode responses are made at servers that do not take all of them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import ConfigurationError, RequestRejectedError
from gpt_agent_sync.records import RunRequest
from gpt_agent_sync.services.responses import ResponsesService
from tests.support.event_streams import ResponseEvents
from tests.support.feeds import shown
from tests.support.responses_stub import (
    CREATE,
    HELLO,
    HI,
    POLL,
    POLL_2,
    QUIET,
    REQUEST,
    Serve,
    begin,
    bodies,
    in_progress,
    response,
    submit,
)
from tests.support.stub import Request, Response, StubServer, error, stream, table
from tests.support.talk import PATIENCE

pytestmark = pytest.mark.usefixtures("short_pauses")

LISTENING = attrs.evolve(REQUEST, streaming=True)
"""A request of somebody who listens to text."""

DEAF = attrs.evolve(LISTENING, wants_deltas=lambda: False)
"""A request of somebody who does not."""

BOTH = (True, True)
BACKGROUND = (True, False)
FOREGROUND_STREAM = (False, True)
FOREGROUND = (False, False)

STREAMED = ["in_progress", "'he'", "'y'", "[hey]", "completed"]
POLLED = ["in_progress", "[hi]", "completed"]

TOGETHER = "background and stream cannot be used together"


class Picky:
    """A server that refuses modes; an object of it answers a stub's requests.

    Args:
        refused: The modes that it refuses, each with its words.
    """

    def __init__(self, refused: dict[tuple[bool, bool], str]) -> None:
        self._refused = refused
        self._others = table({**QUIET, POLL: [response(HI)], POLL_2: [response(id="resp_2")]})

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.line != CREATE:
            return self._others(request)
        mode = mode_of(request.body)
        if mode in self._refused:
            return error(400, self._refused[mode])
        if not mode[1]:
            return in_progress() if mode[0] else response(HI)
        events = ResponseEvents()
        pieces = [events.response("in_progress"), events.delta("he"), events.delta("y")]
        return stream(*pieces, events.completed("hey"))


def mode_of(body: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether a response is asked for in the background, and as a stream."""
    return bool(body.get("background")), bool(body.get("stream"))


def modes(stub: StubServer) -> list[tuple[bool, bool]]:
    """Return the modes of the responses that were asked for."""
    return [mode_of(body) for body in bodies(stub)]


def talk(service: ResponsesService, request: RunRequest) -> list[str]:
    """Return what the feed of a turn yields, in short."""
    return shown(begin(service, request))


def test_background_is_streamed_where_it_can_be(serve_responses: Serve) -> None:
    """A server that takes both is asked for both, whoever listens."""
    service, stub = serve_responses(Picky({}))
    assert talk(service, LISTENING) == STREAMED
    talk(service, DEAF)
    assert modes(stub) == [BOTH, BOTH]


@pytest.mark.parametrize(
    "words", [TOGETHER, "stream is not available here", "background: extra field", "bad request"]
)
def test_listener_is_streamed_to_in_the_foreground(serve_responses: Serve, words: str) -> None:
    """Where both together are refused, in whatever words, text comes as it is written."""
    service, stub = serve_responses(Picky({BOTH: words}))
    for _ in range(4):
        assert talk(service, LISTENING) == STREAMED
    # A refusal that does not speak of streams may have been chance, once.
    assert modes(stub).count(BOTH) == (1 if "stream" in words else 2)
    assert modes(stub).count(FOREGROUND_STREAM) == 4
    assert BACKGROUND not in modes(stub)


def test_response_is_polled_where_nobody_listens(serve_responses: Serve) -> None:
    """Without a listener a response goes on in the background, and can be cancelled."""
    service, stub = serve_responses(Picky({BOTH: TOGETHER}))
    assert [talk(service, DEAF) for _ in range(2)] == [POLLED, POLLED]
    assert modes(stub) == [BOTH, BACKGROUND, BACKGROUND]


def test_who_listens_decides_each_time(serve_responses: Serve) -> None:
    """A service streams to those who listen, and polls for the others."""
    service, stub = serve_responses(Picky({BOTH: TOGETHER}))
    told = [talk(service, request) for request in (DEAF, LISTENING, DEAF)]
    assert told == [POLLED, STREAMED, POLLED]
    assert modes(stub) == [BOTH, BACKGROUND, FOREGROUND_STREAM, BACKGROUND]


def test_first_question_to_a_picky_server_is_streamed(serve_responses: Serve) -> None:
    """A program that asks for text as it comes gets it so, from the first question on."""
    service, stub = serve_responses(Picky({BOTH: TOGETHER}))
    with gpt.connect("c", "m", service=service) as agent:
        pieces = list(agent.ask_stream("hello", timeout=PATIENCE))
        assert pieces == ["he", "y"]
        agent.add_user_message("hello")
        agent.wait(PATIENCE)
    assert modes(stub) == [BOTH, FOREGROUND_STREAM, BACKGROUND]


def test_outputs_are_answered_in_the_foreground_too(serve_responses: Serve) -> None:
    """The response that goes on with outputs is streamed like the one that it goes on from."""
    call = {"type": "function_call", "id": "f", "call_id": "call_1", "name": "add"}
    events, later = ResponseEvents("resp_1"), ResponseEvents("resp_2")
    asked = stream(events.response("in_progress"), events.response("completed", call))
    answered = stream(later.response("in_progress"), later.delta("he"), later.completed("hey"))
    refused = error(400, TOGETHER)
    service, stub = serve_responses({CREATE: [refused, asked, answered]})
    talk(service, LISTENING)
    assert "'he'" in shown(submit(service, "call_1", request=LISTENING))
    assert modes(stub) == [BOTH, FOREGROUND_STREAM, FOREGROUND_STREAM]


def test_no_stream_at_all_is_polled_in_the_background(serve_responses: Serve) -> None:
    """Where streams are refused in the foreground too, responses are made in the background."""
    words = "stream is not supported"
    service, stub = serve_responses(Picky({BOTH: words, FOREGROUND_STREAM: words}))
    assert [talk(service, LISTENING) for _ in range(2)] == [POLLED, POLLED]
    assert modes(stub) == [BOTH, FOREGROUND_STREAM, BACKGROUND, BACKGROUND]


def test_no_background_at_all_is_streamed_in_the_foreground(serve_responses: Serve) -> None:
    """Where the background is refused by itself, streams come in the foreground."""
    words = "background is not supported"
    service, stub = serve_responses(Picky({BOTH: words, BACKGROUND: words}))
    for request in (LISTENING, DEAF, LISTENING):
        assert talk(service, request)[-1] == "completed"
    assert modes(stub)[-1] == FOREGROUND_STREAM
    assert len(modes(stub)) <= 6


def test_refusal_of_the_message_itself_is_told(serve_responses: Serve) -> None:
    """A request that is refused in every mode is refused, in its own words."""
    words = "the input is too long"
    service, stub = serve_responses(
        Picky(dict.fromkeys((BOTH, BACKGROUND, FOREGROUND_STREAM, FOREGROUND), words))
    )
    with pytest.raises(RequestRejectedError, match=words):
        service.post_message(LISTENING, HELLO)
    assert modes(stub) == [BOTH, FOREGROUND_STREAM, BACKGROUND]


def test_background_always(serve_responses: Serve) -> None:
    """With ``True`` nothing is made in the foreground, listened to or not."""
    service, stub = serve_responses(Picky({BOTH: TOGETHER}), background=True)
    assert [talk(service, request) for request in (LISTENING, DEAF)] == [POLLED, POLLED]
    assert modes(stub) == [BOTH, BACKGROUND, BACKGROUND]


def test_background_always_is_told_where_it_is_refused(serve_responses: Serve) -> None:
    """A server that has no background does not fit a program that wants nothing else."""
    words = "background is not supported"
    service, stub = serve_responses(Picky({BOTH: words, BACKGROUND: words}), background=True)
    with pytest.raises(RequestRejectedError, match=words):
        service.post_message(LISTENING, HELLO)
    assert modes(stub) == [BOTH, BACKGROUND]


@pytest.mark.parametrize("request_", [LISTENING, DEAF])
def test_background_never(serve_responses: Serve, request_: RunRequest) -> None:
    """With ``False`` the field is never sent."""
    service, stub = serve_responses(Picky({}), background=False)
    assert talk(service, request_)[-2:] == ["[hey]", "completed"]
    assert ["background" in body for body in bodies(stub)] == [False]


def test_background_never_without_a_stream(serve_responses: Serve) -> None:
    """With ``False``, polled runs are single requests."""
    service, stub = serve_responses(Picky({}), background=False)
    assert talk(service, REQUEST) == POLLED
    assert stub.lines == [CREATE]


@pytest.mark.parametrize("background", [1, 0, "yes", "never"])
def test_background_is_a_flag_or_none(background: Any) -> None:
    """Anything else is refused, and named."""
    with pytest.raises(ConfigurationError, match=f"True, False or None, not {background!r}"):
        ResponsesService("http://127.0.0.1:1/v1", "k", background=background)
