"""Messages that travel with their runs, at servers that take them and at others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import ServiceBusyError, ServiceError, ServiceUnavailableError
from gpt_agent_sync.records import Message, RunRequest, UserMessage
from gpt_agent_sync.services.assistants import starting, wire
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.testing import Reply
from tests.support.assistants_stub import (
    RUN_MESSAGES,
    RUN_START,
    ServeAssistants,
    message,
    run,
)
from tests.support.feeds import last_of, texts
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import HangUp, Request, Response, StubServer, error, listing

POST = "POST /threads/t/messages"
LIST_RUNS = "GET /threads/t/runs"
CANCEL = "POST /threads/t/runs/r/cancel"
CANCEL_FIRST = "POST /threads/t/runs/r0/cancel"
HELLO = UserMessage(content="hello")
REQUEST = RunRequest(thread_id="t", assistant_id="a", heartbeat_interval=0.02)


class Server:
    """A server that takes messages with runs; what it does otherwise a test says by answers.

    Args:
        answers: What is answered in place of the usual: by request line, one after the other.
    """

    def __init__(self, answers: dict[str, list[Any]] | None = None) -> None:
        self._answers = {line: list(given) for line, given in (answers or {}).items()}
        self.messages: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.takes = True
        self.status = "completed"

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        given = self._answers.get(request.line)
        answer = given.pop(0) if given else None
        if isinstance(answer, Response):
            return answer
        usual = self._usual(request)
        if answer is HangUp:
            raise HangUp
        return usual

    def _usual(self, request: Request) -> Response:
        if request.line == RUN_START:
            for sent in request.body.get("additional_messages", ()) if self.takes else ():
                self._add(sent)
            made = run(self.status, f"r{len(self.runs)}", metadata=request.body["metadata"])
            self.runs.append(made)
            self._add({"role": "assistant", "content": "hi", "run_id": made["id"]})
            return Response(made)
        if request.line == POST:
            return Response(self._add(request.body))
        if request.line == LIST_RUNS:
            return listing(*self.runs[::-1])
        if request.line == RUN_MESSAGES:
            return listing(*self.messages[::-1])
        return Response(run("completed"))

    def _add(self, sent: dict[str, Any]) -> dict[str, Any]:
        made = message(f"m{len(self.messages)}", sent["content"], sent["role"])
        made.update({name: sent[name] for name in ("metadata", "run_id") if name in sent})
        self.messages.append(made)
        return made


Serve = Callable[[Server], tuple[AssistantsService, StubServer]]


@pytest.fixture
def serve(serve_assistants: ServeAssistants, short_pauses: None, monkeypatch: Any) -> Serve:
    """Return a maker of a service that does not know yet what its server takes."""
    monkeypatch.setattr(starting, "LAG_PAUSE", 0.01)
    return lambda server: serve_assistants(server, additional_messages=None)


def said(server: Server) -> list[str]:
    """Return the texts of the user's messages."""
    return [
        each["content"][0]["text"]["value"] for each in server.messages if each["role"] == "user"
    ]


def test_message_and_run_are_one_request(make_server: Callable[..., ScriptedServer]) -> None:
    """The embedded server gets no message on its own, and the id told is the message's."""
    server = make_server([Reply("hi")])
    service = AssistantsService(server.base_url, "key")
    thread_id = gpt.create_thread(service=service)
    agent = gpt.connect(
        thread_id, gpt.create_assistant(model="any", service=service), service=service
    )
    message_id = agent.add_user_message("hello", metadata={"mine": "1"})
    agent.wait(20)
    asked, replied = agent.messages()
    assert (asked.id, asked.content, asked.metadata["mine"]) == (message_id, "hello", "1")
    assert replied.content == "hi"


def test_run_that_was_started_with_its_message_is_followed(serve: Serve) -> None:
    """No second run is created for a message that has one."""
    server = Server()
    service, _ = serve(server)
    posted = service.post_message(REQUEST, HELLO)
    feed = service.start_run(attrs.evolve(REQUEST, posted=posted))
    assert texts(feed) == ["hi"]
    assert len(server.runs) == 1
    assert posted.message_id == "m0"


def test_run_that_is_started_again_takes_no_message_along(serve: Serve) -> None:
    """A run made anew, after a rate limit say, answers the message that is there."""
    server = Server()
    service, _ = serve(server)
    request = attrs.evolve(REQUEST, posted=service.post_message(REQUEST, HELLO))
    list(service.start_run(request))
    list(service.start_run(request))
    assert (len(server.runs), said(server)) == (2, ["hello"])


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "Unknown parameter: 'additional_messages'."),
        error(422, "extra fields not permitted: additional_messages"),
    ],
)
def test_server_that_refuses_messages_with_runs_is_not_asked_again(
    serve: Serve, refusal: Response
) -> None:
    """The first refusal is remembered, and messages are posted on their own."""
    server = Server({RUN_START: [refusal]})
    service, stub = serve(server)
    for _ in range(2):
        request = attrs.evolve(REQUEST, posted=service.post_message(REQUEST, HELLO))
        assert last_of(service.start_run(request)).status == "completed"
    assert stub.lines.count(RUN_START) == 3
    assert said(server) == ["hello", "hello"]


def test_server_that_leaves_messages_out_is_not_asked_again(serve: Serve) -> None:
    """A run without its message is cancelled, and the message posted on its own, once."""
    server = Server()
    server.takes, server.status = False, "in_progress"
    service, stub = serve(server)
    first = service.post_message(REQUEST, HELLO)
    assert stub.lines.count("POST /threads/t/runs/r0/cancel") == 1
    assert said(server) == ["hello"]
    list(service.start_run(attrs.evolve(REQUEST, posted=first)))
    service.post_message(REQUEST, HELLO)
    assert len(server.runs) == 2


def test_other_refusal_of_a_run_leaves_the_message(serve: Serve) -> None:
    """What is wrong with a run is told when that is started, and may be right for the next."""
    server = Server({RUN_START: [error(404, "No assistant found with id 'a'.")]})
    service, stub = serve(server)
    service.post_message(REQUEST, HELLO)
    assert said(server) == ["hello"]
    service.post_message(REQUEST, HELLO)
    assert stub.lines.count(POST) == 1


def test_busy_thread_takes_no_message(serve: Serve) -> None:
    """The message of a caller who comes second is not left in the thread."""
    busy = error(400, "Thread t already has an active run r.")
    server = Server({RUN_START: [busy]})
    service, _ = serve(server)
    with pytest.raises(ServiceBusyError):
        service.post_message(REQUEST, HELLO)
    assert said(server) == []


def test_lost_answer_doubles_neither_message_nor_run(serve: Serve) -> None:
    """The run is found by its token, and the message by the same."""
    server = Server({RUN_START: [HangUp]})
    service, _ = serve(server)
    posted = service.post_message(REQUEST, HELLO)
    list(service.start_run(attrs.evolve(REQUEST, posted=posted)))
    assert (len(server.runs), said(server), posted.message_id) == (1, ["hello"], "m0")


def test_message_that_cannot_be_looked_for_is_in_doubt(serve: Serve) -> None:
    """A caller who gets no id learns that the message is there."""
    server = Server({RUN_MESSAGES: [error(403, "no")] * 9})
    service, _ = serve(server)
    with pytest.raises(gpt.AuthenticationError) as failed:
        service.post_message(REQUEST, HELLO)
    assert failed.value.in_doubt


def interrupt(*arguments: object) -> None:
    """Do as Ctrl-C does."""
    raise KeyboardInterrupt


def test_run_in_doubt_does_not_hold_the_thread(serve: Serve) -> None:
    """A run of ours that nobody follows is ended for the next message."""
    refused = error(403, "no")
    server = Server({RUN_START: [HangUp], LIST_RUNS: [refused] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError) as failed:
        service.post_message(REQUEST, HELLO)
    assert failed.value.in_doubt
    server._answers[RUN_START] = [error(400, "Thread t already has an active run r0.")]
    server._answers[LIST_RUNS] = []
    service.post_message(REQUEST, UserMessage(content="again"))
    assert "POST /threads/t/runs/r0/cancel" in stub.lines
    assert said(server) == ["hello", "again"]


def test_interrupted_post_does_not_hold_the_thread(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may strike between the answer and whoever follows its run: the next one ends it."""
    server = Server({})
    server.status = "in_progress"
    service, stub = serve(server)
    with monkeypatch.context() as patch:
        patch.setattr(starting, "StartedRun", interrupt)
        with pytest.raises(KeyboardInterrupt):
            service.post_message(REQUEST, HELLO)
    server._answers[RUN_START] = [error(400, "Thread t already has an active run r0.")]
    service.post_message(REQUEST, UserMessage(content="again"))
    assert "POST /threads/t/runs/r0/cancel" in stub.lines
    assert said(server) == ["hello", "again"]


def test_run_that_is_followed_is_not_taken_for_one_given_up(serve: Serve) -> None:
    """It is another caller's message that has to wait for it."""
    server = Server({})
    server.status = "in_progress"
    service, stub = serve(server)
    posted = service.post_message(REQUEST, HELLO)
    next(service.start_run(attrs.evolve(REQUEST, posted=posted)))
    server._answers[RUN_START] = [error(400, "Thread t already has an active run r0.")]
    with pytest.raises(ServiceBusyError):
        service.post_message(REQUEST, UserMessage(content="again"))
    assert "POST /threads/t/runs/r0/cancel" not in stub.lines


def test_doubt_outlasts_a_look_that_fails(serve: Serve) -> None:
    """A run of ours that could not be looked for by one message is ended for the next."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError):
        service.post_message(REQUEST, HELLO)
    busy = error(400, "Thread t already has an active run r0.")
    server._answers.update({RUN_START: [busy, busy], LIST_RUNS: [error(403, "no")]})
    with pytest.raises(gpt.AuthenticationError):
        service.post_message(REQUEST, UserMessage(content="again"))
    service.post_message(REQUEST, UserMessage(content="once more"))
    assert CANCEL_FIRST in stub.lines
    assert said(server) == ["hello", "once more"]


def test_run_in_doubt_is_ended_after_others_in_doubt(serve: Serve) -> None:
    """The run that holds the thread may be an earlier one of those that nobody is sure of."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    busy = error(400, "Thread t already has an active run r0.")
    for _ in range(2):
        with pytest.raises(ServiceError) as failed:
            service.post_message(REQUEST, HELLO)
        assert failed.value.in_doubt
        # The second is refused by the server, and the refusal lost on its way.
        broken = Response(b"<html>", 200)
        server._answers.update({RUN_START: [broken] * 9, LIST_RUNS: []})
    server._answers[RUN_START] = [busy]
    service.post_message(REQUEST, UserMessage(content="again"))
    assert CANCEL_FIRST in stub.lines
    assert said(server) == ["hello", "again"]


def test_run_in_doubt_that_shows_up_late_is_ended(serve: Serve) -> None:
    """A look that finds nothing yet, on a server that is at work on the request, is no proof."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError):
        service.post_message(REQUEST, HELLO)
    busy = error(400, "Thread t already has an active run r0.")
    server._answers.update({RUN_START: [busy, busy], LIST_RUNS: [listing()]})
    with pytest.raises(ServiceBusyError):
        service.post_message(REQUEST, UserMessage(content="again"))
    service.post_message(REQUEST, UserMessage(content="once more"))
    assert CANCEL_FIRST in stub.lines


@pytest.mark.parametrize("takes", [None, False])
def test_run_whose_cancel_failed_is_ended_for_the_next_message(
    serve: Serve, takes: bool | None
) -> None:
    """A run that was given up does not hold its thread, however messages are sent."""
    busy = error(400, "Thread t already has an active run r0.")
    server = Server({RUN_START: [busy], CANCEL_FIRST: [error(500, "oops")] * 9})
    server.status = "in_progress"
    service, stub = serve(server)
    service._starter._takes_messages = takes
    server.runs.append(run("in_progress", "r0"))
    with pytest.raises(ServiceError):
        service.cancel_run("t", "r0")
    server._answers.update({CANCEL_FIRST: [], RUN_START: [busy], POST: [busy]})
    before = stub.lines.count(CANCEL_FIRST)
    service.post_message(REQUEST, HELLO)
    assert stub.lines.count(CANCEL_FIRST) == before + 1
    assert said(server) == ["hello"]


def test_run_of_another_caller_is_left_alone(serve: Serve) -> None:
    """A busy thread whose run is not one that we gave up stays busy."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError):
        service.post_message(REQUEST, HELLO)
    server.runs.append(run("in_progress", "other", metadata={"theirs": "1"}))
    other = error(400, "Thread t already has an active run other.")
    server._answers.update({RUN_START: [other], LIST_RUNS: []})
    with pytest.raises(ServiceBusyError):
        service.post_message(REQUEST, UserMessage(content="again"))
    assert not [line for line in stub.lines if line.endswith("/cancel")]


def test_cancel_that_fails_is_made_again(serve: Serve) -> None:
    """A run of ours that lives on is cancelled until it has ended."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError):
        service.post_message(REQUEST, HELLO)
    server._answers.update(
        {
            RUN_START: [error(400, "Thread t already has an active run r0.")],
            LIST_RUNS: [],
            CANCEL_FIRST: [error(500, "oops")],
            "GET /threads/t/runs/r0": [Response(run("in_progress", "r0"))],
        }
    )
    service.post_message(REQUEST, UserMessage(content="again"))
    assert stub.lines.count(CANCEL_FIRST) == 2


def test_run_in_doubt_without_a_message_does_not_hold_the_thread(serve: Serve) -> None:
    """A run that was started by itself, and nobody follows, is ended for the next one too."""
    server = Server({RUN_START: [HangUp], LIST_RUNS: [error(403, "no")] * 2})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(ServiceUnavailableError):
        next(service.start_run(REQUEST))
    server._answers[RUN_START] = [error(400, "Thread t already has an active run r0.")]
    server._answers[LIST_RUNS] = []
    server.status = "completed"
    assert last_of(service.start_run(REQUEST)).id == "r1"
    assert CANCEL_FIRST in stub.lines


def test_message_is_known_by_its_words_where_metadata_are_dropped() -> None:
    """A reply of the run does not hide its question, and an older question is not taken for it."""
    newest = [
        Message(id="m3", role="assistant", run_id="r"),
        Message(id="m2", role="user", content="hello"),
        Message(id="m1", role="user", content="hello"),
    ]
    found = wire.find_sent(newest, "token", "hello", "m1", "r")
    assert found is not None
    assert found.id == "m2"
    assert wire.find_sent(newest[:1] + newest[2:], "token", "hello", "m1", "r") is None


@pytest.mark.parametrize("value", ["yes", 1])
def test_choice_is_a_flag(value: Any) -> None:
    """Anything but True, False and None is refused with its name."""
    with pytest.raises(gpt.ConfigurationError, match="additional_messages"):
        AssistantsService("http://host/v1", additional_messages=value)


def test_interrupted_start_does_not_hold_the_thread(serve: Serve) -> None:
    """A run that Ctrl-C has left behind, in the middle of its creation, is ended for the next."""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    server = Server({RUN_START: [HangUp]})
    server.status = "in_progress"
    service, stub = serve(server)
    with pytest.raises(KeyboardInterrupt):
        service.post_message(attrs.evolve(REQUEST, pause=interrupt), HELLO)
    server._answers[RUN_START] = [error(400, "Thread t already has an active run r0.")]
    service.post_message(REQUEST, UserMessage(content="again"))
    assert CANCEL_FIRST in stub.lines
    assert said(server) == ["hello", "again"]
