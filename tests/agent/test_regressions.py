"""Cases that once went wrong: races at the edges of a turn, odd servers, handlers that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.registry import registry
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.records import Message, Posted, RunRequest, UserMessage
from gpt_agent_sync.testing import CallTools, EventRecorder, Reply, ScriptedService
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, error, listing
from tests.support.talk import PATIENCE, Talk

MakeStub = Callable[[Answerer], StubServer]

RUN = "/threads/t/runs/r"


def waiting(call_id: str = "c") -> Response:
    """Give a run that waits for an output."""
    calls = [{"id": call_id, "function": {"name": "go", "arguments": "{}"}}]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return Response({"id": "r", "status": "requires_action", "required_action": action})


def agent_over(make_stub: MakeStub, answer: Answerer, **options: Any) -> tuple[gpt.Agent, Any]:
    """Give an agent over a stub, and its recorder."""
    service = gpt.AssistantsService(make_stub(answer).base_url, "key", **options)
    recorder = EventRecorder()
    return gpt.connect("t", "a", service=service, on_event=recorder), recorder


def test_cancel_during_a_submission_ends_the_turn(make_stub: MakeStub) -> None:
    """A run cancelled while its outputs are being sent again and again is told as cancelled."""
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


def test_looking_at_once_leaves_other_turns_alone() -> None:
    """A look for a turn that is over does not touch the next one's feed."""
    talk = Talk(ScriptedService([CallTools(("go", {})), Reply("ok")]))
    talk.agent.add_user_message("hello")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent._worker.poll_now(99)
    talk.agent.submit_tool_output(requested.id, "x")
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)


def test_agent_whose_thread_cannot_start_is_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system has no thread to give, connect says so, and leaves nothing behind."""
    service = ScriptedService()
    thread_id = gpt.create_thread(service=service)

    def refuse(worker: Worker, finished: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            gpt.connect(thread_id, service=service, on_event=EventRecorder())
    assert registry.agents() == []
    assert gpt.connect(thread_id, service=service).is_alive


def test_deep_arguments_are_answered_with_an_error() -> None:
    """Arguments nested beyond all measure cost the call, not the agent."""
    talk = Talk(ScriptedService([CallTools(("go", "[" * 100_000)), Reply("sorry")]))
    assert talk.agent.ask("go", timeout=PATIENCE) == "sorry"
    assert talk.recorder.of(gpt.ToolCallFailed)


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


def test_handlers_that_ask_other_agents_do_not_starve_them() -> None:
    """A handler that waits for another agent leaves its place in the pool to that agent's."""
    gpt.configure(tool_workers=1)

    @gpt.tool
    def look_up(word: str) -> str:
        """Look up."""
        return word.upper()

    expert = Talk(ScriptedService([CallTools(("look_up", {"word": "x"})), Reply("done")]))

    @gpt.tool
    def ask_expert() -> str:
        """Ask."""
        return expert.agent.ask("?", timeout=PATIENCE)

    talk = Talk(ScriptedService([CallTools(("ask_expert", {})), Reply("ok")]))
    assert talk.agent.ask("go", timeout=PATIENCE) == "ok"
    assert talk.recorder.of(gpt.ToolCallOutputRecorded)[0].output == "done"


def test_full_stream_does_not_hold_up_idleness() -> None:
    """An idle agent stops though nobody reads its full stream."""
    talk = Talk(ScriptedService([Reply("hi")]), idle_timeout=0.1)
    stream = talk.agent.events(maxsize=4)
    talk.say()
    talk.recorder.wait_for(gpt.AgentStopped)
    assert len(list(stream)) == 5


def test_answer_is_given_though_a_callback_stops_the_agent() -> None:
    """A question whose reply was told is answered, also when that stopped the agent."""
    talk = Talk(ScriptedService([Reply("hi")]))

    @talk.agent.on(gpt.RunCompleted)
    def stop(event: gpt.RunCompleted) -> None:
        talk.agent.shutdown()

    assert talk.agent.ask("hello", timeout=PATIENCE) == "hi"


def test_exception_that_cannot_say_what_it_is_is_told() -> None:
    """A handler's exception without words is told by its class."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    @gpt.tool
    def go() -> None:
        """Raise."""
        raise Mute

    talk = Talk(ScriptedService([CallTools(("go", {})), Reply("ok")]))
    talk.say()
    assert talk.recorder.of(gpt.ToolCallFailed)[0].message == "Mute"


def test_text_that_utf8_cannot_hold_is_sent(local: gpt.LocalService) -> None:
    """A file name with a stray byte, as Python reads it, goes to the model all the same."""

    @gpt.tool
    def name_file() -> str:
        """Name a file."""
        return "caf\udce9"

    assistant_id = gpt.create_assistant(model="demo", service=local)
    agent = gpt.connect(gpt.create_thread(service=local), assistant_id, service=local)
    agent.add_user_message("Please call name_file.")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted | gpt.RunFailed)
    assert agent.is_alive


class MissingHistory(ScriptedService):
    """Hold up one caller's history until told otherwise, and then fail it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def messages_after(self, thread_id: str, message_id: str) -> Sequence[Message]:
        """Fail."""
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        raise KeyboardInterrupt


def test_trouble_of_one_caller_is_not_that_of_another() -> None:
    """Who waits for another's connect shares its lookup, and not its private mishaps."""
    service = MissingHistory()
    thread_id = gpt.create_thread(service=service)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gpt.connect, thread_id, service=service, last_message_id="m")
        assert service.asked.wait(PATIENCE)
        second = pool.submit(gpt.connect, thread_id, service=service)
        service.go_on.set()
        assert second.result(PATIENCE).is_alive
        with pytest.raises(KeyboardInterrupt):
            first.result(PATIENCE)


def test_reply_of_a_live_run_is_told_when_it_is_done(make_stub: MakeStub) -> None:
    """What a live run is still writing is not told as missed, where no message names its run."""
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


def test_call_answered_in_a_callback_is_not_handled() -> None:
    """A handler is not called for a call that a callback has answered before it."""
    called: list[str] = []

    @gpt.tool
    def go() -> str:
        """Go."""
        called.append("go")
        return "handler"

    talk = Talk(ScriptedService([CallTools(("go", {})), Reply("ok")]))

    @talk.agent.on(gpt.ToolCallRequested)
    def answer(event: gpt.ToolCallRequested) -> None:
        talk.agent.submit_tool_output(event.id, "callback")

    talk.say()
    assert called == []
    assert talk.recorder.of(gpt.ToolCallOutputRecorded)[0].output == "callback"


class SlowPost(ScriptedService):
    """Take long over a message."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Take the message, in its own time."""
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        return super().post_message(request, message)


def test_message_posted_to_a_stopped_agent_is_named() -> None:
    """When the agent stops during the post, the error names the message, which has no run."""
    service = SlowPost()
    talk = Talk(service)
    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(talk.agent.add_user_message, "hello")
        assert service.asked.wait(PATIENCE)
        talk.agent.shutdown()
        service.go_on.set()
        with pytest.raises(gpt.AgentNotAliveError, match="was posted") as stopped:
            posting.result(PATIENCE)
    assert service.texts(talk.thread_id) == [("user", "hello")]
    assert stopped.value.message_id is not None


def test_questions_may_wait_for_each_other() -> None:
    """Callers that ask at once, and are willing to wait, each get their own answer."""
    talk = Talk(ScriptedService(lambda text, outputs: Reply(f"re {text}")))

    def ask(number: int) -> str:
        return talk.agent.ask(f"q{number}", when_busy="wait", timeout=PATIENCE)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [f"re q{number}" for number in range(8)]


@pytest.mark.parametrize(
    "verb",
    [
        lambda agent: agent.ask("x", timeout="y"),
        lambda agent: agent.ask("x", timeout=-1),
        lambda agent: agent.ask("x", when_busy="queue"),
        lambda agent: agent.wait("x"),
        lambda agent: agent.wait(True),
        lambda agent: agent.add_user_message("x", when_busy="wait", timeout=-1),
        lambda agent: agent.shutdown("x"),
    ],
)
def test_unusable_timeouts_are_refused_before_anything_is_done(
    verb: Callable[[gpt.Agent], object],
) -> None:
    """A timeout that is none is refused at once, and nothing has happened."""
    service = ScriptedService()
    talk = Talk(service)
    with pytest.raises((TypeError, ValueError)):
        verb(talk.agent)
    assert talk.agent.is_alive
    assert service.requests["post_message"] == 0


def test_timeout_names_the_tools_that_are_waited_for() -> None:
    """A wait for a call that nobody handles says which."""
    talk = Talk(ScriptedService([CallTools(("nobody", {}))]))
    talk.agent.add_user_message("go")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(gpt.WaitTimeoutError, match="output of 'nobody'"):
        talk.agent.wait(0.01)


def test_huge_times_do_no_harm() -> None:
    """Times beyond what clocks can count are as good as for ever."""
    talk = Talk(ScriptedService([Reply("hi")]), idle_timeout=1e12)
    assert talk.agent.ask("hello", timeout=1e12) == "hi"
    talk.agent.wait(1e12)
