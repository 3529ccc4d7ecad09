"""The worker over a stub server: late answers, lost runs, ids that are used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Reply, ScriptedService
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, error, listing
from tests.support.talk import PATIENCE, Talk

MakeStub = Callable[[Answerer], StubServer]

RUN = "/threads/t/runs/r"


def waiting(call_id: str = "c", arguments: str = "{}") -> Response:
    """Return a run that waits for an output."""
    calls = [{"id": call_id, "function": {"name": "go", "arguments": arguments}}]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return Response({"id": "r", "status": "requires_action", "required_action": action})


def agent_over(make_stub: MakeStub, answer: Answerer, **options: Any) -> tuple[gpt.Agent, Any]:
    """Return an agent over a stub, and its recorder."""
    options = {"additional_messages": False, **options}
    service = gpt.AssistantsService(make_stub(answer).base_url, "key", **options)
    recorder = EventRecorder()
    return gpt.connect("t", "a", service=service, on_event=recorder), recorder


def test_cancel_during_a_submission_ends_the_turn(make_stub: MakeStub) -> None:
    """A run cancelled while its outputs are being sent again and again is reported as cancelled."""
    submitted, cancelled = threading.Event(), threading.Event()

    def answer(request: Request) -> Response:
        if request.path.endswith("/cancel"):
            cancelled.set()
            return Response({"id": "r", "status": "cancelling"})
        if request.path.endswith("/submit_tool_outputs"):
            submitted.set()
            return error(400 if cancelled.is_set() else 503, "away")
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "cancelled"}) if cancelled.is_set() else waiting()
        return Response({"id": "r", "status": "queued"}) if request.body else listing()

    agent, recorder = agent_over(make_stub, answer, http_retries=4)
    agent.add_user_message("hello")
    agent.submit_tool_output(recorder.wait_for(gpt.ToolCallRequested).id, "x")
    assert submitted.wait(PATIENCE)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)


def test_polling_at_once_leaves_other_turns_alone() -> None:
    """A poll for a turn that has ended does not touch the next one's feed."""
    talk = Talk(ScriptedService([CallTools(("go", {})), Reply("ok")]))
    talk.agent.add_user_message("hello")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent._worker.poll_now(99)
    talk.agent.submit_tool_output(requested.id, "x")
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)


def test_late_output_does_not_answer_a_later_call_of_the_same_id(make_stub: MakeStub) -> None:
    """Servers use ids again: a handler of an earlier call answers that call only."""
    began, release, done = threading.Event(), threading.Event(), threading.Event()
    calls: list[int] = []

    @gpt.tool
    def go() -> str:
        """Take long the first time."""
        calls.append(1)
        if len(calls) == 1:
            began.set()
            release.wait(PATIENCE)
            done.set()
            return "late"
        return "fresh"

    cancelled, outputs = threading.Event(), list[str]()

    def answer(request: Request) -> Response:
        if request.path.endswith("/cancel"):
            cancelled.set()
            return Response({"id": "r", "status": "cancelling"})
        if request.path.endswith("/submit_tool_outputs"):
            outputs.append(request.body["tool_outputs"][0]["output"])
            return Response({"id": "r", "status": "completed"})
        if request.line == f"GET {RUN}":
            if cancelled.is_set():
                cancelled.clear()
                return Response({"id": "r", "status": "cancelled"})
            return waiting("call_0")
        if request.path.startswith("/assistants"):
            return Response({"id": "a", "tools": []})
        return Response({"id": "r", "status": "queued"}) if request.body else listing()

    agent, _ = agent_over(make_stub, answer)
    agent.add_user_message("one")
    assert began.wait(PATIENCE)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    agent.add_user_message("two")
    agent.wait(PATIENCE)
    release.set()
    assert done.wait(PATIENCE)
    assert outputs == ["fresh"]


def test_later_call_of_the_same_id_is_made(make_stub: MakeStub) -> None:
    """A run that uses an id again, for other arguments, does not get the first call's output."""

    @gpt.tool
    def go(to: str) -> str:
        """Go there."""
        return to

    outputs = list[str]()

    def answer(request: Request) -> Response:
        if request.path.endswith("/submit_tool_outputs"):
            outputs.append(request.body["tool_outputs"][0]["output"])
            status = "in_progress" if outputs == ["Oslo"] else "completed"
            return Response({"id": "r", "status": status})
        if request.line == f"GET {RUN}":
            return waiting("call_0", '{"to": "Rome"}' if outputs else '{"to": "Oslo"}')
        if request.path.startswith("/assistants"):
            return Response({"id": "a", "tools": []})
        return Response({"id": "r", "status": "queued"}) if request.body else listing()

    agent, _ = agent_over(make_stub, answer)
    agent.add_user_message("go")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert outputs == ["Oslo", "Rome"]


def test_run_that_is_over_at_once_is_started_once(make_stub: MakeStub) -> None:
    """Trouble with reading a finished run's messages does not start the run again."""
    trouble = [error(429, "slow"), error(503, "away")]
    starts: list[str] = []

    def answer(request: Request) -> Response:
        if request.line == "POST /threads/t/runs":
            starts.append("r")
            return Response({"id": "r", "status": "completed"})
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "completed"})
        if request.line == "GET /threads/t/messages" and trouble:
            return trouble.pop()
        return Response({"id": "m"}) if request.body else listing()

    gpt.configure(rate_limit_delay=0.0)
    agent, recorder = agent_over(make_stub, answer, http_retries=0)
    agent.add_user_message("hello")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert starts == ["r"]
    assert recorder.names == ["UserMessageAdded", "RunStarted", "RunCompleted"]


def test_run_whose_messages_cannot_be_read_ends(make_stub: MakeStub) -> None:
    """A service that never gives the messages of a finished run does not hold the turn for ever."""
    gpt.configure(heartbeat_interval=0.01)

    def answer(request: Request) -> Response:
        if request.line == "GET /threads/t/messages":
            return error(500, "broken")
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "completed"})
        return Response({"id": "r", "status": "queued"}) if request.body else listing()

    agent, _ = agent_over(make_stub, answer, http_retries=0)
    agent.add_user_message("hello")
    failed = agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert (failed.id, failed.code) == ("r", "service_unavailable")


def test_lost_run_is_found_where_metadata_are_dropped(make_stub: MakeStub) -> None:
    """On a server that keeps no metadata, the newest live run is the one whose answer was lost."""
    starts: list[str] = []

    def answer(request: Request) -> Response:
        if request.line == "POST /threads/t/runs":
            starts.append("r")
            raise HangUp
        if request.line == "GET /threads/t/runs":
            return listing(*[{"id": "r", "status": "in_progress"}] * len(starts))
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": "completed"})
        return Response({"id": "m"}) if request.body else listing()

    agent, _ = agent_over(make_stub, answer)
    agent.add_user_message("hello")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert starts == ["r"]


def test_reply_of_a_live_run_is_announced_when_it_is_done(make_stub: MakeStub) -> None:
    """What a live run still writes is not announced as missed, though no message names its run."""
    over = threading.Event()

    def answer(request: Request) -> Response:
        status = "completed" if over.is_set() else "in_progress"
        if request.line == "GET /threads/t/runs":
            return listing({"id": "r", "status": status})
        if request.line == f"GET {RUN}":
            return Response({"id": "r", "status": status})
        if request.line == "GET /threads/t/messages":
            text = [{"type": "text", "text": {"value": "whole" if over.is_set() else ""}}]
            user = {"id": "u", "role": "user", "content": "hello"}
            return listing(user, {"id": "m", "role": "assistant", "content": text})
        return Response({"id": "t"})

    service = gpt.AssistantsService(make_stub(answer).base_url, "key")
    recorder = EventRecorder()
    agent = gpt.connect("t", "a", service=service, on_event=recorder, last_message_id="m0")
    over.set()
    agent.wait(PATIENCE)
    assert [event.content for event in recorder.of(gpt.AssistantMessageAdded)] == ["whole"]
