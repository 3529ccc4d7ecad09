"""Several callers on one thread, over each wire: nothing is lost, doubled or left stuck."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Fail, Hold, Reply
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import WIRES
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer
from tests.support.talk import PATIENCE


class Party:
    """A server, and agents of different callers on one thread of it."""

    def __init__(self, server: ScriptedServer, service_class: Callable[..., gpt.Service]) -> None:
        self.server = server
        self.services = [service_class(server.base_url, f"key-of-caller-{n}") for n in (1, 2)]
        self.thread_id = gpt.create_thread(service=self.services[0])
        self.recorders = [EventRecorder(), EventRecorder()]

    def join(self, caller: int, **options: object) -> gpt.Agent:
        """Connect as one of the callers."""
        service = self.services[caller]
        return gpt.connect(
            self.thread_id,
            gpt.create_assistant(model="any", service=service),
            service=service,
            on_event=self.recorders[caller],
            **options,  # type: ignore[arg-type]
        )

    def wait_for(self, caller: int, kind: type[gpt.Event]) -> gpt.Event:
        """Wait until a caller has received an event."""
        return self.recorders[caller].wait_for(kind)


SetUp = Callable[[Script], Party]


@pytest.fixture(params=["assistants", "responses"])
def party(request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]) -> SetUp:
    """Return a maker of parties over one wire."""
    return lambda script: Party(make_server(script), WIRES[request.param])


@pytest.fixture
def responses_party(make_server: Callable[..., ScriptedServer]) -> SetUp:
    """Return a maker of parties over the Responses wire."""
    return lambda script: Party(make_server(script), gpt.ResponsesService)


@pytest.fixture
def add() -> None:
    """Register a tool that adds."""

    @gpt.tool
    def add(a: int) -> int:
        """Add one."""
        return a + 1


@pytest.mark.usefixtures("add")
def test_run_cancelled_in_its_second_round_stays_cancelled(party: SetUp) -> None:
    """A run cancelled after it got outputs is not found again, and the thread takes messages."""
    made = party([CallTools(("add", {"a": 1})), Hold(), Reply("free")])
    agent = made.join(0)
    agent.add_user_message("go")
    wait_for(lambda: len(made.server.model.requests), lambda count: count == 2)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    agent.shutdown()
    again = made.join(1)
    assert not again.running
    made.server.model.released.set()
    assert again.ask("and?", timeout=PATIENCE) in ("free", "released")
    assert made.recorders[1].of(gpt.ToolCallRequested) == []


@pytest.mark.usefixtures("add")
def test_run_failed_in_its_second_round_stays_failed(party: SetUp) -> None:
    """A run that failed after it got outputs is not found again, and the thread takes messages."""
    made = party([CallTools(("add", {"a": 1})), Fail(), Reply("free")])
    agent = made.join(0)
    agent.add_user_message("go")
    assert isinstance(agent.wait(PATIENCE), gpt.RunFailed)
    assert agent.ask("and?", timeout=PATIENCE) == "free"
    agent.shutdown()
    assert not made.join(1).running


def test_run_cancelled_by_two_callers_frees_the_thread(party: SetUp) -> None:
    """Two callers may cancel one waiting run, and the thread takes messages of both."""
    made = party([CallTools(("ask_user", {})), Reply("one"), Reply("two")])
    first = made.join(0)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    second = made.join(1)
    made.wait_for(1, gpt.ToolCallRequested)
    for agent in (first, second):
        agent.cancel_run()
    for agent in (first, second):
        assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    assert first.ask("a", timeout=PATIENCE) == "one"
    assert second.ask("b", when_busy="wait", timeout=PATIENCE) == "two"


def test_run_that_another_caller_ended_is_reported(party: SetUp) -> None:
    """A caller whose calls another one answered learns how the run ended, a turn later too."""
    made = party([CallTools(("ask_user", {})), Reply("thanks"), CallTools(("other", {}))])
    first = made.join(0)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    second = made.join(1)
    requested = made.recorders[1].wait_for(gpt.ToolCallRequested)
    second.submit_tool_output(requested.id, "yes")
    assert isinstance(second.wait(PATIENCE), gpt.RunCompleted)
    second.add_user_message("next")
    completed = made.wait_for(0, gpt.RunCompleted)
    assert isinstance(completed, gpt.RunCompleted)
    assert completed.id == requested.run_id
    assert made.recorders[0].wait_for(gpt.AssistantMessageAdded).content == "thanks"


def test_missed_reply_is_announced_while_the_next_run_is_live(party: SetUp) -> None:
    """What was said before a run that is under way is missed, and told; its own words are not."""
    made = party([Reply("one"), Reply("two"), Hold(Reply("three"))])
    agent = made.join(0)
    agent.ask("a", timeout=PATIENCE)
    seen = agent.last_message_id
    agent.ask("b", timeout=PATIENCE)
    agent.add_user_message("c")
    made.recorders[0].wait_for(gpt.RunStarted, count=3)
    agent.shutdown()
    again = made.join(1, last_message_id=seen)
    made.server.model.released.set()
    again.wait(PATIENCE)
    told = [event.content for event in made.recorders[1].of(gpt.AssistantMessageAdded)]
    assert told == ["two", "three"]


@pytest.mark.parametrize("mine", [True, False])
def test_calls_of_other_software_are_left_alone(responses_party: SetUp, *, mine: bool) -> None:
    """A call that waits in somebody else's response is not answered by our next message."""
    made = responses_party([Reply("one"), CallTools(("booking", {}))])
    agent = made.join(0)
    if mine:
        agent.ask("a", timeout=PATIENCE)
    body = {"model": "any", "input": "book", "conversation": made.thread_id}
    url = f"{made.server.base_url}/responses"
    for _ in range(1 if mine else 2):
        requests.post(url, json=body, timeout=PATIENCE).raise_for_status()
    with pytest.raises(gpt.ServiceBusyError, match="another caller"):
        agent.add_user_message("b")
    made.join(1)
    assert made.recorders[1].wait_for(gpt.ToolCallRequested).name == "booking"


def test_run_goes_on_with_its_options_elsewhere(responses_party: SetUp) -> None:
    """A caller who goes on with another one's run does so with that run's options."""
    made = responses_party([CallTools(("ask_user", {})), Reply("done")])
    options = gpt.RunOptions(
        model="other", instructions="Be brief.", temperature=0.5, response_format="json_object"
    )
    first = made.join(0, run_options=options)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    first.shutdown()
    second = made.join(1)
    requested = made.recorders[1].wait_for(gpt.ToolCallRequested)
    second.submit_tool_output(requested.id, "yes")
    second.wait(PATIENCE)
    before, after = made.server.model.requests
    assert after.messages[0] == {"role": "system", "content": "Be brief."}
    assert (after.model, after.options) == (before.model, before.options)


@pytest.fixture
def locked(responses_party: SetUp) -> Party:
    """Return a party whose first caller is connected when other software locks the conversation."""
    made = responses_party([Hold()])
    made.join(0)
    body = {"model": "any", "conversation": made.thread_id, "input": "x", "background": True}
    requests.post(f"{made.server.base_url}/responses", json=body, timeout=PATIENCE)
    return made


def test_wait_for_a_lock_ends_with_the_callers_time(locked: Party) -> None:
    """A message that waits for somebody else's response is given up when the time is up."""
    with pytest.raises(gpt.WaitTimeoutError):
        locked.join(0).ask("b", when_busy="wait", timeout=0.2)


def test_wait_for_a_lock_ends_with_the_agent(locked: Party) -> None:
    """A message that waits for somebody else's response is not posted by a stopped agent."""
    agent = locked.join(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.add_user_message, "b")
        wait_for(lambda: agent.running, bool)
        agent.shutdown()
        with pytest.raises(gpt.AgentNotAliveError):
            waiting.result(PATIENCE)


def test_message_is_posted_when_the_lock_is_gone(locked: Party) -> None:
    """A message that waits for somebody else's response is posted once that is over."""
    agent = locked.join(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.ask, "b", timeout=PATIENCE)
        wait_for(lambda: agent.running, bool)
        locked.server.model.released.set()
        assert waiting.result(PATIENCE) == "ok"
