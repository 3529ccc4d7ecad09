"""Handlers at work: typed arguments, failures, timeouts, context."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.records import RunRequest, ToolOutput
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService
from tests.support.talk import PATIENCE, Talk


def call(name: str, **arguments: Any) -> Talk:
    """Return a talk whose model calls one tool and then replies."""
    return Talk(ScriptedService([CallTools((name, arguments)), Reply("ok")]))


def failure(talk: Talk) -> str:
    """Return the message of the failed call, checking that the model was told of it."""
    failed = talk.recorder.wait_for(gpt.ToolCallFailed)
    recorded = talk.recorder.wait_for(gpt.ToolCallOutputRecorded)
    assert json.loads(recorded.output) == {"error": failed.message}
    assert failed.id == recorded.id
    return failed.message


def test_arguments_are_typed() -> None:
    """A handler gets its parameters' types, not JSON."""
    got: list[object] = []

    @gpt.tool
    def remind(at: datetime.datetime, times: int = 1) -> str:
        """Remind."""
        got.extend([at, times])
        return "noted"

    call("remind", at="2026-11-22T10:00:00Z").say()
    assert got == [datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.timezone.utc), 1]


def test_arguments_that_do_not_fit_are_answered_with_an_error() -> None:
    """The handler is not called, and the model learns what was wrong."""

    @gpt.tool
    def double(number: int) -> int:
        """Double."""
        raise AssertionError("not to be called")

    talk = call("double", number="three")
    talk.say()
    assert "do not fit" in failure(talk)
    assert "int" in failure(talk)


def test_exception_is_answered_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """What a handler raises is reported, logged with its traceback, and the run goes on."""

    @gpt.tool
    def divide(a: float, b: float) -> float:
        """Divide."""
        return a / b

    talk = call("divide", a=1, b=0)
    assert talk.agent.ask("go", timeout=PATIENCE) == "ok"
    assert "ZeroDivisionError" in failure(talk)
    assert "Traceback" in caplog.text


def test_exception_is_told_without_secrets() -> None:
    """A password in an exception's text goes to nobody."""

    @gpt.tool
    def look_up() -> str:
        """Look something up."""
        raise ConnectionError("no answer from postgresql://app:hunter2@db/shop")

    talk = call("look_up")
    talk.say()
    assert failure(talk) == "ConnectionError: no answer from postgresql://***@db/shop"


def test_exception_may_be_told_by_its_class_alone() -> None:
    """A tool may keep the words of its exceptions from the model; the program has them."""

    @gpt.tool(errors="class")
    def look_up() -> str:
        """Look something up."""
        raise ConnectionError("no answer from the database of the accounts")

    talk = call("look_up")
    talk.say()
    recorded = talk.recorder.wait_for(gpt.ToolCallOutputRecorded)
    assert json.loads(recorded.output) == {"error": "ConnectionError"}
    failed = talk.recorder.wait_for(gpt.ToolCallFailed)
    assert failed.message == "ConnectionError: no answer from the database of the accounts"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_exit_in_a_handler_is_only_a_failure() -> None:
    """A handler that wants to leave the program does not take the agent with it."""

    @gpt.tool
    def leave() -> None:
        """Leave."""
        raise SystemExit(1)

    talk = call("leave")
    talk.say()
    assert "SystemExit" in failure(talk)


def test_result_that_json_cannot_hold_is_a_failure() -> None:
    """A result that JSON cannot hold is reported as that."""

    @gpt.tool
    def thing() -> object:
        """Return a thing."""
        return object()

    talk = call("thing")
    talk.say()
    assert "JSON cannot hold object" in failure(talk)


def test_slow_handler_is_answered_with_an_error() -> None:
    """A handler that takes too long is reported as failed; what it returns later is dropped."""
    release, returned = threading.Event(), threading.Event()

    @gpt.tool(timeout=0.05)
    def slow() -> str:
        """Take long."""
        release.wait(PATIENCE)
        returned.set()
        return "late"

    talk = call("slow")
    talk.say()
    assert "0.05 s" in failure(talk)
    release.set()
    assert returned.wait(PATIENCE)
    assert len(talk.recorder.of(gpt.ToolCallOutputRecorded)) == 1


def test_outputs_reach_the_model_in_the_order_of_its_calls() -> None:
    """However long each handler takes, the outputs are submitted as the model asked for them."""
    submitted: list[str] = []
    last_is_done = threading.Event()

    class Watched(ScriptedService):
        """Note what is submitted."""

        def submit_tool_outputs(
            self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
        ) -> Feed:
            """Note the outputs and pass them on."""
            submitted.extend(output.output for output in outputs)
            return super().submit_tool_outputs(request, run_id, outputs)

    @gpt.tool
    def slow() -> str:
        """Answer after the other."""
        assert last_is_done.wait(PATIENCE)
        return "first"

    @gpt.tool
    def quick() -> str:
        """Answer at once."""
        return "last"

    calls = CallTools(("slow", {}), ("quick", "{bad"), ("quick", {}))
    talk = Talk(Watched([calls, Reply("ok")]))

    @talk.agent.on(gpt.ToolCallOutputRecorded)
    def release(event: gpt.ToolCallOutputRecorded) -> None:
        if event.output == "last":
            last_is_done.set()

    talk.say()
    assert [submitted[0], submitted[2]] == ["first", "last"]
    assert "not a JSON object" in submitted[1]


def test_usual_timeout_comes_from_the_settings() -> None:
    """Without one of its own, a tool has the timeout of the settings."""
    gpt.configure(tool_timeout=0.05)
    release = threading.Event()

    @gpt.tool
    def slow() -> None:
        """Take long."""
        release.wait(PATIENCE)

    talk = call("slow")
    talk.say()
    release.set()
    assert failure(talk)


def test_hanging_handlers_do_not_starve_others() -> None:
    """A handler given up on does not keep its place in the pool."""
    gpt.configure(tool_workers=1)
    release = threading.Event()

    @gpt.tool(timeout=0.05)
    def hang() -> None:
        """Hang."""
        release.wait(PATIENCE)

    @gpt.tool
    def quick() -> str:
        """Answer."""
        return "here"

    talk = Talk(ScriptedService([CallTools(("hang", {}), ("quick", {})), Reply("ok")]))
    talk.say()
    release.set()
    assert {event.name for event in talk.recorder.of(gpt.ToolCallFailed)} == {"hang"}


def test_context_names_the_call() -> None:
    """A parameter for the context gets thread, run, call, agent and deadline."""
    seen: list[gpt.ToolContext] = []

    @gpt.tool(timeout=60)
    def look(context: gpt.ToolContext, word: str) -> str:
        """Look."""
        seen.append(context)
        return word

    talk = call("look", word="x")
    talk.say()
    requested = talk.recorder.of(gpt.ToolCallRequested)[0]
    context = seen[0]
    assert (context.thread_id, context.run_id, context.tool_call_id) == (
        talk.thread_id,
        requested.run_id,
        requested.id,
    )
    assert context.agent is talk.agent
    assert context.deadline is not None
    assert context.deadline > time.monotonic()


def test_own_tool_goes_before_a_given_and_a_shared_one() -> None:
    """Of tools with one name, the agent's own is called, then the given, then the shared."""

    def say(word: str) -> Any:
        def where() -> str:
            """Say where."""
            return word

        return where

    given = gpt.Toolbox()
    gpt.tool(say("shared"))
    talk = Talk(ScriptedService([CallTools(("where", {}))] * 3), tools=given)
    for box, register in (("shared", None), ("given", given.tool), ("own", talk.agent.tool)):
        if register is not None:
            register(say(box))
        tool = talk.agent._setup.find_tool("where")
        assert tool is not None
        assert tool.handler() == box


def test_agents_tools_are_its_own() -> None:
    """A tool registered on one agent is not known to another."""
    one, other = Talk(ScriptedService()), Talk(ScriptedService())

    @one.agent.tool
    def secret() -> None:
        """Keep."""

    assert one.agent._setup.find_tool("secret") is not None
    assert other.agent._setup.find_tool("secret") is None


def test_program_may_answer_before_the_handler() -> None:
    """The first answer to a call counts, the handler's later one is dropped."""
    began, release, returned = threading.Event(), threading.Event(), threading.Event()

    @gpt.tool
    def slow() -> str:
        """Take long."""
        began.set()
        release.wait(PATIENCE)
        returned.set()
        return "handler"

    talk = call("slow")
    talk.agent.add_user_message("go")
    assert began.wait(PATIENCE)
    talk.agent.submit_tool_output(talk.recorder.of(gpt.ToolCallRequested)[0].id, "program")
    talk.agent.wait(PATIENCE)
    release.set()
    assert returned.wait(PATIENCE)
    assert [event.output for event in talk.recorder.of(gpt.ToolCallOutputRecorded)] == ["program"]


@pytest.mark.parametrize("verb", ["wait", "ask"])
def test_waiting_in_a_handler_is_refused(verb: str) -> None:
    """A handler that waits for its own run would wait for ever: it is refused."""

    @gpt.tool
    def wait(context: gpt.ToolContext) -> None:
        """Wait."""
        if verb == "wait":
            context.agent.wait()
        else:
            context.agent.ask("more")

    talk = call("wait")
    talk.say()
    assert "would wait for itself" in failure(talk)


def test_handler_may_use_another_agent() -> None:
    """A handler may ask an assistant of another conversation."""
    expert = Talk(ScriptedService([Reply("42")]))

    @gpt.tool
    def ask_expert(question: str) -> str:
        """Ask."""
        return expert.agent.ask(question, timeout=PATIENCE)

    talk = call("ask_expert", question="?")
    talk.say()
    assert talk.recorder.of(gpt.ToolCallOutputRecorded)[0].output == "42"


@pytest.mark.parametrize("output", [object(), {1, 2}, float("nan"), b"x", {"a": object()}])
def test_output_that_json_cannot_hold_is_refused(output: object) -> None:
    """An output that JSON cannot hold is refused, and nothing is recorded."""
    talk = call("nobody")
    talk.agent.add_user_message("go")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(TypeError, match="JSON"):
        talk.agent.submit_tool_output(requested.id, output)
    assert talk.agent.state.tool_calls == (requested,)


def test_output_without_a_run_is_refused() -> None:
    """Without a run there is no call to answer."""
    talk = Talk(ScriptedService())
    with pytest.raises(gpt.RunNotInProgressError):
        talk.agent.submit_tool_output("call_1", "x")


def test_output_of_an_unknown_call_is_refused() -> None:
    """An id that no call has is refused, and the waiting ones are named."""
    talk = call("nobody")
    talk.agent.add_user_message("go")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(gpt.InvalidToolCallIdError, match=requested.id):
        talk.agent.submit_tool_output("call_unknown", "x")


@pytest.mark.parametrize("call_id", ["", " ", None])
def test_blank_call_id_is_refused(call_id: Any) -> None:
    """A blank call id is refused as blank."""
    talk = Talk(ScriptedService())
    with pytest.raises(gpt.BlankValueError):
        talk.agent.submit_tool_output(call_id, "x")


def test_calls_from_many_threads_are_recorded_once() -> None:
    """When many threads answer one call, one wins and the others are refused."""
    talk = call("nobody")
    talk.agent.add_user_message("go")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    refused: list[str] = []
    ready = threading.Barrier(20)

    def answer() -> None:
        ready.wait(PATIENCE)
        try:
            talk.agent.submit_tool_output(requested.id, "x")
        except (gpt.InvalidToolCallIdError, gpt.RunNotInProgressError) as exc:
            refused.append(type(exc).__name__)

    threads = [threading.Thread(target=answer) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    talk.agent.wait(PATIENCE)
    assert len(refused) == 19
    assert len(talk.recorder.of(gpt.ToolCallOutputRecorded)) == 1


def test_deep_arguments_are_answered_with_an_error() -> None:
    """Arguments nested beyond all measure cost the call, not the agent."""
    talk = Talk(ScriptedService([CallTools(("go", "[" * 100_000)), Reply("sorry")]))
    assert talk.agent.ask("go", timeout=PATIENCE) == "sorry"
    assert talk.recorder.of(gpt.ToolCallFailed)


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


def test_exception_that_cannot_be_printed_is_reported() -> None:
    """A handler's exception without words is reported by its class."""

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


class Unreadable(Exception):
    """An exception that raises whatever one does with it."""

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]  # as foreign code may have it
        raise SystemExit

    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class Misplaced(SyntaxError):
    """An exception whose place in a text is none, so that its traceback cannot be shown."""

    lineno: Any = "here"
    text: Any = 3
    filename: Any = object()

    def __str__(self) -> str:
        return "no place"


UNPRINTABLE = [Unreadable(), Misplaced()]


@pytest.mark.parametrize("error", UNPRINTABLE, ids=lambda error: type(error).__name__)
def test_exception_that_cannot_be_printed(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """A handler's exception that nobody can print is reported and logged by its class."""

    @gpt.tool
    def fail() -> str:
        """Fail."""
        raise error

    talk = call("fail")
    assert talk.agent.ask("go", timeout=PATIENCE) == "ok"
    assert type(error).__name__ in failure(talk)
    assert type(error).__name__ in caplog.text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", UNPRINTABLE, ids=lambda error: type(error).__name__)
def test_callback_whose_exception_cannot_be_printed(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A callback's exception that nobody can print keeps no event from the others."""

    def fail(event: gpt.Event) -> None:
        raise error

    talk = Talk(ScriptedService([Reply("ok")]))
    talk.agent.on(gpt.RunStarted, fail)
    assert talk.agent.ask("go", timeout=PATIENCE) == "ok"
    assert type(error).__name__ in caplog.text


def test_no_thread_for_a_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for which no thread can be started is answered as failed, and the run goes on."""

    @gpt.tool
    def add() -> str:
        """Add."""
        raise AssertionError("not to be called")

    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name.startswith("gpt-agent-tool-"):
            raise RuntimeError("can't start new thread")
        start(self)

    talk = call("add")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert talk.agent.ask("go", timeout=PATIENCE) == "ok"
    assert "can't start new thread" in failure(talk)
