"""Services in trouble: what the agent tells, and that it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Hold, Reply
from tests.plugins.services import WIRES, MakeService
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import (
    Answerer,
    HangUp,
    Response,
    StubServer,
    error,
    listing,
    table,
)
from tests.support.talk import PATIENCE, Talk

MakeStub = Callable[[Answerer], StubServer]

RUN = "/threads/t/runs/r"


def stub_agent(
    make_stub: MakeStub, recorder: EventRecorder, **answers: list[Any]
) -> tuple[gpt.Agent, StubServer]:
    """Return an agent over a stub; answers by ``post_run``, ``look``, ``submit``."""
    lines = {
        "message": "POST /threads/t/messages",
        "start": "POST /threads/t/runs",
        "look": f"GET {RUN}",
        "submit": f"POST {RUN}/submit_tool_outputs",
        "cancel": f"POST {RUN}/cancel",
        "runs": "GET /threads/t/runs",
        "messages": "GET /threads/t/messages",
    }
    usual: dict[str, list[Any]] = {
        "message": [Response({"id": "m"})],
        "start": [Response({"id": "r", "status": "queued"})],
        "look": [Response({"id": "r", "status": "completed"})],
        "runs": [listing()],
        "messages": [listing()],
    }
    chosen = {lines[name]: given for name, given in {**usual, **answers}.items()}
    stub = make_stub(table({"GET /threads/t": [Response({"id": "t"})], **chosen}))
    service = gpt.AssistantsService(stub.base_url, "key", http_retries=1, additional_messages=False)
    return gpt.connect("t", "a", service=service, on_event=recorder), stub


def waiting(*ids: str) -> Response:
    """Return a run that waits for outputs."""
    calls = [{"id": call_id, "function": {"name": "go", "arguments": "{}"}} for call_id in ids]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return Response({"id": "r", "status": "requires_action", "required_action": action})


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_reported(make_stub: MakeStub, status: int) -> None:
    """A key that the service refuses is an authentication error."""
    stub = make_stub(table({"POST /threads": [error(status, "Incorrect API key provided.")]}))
    with pytest.raises(gpt.AuthenticationError, match="Incorrect API key") as refused:
        gpt.create_thread(service=gpt.AssistantsService(stub.base_url, "wrong"))
    assert refused.value.status == status


def test_web_page_instead_of_an_answer_is_reported(make_stub: MakeStub) -> None:
    """An address that serves web pages is reported as no service of this wire."""
    stub = make_stub(table({"POST /threads": [Response(b"<html>Welcome</html>")]}))
    with pytest.raises(gpt.ProtocolError, match="Welcome"):
        gpt.create_thread(service=gpt.AssistantsService(stub.base_url))


def test_unknown_assistant_is_reported(make_server: Callable[..., ScriptedServer]) -> None:
    """A run of an assistant that is not there fails without an id, in the service's words."""
    service = gpt.AssistantsService(make_server().base_url, "key")
    recorder = EventRecorder()
    agent = gpt.connect(
        gpt.create_thread(service=service), "asst_gone", service=service, on_event=recorder
    )
    agent.add_user_message("hello")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert failed.id is None
    assert "asst_gone" in (failed.message or "")
    assert not agent.running


@pytest.mark.usefixtures("polled")
@pytest.mark.parametrize("wire", WIRES)
def test_server_that_dies_in_a_run_ends_it(
    make_server: Callable[..., ScriptedServer], wire: str
) -> None:
    """When the server is gone for longer than the retries, the run is reported as failed."""
    server = make_server([Hold()])
    talk = Talk(WIRES[wire](server.base_url, "key", http_retries=0))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    server.stop()
    failed = talk.recorder.wait_for(gpt.RunFailed)
    assert failed.code == "service_unavailable"
    assert talk.agent.is_alive
    assert not talk.agent.running


def test_passing_trouble_is_sat_out(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A poll that fails once is not noticed by the program."""
    agent, _ = stub_agent(
        make_stub,
        recorder,
        look=[HangUp, Response({"id": "r", "status": "completed"})],
    )
    agent.add_user_message("hello")
    agent.wait(PATIENCE)
    assert recorder.names == ["UserMessageAdded", "RunStarted", "RunCompleted"]


def test_garbage_in_a_run_ends_it(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A poll that is answered with garbage ends the run as failed, and the agent goes on."""
    agent, _ = stub_agent(make_stub, recorder, look=[Response(b"<html>")])
    agent.add_user_message("hello")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert failed.code == "protocol_error"


def test_busy_thread_is_waited_for(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A start refused because another process's run is live is tried until the thread is free."""
    busy = error(400, "Thread t already has an active run run_9.")
    agent, _ = stub_agent(
        make_stub, recorder, start=[busy, busy, Response({"id": "r", "status": "queued"})]
    )
    agent.add_user_message("hello")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert recorder.names == ["UserMessageAdded", "RunStarted", "RunCompleted"]


def test_busy_thread_refuses_a_message(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A message refused because another process's run is live is the caller's error."""
    agent, _ = stub_agent(
        make_stub,
        recorder,
        message=[error(400, "Can't add messages to t while a run r9 is active.")],
    )
    with pytest.raises(gpt.ServiceBusyError) as refused:
        agent.add_user_message("hello")
    assert refused.value.run_id == "r9"
    assert not agent.running


def test_expired_run_is_reported_while_a_call_waits(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A run that expires while nobody answers its call is reported as expired."""
    gpt.configure(heartbeat_interval=0.01)
    agent, _ = stub_agent(
        make_stub,
        recorder,
        look=[waiting("c"), waiting("c"), Response({"id": "r", "status": "expired"})],
    )
    agent.add_user_message("hello")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert failed.status == "expired"
    assert recorder.names.count("ToolCallRequested") == 1


def test_trouble_while_a_call_waits_is_sat_out(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A service that is away while a handler works does not end the run."""
    gpt.configure(heartbeat_interval=0.01)
    agent, stub = stub_agent(
        make_stub,
        recorder,
        look=[waiting("c"), error(503, "away")],
        submit=[Response({"id": "r", "status": "completed"})],
    )
    agent.add_user_message("hello")
    requested = recorder.wait_for(gpt.ToolCallRequested)
    looked = threading.Event()
    while stub.lines.count(f"GET {RUN}") < 4:
        assert not looked.wait(0.01)
    agent.submit_tool_output(requested.id, "x")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)


def test_outputs_that_cannot_be_sent_are_reported(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """When the outputs cannot be sent, that is reported, the run is cancelled and has failed."""
    gpt.configure(heartbeat_interval=0.01)
    agent, stub = stub_agent(
        make_stub,
        recorder,
        look=[waiting("c")],
        submit=[error(500, "broken")],
        cancel=[Response({"id": "r", "status": "cancelling"})],
    )
    agent.add_user_message("hello")
    agent.submit_tool_output(recorder.wait_for(gpt.ToolCallRequested).id, "x")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert failed.code == "tool_output_submission_failed"
    assert recorder.names[-2:] == ["ToolOutputSubmissionFailed", "RunFailed"]
    assert stub.lines.count(f"POST {RUN}/submit_tool_outputs") == 8
    assert stub.lines[-1] == f"POST {RUN}/cancel"


def test_run_that_cannot_be_cancelled_either_is_let_go(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A run given up that cannot be cancelled does not stop the agent."""
    agent, _ = stub_agent(
        make_stub,
        recorder,
        look=[waiting("c")],
        submit=[error(500, "broken")],
        cancel=[error(500, "broken too")],
    )
    agent.add_user_message("hello")
    agent.submit_tool_output(recorder.wait_for(gpt.ToolCallRequested).id, "x")
    assert isinstance(agent.wait(PATIENCE), gpt.RunFailed)
    assert agent.is_alive


def test_refused_cancel_is_the_callers_error(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A cancel that the service refuses is reported to the caller, and the run goes on."""
    agent, _ = stub_agent(
        make_stub,
        recorder,
        look=[waiting("c")],
        cancel=[error(400, "cancel only in_progress")],
        submit=[Response({"id": "r", "status": "completed"})],
    )
    agent.add_user_message("hello")
    requested = recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(gpt.RequestRejectedError, match="cancel only"):
        agent.cancel_run()
    agent.submit_tool_output(requested.id, "x")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)


def test_rate_limited_start_is_reported_and_repeated(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A start that is limited for longer than the retries is announced, and repeated later."""
    limit = Response({"error": {"message": "slow"}}, status=429, headers={"retry-after-ms": "1"})
    agent, _ = stub_agent(
        make_stub, recorder, start=[limit, limit, Response({"id": "r", "status": "queued"})]
    )
    agent.add_user_message("hello")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    limited = recorder.of(gpt.RateLimited)
    assert [(event.run_id, event.retry_in) for event in limited] == [(None, 0.001)]


def test_action_that_is_not_supported_ends_the_run(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A required action that is no function call is cancelled and told as failed."""
    approval = {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": []}}
    body = {"id": "r", "status": "requires_action", "required_action": approval}
    agent, stub = stub_agent(
        make_stub,
        recorder,
        look=[Response(body)],
        cancel=[Response({"id": "r", "status": "cancelling"})],
    )
    agent.add_user_message("hello")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert "submit_tool_approval" in (failed.message or "")
    assert f"POST {RUN}/cancel" in stub.lines


def test_cancel_before_the_run_has_an_id(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A run that is cancelled while it is being started is cancelled when it has an id."""
    asked, go_on = threading.Event(), threading.Event()
    answers = table(
        {
            "GET /threads/t": [Response({"id": "t"})],
            "GET /threads/t/runs": [listing()],
            "GET /threads/t/messages": [listing()],
            "POST /threads/t/messages": [Response({"id": "m"})],
            "POST /threads/t/runs": [Response({"id": "r", "status": "queued"})],
            f"POST {RUN}/cancel": [Response({"id": "r", "status": "cancelling"})],
            f"GET {RUN}": [Response({"id": "r", "status": "cancelled"})],
        }
    )

    def answer(request: Any) -> Response:
        if request.line == "POST /threads/t/runs":
            asked.set()
            assert go_on.wait(PATIENCE)
        return answers(request)

    service = gpt.AssistantsService(make_stub(answer).base_url, "key", additional_messages=False)
    agent = gpt.connect("t", "a", service=service, on_event=recorder)
    agent.add_user_message("hello")
    assert asked.wait(PATIENCE)
    agent.cancel_run()
    go_on.set()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)


def test_waiting_start_is_cancelled_without_a_request(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A start that waits for a rate limit is dropped at once."""
    limit = Response({"error": {"message": "slow"}}, status=429, headers={"retry-after": "3600"})
    agent, stub = stub_agent(make_stub, recorder, start=[limit])
    agent.add_user_message("hello")
    recorder.wait_for(gpt.RateLimited)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    assert f"POST {RUN}/cancel" not in stub.lines


def test_cancel_wakes_a_limited_poll(make_stub: MakeStub, recorder: EventRecorder) -> None:
    """A poll put off by a rate limit is made at once when the run is cancelled."""
    limit = Response({"error": {"message": "slow"}}, status=429, headers={"retry-after": "3600"})
    cancelled = threading.Event()

    def answer(request: Any) -> Response:
        if request.line == f"POST {RUN}/cancel":
            cancelled.set()
            return Response({"id": "r", "status": "cancelling"})
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "cancelled"}) if cancelled.is_set() else limit
        if request.method == "POST":
            return Response({"id": "r", "status": "queued"})
        return listing()

    service = gpt.AssistantsService(make_stub(answer).base_url, "key")
    agent = gpt.connect("t", "a", service=service, on_event=recorder)
    agent.add_user_message("hello")
    recorder.wait_for(gpt.RunStarted)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)


def test_every_message_is_announced_however_many(
    make_stub: MakeStub, recorder: EventRecorder
) -> None:
    """A run that wrote more messages than a page holds has all of them told, once, in order."""
    everything = [
        {
            "id": f"m{number:03}",
            "role": "assistant",
            "run_id": "r",
            "content": [{"type": "text", "text": {"value": str(number)}}],
        }
        for number in range(130)
    ]

    def answer(request: Any) -> Response:
        if request.line == "GET /threads/t/messages":
            ids = [message["id"] for message in everything]
            begin = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
            page = everything[begin : begin + 100]
            return listing(*page, has_more=begin + 100 < len(everything))
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "completed"})
        if request.method == "POST":
            return Response({"id": "r", "status": "queued"})
        return listing()

    service = gpt.AssistantsService(make_stub(answer).base_url, "key")
    agent = gpt.connect("t", "a", service=service, on_event=recorder)
    agent.add_user_message("hello")
    agent.wait(PATIENCE)
    told = [event.content for event in recorder.of(gpt.AssistantMessageAdded)]
    assert told == [str(number) for number in range(130)]


@pytest.mark.parametrize("wire", WIRES)
def test_second_process_sees_the_thread_busy(
    make_server: Callable[..., ScriptedServer], wire: str
) -> None:
    """Two clients of one server: the second waits for the first one's run, and then has its own."""
    server = make_server([CallTools(("go", {})), Reply("one"), Reply("two")])
    first, second = (WIRES[wire](server.base_url, key) for key in ("first", "second"))
    talk = Talk(first)
    talk.agent.add_user_message("hello")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    assistant_id = gpt.create_assistant(model="any", service=second)
    other = gpt.connect(talk.thread_id, assistant_id, service=second)
    assert other.running
    with pytest.raises(gpt.RunInProgressError):
        other.add_user_message("mine")
    talk.agent.submit_tool_output(requested.id, "x")
    assert other.add_user_message("mine", when_busy="wait", timeout=PATIENCE)
    assert isinstance(other.wait(PATIENCE), gpt.RunCompleted)


# runs that take too long


def test_run_that_takes_too_long_is_given_up(make_service: MakeService) -> None:
    """A run past ``run_timeout`` is cancelled and told, and the thread is free for the next."""
    gpt.configure(run_timeout=1.0, heartbeat_interval=0.05)
    talk = Talk(make_service([Hold(), Reply("next")]))
    with pytest.raises(gpt.RunFailedError) as failed:
        talk.agent.ask("hello", timeout=PATIENCE)
    event = failed.value.event
    assert isinstance(event, gpt.RunFailed)
    assert (event.status, event.code) == ("expired", "run_timeout")
    assert talk.agent.ask("hello", when_busy="wait", timeout=PATIENCE) == "next"


def test_run_whose_outputs_never_come_is_given_up(make_service: MakeService) -> None:
    """A call that nobody answers does not hold the thread for longer than ``run_timeout``."""
    gpt.configure(run_timeout=1.0, heartbeat_interval=0.05)
    talk = Talk(make_service([CallTools(("nobody", {})), Reply("next")]))
    with pytest.raises(gpt.RunFailedError, match="run_timeout"):
        talk.agent.ask("hello", timeout=PATIENCE)
    assert talk.agent.ask("hello", when_busy="wait", timeout=PATIENCE) == "next"
