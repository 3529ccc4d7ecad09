"""The end of an agent, however it comes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import signals
from gpt_agent_sync.records import FeedUpdate, RunRequest
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.testing import CallTools, EventRecorder, Hold, Reply, ScriptedService
from tests.support.forks import forks, in_forked_child
from tests.support.stub import Answerer, Request, Response, StubServer, listing
from tests.support.talk import PATIENCE, Talk


def test_shutdown_is_announced_last() -> None:
    """AgentStopped is the last event, and then the agent is not alive."""
    talk = Talk(ScriptedService())
    talk.say()
    talk.agent.shutdown()
    assert not talk.agent.is_alive
    assert talk.recorder.events[-1] == gpt.AgentStopped(thread_id=talk.thread_id, reason="shutdown")


def test_shutdown_twice_is_announced_once() -> None:
    """A second shutdown does nothing."""
    talk = Talk(ScriptedService())
    talk.agent.shutdown()
    talk.agent.shutdown()
    assert talk.names == ["AgentStopped"]


def test_shutdown_leaves_the_run_to_the_service() -> None:
    """The service's run goes on without the agent."""
    service = ScriptedService([Hold()])
    talk = Talk(service)
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.shutdown()
    assert service.open_thread(talk.thread_id) is not None
    assert service.requests["cancel_run"] == 0


def test_shutdown_wakes_the_feed() -> None:
    """A worker that waits for its run stops at once, and nothing runs on."""
    talk = Talk(ScriptedService([Hold()]))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.shutdown(PATIENCE)
    names = [thread.name for thread in threading.enumerate()]
    assert f"gpt-agent-{talk.thread_id}" not in names
    assert not talk.agent.state.running


def test_shutdown_in_a_callback() -> None:
    """A callback may stop its own agent; what has happened is still told."""
    talk = Talk(ScriptedService([Reply("one", "two")]))

    @talk.agent.on(gpt.RunCompleted)
    def stop(event: gpt.RunCompleted) -> None:
        talk.agent.shutdown()

    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.AgentStopped)
    assert talk.names[-3:] == ["AssistantMessageAdded", "AssistantMessageAdded", "AgentStopped"]


def test_shutdown_in_a_handler() -> None:
    """A handler may stop its own agent."""

    @gpt.tool
    def stop(context: gpt.ToolContext) -> None:
        """Stop."""
        context.agent.shutdown()

    talk = Talk(ScriptedService([CallTools(("stop", {}))]))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.AgentStopped)
    assert "ToolCallOutputRecorded" not in talk.names


def test_shutdown_does_not_wait_for_a_silent_server(
    make_stub: Callable[[Answerer], StubServer],
) -> None:
    """A request that gets no answer does not hold the shutdown up for longer than asked."""
    asked, release = threading.Event(), threading.Event()

    def answer(request: Request) -> Response:
        if request.method == "POST" and request.path.endswith("/runs"):
            asked.set()
            release.wait(PATIENCE)
        return listing() if request.method == "GET" else Response({"id": "x", "status": "queued"})

    service = gpt.AssistantsService(make_stub(answer).base_url, "key", additional_messages=False)
    recorder = EventRecorder()
    agent = gpt.connect("t", "a", service=service, on_event=recorder)
    agent.add_user_message("hello")
    assert asked.wait(PATIENCE)
    agent.shutdown(0.05)
    assert not agent.is_alive
    assert gpt.connect("t", "a", service=service) is not agent
    release.set()
    recorder.wait_for(gpt.AgentStopped)
    assert "RunStarted" not in recorder.names


@pytest.mark.parametrize(
    "verb",
    [
        lambda agent: agent.add_user_message("x"),
        lambda agent: agent.add_user_message("x", when_busy="wait"),
        lambda agent: agent.add_user_message("x", when_busy="queue"),
        lambda agent: agent.submit_tool_output("x", "y"),
        lambda agent: agent.cancel_run(),
        lambda agent: agent.wait(),
        lambda agent: agent.ask("x"),
        lambda agent: agent.on(gpt.Event, print),
        lambda agent: agent.on(gpt.Event)(print),
        lambda agent: agent.events(),
        lambda agent: agent.set_default_assistant("x"),
    ],
)
def test_stopped_agent_refuses_its_verbs(verb: Callable[[gpt.Agent], object]) -> None:
    """Every verb of a stopped agent says that it has stopped."""
    talk = Talk(ScriptedService())
    talk.agent.shutdown()
    with pytest.raises(gpt.AgentNotAliveError, match="has stopped"):
        verb(talk.agent)


@pytest.mark.parametrize("verb", ["wait", "ask", "message"])
def test_waiting_for_an_agent_that_stops_is_an_error(verb: str) -> None:
    """A caller that waits for a run learns that the agent stops in the middle of it."""
    service = ScriptedService([Hold()])
    talk = Talk(service)
    errors: list[BaseException] = []
    if verb != "ask":
        talk.agent.add_user_message("hello")
    verbs: dict[str, Callable[[], object]] = {
        "wait": talk.agent.wait,
        "ask": lambda: talk.agent.ask("hello"),
        "message": lambda: talk.agent.add_user_message("more", when_busy="wait"),
    }

    def wait() -> None:
        try:
            verbs[verb]()
        except gpt.AgentNotAliveError as exc:
            errors.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.shutdown()
    waiting.join()
    assert len(errors) == 1


def test_context_manager_waits_and_stops() -> None:
    """The end of a with block waits for the run and shuts down."""
    talk = Talk(ScriptedService([Reply("hi")]))
    with talk.agent as agent:
        agent.add_user_message("hello")
    assert talk.names[-2:] == ["AssistantMessageAdded", "AgentStopped"]


def test_context_manager_does_not_wait_after_an_exception() -> None:
    """A with block that raises shuts down at once, and the exception comes out."""
    talk = Talk(ScriptedService([Hold()]))

    def leave() -> None:
        with talk.agent as agent:
            agent.add_user_message("hello")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        leave()
    assert not talk.agent.is_alive


def test_context_manager_does_not_mind_a_stopped_agent() -> None:
    """A with block may stop the agent itself."""
    talk = Talk(ScriptedService())
    with talk.agent as agent:
        agent.shutdown()
    assert talk.names == ["AgentStopped"]


def test_stopped_agent_leaves_no_subscription() -> None:
    """All that was subscribed to an agent is gone when it has stopped."""
    before = {name: len(signal.receivers) for name, signal in signals.BY_EVENT.items()}
    talk = Talk(ScriptedService())
    talk.agent.on(gpt.RunCompleted, print)
    talk.agent.events()
    talk.agent.shutdown(PATIENCE)
    talk.recorder.wait_for(gpt.AgentStopped)
    assert {name: len(signal.receivers) for name, signal in signals.BY_EVENT.items()} == before


def test_stopped_agent_is_garbage() -> None:
    """Nothing holds on to an agent that has stopped."""
    service = ScriptedService([Reply("hi")])
    thread_id = gpt.create_thread(service=service)
    agent = gpt.connect(thread_id, "a", service=service)
    agent.on(gpt.Event, lambda event: None)
    agent.ask("hello", timeout=PATIENCE)
    agent.shutdown(PATIENCE)
    gone = weakref.ref(agent)
    del agent
    gc.collect()
    assert gone() is None


def test_all_agents_stop_at_once() -> None:
    """Shutting all down stops every agent, and the handlers' threads."""

    @gpt.tool
    def go() -> None:
        """Go."""

    service = ScriptedService(
        lambda text, outputs: Reply("x") if outputs else CallTools(("go", {}))
    )
    talks = [Talk(service) for _ in range(5)]
    for talk in talks:
        talk.say()
    gpt.shutdown_all()
    assert not any(talk.agent.is_alive for talk in talks)
    assert [thread.name for thread in threading.enumerate() if "gpt-agent-" in thread.name] == []


class BrokenService(ScriptedService):
    """Break the worker from within."""

    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed whose close is broken."""

        class Broken(Feed):
            def __next__(self) -> FeedUpdate:
                raise StopIteration

            def close(self) -> None:
                raise ZeroDivisionError("a bug of the service")

        return Broken()


def test_broken_service_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A bug below the worker stops the agent, with a traceback and its last event."""
    talk = Talk(BrokenService())
    talk.agent.add_user_message("hello")
    assert talk.recorder.wait_for(gpt.AgentStopped).reason == "error"
    assert "a bug of the service" in caplog.text
    with pytest.raises(gpt.AgentNotAliveError):
        talk.agent.wait()


def test_broken_callback_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged, and neither the others nor the agent stop."""
    talk = Talk(ScriptedService([Reply("hi")]))

    def broken(event: gpt.Event) -> None:
        raise ValueError("a bug of the program")

    talk.agent.on(gpt.Event, broken)
    after = EventRecorder()
    talk.agent.on(gpt.Event, after)
    assert talk.agent.ask("hello", timeout=PATIENCE) == "hi"
    assert after.names == talk.names
    assert "a bug of the program" in caplog.text


def test_full_stream_does_not_hold_up_the_shutdown() -> None:
    """A worker that waits for a full stream is released, and the stream ends with the stop."""
    talk = Talk(ScriptedService([Reply("hi")]))
    stream = talk.agent.events(maxsize=1)
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.UserMessageAdded)
    talk.agent.shutdown(PATIENCE)
    assert [type(event).__name__ for event in stream][-1] == "AgentStopped"


SCRIPT = """
import sys
import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, Hold, ScriptedService
import threading

service = ScriptedService([{step}])
@gpt.tool
def hang() -> None:
    '''Hang.'''
    threading.Event().wait()
started = threading.Event()
agent = gpt.connect(gpt.create_thread(service=service), "a", service=service)
agent.on(gpt.{event}, lambda event: started.set())
agent.add_user_message("hello")
started.wait(20)
{then}
"""


def run_script(step: str, event: str, then: str = "", **options: Any) -> Any:
    """Run a program that ends in the middle of a turn."""
    code = SCRIPT.format(step=step, event=event, then=then)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    "step, event", [("Hold()", "RunStarted"), ("CallTools(('hang', {}))", "ToolCallRequested")]
)
def test_interpreter_exits_in_the_middle_of_a_run(step: str, event: str) -> None:
    """A program may end while a run goes on or a handler hangs; nothing is printed."""
    done = run_script(step, event)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LOCAL_SCRIPT = """
import gpt_agent_sync as gpt
assistant_id = gpt.create_assistant(model="demo")
agent = gpt.connect(gpt.create_thread(), assistant_id)
agent.add_user_message("hello")
"""


def test_interpreter_exits_with_the_embedded_server_running(tmp_path: Path) -> None:
    """A program over the embedded server may just end; nothing is printed."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LOCAL_SCRIPT],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_interrupted_wait_leaves_the_run_in_progress() -> None:
    """Ctrl-C during a wait is a KeyboardInterrupt, and the agent can still be used."""
    then = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
try:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    agent.wait()
except KeyboardInterrupt:
    agent.cancel_run()
    print(type(agent.wait(20)).__name__)
"""
    done = run_script("Hold()", "RunStarted", then)
    assert (done.returncode, done.stdout, done.stderr) == (0, "RunCancelled\n", "")


@forks
def test_forked_child_sees_no_live_agents(local: gpt.LocalService) -> None:
    """After a fork the child's agents are stopped, and it connects anew; the parent's live on."""
    assistant_id = gpt.create_assistant(model="demo", service=local)
    thread_id = gpt.create_thread(service=local)
    agent = gpt.connect(thread_id, assistant_id, service=local)
    scripted = ScriptedService([Reply("child")])
    other_id = gpt.create_thread(service=scripted)
    other = gpt.connect(other_id, "a", service=scripted)

    def connects_anew() -> bool:
        dead = not agent.is_alive and not other.is_alive
        again = gpt.connect(other_id, "a", service=scripted)
        answered = again is not other and again.ask("hello", timeout=PATIENCE) == "child"
        gpt.shutdown_all()
        return dead and answered

    assert in_forked_child(connects_anew)
    assert agent.is_alive
    assert "You said" in agent.ask("hello", timeout=PATIENCE)


def test_nothing_starts_at_import() -> None:
    """Importing the package starts no thread."""
    code = "import threading, gpt_agent_sync; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "1\n"


def test_full_stream_does_not_hold_up_idleness() -> None:
    """An idle agent stops though nobody reads its full stream."""
    talk = Talk(ScriptedService([Reply("hi")]), idle_timeout=0.1)
    stream = talk.agent.events(maxsize=4)
    talk.say()
    talk.recorder.wait_for(gpt.AgentStopped)
    assert len(list(stream)) == 5
