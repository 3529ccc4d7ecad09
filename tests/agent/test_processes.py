"""One process dies in the middle of a run, and another one goes on, over each wire."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Hold, Reply
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import WIRES
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer
from tests.support.talk import PATIENCE

CHILD = textwrap.dedent("""
    import sys, threading
    import gpt_agent_sync as gpt

    service = getattr(gpt, sys.argv[1])(sys.argv[2], "key")
    thread_id = gpt.create_thread(service=service)
    assistant_id = gpt.create_assistant(model="any", service=service)

    def tell(event):
        print(type(event).__name__, thread_id, flush=True)

    agent = gpt.connect(thread_id, assistant_id, service=service, on_event=tell)
    if "add" in sys.argv:
        @agent.tool
        def add(a: int, b: int) -> int:
            return a + b
    agent.add_user_message("hello")
    threading.Event().wait()
""")


class Stage:
    """A server, a service of this process, and a way to have another process die."""

    def __init__(self, server: ScriptedServer, service: gpt.Service) -> None:
        self.server = server
        self.service = service
        self.recorder = EventRecorder()

    def die_after(self, event_name: str, status: str, *arguments: str) -> str:
        """Have a process killed when it tells of an event, and give its thread.

        Args:
            event_name: The event.
            status: The status in which others must see the run by then.
            arguments: What the process is told beside.
        """
        command = [sys.executable, "-c", CHILD, type(self.service).__name__, self.server.base_url]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith(event_name):
                    break
            thread_id = line.split()[1]
            wait_for(
                lambda: self.service.open_thread(thread_id),
                lambda run: run is not None and run.status == status,
            )
            child.kill()
        assert child.returncode == -signal.SIGKILL
        return thread_id

    def take_over(self, thread_id: str) -> gpt.Agent:
        """Connect to the thread in this process."""
        return gpt.connect(thread_id, service=self.service, on_event=self.recorder)

    def times_said(self, agent: gpt.Agent) -> int:
        """Tell how often the model of a further turn sees the first message."""
        agent.set_default_assistant(gpt.create_assistant(model="any", service=self.service))
        agent.ask("and?", timeout=PATIENCE)
        said = [message["content"] for message in self.server.model.requests[-1].messages]
        assert said.count("and?") == 1
        return said.count("hello")


@pytest.fixture(params=["assistants", "responses"])
def stage(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]
) -> Iterator[Callable[[Script], Stage]]:
    """Return a maker of stages whose server follows a script."""
    services: list[gpt.Service] = []

    def make(script: Script) -> Stage:
        server = make_server(script)
        service = WIRES[request.param](server.base_url, "key")
        services.append(service)
        return Stage(server, service)

    yield make
    for service in services:
        service.close()


SetUp = Callable[[Script], Stage]


def test_run_whose_process_was_killed_is_ended_by_another(stage: SetUp) -> None:
    """A process killed while its run goes on leaves a run that the next one follows to its end."""
    made = stage([Hold(Reply("hi"))])
    agent = made.take_over(made.die_after("RunStarted", "in_progress"))
    made.server.model.released.set()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert made.recorder.names == ["RunCompleted", "AssistantMessageAdded"]
    assert made.times_said(agent) == 1


def test_call_whose_process_was_killed_is_answered_by_another(stage: SetUp) -> None:
    """A process killed before it answered a call leaves the call to the next one."""
    made = stage([CallTools(("ask_user", {"q": 1})), Reply("thanks")])
    agent = made.take_over(made.die_after("ToolCallRequested", "requires_action"))
    requested = made.recorder.wait_for(gpt.ToolCallRequested)
    agent.submit_tool_output(requested.id, "yes")
    completed = agent.wait(PATIENCE)
    assert isinstance(completed, gpt.RunCompleted)
    assert completed.id == requested.run_id
    assert made.times_said(agent) == 1


def test_second_round_is_ended_by_another_process(stage: SetUp) -> None:
    """A process killed after it sent outputs leaves nothing to be answered again."""
    made = stage([CallTools(("add", {"a": 1, "b": 2})), Hold(Reply("3"))])
    agent = made.take_over(made.die_after("ToolCallOutputRecorded", "in_progress", "add"))
    made.server.model.released.set()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert made.recorder.names == ["RunCompleted", "AssistantMessageAdded"]
    assert made.recorder.of(gpt.AssistantMessageAdded)[0].content == "3"
    assert made.times_said(agent) == 1


def test_cancelled_by_another_process(stage: SetUp) -> None:
    """A process may cancel the run of one that died, and the thread is free then."""
    made = stage([CallTools(("ask_user", {})), Reply("free")])
    agent = made.take_over(made.die_after("ToolCallRequested", "requires_action"))
    made.recorder.wait_for(gpt.ToolCallRequested)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    assert made.times_said(agent) == 1
